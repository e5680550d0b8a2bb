// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"regexp"
	"strings"
)

// How long what a program makes up has to be, so that nobody else would name a file so.
const (
	// uniqueDigits are the digits of a time in seconds, or of a random number.
	uniqueDigits = 10
	// uniqueHex are the digits of a hash or of a key, however it is cut short.
	uniqueHex = 16
	// uniqueWord is the length of an identifier of letters and digits: a ULID has 26, a nano id 21.
	uniqueWord = 16
	// fanHex are the digits of a folder that files are spread over by their hashes.
	fanHex = 3
)

// date is a day of our time, in digits, as programs put it into the names of their files.
var date = regexp.MustCompile(`(^|[^0-9A-Za-z])20[0-9]{2}([-_.]?)(0[1-9]|1[0-2])([-_.]?)(0[1-9]|[12][0-9]|3[01])($|[^0-9A-Za-z]|[Tt][0-9])`)

// uuid is one in its usual form.
var uuid = regexp.MustCompile(`(?i)(^|[^0-9a-z])[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}($|[^0-9a-z])`)

// rotated is the name of a file that others of its kind move on from: the second last, the third last.
var rotated = regexp.MustCompile(`[^/]\.[0-9]{1,3}(\.(bz2|gz|lz4|old|xz|zip|zst))?$`)

// uniqueShape is the shape that may stand for a path of which there will be another one each time: there is a date in it, a
// uuid, a hash, a number that is a time, random or filled up with zeros, or the number that a log has when it is put aside.
func uniqueShape(t *template) (Template, bool) {
	if t.Kind != KindExact || !unique(t.Raw) {
		return Template{}, false
	}
	return shapeOf(t)
}

func unique(path []byte) bool {
	if date.Match(path) || uuid.Match(path) || rotated.Match(path) {
		return true
	}
	for word := range bytes.FieldsFuncSeq(path, func(r rune) bool { return r > 'z' || !alphanumeric(byte(r)) }) {
		hex, digits := true, 0
		for _, b := range word {
			hex = hex && hexadecimal(b)
			if digits++; !decimal(b) {
				digits = 0
			}
			if digits == uniqueDigits {
				return true
			}
		}
		// What is filled up with zeros is counted on.
		if hex && (len(word) >= uniqueHex || len(word) >= hexWord && word[0] == '0') {
			return true
		}
	}
	return false
}

// made reports whether the name of a folder is an identifier that a program makes up, a ULID say, also with something
// behind it. Numbers may be gone from it, as they are from a shape. Those of hexadecimal digits have a shape of their own.
func made(name string) bool {
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r > 'z' || r != number && !alphanumeric(byte(r)) }) {
		runs, digits := 0, false
		for _, b := range []byte(word) {
			is := decimal(b) || b == number
			if is && !digits {
				runs++
			}
			digits = is
		}
		// A name that a person gives has its number at one place.
		if runs >= 3 && len(word)+runs >= uniqueWord {
			return true
		}
	}
	return false
}

// fan reports whether the name of a folder is one of those that files are spread over by their hashes, and whether there is
// a digit in it, which names that people give have not.
func fan(name string) (is, digit bool) {
	for _, b := range []byte(name) {
		if b != number && !hexadecimal(b) {
			return false, false
		}
		digit = digit || decimal(b) || b == number
	}
	return name != "" && len(name) <= fanHex, digit
}

// scratch reports whether a folder is there for what is not kept, under names that are made up.
func scratch(folder string) bool {
	return folder == "/tmp" || folder == "/var/tmp"
}

// scratchTemplate is the template that may stand for the direct entries of a folder for what is not kept.
func scratchTemplate(t *template) (Template, bool) {
	if !scratch(string(folderOf(t.Raw))) {
		return Template{}, false
	}
	return folderTemplate(t)
}

// madeTemplate is the template that may stand for the direct entries of a folder whose names programs make up.
func madeTemplate(t *template) (Template, bool) {
	if folder := folderOf(t.Raw); len(folder) == len(t.Raw) || !made(string(t.Raw[len(folder)+1:])) {
		return Template{}, false
	}
	return folderTemplate(t)
}

// spreads reports whether so many folders of a folder are in use that all that is below it may be: many, or few if the
// next one will have another name.
func spreads(folder string, children map[string]struct{}) bool {
	ids, fans, digits := 0, 0, false
	for child := range children {
		if made(child) {
			ids++
		}
		if is, digit := fan(child); is {
			fans++
			digits = digits || digit
		}
	}
	switch depth := strings.Count(folder, "/"); {
	case scratch(folder):
		return len(children) >= scratchAfter
	case depth < treeDepth && system(folder):
		return false
	case ids >= uniqueAfter || fans >= shapeAfter && digits:
		return true
	default:
		return depth >= treeDepth && len(children) >= spreadAfter
	}
}

// system reports whether a folder of the root folder is one that images have, with many things in it.
func system(folder string) bool {
	switch folder {
	case "/app", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var":
		return true
	}
	return false
}
