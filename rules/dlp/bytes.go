// SPDX-License-Identifier: Apache-2.0

package dlp

func isDigit(b byte) bool { return b-'0' < 10 }

func isLetter(b byte) bool { return (b|0x20)-'a' < 26 }

func isUpper(b byte) bool { return b-'A' < 26 }

func isLower(b byte) bool { return b-'a' < 26 }

func isAlnum(b byte) bool { return isDigit(b) || isLetter(b) }

// isWord is what \b of a pattern tells from the rest.
func isWord(b byte) bool { return isAlnum(b) || b == '_' }

func lower(b byte) byte {
	if isUpper(b) {
		return b | 0x20
	}
	return b
}

func upper(b byte) byte {
	if isLower(b) {
		return b &^ 0x20
	}
	return b
}

// equalFold compares with a text that is in lower case already.
func equalFold(text, low []byte) bool {
	for i, b := range low {
		if lower(text[i]) != b {
			return false
		}
	}
	return true
}
