// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is how a template matches a path.
type Kind uint8

// The kinds, most exact first: the order in which the kernel programs try them.
const (
	// KindExact is a path.
	KindExact Kind = iota + 1
	// KindShaped is every path of a shape: a template with <n>.
	KindShaped
	// KindFolder is every direct entry of a folder: a last segment *.
	KindFolder
	// KindShapedFolder is every direct entry of the folders of a shape.
	KindShapedFolder
	// KindTree is everything below a folder: a last segment **.
	KindTree
)

// String names the kind for people.
func (k Kind) String() string {
	switch k {
	case KindExact:
		return "path"
	case KindShaped:
		return "shape"
	case KindFolder:
		return "folder"
	case KindShapedFolder:
		return "folder shape"
	case KindTree:
		return "tree"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// MaxTree is the longest folder that a tree may have, in bytes with the slash at its end: what the kernel's trie holds.
const MaxTree = 112

// cut ends the last argument of a vector that was cut within it.
const cut = `\z`

// Template is a path template, parsed. The zero value is none.
//
// As a text, <n> stands for what varies (see Shape); a last segment * for the direct entries of the folder and ** for all
// that is below it. A literal <, * or \ is written with a backslash before it, and a byte that is no printable character
// as \x and two hexadecimal digits. So the text of every path is printable UTF-8.
type Template struct {
	Kind Kind
	// Raw is what the kernel programs compare, as bytes. Exact: the path. Shaped: the shape. Folder and shaped folder: the
	// folder, or its shape, without a slash at the end, so that the root folder is empty. Tree: the folder with a slash at
	// the end.
	Raw []byte
}

// ParseTemplate parses the text of a path template.
func ParseTemplate(text string) (Template, error) {
	p := parser{text: text}
	var raw []byte
	varies, controls, stars := false, false, 0
	for !p.done() {
		b, kind, err := p.next()
		switch {
		case err != nil:
			return Template{}, err
		case kind == star:
			stars++
			continue
		case stars > 0:
			return Template{}, errStar
		case kind == plain && b == 0:
			return Template{}, errors.New("no path holds NUL")
		}
		varies = varies || kind == varying
		controls = controls || kind == plain && b == number
		raw = append(raw, b)
	}
	if len(raw) > MaxText {
		return Template{}, fmt.Errorf("longer than %d bytes", MaxText)
	}
	if varies && controls {
		return Template{}, errors.New(`no shape holds \x01: it is \x02 there`)
	}
	t, err := templateOf(raw, varies, stars)
	if err != nil {
		return Template{}, err
	}
	return t, t.check()
}

var errStar = errors.New(`a wildcard is a last segment of * or **: a literal * is written \*`)

// templateOf says which kind of template it is, by whether it varies and how many stars it ends in.
func templateOf(raw []byte, varies bool, stars int) (Template, error) {
	if len(raw) == 0 || raw[0] != '/' {
		return Template{}, errors.New("not an absolute path")
	}
	last := raw[len(raw)-1]
	switch {
	case stars > 2 || stars > 0 && last != '/':
		return Template{}, errStar
	case stars == 2 && varies:
		return Template{}, errors.New("** stands only below a folder without <n>")
	case stars == 2:
		return Template{KindTree, raw}, nil
	case stars == 1 && varies:
		return Template{KindShapedFolder, raw[:len(raw)-1]}, nil
	case stars == 1:
		return Template{KindFolder, raw[:len(raw)-1]}, nil
	case varies:
		return Template{KindShaped, raw}, nil
	default:
		return Template{KindExact, raw}, nil
	}
}

// check returns an error for a template that no path can match.
func (t Template) check() error {
	path := t.Raw
	switch t.Kind {
	case KindTree:
		if len(path) > MaxTree {
			return fmt.Errorf("a folder before ** has at most %d bytes", MaxTree)
		}
		path = path[:len(path)-1]
	case KindShaped, KindShapedFolder:
		if err := reshaped(path); err != nil {
			return err
		}
	case KindExact:
		if len(path) == 1 {
			return nil
		}
	}
	return clean(path)
}

// clean returns an error for a path that is not in its shortest form: a folder is without a slash at its end, the root
// folder empty.
func clean(path []byte) error {
	for i, segment := range bytes.Split(path, []byte{'/'}) {
		if i > 0 && (len(segment) == 0 || string(segment) == "." || string(segment) == "..") {
			return errors.New("not in the shortest form: no empty segment, no . or .., no slash at the end")
		}
	}
	return nil
}

// String returns the text of the template.
func (t Template) String() string {
	text := appendTemplate(nil, t.Raw, t.Kind == KindShaped || t.Kind == KindShapedFolder)
	switch t.Kind {
	case KindFolder, KindShapedFolder:
		text = append(text, "/*"...)
	case KindTree:
		text = append(text, "**"...)
	}
	return string(text)
}

// Matches reports whether the template stands for a path. It allocates nothing for paths of up to 256 bytes.
func (t Template) Matches(path []byte) bool {
	var buffer [256]byte
	switch t.Kind {
	case KindExact:
		return bytes.Equal(path, t.Raw)
	case KindShaped:
		return bytes.Equal(AppendShape(buffer[:0], path), t.Raw)
	case KindFolder:
		return bytes.Equal(folderOf(path), t.Raw)
	case KindShapedFolder:
		return bytes.Equal(AppendShape(buffer[:0], folderOf(path)), t.Raw)
	case KindTree:
		return bytes.HasPrefix(path, t.Raw)
	default:
		return false
	}
}

// folderOf is the folder that a path is a direct entry of, without a slash at its end: the root folder is empty.
func folderOf(path []byte) []byte {
	return path[:max(bytes.LastIndexByte(path, '/'), 0)]
}

// ExactTemplate returns the text of the template that stands for one path, as it is.
func ExactTemplate(path []byte) string {
	return string(appendTemplate(nil, path, false))
}

// ShapedTemplate returns the text of the template that stands for every path of the shape of one. It is the exact one if
// nothing in the path varies.
func ShapedTemplate(path []byte) string {
	shape := Shape(path)
	if bytes.IndexByte(shape, number) < 0 {
		return ExactTemplate(path)
	}
	return string(appendTemplate(nil, shape, true))
}

// appendTemplate appends the text for bytes; in a shape 0x01 stands for what varies.
func appendTemplate(dst, raw []byte, shape bool) []byte {
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		switch {
		case shape && r == number:
			dst = append(dst, varies...)
		case r == '<' || r == '*' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, b := range raw[:size] {
				dst = fmt.Appendf(dst, `\x%02x`, b)
			}
		default:
			dst = append(dst, raw[:size]...)
		}
		raw = raw[size:]
	}
	return dst
}

// varies is how people see and write what varies.
const varies = "<n>"

// The kinds of what a template's text is made of.
const (
	plain = iota
	varying
	star
)

// parser reads the text of a template byte by byte.
type parser struct {
	text string
	at   int
}

func (p *parser) done() bool {
	return p.at >= len(p.text)
}

// next returns the next byte that the text stands for, and what kind it is.
func (p *parser) next() (byte, int, error) {
	rest := p.text[p.at:]
	switch rest[0] {
	case '*':
		p.at++
		return '*', star, nil
	case '<':
		if !strings.HasPrefix(rest, varies) {
			return 0, 0, errors.New(`what varies is written <n>, a literal < is written \<`)
		}
		p.at += len(varies)
		return number, varying, nil
	case '\\':
		return p.escaped(rest[1:])
	default:
		p.at++
		return rest[0], plain, nil
	}
}

// escaped returns the byte that stands after a backslash.
func (p *parser) escaped(rest string) (byte, int, error) {
	if rest != "" && strings.IndexByte(`<*\`, rest[0]) >= 0 {
		p.at += 2
		return rest[0], plain, nil
	}
	if len(rest) >= 3 && rest[0] == 'x' && hexadecimal(rest[1]) && hexadecimal(rest[2]) {
		p.at += 4
		return digit(rest[1])<<4 | digit(rest[2]), plain, nil
	}
	return 0, 0, errors.New(`a backslash stands before <, *, \ or x and two hexadecimal digits`)
}

// digit is the value of a hexadecimal digit.
func digit(b byte) byte {
	switch {
	case decimal(b):
		return b - '0'
	default:
		return b&^0x20 - 'A' + 10
	}
}
