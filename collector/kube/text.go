// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain is a text that anybody may have written, fit for a line that people read: what does not print is a question mark, and
// no more than so many bytes are left, with an ellipsis where something was cut off.
func plain(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) <= most {
		return text
	}
	const ellipsis = "…"
	end := most - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
