// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"errors"
	"fmt"
)

// Bytes that Shape gives a meaning of its own.
const (
	// number stands for what varies.
	number = 0x01
	// literal stands for a byte 0x01 of the text itself.
	literal = 0x02
	// hexWord is the shortest word of hexadecimal digits that is taken for a number.
	hexWord = 4
)

// Shape returns the normal form of a text, in which what varies from run to run is gone. A word is a maximal run of ASCII
// letters and digits. A word of at least four characters that are all hexadecimal digits becomes one byte 0x01; in every
// other word each maximal run of decimal digits does. A byte 0x01 of the text becomes 0x02, all else stays. So numbers,
// dates, hashes and uuids vanish, and "worker12" becomes "worker\x01".
//
// The kernel programs compute the same, byte for byte. The shape of a shape means nothing. A separator (any byte that is
// no letter or digit) splits the work: the shape of "a/b" is the shape of "a", "/" and the shape of "b".
func Shape(text []byte) []byte {
	return AppendShape(make([]byte, 0, len(text)), text)
}

// AppendShape appends the shape of a text to dst, which may be text[:0]: a shape is never longer than its text.
func AppendShape(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if !alphanumeric(text[i]) {
			dst = append(dst, separator(text[i]))
			i++
			continue
		}
		end, hex := i, true
		for ; end < len(text) && alphanumeric(text[end]); end++ {
			hex = hex && hexadecimal(text[end])
		}
		if hex && end-i >= hexWord {
			dst = append(dst, number)
		} else {
			dst = appendWord(dst, text[i:end])
		}
		i = end
	}
	return dst
}

// appendWord appends a word with each run of digits as one number.
func appendWord(dst, word []byte) []byte {
	digits := false
	for _, b := range word {
		switch {
		case !decimal(b):
			dst = append(dst, b)
			digits = false
		case !digits:
			dst = append(dst, number)
			digits = true
		}
	}
	return dst
}

func separator(b byte) byte {
	if b == number {
		return literal
	}
	return b
}

func decimal(b byte) bool {
	return '0' <= b && b <= '9'
}

func hexadecimal(b byte) bool {
	return decimal(b) || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}

func alphanumeric(b byte) bool {
	return decimal(b) || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// reshape returns the shape that a text in which 0x01 stands for numbers should have. It is the text itself if some text
// has that shape. Of all texts that could, the one with the shortest numbers is the last to have a word taken for
// hexadecimal as a whole, so that one decides.
func reshape(shape []byte) []byte {
	return Shape(bytes.ReplaceAll(shape, []byte{number}, []byte{'0'}))
}

// ShapeArguments returns the shape of an argument vector as the kernel has it: arguments each ended by NUL, the name of
// the program first. Beyond the first MaxText bytes nothing counts. The texts are written as in a template: <n> is what
// varies, and the last one ends in \z if the vector was cut within it.
func ShapeArguments(argv []byte) []string {
	if len(argv) > MaxText {
		argv = argv[:MaxText]
	}
	return argumentTexts(Shape(argv))
}

// argumentTexts splits the shape of an argument vector into its arguments as they are written.
func argumentTexts(shape []byte) []string {
	var arguments []string
	for len(shape) > 0 {
		argument, rest, ended := bytes.Cut(shape, []byte{0})
		text := string(appendTemplate(nil, argument, true))
		if !ended {
			text += cut
		}
		arguments = append(arguments, text)
		shape = rest
	}
	return arguments
}

// ArgumentBytes is the inverse of ShapeArguments: the shape of an argument vector as bytes, arguments ended by NUL and
// 0x01 for what varies. It returns an error for texts that no argument vector has as its shape, with what was meant where
// that can be told.
func ArgumentBytes(shape []string) ([]byte, error) {
	var raw []byte
	for i, text := range shape {
		argument, err := parseArgument(text, i == len(shape)-1)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %q: %w", i, text, err)
		}
		raw = append(raw, argument...)
		if len(raw) > MaxText {
			return nil, fmt.Errorf("argument %d: more than %d bytes of arguments", i, MaxText)
		}
	}
	return raw, nil
}

// parseArgument returns the bytes of one argument, with the NUL that ends it unless it was cut.
func parseArgument(text string, last bool) ([]byte, error) {
	p := parser{text: text}
	var raw []byte
	for !p.done() {
		if last && p.text[p.at:] == cut {
			return raw, reshaped(raw)
		}
		b, kind, err := p.next()
		switch {
		case err != nil:
			return nil, err
		case kind == star:
			return nil, errors.New(`arguments have no wildcards: a literal * is written \*`)
		case kind == plain && b == number:
			return nil, errors.New(`no shape holds \x01: it is \x02 there`)
		case kind == plain && b == 0:
			return nil, errors.New("no argument holds NUL")
		}
		raw = append(raw, b)
	}
	return append(raw, 0), reshaped(raw)
}

// reshaped returns an error if no text has this shape.
func reshaped(shape []byte) error {
	if want := reshape(shape); !bytes.Equal(want, shape) {
		return fmt.Errorf("numbers and words of hexadecimal digits vary: write %q", appendTemplate(nil, want, true))
	}
	return nil
}
