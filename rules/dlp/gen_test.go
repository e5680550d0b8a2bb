// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"regexp/syntax"
	"strings"
)

// gen makes values and the texts around them. Nothing that it makes is anybody's: all is drawn, and the sources hold no
// value of any detector as a whole.
type gen struct{ *rand.Rand }

func newGen(seed uint64) *gen { return &gen{rand.New(rand.NewPCG(seed, 7))} }

const (
	decimal  = "0123456789"
	hexes    = "0123456789abcdef"
	capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	smalls   = "abcdefghijklmnopqrstuvwxyz"
	alnums   = decimal + capitals + smalls
)

func (g *gen) of(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

func (g *gen) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *gen) between(a, b int) int { return a + g.IntN(b-a+1) }

// fill draws a text of a template.
func (g *gen) fill(template string) string {
	b := []byte(template)
	for i, c := range b {
		switch c {
		case '9':
			b[i] = decimal[g.IntN(10)]
		case 'A':
			b[i] = capitals[g.IntN(26)]
		case '*':
			b[i] = (decimal + capitals)[g.IntN(36)]
		}
	}
	return string(b)
}

// expression draws a text of a pattern.
func (g *gen) expression(re *syntax.Regexp) string {
	var b strings.Builder
	times := func(least, most int) {
		for range g.between(least, most) {
			b.WriteString(g.expression(re.Sub[0]))
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		text := string(re.Rune)
		if re.Flags&syntax.FoldCase != 0 {
			text = strings.ToLower(text)
		}
		return text
	case syntax.OpCharClass:
		n := 0
		for i := 0; i < len(re.Rune); i += 2 {
			n += int(min(re.Rune[i+1], 0x7e)-re.Rune[i]) + 1
		}
		at := g.IntN(n)
		for i := 0; i < len(re.Rune); i += 2 {
			if w := int(min(re.Rune[i+1], 0x7e)-re.Rune[i]) + 1; at < w {
				return string(re.Rune[i] + rune(at))
			} else {
				at -= w
			}
		}
	case syntax.OpCapture:
		return g.expression(re.Sub[0])
	case syntax.OpQuest:
		times(0, 1)
	case syntax.OpStar:
		times(0, 24)
	case syntax.OpPlus:
		times(1, 24)
	case syntax.OpRepeat:
		most := re.Max
		if most < 0 || most > re.Min+24 {
			most = re.Min + 24
		}
		times(re.Min, most)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			b.WriteString(g.expression(sub))
		}
	case syntax.OpAlternate:
		return g.expression(re.Sub[g.IntN(len(re.Sub))])
	}
	return b.String()
}

// date6 draws six digits of a date, in the order of the layout.
func (g *gen) date6(layout string) string {
	y, m, d := g.IntN(100), g.between(1, 12), g.between(1, 28)
	if layout == "ymd" {
		return fmt.Sprintf("%02d%02d%02d", y, m, d)
	}
	return fmt.Sprintf("%02d%02d%02d", d, m, y)
}

// dated says where in the value of a detector a date stands, so that drawing one that passes takes few tries.
func (g *gen) dated(id, value string) string {
	put := func(at int, date string) string {
		if len(value) < at+len(date) {
			return value
		}
		return value[:at] + date + value[at+len(date):]
	}
	switch id {
	case "pl-pesel", "kr-rrn", "za-id", "cz-birth-number", "bg-egn":
		return put(0, g.date6("ymd"))
	case "ro-cnp", "ee-isikukood":
		return put(1, g.date6("ymd"))
	case "mx-curp":
		return put(4, g.date6("ymd")+g.pick("H", "M"))
	case "no-fodselsnummer", "dk-cpr", "fi-hetu", "gr-amka":
		return put(0, g.date6("dmy"))
	case "cn-resident-id":
		return put(6, g.pick("19", "20")[:2]+g.date6("ymd"))
	case "se-personnummer":
		if i := len(strings.ReplaceAll(value, "-", "")); i == 12 {
			return put(0, "19"+g.date6("ymd"))
		}
		return put(0, g.date6("ymd"))
	case "be-national-number":
		if d := g.date6("ymd"); strings.Contains(value, ".") {
			return put(0, d[:2]+"."+d[2:4]+"."+d[4:])
		}
		return put(0, g.date6("ymd"))
	case "fr-nir":
		if !strings.Contains(value, " ") {
			return put(0, g.pick("1", "2")+g.date6("ymd")[:4])
		}
	}
	return value
}

