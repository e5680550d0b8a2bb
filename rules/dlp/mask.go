// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

const (
	// maskBytes bounds a masked form, maxShown what it shows of the value, stars how many bytes stand for the rest.
	maskBytes = 48
	maxShown  = 10
	stars     = 8
)

// Mask appends the masked form of a match in the text that it was found in: what the detector shows of its ends, with
// stars between; of an address the first letter and the domain; of a value that is too short for that, or of a key, the
// class alone. Unprintable bytes are question marks. It is at most 48 bytes.
func (m *Matcher) Mask(dst []byte, mt Match, text []byte) []byte {
	d := &m.detectors[mt.Detector]
	value := text[mt.Start:mt.End]
	if at := bytes.IndexByte(value, '@'); d.Finder == finderEmail && at > 0 {
		dst = append(appendShown(dst, value[:1]), "***"...)
		return appendShown(dst, value[at:min(len(value), at+maskBytes-8)])
	}
	var norm [maxTemplate]byte
	if len(d.Numbers) > 0 || d.Finder == finderIBAN {
		value = normalise(norm[:0], value)
	}
	if d.First+d.Last == 0 || len(value) < d.First+d.Last+4 {
		dst = append(dst, '[')
		dst = append(dst, d.Class...)
		return append(dst, ']')
	}
	dst = appendShown(dst, value[:d.First])
	for range min(stars, len(value)-d.First-d.Last) {
		dst = append(dst, '*')
	}
	return appendShown(dst, value[len(value)-d.Last:])
}

func appendShown(dst, text []byte) []byte {
	for _, b := range text {
		if b <= ' ' || b > '~' {
			b = '?'
		}
		dst = append(dst, b)
	}
	return dst
}
