// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

const (
	maxNesting = 24
	// maxExpanded is how much text lookups may give before evaluating stops.
	maxExpanded = 4 << 10
	// maxSpelled is how many lookups of a single letter within another a text may have before it counts as hiding.
	maxSpelled = 3
)

// expansion is the state of evaluating a text's lookups as Log4j's substitutor does.
type expansion struct {
	src     []byte
	out     []byte
	jndi    bool
	spelled int
}

// lookups evaluates ${…} and reports what would load a class, however it is spelled.
func (f *Filter) lookups(t *text) {
	b := t.b
	if bytes.Contains(b, []byte(`\u00`)) {
		f.scratch[slotInner][1] = unescape(f.scratch[slotInner][1][:0], b)
		b = f.scratch[slotInner][1]
	}
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("${"))
		if i < 0 {
			return
		}
		at += i
		x := expansion{src: b, out: f.scratch[slotInner][2][:0]}
		end := x.lookup(at+2, 1)
		f.scratch[slotInner][2] = x.out[:0]
		switch {
		case x.jndi:
			f.report(t, ruleJNDI, at, max(end, at+80))
			return
		case x.spelled >= maxSpelled:
			f.report(t, ruleLookupHidden, at, end)
			return
		}
		at += 2
		if end > at && x.spelled == 0 {
			at = end
		}
	}
}

// lookup evaluates what follows "${" at i up to its "}", leaves the outcome at the end of out, and returns where the
// text goes on. A lookup that the text breaks off counts as if it ended there: bodies are cut.
func (x *expansion) lookup(i, depth int) int {
	begin := len(x.out)
	for i < len(x.src) && len(x.out) < maxExpanded {
		switch c := x.src[i]; {
		case c == '$' && i+1 < len(x.src) && x.src[i+1] == '{' && depth < maxNesting:
			inner := len(x.out)
			i = x.lookup(i+2, depth+1)
			if len(x.out)-inner == 1 {
				x.spelled++
			}
		case c == '}':
			x.resolve(begin)
			return i + 1
		default:
			x.out = append(x.out, c)
			i++
		}
		if x.jndi {
			return i
		}
		if len(x.out)-begin == len("jndi:") && equalFold(x.out[begin:], "jndi:") {
			x.jndi = true
		}
	}
	if isJNDI(x.out[begin:]) {
		x.jndi = true
	}
	return i
}

func isJNDI(b []byte) bool { return prefixFold(bytes.TrimLeft(b, " \t\r\n"), "jndi:") }

// resolve replaces the content of a lookup, from begin to the end of out, by its value.
func (x *expansion) resolve(begin int) {
	content := x.out[begin:]
	if isJNDI(content) {
		x.jndi = true
		return
	}
	prefix, key, _ := bytes.Cut(content, []byte{':'})
	n := 0
	switch {
	case equalFold(prefix, "lower"):
		n = changeCase(content, key, false)
	case equalFold(prefix, "upper"):
		n = changeCase(content, key, true)
	case equalFold(prefix, "date"):
		for _, c := range key {
			if c != '\'' && c != '"' {
				content[n] = c
				n++
			}
		}
	case equalFold(prefix, "base64"):
		n = len(unbase64(content[:0], key))
	default:
		// An unknown name takes its default, which stands behind the first ":-".
		if i := bytes.Index(content, []byte(":-")); i >= 0 {
			n = copy(content, content[i+2:])
		}
	}
	x.out = x.out[:begin+n]
}

// changeCase writes the key in the other case, also the letters beyond ASCII whose other case is ASCII: the dotless i,
// the long s and the Kelvin sign.
func changeCase(dst, key []byte, upper bool) int {
	n := 0
	for i := 0; i < len(key); i++ {
		c := key[i]
		switch {
		case c == 0xc4 && i+1 < len(key) && (key[i+1] == 0xb1 || key[i+1] == 0xb0):
			c = 'i'
			i++
		case c == 0xc5 && i+1 < len(key) && key[i+1] == 0xbf:
			c = 's'
			i++
		case bytes.HasPrefix(key[i:], []byte("\u212a")):
			c = 'k'
			i += 2
		}
		if upper && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		} else if !upper {
			c = lower(c)
		}
		dst[n] = c
		n++
	}
	return n
}
