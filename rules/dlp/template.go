// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxTemplate bounds the length of a number, in bytes of text.
	maxTemplate = 64
	// maxGroup bounds the length of a group of letters and digits within a number.
	maxGroup = 36
	// separators are the kinds of bytes that may follow a group, see separator.
	separators = 6
)

// template is how a number is written, of a fixed length: 9 stands for a digit, A for a capital, a for a letter, * for a
// letter or digit, anything else for itself.
type template struct {
	text string
	// trigger is where the group that finds it begins, and width that group's length. Such a group holds three digits in
	// a row, or is one of two groups of two digits of which the filter sees one.
	triggers []trigger
	// grouped says that it has separators.
	grouped bool
}

type trigger struct {
	at, width int
	sep       int // of the byte after the group, -1 if the template ends there
}

// separator is the kind of a byte that follows a group.
func separator(b byte) int {
	switch b {
	case ' ':
		return 1
	case '-':
		return 2
	case '.':
		return 3
	case '/':
		return 4
	case ')':
		return 5
	}
	return 0
}

// parseTemplates reads a template as users write it: with {n} for repetition and _ for a separator, a space or a dash,
// the same throughout.
func parseTemplates(source string) ([]template, error) {
	text, err := expand(source)
	if err != nil {
		return nil, fmt.Errorf("number %q: %w", source, err)
	}
	texts := []string{text}
	if strings.Contains(text, "_") {
		texts = []string{strings.ReplaceAll(text, "_", " "), strings.ReplaceAll(text, "_", "-")}
	}
	var out []template
	for _, text := range texts {
		t, err := newTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("number %q: %w", source, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// expand writes repetitions out.
func expand(source string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(source); i++ {
		if source[i] != '{' {
			b.WriteByte(source[i])
			continue
		}
		end := strings.IndexByte(source[i:], '}')
		if end < 0 || i == 0 {
			return "", fmt.Errorf("a { without what it repeats, or without }")
		}
		n, err := strconv.Atoi(source[i+1 : i+end])
		if err != nil || n < 1 || n > maxTemplate {
			return "", fmt.Errorf("repetition %q: want 1 to %d", source[i:i+end+1], maxTemplate)
		}
		b.WriteString(strings.Repeat(source[i-1:i], n-1))
		i += end
	}
	if b.Len() > maxTemplate {
		return "", fmt.Errorf("is longer than %d bytes", maxTemplate)
	}
	return b.String(), nil
}

func templateAlnum(b byte) bool { return isAlnum(b) || b == '*' }

func newTemplate(text string) (template, error) {
	t := template{text: text}
	var pairs []trigger
	for i := 0; i < len(text); {
		if !templateAlnum(text[i]) {
			t.grouped = t.grouped || i > 0
			i++
			continue
		}
		end := i
		for end < len(text) && templateAlnum(text[end]) {
			end++
		}
		tr := trigger{at: i, width: end - i, sep: -1}
		if end < len(text) {
			tr.sep = separator(text[end])
		}
		switch digits := longestDigits(text[i:end]); {
		case tr.width > maxGroup:
			return t, fmt.Errorf("a group is longer than %d", maxGroup)
		case digits >= 3:
			t.triggers = []trigger{tr}
			return t, t.finish()
		case digits == 2 && tr.width == 2:
			pairs = append(pairs, tr)
			if n := len(pairs); n > 1 && tr.at == pairs[n-2].at+3 {
				t.triggers = pairs[n-2:]
			}
		}
		i = end
	}
	if t.triggers == nil {
		return t, fmt.Errorf("no group of it holds three digits in a row, so nothing cheap finds it")
	}
	return t, t.finish()
}

// far is how far behind the end of a group the last byte of the group behind it stands, if that is a digit and one
// byte separates the two; else 0.
func (t *template) far(tr trigger) int {
	rest, n := t.text[tr.at+tr.width:], 1
	for n < len(rest) && templateAlnum(rest[n]) {
		n++
	}
	if n == 1 || n > len(rest) || rest[n-1] != '9' {
		return 0
	}
	return n - 1
}

// finish finds out whether anything separates groups after the trigger.
func (t *template) finish() error {
	for i := 1; i < len(t.text)-1; i++ {
		t.grouped = t.grouped || !templateAlnum(t.text[i])
	}
	return nil
}

func longestDigits(text string) int {
	best, run := 0, 0
	for i := range len(text) {
		if run++; !isDigit(text[i]) {
			run = 0
		}
		best = max(best, run)
	}
	return best
}

// fits reports whether the text from start on is of the template; open says that the text ended before it was clear.
func (t *template) fits(text []byte, start int) (ok, open bool) {
	for i := range len(t.text) {
		if start+i >= len(text) {
			return false, true
		}
		b, ok := text[start+i], false
		switch c := t.text[i]; c {
		case '9':
			ok = isDigit(b)
		case 'A':
			ok = isUpper(b)
		case 'a':
			ok = isLetter(b)
		case '*':
			ok = isAlnum(b)
		default:
			ok = b == c
		}
		if !ok {
			return false, false
		}
	}
	return true, false
}

// bounded reports whether a number stands by itself: it is no part of a longer number, of a word, a version, a date or
// an id with dashes. open says that the text ended before it was clear.
func bounded(text []byte, start, end int) (ok, open bool) {
	if start > 0 {
		switch p := text[start-1]; {
		case isWord(p) || p == '+':
			return false, false
		case (p == '-' || p == '.') && start > 1 && isDigit(text[start-2]):
			return false, false
		}
	}
	if end >= len(text) {
		return true, true
	}
	switch n := text[end]; {
	case isWord(n) || n == '@':
		return false, false
	case n == '-' || n == '.' || n == '/':
		if end+1 >= len(text) {
			return true, true
		}
		if after := text[end+1]; isDigit(after) || n == '-' && isLetter(after) {
			return false, false
		}
	}
	return true, false
}
