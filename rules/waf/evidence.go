// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

const (
	maxEvidence = 120
	// around is how much of the text before what was recognised is shown with it.
	around = 16
)

// Evidence is a text as hits show it: printable ASCII of at most 120 bytes, without secrets and long numbers. It is for
// stages behind the filter, so that they show nothing else.
func Evidence(b []byte) string { return escape(b, 0, len(b), maxEvidence) }

// secrets are the words whose value evidence does not show.
func secrets() [8][]byte {
	return [8][]byte{
		[]byte("password"), []byte("passwd"), []byte("pwd"), []byte("secret"), []byte("token"), []byte("authorization"),
		[]byte("session"), []byte("api_key"),
	}
}

// escape returns the bytes from start to end, with a little of what is before, as printable ASCII of at most limit
// bytes. Digits past the sixth of a run are stars, and so is what is given as the value of a secret.
func escape(b []byte, start, end, limit int) string {
	start = max(0, min(start, len(b)))
	end = max(start, min(end, len(b)))
	from := start
	if limit == maxEvidence {
		from = max(0, start-around)
	}
	b = b[from:min(len(b), max(end, start), from+limit)]
	hidden := secretSpans(b)
	out := make([]byte, 0, limit)
	digits := 0
	for i, c := range b {
		if c >= '0' && c <= '9' {
			digits++
		} else if c != ' ' && c != '-' {
			digits = 0
		}
		var add []byte
		switch {
		case hidden(i):
			add = []byte{'*'}
		case digits > 6 && c >= '0' && c <= '9':
			add = []byte{'*'}
		case c < ' ' || c > '~' || c == '\\':
			add = []byte{'\\', 'x', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15]}
		default:
			add = []byte{c}
		}
		if len(out)+len(add) > limit {
			break
		}
		out = append(out, add...)
	}
	return string(out)
}

// secretSpans tells which bytes are the value of something secret.
func secretSpans(b []byte) func(int) bool {
	low := bytes.ToLower(b)
	var spans [][2]int
	for _, word := range secrets() {
		for at := 0; ; {
			i := bytes.Index(low[at:], word)
			if i < 0 {
				break
			}
			at += i + len(word)
			i = at
			for i < len(b) && bytes.IndexByte([]byte(" =:'\""), b[i]) >= 0 {
				i++
			}
			if i == at {
				continue
			}
			for at = i; at < len(b) && bytes.IndexByte([]byte(" &;,'\"<>()"), b[at]) < 0; at++ {
			}
			spans = append(spans, [2]int{i, at})
		}
	}
	return func(i int) bool {
		for _, s := range spans {
			if i >= s[0] && i < s[1] {
				return true
			}
		}
		return false
	}
}
