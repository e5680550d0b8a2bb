// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"fmt"
	"strings"
)

// word is a word of a detector as people write it.
func (g *gen) word(words []string) string {
	w := words[g.IntN(len(words))]
	if strings.ContainsAny(w, "'.") {
		return w
	}
	parts := strings.Fields(w)
	switch g.IntN(4) {
	case 0:
		return strings.Join(parts, "_")
	case 1:
		return strings.ToUpper(strings.Join(parts, " "))
	case 2:
		for i := 1; i < len(parts); i++ {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
		return strings.Join(parts, "")
	}
	return strings.Join(parts, " ")
}

func (g *gen) noise() string {
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf(`"id":%d,"ok":true,"at":"2026-%02d-%02dT%02d:%02d:%02dZ",`, g.IntN(1e6), g.between(1, 12),
			g.between(1, 28), g.IntN(24), g.IntN(60), g.IntN(60))
	case 1:
		return "please find the details of our client below, as agreed on the call. "
	case 2:
		return "level=info msg=\"request done\" status=200 dur=" + g.of(decimal, 3) + "ms "
	case 3:
		return g.pick("alpha", "beta", "gamma") + "," + g.of(smalls, 6) + "," + g.of(decimal, 3) + ","
	}
	return ""
}

// carrier puts a value into a text such as it travels in, and returns where it starts. table says that the word may
// stand over a column.
func (g *gen) carrier(word, value string, table bool) (text string, at int) {
	before, after := g.noise(), g.noise()
	join := func(head, tail string) (string, int) { return head + value + tail, len(head) }
	quoted := strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(value)
	n := 10
	if !table {
		n = 9
	}
	switch g.IntN(n) {
	case 0:
		value = quoted
		return join(`{`+strings.TrimPrefix(before, "level")+`"`+word+`":"`, `","next":null}`)
	case 1:
		return join("a=1&"+word+"=", "&b=2")
	case 2:
		return join("<r><"+word+">", "</"+word+"></r>\n")
	case 3:
		return join(before+word+": ", "\n"+after)
	case 4:
		return join(before+"The "+word+" is ", ". "+after)
	case 5:
		return join(before+word+"=", " "+after)
	case 6:
		return join(before+word+"\t", "\t"+after)
	case 7:
		return join("GET / HTTP/1.1\r\nHost: a.test\r\nX-"+word+": ", "\r\n\r\n")
	case 8:
		value = quoted
		return join("  "+word+": '", "'\n  other: 3\n")
	}
	head := "name," + word + ",amount\n"
	for range g.between(0, 5) {
		head += g.of(smalls, 6) + ",," + g.of(decimal, 3) + "\n"
	}
	if strings.Contains(value, ",") {
		return join(head+g.of(smalls, 6)+",\"", "\","+g.of(decimal, 3)+"\n")
	}
	return join(head+g.of(smalls, 6)+",", ","+g.of(decimal, 3)+"\n")
}

// positive draws a text that holds a value of a detector, and says where.
func (g *gen) positive(d *Detector, c check) (text string, start, end int) {
	v := g.value(d, c)
	word := g.pick("value", "data", "note", "field", "x")
	switch {
	case len(d.After) > 0:
		word = g.word(d.After)
	case len(d.Words) > 0:
		word = g.word(d.Words)
	}
	text, start = g.carrier(word, v, len(d.Words)+len(d.After) > 0)
	if !strings.HasPrefix(text[start:], v) {
		v = strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(v)
	}
	if i := strings.Index(v, "-----END"); i > 0 {
		v = v[:i]
	}
	return text, start, start + len(v)
}