// luhnDigit appends the digit that Luhn's rule asks for. It is written anew here, so that the product's is tested.
func luhnDigit(number string) string {
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 0 {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	return number + string(decimal[(10-sum%10)%10])
}

// card draws a card number as it is written.
func (g *gen) card() string {
	prefix, n := "4", 16
	switch g.IntN(10) {
	case 0:
		prefix = fmt.Sprint(g.between(51, 55))
	case 1:
		prefix = fmt.Sprint(g.between(2221, 2720))
	case 2:
		prefix, n = g.pick("34", "37"), 15
	case 3:
		prefix = g.pick("6011", "645", "65")
	case 4:
		prefix, n = g.pick("300", "305", "36", "38"), 14
	case 5:
		prefix = fmt.Sprint(g.between(3528, 3589))
	case 6:
		prefix, n = "62", g.between(16, 19)
	case 7:
		prefix, n = g.pick("5018", "6304", "6759"), g.between(12, 19)
	}
	v := luhnDigit(prefix + g.of(decimal, n-1-len(prefix)))
	sep := g.pick("", "", " ", "-")
	switch {
	case sep == "":
	case n == 16:
		v = strings.Join([]string{v[:4], v[4:8], v[8:12], v[12:]}, sep)
	case n == 15:
		v = strings.Join([]string{v[:4], v[4:10], v[10:]}, sep)
	case n == 14:
		v = strings.Join([]string{v[:4], v[4:10], v[10:]}, sep)
	}
	return v
}

// ibans are the form of accounts in some countries, with the check digits left out.
var ibans = []string{
	"AT9999999999999999", "BE999999999999", "CH99999************", "DE999999999999999999", "ES99999999999999999999",
	"FR9999999999***********99", "GB" + "AAAA99999999999999", "IE" + "AAAA99999999999999", "IT" + "A9999999999************",
	"NL" + "AAAA9999999999", "NO99999999999", "PL999999999999999999999999", "PT999999999999999999999", "SE99999999999999999999",
	"SA99******************", "TR999999****************", "CZ99999999999999999999", "RO" + "AAAA****************",
}

// iban draws an account of a country.
func (g *gen) iban() string {
	form := ibans[g.IntN(len(ibans))]
	country, account := form[:2], g.fill(form[2:])
	for len(strings.Trim(account, capitals)) < 6 {
		account = g.fill(form[2:])
	}
	r := 0
	for _, b := range account + country + "00" {
		if b >= 'A' {
			r = (r*100 + int(b-'A') + 10) % 97
		} else {
			r = (r*10 + int(b-'0')) % 97
		}
	}
	v := fmt.Sprintf("%s%02d%s", country, 98-r, account)
	if g.IntN(2) == 0 {
		return v
	}
	var groups []string
	for ; len(v) > 4; v = v[4:] {
		groups = append(groups, v[:4])
	}
	return strings.Join(append(groups, v), " ")
}

func (g *gen) base64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func (g *gen) jwt(claims string) string {
	header := g.pick(`{"alg":"HS256","typ":"JWT"}`, `{"typ":"JWT","alg":"RS256","kid":"`+g.of(alnums, 8)+`"}`, `{"alg":"ES256"}`)
	return g.base64(header) + "." + g.base64(claims) + "." + g.of(alnums+"-_", g.between(43, 180))
}

func (g *gen) pem(kind string) string {
	var b strings.Builder
	end := g.pick("\n", "\r\n", `\n`)
	b.WriteString("-----BEGIN " + kind + "-----" + end)
	if kind[0] == 'O' {
		b.WriteString("b3BlbnNz" + "aC1rZXkt" + g.of(alnums, 48) + end)
	}
	for range g.between(3, 24) {
		b.WriteString(g.of(alnums+"+/", 64) + end)
	}
	return b.String() + "-----END " + kind + "-----"
}

// token6 is a token that ends in the checksum of what it draws.
func (g *gen) token6(prefix string) string {
	body := g.of(alnums, 30)
	sum := crc32.ChecksumIEEE([]byte(body))
	check := make([]byte, 6)
	for i := range check {
		check[5-i] = alnums[sum%62]
		sum /= 62
	}
	return prefix + "_" + body + string(check)
}

// special draws the values that a template or pattern alone does not describe; "" for others.
func (g *gen) special(id string) string {
	user, host := g.of(smalls, 6), g.of(smalls, 8)+g.pick(".example.com", ".net", ".internal")
	switch id {
	case "payment-card":
		return g.card()
	case "card-track":
		return ";" + luhnDigit("4"+g.of(decimal, 14)) + "=" + g.fill("99") + fmt.Sprintf("%02d", g.between(1, 12)) + g.fill("999")
	case "iban":
		return g.iban()
	case "us-mbi":
		const letters, either = "ACDEFGHJKMNPQRTUVWXY", "0123456789ACDEFGHJKMNPQRTUVWXY"
		sep := g.pick("", "-")
		return g.of(decimal[1:], 1) + g.of(letters, 1) + g.of(either, 1) + g.of(decimal, 1) + sep + g.of(letters, 1) + g.of(either, 1) +
			g.of(decimal, 1) + sep + g.of(letters, 2) + g.of(decimal, 2)
	case "de-tax-id":
		// Nine different digits and one of them again.
		p := []byte(decimal)
		g.Shuffle(10, func(i, j int) { p[i], p[j] = p[j], p[i] })
		p[9] = p[g.IntN(8)]
		return string(p) + g.of(decimal, 1)
	case "github-token":
		return g.token6("gh" + g.pick("p", "o", "u", "s", "r"))
	case "npm-token":
		return g.token6("npm")
	case "jwt":
		return g.jwt(`{"sub":"` + g.of(decimal, 8) + `","name":"` + user + `","iat":` + g.of(decimal, 10) + `}`)
	case "kubernetes-service-account-token":
		return g.jwt(`{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"` + user +
			`","sub":"system:serviceaccount:` + user + `:default"}`)
	case "private-key":
		return g.pem(g.pick("", "RSA ", "EC ", "ENCRYPTED ") + "PRIVATE KEY")
	case "openssh-private-key":
		return g.pem("OPENSSH " + "PRIVATE KEY")
	case "pgp-private-key":
		return g.pem("PGP PRIVATE KEY" + " BLOCK")
	case "email-address":
		return user + g.pick(".", "_", "+", "") + g.of(smalls, 4) + "@" + g.of(smalls, 7) + g.pick(".com", ".co.uk", ".de", ".org")
	case "date-of-birth":
		y, m, d := g.between(1930, 2012), g.between(1, 12), g.between(1, 28)
		return g.pick(fmt.Sprintf("%d-%02d-%02d", y, m, d), fmt.Sprintf("%02d/%02d/%d", m, d, y), fmt.Sprintf("%d.%d.%d", d, m, y),
			fmt.Sprintf("%d%02d%02d", y, m, d), fmt.Sprintf("%d March %d", d, y), fmt.Sprintf("Apr %d, %d", d, y))
	case "basic-auth-url":
		return g.pick("https", "http", "ftp") + "://" + user + ":" + g.of(alnums, 12) + "@" + host
	case "basic-auth-header":
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+g.of(alnums, 12)))
	case "database-url":
		return g.pick("postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp") + "://" + user + ":" + g.of(alnums, 12) + "@" + host
	case "database-connection-string":
		return g.pick("Server", "Data Source", "Host") + "=" + host + ";" + g.pick("Database=app;", "") + "User Id=" + user + ";" +
			g.pick("Password", "Pwd", "password") + "=" + g.of(alnums, 12)
	case "azure-sas":
		return "sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2027-01-01T00:00:00Z&sig=" + g.of(alnums, 43) + "%3D"
	}
	return ""
}

// value draws a value of a detector, with the programs and the check of the matcher to choose by.
func (g *gen) value(d *Detector, c check) string {
	for {
		v := g.special(d.ID)
		norm := []byte(v)
		if v == "" && len(d.Numbers) > 0 {
			t := d.templates[g.IntN(len(d.templates))]
			v = g.dated(d.ID, g.fill(t.text))
			if ok, _ := t.fits([]byte(v), 0); !ok {
				continue
			}
		} else if v == "" {
			re, _, _, err := parseExpr(d.Patterns[g.IntN(len(d.Patterns))])
			if err != nil {
				return ""
			}
			v = g.expression(re)
			norm = []byte(v)
		}
		if len(d.Numbers) > 0 || d.Finder == finderIBAN {
			norm = normalise(make([]byte, 0, maxTemplate), []byte(v))
		}
		if c == nil || c(norm) {
			return v
		}
	}
}
