// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// target takes a request's target apart: an origin form, or the absolute form that proxies get.
func (f *Filter) target(b []byte) {
	b = f.clip(b)
	if i := bytes.Index(b, []byte("://")); i > 0 && i < 8 && b[0] != '/' {
		b = b[i+3:]
		if i = bytes.IndexByte(b, '/'); i < 0 {
			return
		}
		b = b[i:]
	}
	path, query := b, []byte(nil)
	if i := bytes.IndexByte(b, '?'); i >= 0 {
		path, query = b[:i], b[i+1:]
	}
	f.whole(Path, nil, path, percent|wide)
	if len(query) > 0 {
		f.pairs(Param, query)
	}
}

// pairs evaluates a query or a form body: as a whole for whether there are candidates at all, then each pair.
func (f *Filter) pairs(kind Kind, b []byte) {
	all, _ := f.normalise(slotWhole, b, percent|plus)
	mask := f.machine.scan(all)
	if mask&(meant[kind]|meant[ParamName]) == 0 {
		return
	}
	if bytes.IndexByte(b, '=') < 0 {
		f.value(Query, nil, b, percent|plus, mask)
		return
	}
	for n := 0; len(b) > 0 && n < f.cfg.MaxValues; n++ {
		var pair []byte
		if i := bytes.IndexByte(b, '&'); i >= 0 {
			pair, b = b[:i], b[i+1:]
		} else {
			pair, b = b, nil
		}
		name, value, found := bytes.Cut(pair, []byte{'='})
		if !found {
			f.value(Query, nil, pair, percent|plus, mask)
			continue
		}
		f.value(ParamName, nil, name, percent|plus, mask)
		f.value(kind, name, value, percent|plus, mask)
	}
}

// pair evaluates one parameter that is decoded already.
func (f *Filter) pair(kind Kind, name, value []byte, how form) {
	f.whole(ParamName, nil, name, how)
	f.whole(kind, name, value, how)
}

// header evaluates a header, and cookies one by one.
func (f *Filter) header(name, value []byte) {
	value = f.clip(value)
	if !bytes.EqualFold(name, []byte("cookie")) {
		f.whole(ParamName, nil, name, 0)
		f.whole(Header, name, value, percent)
		return
	}
	all, _ := f.normalise(slotWhole, value, percent)
	mask := f.machine.scan(all) & meant[Cookie]
	if mask == 0 {
		return
	}
	for n := 0; len(value) > 0 && n < f.cfg.MaxValues; n++ {
		var cookie []byte
		cookie, value, _ = bytes.Cut(value, []byte{';'})
		name, content, _ := bytes.Cut(bytes.TrimLeft(cookie, " "), []byte{'='})
		f.value(Cookie, name, bytes.Trim(content, `"`), percent, mask)
	}
}

// body evaluates a body by its type.
func (f *Filter) body(contentType, b []byte) {
	switch {
	case len(b) == 0:
	case holds(contentType, "form-urlencoded"):
		f.pairs(Field, b)
	case holds(contentType, "json"):
		f.json(b)
	case holds(contentType, "multipart/"):
		f.multipart(contentType, b)
	case holds(contentType, "image/"), holds(contentType, "video/"), holds(contentType, "audio/"),
		holds(contentType, "javascript"):
		f.whole(File, nil, b, 0)
	default:
		f.raw(b)
	}
}

// raw evaluates a body of no known structure: as XML or text, and as JSON or a form if it looks like one, since servers
// are lenient about types.
func (f *Filter) raw(b []byte) {
	start := bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(start) > 0 && (start[0] == '{' || start[0] == '[') && !bytes.HasPrefix(start, []byte("{{")):
		f.json(b)
	default:
		f.whole(Body, nil, narrow(f, b), 0)
	}
}

