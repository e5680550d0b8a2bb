// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// negative appends a message that holds no value of any detector: digits, ids, hashes, logs, sources, fixtures and what
// else looks like one. Numbers drawn with a length that cards have next to a word that speaks of cards are drawn so that
// Luhn's rule fails: a number that fits and is called a card is a card as far as anybody can tell.
func (g *gen) negative(dst []byte) []byte {
	kinds := []func() string{
		g.randomDigits, g.jsonIDs, g.timestamps, g.hashes, g.blobs, g.accessLog, g.serviceLog, g.kernelLog, g.source, g.fixture,
		g.phoneLike, g.versions, g.hexDump, g.minified, g.suspicious, g.table, g.lockfile, g.prose, g.addresses, g.urls, g.floats,
		g.manifest, g.markup, g.orders,
	}
	return append(dst, kinds[g.IntN(len(kinds))]()...)
}

// digitsOf is a number that begins with no 0.
func (g *gen) digitsOf(n int) string { return g.of(decimal[1:], 1) + g.of(decimal, n-1) }

func (g *gen) uuid() string {
	return g.of(hexes, 8) + "-" + g.of(hexes, 4) + "-4" + g.of(hexes, 3) + "-" + g.of("89ab", 1) + g.of(hexes, 3) + "-" + g.of(hexes, 12)
}

func (g *gen) iso() string {
	return fmt.Sprintf("20%02d-%02d-%02dT%02d:%02d:%02d.%sZ", g.between(10, 27), g.between(1, 12), g.between(1, 28), g.IntN(24),
		g.IntN(60), g.IntN(60), g.of(decimal, 3))
}

