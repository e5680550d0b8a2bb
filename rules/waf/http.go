// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// split reports a line end with a response's header behind it, in a query. In a body, line ends are ordinary.
func (f *Filter) split(t *text) {
	b := t.b
	for i := 0; i+8 < len(b); i++ {
		n := lineBreak(b[i:])
		if n == 0 {
			continue
		}
		rest := bytes.TrimLeft(b[i+n:], " \t\r\n")
		for _, h := range [...]string{"set-cookie:", "location:", "content-length:", "content-type:", "http/1.", "refresh:", "x-xss-protection:"} {
			if prefixFold(rest, h) {
				f.report(t, ruleSplit, max(0, i-20), i+80)
				return
			}
		}
	}
}

// lineBreak is the length of a line end at the start of b: also one that is still encoded, and the characters whose low
// byte is one, or 0.
func lineBreak(b []byte) int {
	switch {
	case b[0] == '\n' || b[0] == '\r':
		return 1
	case prefixFold(b, "%0d") || prefixFold(b, "%0a"):
		return 3
	case bytes.HasPrefix(b, []byte("\u560a")) || bytes.HasPrefix(b, []byte("\u560d")):
		return 3
	}
	return 0
}

// Frames reports whether a header is one of those that Framing looks at, however it is written.
func Frames(name []byte) bool {
	name = bytes.TrimRight(name, " \t\v\x00")
	return equalFold(name, "content-length") || equalFold(name, "transfer-encoding") || equalFold(name, "content_length") ||
		equalFold(name, "transfer_encoding")
}

// Framing appends the hits of a request's headers about where its body ends, for callers that take requests apart
// themselves.
func (f *Filter) Framing(dst []Hit, headers []Pair) []Hit {
	f.begin(dst)
	f.framing(headers)
	return f.end()
}

// framing reports headers by which two servers would see the body end in different places.
func (f *Filter) framing(headers []Pair) {
	var length, coding []byte
	for i := range headers {
		name, value := headers[i].Name, bytes.TrimSpace(headers[i].Value)
		trimmed := bytes.TrimRight(name, " \t\v\x00")
		isLength, isCoding := equalFold(trimmed, "content-length"), equalFold(trimmed, "transfer-encoding")
		f.t = text{kind: Header, name: name, b: headers[i].Value}
		bad := (isLength || isCoding) && len(trimmed) != len(name)
		bad = bad || equalFold(name, "transfer_encoding") || equalFold(name, "content_length")
		switch {
		case isLength:
			bad = bad || !allDigits(value) || length != nil && !bytes.Equal(length, value)
			length = value
		case isCoding:
			bad = bad || !knownCoding(headers[i].Value) || coding != nil
			coding = value
		}
		if bad {
			f.report(&f.t, ruleFraming, 0, len(headers[i].Value))
		}
	}
	if length != nil && coding != nil {
		f.t = text{kind: Header, name: []byte("transfer-encoding"), b: coding}
		f.report(&f.t, ruleFramingBoth, 0, len(coding))
	}
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !digit(c) {
			return false
		}
	}
	return len(b) > 0 && len(b) < 20
}

// knownCoding reports whether a transfer coding is written as every server reads it.
func knownCoding(b []byte) bool {
	b = bytes.Trim(b, " ")
	for _, s := range [...]string{"chunked", "gzip, chunked", "deflate, chunked", "identity", "gzip,chunked", "trailers", "br, chunked"} {
		if equalFold(b, s) {
			return true
		}
	}
	return false
}

// embedded reports a last chunk with a request behind it, in a body.
func (f *Filter) embedded(t *text) {
	for _, end := range [...]string{"\r\n0\r\n\r\n", "0\r\n\r\n"} {
		i := bytes.Index(t.b, []byte(end))
		if i < 0 || end[0] == '0' && i > 0 {
			continue
		}
		rest := t.b[i+len(end):]
		row, _, _ := bytes.Cut(rest, []byte{'\n'})
		if len(row) < 2048 && holds(row, " http/1.") && letter(row[0]) {
			f.report(t, ruleEmbedded, i, i+len(end)+len(row))
			return
		}
	}
}

// shellshock reports a header that a shell would import as a function, with commands behind it.
func (f *Filter) shellshock(t *text) {
	b := bytes.TrimLeft(t.b, " \t")
	if len(b) < 6 || b[0] != '(' {
		return
	}
	rest := bytes.TrimLeft(b[1:], " \t")
	if len(rest) == 0 || rest[0] != ')' {
		return
	}
	rest = bytes.TrimLeft(rest[1:], " \t")
	if len(rest) == 0 || rest[0] != '{' {
		return
	}
	if i := bytes.IndexByte(rest, '}'); i >= 0 || bytes.Contains(rest, []byte("=>\\")) {
		f.report(t, ruleShellShock, 0, len(t.b))
	}
}

// scanners are names that scanners give themselves as user agents.
func scanners() []string {
	return []string{
		"sqlmap", "nikto", "nmap scripting", "masscan", "zgrab", "nuclei", "wpscan", "dirbuster", "gobuster", "ffuf", "feroxbuster",
		"acunetix", "nessus", "openvas", "w3af", "havij", "arachni", "zmeu", "jorgee", "whatweb", "commix", "xsstrike", "dirsearch", "wfuzz",
		"netsparker", "qualys", "burpcollab", "projectdiscovery", "fimap", "joomscan", "skipfish", "paros", "webinspect",
	}
}

// scanner reports a user agent that is a scanner's.
func (f *Filter) scanner(t *text) {
	if !equalFold(t.name, "user-agent") {
		return
	}
	for _, s := range scanners() {
		if i := indexFold(t.b, s); i >= 0 {
			f.report(t, ruleScanner, i, i+len(s))
			return
		}
	}
}