// json evaluates the strings of a document, and the document itself for what shows in its structure.
func (f *Filter) json(b []byte) {
	all, _ := f.normalise(slotWhole, b, escapes|percent)
	mask := f.machine.scan(all)
	if mask&(meant[Value]|meant[Body]) == 0 {
		return
	}
	f.evaluate(text{kind: Body, b: all, mask: mask & meant[Body]})
	name := []byte(nil)
	for n, i := 0, 0; n < f.cfg.MaxValues; n++ {
		start := bytes.IndexByte(b[i:], '"')
		if start < 0 {
			return
		}
		start += i + 1
		end := start
		for end < len(b) && b[end] != '"' {
			if b[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(b))
		i = min(end+1, len(b))
		rest := bytes.TrimLeft(b[i:min(len(b), i+16)], " \t\r\n")
		if len(rest) > 0 && rest[0] == ':' {
			name = b[start:end]
			f.value(ParamName, nil, name, escapes, mask)
			continue
		}
		f.value(Value, name, b[start:end], escapes|percent, mask)
	}
}

// multipart evaluates the parts of a form: fields as values, files as files.
func (f *Filter) multipart(contentType, b []byte) {
	_, boundary, found := cutFold(contentType, "boundary=")
	if !found {
		f.raw(b)
		return
	}
	boundary, _, _ = bytes.Cut(boundary, []byte{';'})
	boundary = bytes.Trim(boundary, "\" ")
	if len(boundary) == 0 || len(boundary) > 100 {
		f.raw(b)
		return
	}
	for n := 0; n < f.cfg.MaxValues; n++ {
		i := bytes.Index(b, boundary)
		if i < 0 {
			return
		}
		b = b[i+len(boundary):]
		part := b
		if i = bytes.Index(b, boundary); i >= 0 {
			part = bytes.TrimRight(b[:i], "-\r\n")
		}
		head, content, ok := bytes.Cut(part, []byte("\r\n\r\n"))
		if !ok {
			continue
		}
		name := parameter(head, " name=")
		if file := parameter(head, "filename="); file != nil {
			f.whole(Field, fileName, file, percent)
			f.whole(File, file, content, 0)
			continue
		}
		f.pair(Field, name, content, percent)
	}
}

// parameter is the value of a parameter of a header among the lines, or nil.
func parameter(lines []byte, name string) []byte {
	_, rest, found := cutFold(lines, name)
	if !found {
		return nil
	}
	if len(rest) > 0 && rest[0] == '"' {
		rest = rest[1:]
		if i := bytes.IndexByte(rest, '"'); i >= 0 {
			return rest[:i]
		}
		return rest
	}
	if i := bytes.IndexAny(rest, "; \r\n"); i >= 0 {
		return rest[:i]
	}
	return rest
}

// narrow undoes UTF-16 in documents that say or show that they are in it; attackers hide XML so.
func narrow(f *Filter, b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	odd := 0
	switch {
	case b[0] == 0xff && b[1] == 0xfe, b[0] == '<' && b[1] == 0:
	case b[0] == 0xfe && b[1] == 0xff, b[0] == 0 && b[1] == '<':
		odd = 1
	default:
		return b
	}
	f.values = f.values[:0]
	for i := odd; i < len(b); i += 2 {
		f.values = append(f.values, b[i])
	}
	return f.values
}

// holds reports whether the text has the word, given in lower case, in any case.
func holds(b []byte, word string) bool { return indexFold(b, word) >= 0 }

// indexFold is where the word, given in lower case, first is in the text in any case, or -1.
func indexFold(b []byte, word string) int {
	first := word[0]
	for i := 0; i+len(word) <= len(b); i++ {
		if lower(b[i]) == first && equalFold(b[i:i+len(word)], word) {
			return i
		}
	}
	return -1
}

// equalFold reports whether the text is the word, given in lower case, in any case of ASCII letters.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := range b {
		if lower(b[i]) != word[i] {
			return false
		}
	}
	return true
}

func prefixFold(b []byte, word string) bool {
	return len(b) >= len(word) && equalFold(b[:len(word)], word)
}

func cutFold(b []byte, word string) (before, after []byte, found bool) {
	i := indexFold(b, word)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+len(word):], true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func word(c byte) bool { return letter(c) || digit(c) || c == '_' }
