// SPDX-License-Identifier: Apache-2.0

package dlp

const (
	maxLocal  = 64
	maxDomain = 255
)

// after looks for a value behind a word.
func (st *state) after(text []byte, at int, a *anchor) bool {
	end := at + len(a.text)
	if end+2 > len(text) && !st.final {
		return false
	}
	if !stands(text, at, end) || st.base+int64(at) < st.ends[a.detector] {
		return true
	}
	return st.value(text, end, a.detector)
}

// value looks for the value of a detector from the end of the word on that announces it. It is false if only more text
// can decide.
func (st *state) value(text []byte, end int, detector int32) bool {
	d := &st.m.detectors[detector]
	p := d.programs[0]
	lines := 0
	for j := end; j < end+d.Within; {
		if j >= len(text) {
			return st.final
		}
		if b := text[j]; !isAlnum(b) && (!p.begins(b) || b == '-' && j > 0 && isLetter(text[j-1])) {
			if b == '\n' {
				lines++
			}
			if b < ' ' && b != '\t' && b != '\r' && b != '\n' || lines > 1 || b == ';' ||
				b == '\n' && st.titled(j, detector) {
				return true
			}
			j++
			continue
		}
		value, open := st.match(text, p, j)
		if open {
			return false
		}
		if value > 0 {
			decided, found := st.judge(text, detector, j, value)
			if !decided || found {
				return decided
			}
		}
		k := j
		for k < len(text) && k-j <= 16 && isAlnum(text[k]) {
			k++
		}
		if k == len(text) && !st.final {
			return false
		}
		if k == j {
			j++ // a separator with which a value could have begun
			continue
		}
		if !filler(text[j:k]) {
			return true
		}
		j = k
	}
	return true
}

// filler reports whether a word may stand between a value and the word that announces it.
func filler(word []byte) bool {
	var low [16]byte
	if len(word) > len(low) {
		return false
	}
	for i, b := range word {
		low[i] = lower(b)
	}
	switch string(low[:len(word)]) {
	case "number", "no", "num", "nr", "nbr", "id", "ids", "is", "was", "value", "code", "key", "the", "my", "of", "for", "a",
		"s", "text", "string", "data", "reads", "equals", "token", "secret", "ref", "reference", "identifier", "doc",
		"document", "card", "field", "name", "type", "on", "date", "x2f", "quot", "nbsp", "amp", "bearer", "holder":
		return true
	}
	return false
}

func localByte(b byte) bool {
	return isAlnum(b) || b == '.' || b == '_' || b == '-' || b == '+' || b == '%'
}

// email looks for an address around an at sign.
func (st *state) email(text []byte, at int, a *anchor) bool {
	start := at
	for start > 0 && at-start <= maxLocal && localByte(text[start-1]) {
		start--
	}
	for start < at && !isAlnum(text[start]) {
		start++
	}
	if start == at || at-start > maxLocal || text[at-1] == '.' || st.base+int64(start) < st.ends[a.detector] {
		return true
	}
	if start > 0 && (text[start-1] == ':' && userinfo(text, start-1) || text[start-1] == '/') {
		return true
	}
	end := at + 1
	for end < len(text) && end-at <= maxDomain && (isAlnum(text[end]) || text[end] == '.' || text[end] == '-') {
		end++
	}
	if end+2 > len(text) && !st.final {
		return end-at > maxDomain
	}
	if end < len(text) && (text[end] == '/' || text[end] == '@' || text[end] == '_' ||
		text[end] == ':' && end+1 < len(text) && text[end+1] != ' ' && text[end+1] != '\n' && text[end+1] != '\r') {
		return true
	}
	for end > at+1 && !isAlnum(text[end-1]) {
		end--
	}
	if !domain(text[at+1 : end]) {
		return true
	}
	decided, _ := st.judge(text, a.detector, start, end)
	return decided
}

// userinfo reports whether the colon at at separates a user from a password: then the at sign is that of a URL.
func userinfo(text []byte, at int) bool {
	i := at
	for i > 0 && at-i < maxLocal && localByte(text[i-1]) {
		i--
	}
	return i > 1 && text[i-1] == '/' && text[i-2] == '/'
}

// domain reports whether a text can be the domain of an address on the Internet.
func domain(text []byte) bool {
	label, labels := 0, 1
	for i, b := range text {
		if b != '.' {
			continue
		}
		if i == label || i-label > 63 || text[label] == '-' {
			return false
		}
		label = i + 1
		labels++
	}
	top := text[label:]
	if labels < 2 || len(text) > maxDomain || len(top) < 2 || len(top) > 18 {
		return false
	}
	var low [18]byte
	for i, b := range top {
		if !isLetter(b) {
			return false
		}
		low[i] = lower(b)
	}
	switch string(low[:len(top)]) {
	case "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "jsx", "ts", "tsx", "mjs", "css", "scss", "map", "html",
		"json", "yaml", "yml", "xml", "txt", "log", "local", "localdomain", "internal", "lan", "svc", "invalid", "service",
		"target", "socket", "timer", "mount", "slice", "scope", "go", "gz", "tgz", "zip", "so", "dll", "exe", "jar":
		return false
	}
	return true
}
