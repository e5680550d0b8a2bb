// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/collector/term"
)

func TestEscape(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "/usr/bin/curl -s http://x", "/usr/bin/curl -s http://x"},
		{"empty", "", ""},
		{"new line", "a\nb\r\tc", `a\nb\r\tc`},
		{"colour", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"title and bell", "\x1b]0;owned\x07", `\x1b]0;owned\x07`},
		{"eight-bit CSI", "\u009b31m", `\u009b31m`},
		{"delete", "rm\x7f\x7fls", `rm\x7f\x7fls`},
		{"bidi override", "/bin/\u202ehs.txt", `/bin/\u202ehs.txt`},
		{"bidi isolate", "\u2066x\u2069", `\u2066x\u2069`},
		{"zero width", "na\u200bme\ufeff", `na\u200bme\ufeff`},
		{"no-break space", "a\u00a0b", `a\u00a0b`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"hangul filler", "a\u3164b", `a\u3164b`},
		{"variation selector", "a\ufe0f", `a\ufe0f`},
		{"tag character", "a\U000e0041", `a\U000e0041`},
		{"private use", "a\ue000", `a\ue000`},
		{"not UTF-8", "a\xff\xc3", `a\xff\xc3`},
		{"replacement character itself", "a\ufffd", "a\ufffd"},
		{"letters", "Zürich 東京 😀 क्षि", "Zürich 東京 😀 क्षि"},
		{"stacked marks", "a\u0301\u0301\u0301\u0301", "a\u0301\u0301\\u0301\\u0301"},
		{"leading mark", "\u0301a", `\u0301a`},
		{"backslash", `C:\n`, `C:\n`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := term.Escape(test.in); got != test.want {
				t.Errorf("Escape(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[2J", "\xff\xfe", "\u202e", "a\u0301\u0301\u0301", "東京\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := term.Escape(s)
		if !utf8.ValidString(got) {
			t.Fatalf("Escape(%q) = %q: not UTF-8", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("Escape(%q) = %q: holds %U", s, got, r)
			}
		}
		if twice := term.Escape(got); twice != got {
			t.Fatalf("Escape is not idempotent: %q, then %q", got, twice)
		}
		for _, columns := range []int{0, 1, 7, 80} {
			if w := term.Width(term.Truncate(got, columns)); w > columns {
				t.Fatalf("Truncate(%q, %d) takes %d columns", got, columns, w)
			}
		}
	})
}

func TestWidth(t *testing.T) {
	for in, want := range map[string]int{"": 0, "abc": 3, "Zürich": 6, "東京": 4, "😀": 2, "e\u0301": 1, "…": 1} {
		if got := term.Width(in); got != want {
			t.Errorf("Width(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestTruncate(t *testing.T) {
	for _, test := range []struct {
		in      string
		columns int
		want    string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "abcd…"},
		{"abcdef", 1, "…"},
		{"abcdef", 0, ""},
		{"東京タワー", 5, "東京…"},
		{"東京タワー", 4, "東…"},
		{strings.Repeat("é", 10), 10, strings.Repeat("é", 10)},
	} {
		if got := term.Truncate(test.in, test.columns); got != test.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", test.in, test.columns, got, test.want)
		}
	}
}
