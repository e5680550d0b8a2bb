// SPDX-License-Identifier: Apache-2.0

package term

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// EscapeJSON returns the same JSON value written so that a terminal shows it as it is: every character that is invisible,
// moves the cursor or reorders a line becomes \uNNNN. JSON holds those only inside strings, so no reader sees a difference.
// encoded must be valid JSON; a line break between its tokens stays.
func EscapeJSON(encoded []byte) []byte {
	safe := true
	for _, b := range encoded {
		if b >= 0x7f {
			safe = false
			break
		}
	}
	if safe {
		return encoded
	}
	out := make([]byte, 0, len(encoded)+64)
	for i := 0; i < len(encoded); {
		r, size := utf8.DecodeRune(encoded[i:])
		switch {
		case r == 0x7f || (r >= utf8.RuneSelf && (!visible(r) || (r == utf8.RuneError && size == 1))):
			out = appendJSONEscape(out, r)
		default:
			out = append(out, encoded[i:i+size]...)
		}
		i += size
	}
	return out
}

func appendJSONEscape(out []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return fmt.Appendf(out, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}
