// SPDX-License-Identifier: Apache-2.0

package term

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// maxMarks is how many combining marks may follow one character: enough for every living script, too few to paint over
// the lines above.
const maxMarks = 2

// Escape returns s as one line of text that a terminal shows as it is written: control characters, ANSI sequences,
// bidirectional controls, invisible characters and bytes that are not UTF-8 become \n, \t, \xNN, \uNNNN or \UNNNNNNNN.
// Backslashes stay as they are, so escaping twice changes nothing; where a reader must tell a backslash from an escape,
// JSON is the format for it.
func Escape(s string) string {
	i := firstUnsafe(s)
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	marks := maxMarks // A mark with nothing before it would sit on the table's own text.
	for j := 0; j < len(s); {
		r, size := utf8.DecodeRuneInString(s[j:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[j])
			marks = 0
		case unicode.Is(unicode.M, r) && visible(r):
			if marks++; marks > maxMarks {
				writeEscaped(&b, r)
			} else {
				b.WriteRune(r)
			}
		case visible(r):
			b.WriteRune(r)
			marks = 0
		default:
			writeEscaped(&b, r)
			marks = 0
		}
		j += size
	}
	return b.String()
}

// firstUnsafe returns the index of the first byte of s that is not printable ASCII, or len(s).
func firstUnsafe(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return i
		}
	}
	return len(s)
}

// visible reports whether r takes a place of its own on the line. unicode.IsPrint leaves out controls, formats (bidi
// among them) and every space but U+0020; the two properties below are letters and marks that show nothing.
func visible(r rune) bool {
	return unicode.IsPrint(r) &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) &&
		!unicode.Is(unicode.Variation_Selector, r)
}

func writeEscaped(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < 0x80:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// Width returns how many columns a terminal gives to s, which must have been escaped: two for wide East Asian
// characters and emoji, none for combining marks, one for everything else.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if r < 0x7f {
		return 1
	}
	if unicode.Is(unicode.M, r) && !unicode.Is(unicode.Mc, r) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// Truncate returns s cut to at most columns columns, with a closing … when something was cut. s must have been escaped.
func Truncate(s string, columns int) string {
	if len(s) <= columns || Width(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	used := 0
	for i, r := range s {
		w := runeWidth(r)
		if used+w > columns-1 {
			return s[:i] + "…"
		}
		used += w
	}
	return s
}