func (g *gen) ip() string {
	return fmt.Sprintf("%d.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(256), g.IntN(256))
}

func (g *gen) epoch() string {
	return fmt.Sprint(1_500_000_000+g.IntN(300_000_000)) + g.pick("", g.of(decimal, 3), g.of(decimal, 6), g.of(decimal, 9))
}

func (g *gen) lines(n int, line func() string) string {
	var b strings.Builder
	for range n {
		b.WriteString(line())
		b.WriteByte('\n')
	}
	return b.String()
}

func (g *gen) randomDigits() string {
	sep := g.pick(" ", ",", "\n", ", ", ";", "\t")
	n := g.between(5, 22)
	return strings.Join([]string{g.digitsOf(n), g.of(decimal, n), g.of(decimal, g.between(1, 40)), g.digitsOf(n)}, sep)
}

func (g *gen) jsonIDs() string {
	return fmt.Sprintf(`{"id":%s,"parent_id":%s,"uid":"%s","seq":%s,"ref":"%s","count":%d,"items":[%s,%s]}`, g.digitsOf(16),
		g.digitsOf(g.between(9, 19)), g.of(decimal, 16), g.digitsOf(10), g.uuid(), g.IntN(1000), g.digitsOf(9), g.digitsOf(11))
}

func (g *gen) timestamps() string {
	return fmt.Sprintf("%s %s %s %s %s", g.iso(), g.epoch(), strings.NewReplacer("-", "", ":", "", "T", "", "Z", "", ".", "").Replace(g.iso()),
		g.epoch(), strings.ReplaceAll(g.iso(), "T", " "))
}

func (g *gen) hashes() string {
	return g.of(hexes, 32) + " " + g.of(hexes, 40) + "\nsha256:" + g.of(hexes, 64) + " " + strings.ToUpper(g.of(hexes, 40)) + " " + g.uuid()
}

func (g *gen) blobs() string {
	raw := make([]byte, g.between(30, 300))
	for i := range raw {
		raw[i] = byte(g.Uint32())
	}
	if g.IntN(3) == 0 {
		return `{"data":"` + base64.RawURLEncoding.EncodeToString(raw) + `"}`
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func (g *gen) accessLog() string {
	return g.lines(3, func() string {
		return fmt.Sprintf(`%s - - [22/Nov/2026:%02d:%02d:%02d +0000] "GET /api/v%d/users/%s?page=%d HTTP/1.1" %d %s "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0"`,
			g.ip(), g.IntN(24), g.IntN(60), g.IntN(60), g.IntN(4), g.digitsOf(g.between(3, 16)), g.IntN(90), g.between(200, 599), g.digitsOf(5))
	})
}

func (g *gen) serviceLog() string {
	return g.lines(2, func() string {
		return fmt.Sprintf(`time=%s level=info msg="%s" trace_id=%s span_id=%s took=%sms order=%s user_id=%s`, g.iso(),
			g.pick("call done", "payment service started", "contact list loaded", "phone home", "card rendered", "token refreshed",
				"passport strategy loaded", "routing table updated", "account synced"), g.of(hexes, 32), g.of(hexes, 16), g.digitsOf(3),
			g.pick("ORD-", "PO", "#")+g.digitsOf(8), g.digitsOf(7))
	})
}

func (g *gen) kernelLog() string {
	return g.lines(3, func() string {
		return fmt.Sprintf("[%5d.%s] %s: addr %s irq %d pid=%d flags 0x%s", g.IntN(99999), g.of(decimal, 6),
			g.pick("usb 1-1", "eth0", "EXT4-fs (sda1)", "audit"), "0x"+g.of(hexes, 16), g.IntN(300), g.IntN(4194304), g.of(hexes, 8))
	})
}

func (g *gen) source() string {
	return g.pick(
		"func card(n int) string { return strconv.Itoa(n*"+g.digitsOf(4)+") } // "+g.digitsOf(12)+"\nconst max = "+g.digitsOf(10)+"\n",
		"const passport = require('passport');\napp.use(passport.initialize({ ttl: "+g.digitsOf(7)+" }));\n",
		"import re\nSSN = re.compile(r'\\d{3}-\\d{2}-\\d{4}')\nclass Patient(Model):\n    mrn = CharField(max_length=20)\n    dob = DateField()\n",
		"uint64_t table[] = { 0x"+g.of(hexes, 16)+", 0x"+g.of(hexes, 16)+", "+g.digitsOf(19)+"u };\n",
		"-----BEGIN "+"CERTIFICATE-----\n"+g.of(alnums+"+/", 64)+"\n"+g.of(alnums+"+/", 64)+"\n-----END CERTIFICATE-----\n",
		`if strings.HasPrefix(line, "-----BEGIN `+`RSA PRIVATE KEY-----") { return parse(line) }`+"\n",
		"password = os.environ['DB_PASSWORD']\nurl = f'postgres://{user}:{password}@{host}/db'\n",
		"SELECT id, ssn, card_number FROM customers WHERE id = "+g.digitsOf(8)+" AND created > "+g.epoch()+" LIMIT 10;\n",
		"@Component\nclass A { @Input() value; @media screen and (max-width: "+g.digitsOf(4)+"px) }\n",
	)
}

func (g *gen) fixture() string {
	return g.pick(
		"aws_access_key_id = AKIA"+"IOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
		"GITHUB_TOKEN=ghp_"+strings.Repeat("x", 36)+"\n", "token: gh"+"p_"+g.of(alnums, 36)+"\n",
		`{"api_key":"AIza`+strings.Repeat("0", 35)+`","secret":"changeme"}`,
		"card_number: "+g.badCard()+"\nexpiry: 12/27\ncvv: 123\n",
		"ssn: 000-"+g.of(decimal, 2)+"-"+g.of(decimal, 4)+"\nssn: 123-45-6789\n",
		"postgres://user:${DB_PASSWORD}@localhost:5432/db\npostgres://user:password@localhost/db\n",
		"Authorization: Bearer <token>\nAuthorization: Basic ***\n", "sk_test_"+g.of(alnums, 24)+"\npk_live_"+g.of(alnums, 24)+"\n",
		`{"jwt":"eyJhbGciOi...","kubeconfig":"client-key-data: REDACTED"}`, "xoxb-your-token-here xoxb-xxxxxxxxxxxx-xxxxxxxxxxxx\n",
		"iban: DE00 0000 0000 0000 0000 00 DE12345678901234567890123\n",
	)
}

// badCard is a number like a card's whose check digit is wrong.
func (g *gen) badCard() string {
	n := luhnDigit("4" + g.of(decimal, 14))
	last := (n[15]-'0'+byte(g.between(1, 9)))%10 + '0'
	n = n[:15] + string(last)
	return g.pick(n, n[:4]+" "+n[4:8]+" "+n[8:12]+" "+n[12:], n[:4]+"-"+n[4:8]+"-"+n[8:12]+"-"+n[12:])
}

func (g *gen) phoneLike() string {
	return fmt.Sprintf("ext %s room %s-%s pages %d-%d score %d-%d part %s-%s", g.of(decimal, 4), g.of(decimal, 3), g.of(decimal, 3), g.IntN(500),
		g.IntN(900), g.IntN(9), g.IntN(9), g.of(decimal, 4), g.of(decimal, 4))
}

func (g *gen) versions() string {
	return fmt.Sprintf("%d.%d.%d-%s+%s v%d.%d.%d.%d go1.26.%d kernel 6.12.%d-%d.el9.x86_64 Chrome/%s.0.%s.%s", g.IntN(20), g.IntN(40), g.IntN(99),
		g.pick("rc1", "beta.2", "alpha"), g.of(hexes, 7), g.IntN(9), g.IntN(99), g.IntN(999), g.IntN(9999), g.IntN(9), g.IntN(200), g.IntN(500),
		g.of(decimal, 3), g.of(decimal, 4), g.of(decimal, 3))
}

func (g *gen) hexDump() string {
	at := 0
	return g.lines(4, func() string {
		at += 16
		var b strings.Builder
		fmt.Fprintf(&b, "%08x ", at)
		for range 16 {
			b.WriteString(" " + g.of(hexes, 2))
		}
		return b.String() + "  |" + g.of(alnums+"....", 16) + "|"
	})
}

func (g *gen) minified() string {
	var b strings.Builder
	b.WriteString("!function(e,t){")
	for range g.between(4, 12) {
		fmt.Fprintf(&b, "var %s=%s.%s(%d,%se%d),%s=[%d,%d];function %s(){return %s}", g.of(smalls, 1), g.of(smalls, 1), g.of(smalls, 4),
			g.IntN(99999), g.digitsOf(2), g.IntN(9), g.of(smalls, 1), g.IntN(1<<31), g.IntN(256), g.of(smalls, 2), g.digitsOf(10))
	}
	return b.String() + "}(window,document);"
}

// suspicious are words that detectors look for beside numbers that are none of theirs.
func (g *gen) suspicious() string {
	return fmt.Sprintf("%s %s %s", g.pick("gift card order", "card layout", "bank holiday", "account balance", "patient visit", "passport office ticket",
		"tax invoice", "social media post", "member since", "licensed under", "customer account", "insurance claim", "date of delivery",
		"card reader firmware", "credit note", "tax year", "phone model", "passport middleware", "id card printer"),
		g.pick("no", "#", "ref", ":", "="), g.pick("INV-2026-"+g.of(decimal, 6), "ORD"+g.digitsOf(10), "2026-11-22-"+g.of(decimal, 5), g.digitsOf(5),
			g.digitsOf(7)+"."+g.of(decimal, 2), g.badCard(), g.iso(), "T-"+g.of(decimal, 4), g.digitsOf(4)+"/"+g.of(decimal, 2), g.of(hexes, 24),
			g.uuid(), "v"+g.of(decimal, 1)+"."+g.of(decimal, 2), g.digitsOf(20)))
}

func (g *gen) table() string {
	width := g.between(1, 6)
	return g.lines(g.between(2, 6), func() string {
		var row []string
		for range g.between(5, 12) {
			row = append(row, g.digitsOf(width))
		}
		return strings.Join(row, g.pick(" ", "\t", ", "))
	})
}

func (g *gen) lockfile() string {
	return fmt.Sprintf(`"node_modules/%s":{"version":"%d.%d.%d","resolved":"https://registry.npmjs.org/@%s/%s/-/%s-1.2.3.tgz","integrity":"sha512-%s=="}`,
		g.of(smalls, 6), g.IntN(20), g.IntN(20), g.IntN(20), g.of(smalls, 5), g.of(smalls, 6), g.of(smalls, 6), g.of(alnums+"+/", 86)) +
		"\nghcr.io/acme/app@sha256:" + g.of(hexes, 64) + "\n"
}

func (g *gen) prose() string {
	return "In " + fmt.Sprint(g.between(1900, 2026)) + " the company sold " + g.digitsOf(3) + "," + g.of(decimal, 3) + "," + g.of(decimal, 3) +
		" units, up " + g.of(decimal, 1) + "." + g.of(decimal, 2) + "% on the year; using the discount card saved 12 in 100 visitors time. " +
		"Patients asked about social security and passports; the pan was hot, the visa office closed at 17:30.\n"
}

func (g *gen) addresses() string {
	return fmt.Sprintf("%s/24 via %s dev eth0 lladdr %s:%s:%s:%s:%s:%s fe80::%s:%s root@%s git@github.com:acme/%s.git ubuntu@ip-10-0-0-1", g.ip(), g.ip(),
		g.of(hexes, 2), g.of(hexes, 2), g.of(hexes, 2), g.of(hexes, 2), g.of(hexes, 2), g.of(hexes, 2), g.of(hexes, 4), g.of(hexes, 4), g.of(smalls, 6), g.of(smalls, 5))
}

func (g *gen) urls() string {
	return fmt.Sprintf("https://example.com/orders/%s?utm_source=mail&gclid=%s&ts=%s https://cdn.example.com/%s/logo@2x.png", g.digitsOf(g.between(6, 16)),
		g.of(alnums+"_-", 60), g.epoch(), g.of(hexes, 20))
}

func (g *gen) floats() string {
	return fmt.Sprintf(`{"lat":%d.%s,"lon":-%d.%s,"w":[0.%s,1.%se-05,%s.0],"price":%s.%s}`, g.IntN(90), g.of(decimal, 15), g.IntN(180), g.of(decimal, 14),
		g.of(decimal, 16), g.of(decimal, 16), g.digitsOf(9), g.digitsOf(4), g.of(decimal, 2))
}

func (g *gen) manifest() string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: app-%s\n  uid: %s\n  resourceVersion: \"%s\"\nspec:\n  runAsUser: %s\n  port: %d\n",
		g.of(alnums, 5), g.uuid(), g.digitsOf(9), g.digitsOf(10), g.IntN(65536))
}

func (g *gen) markup() string {
	return fmt.Sprintf(`<div id="c%s" data-key="%s" style="width:%dpx"><a href="#s%d">Card %d</a><path d="M%d.%s %d.%sL%d %d"/></div>`, g.digitsOf(8),
		g.of(hexes, 24), g.IntN(2000), g.IntN(100), g.IntN(10), g.IntN(999), g.of(decimal, 3), g.IntN(999), g.of(decimal, 3), g.IntN(99), g.IntN(99))
}

func (g *gen) orders() string {
	return fmt.Sprintf("order_id=%s sku=%s tracking=1Z%s batch %s lot %s isbn 978-%s-%s-%s-%s", g.digitsOf(g.between(8, 18)),
		g.of(capitals, 3)+"-"+g.of(decimal, 5), g.of(decimal+capitals, 16), g.digitsOf(12), g.of(capitals, 2)+g.digitsOf(6), g.of(decimal, 1), g.of(decimal, 3),
		g.of(decimal, 5), g.of(decimal, 1))
}
