// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Valid makes all texts of a message UTF-8, without which protobuf encodes none of it: a byte that is not becomes \xNN. Paths,
// arguments and what is sent are any bytes that somebody in a container likes, and must not keep the rest from being told.
func Valid(m proto.Message) { valid(m.ProtoReflect()) }

func valid(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(key protoreflect.MapKey, of protoreflect.Value) bool {
				validValue(f.MapValue(), of, func(text protoreflect.Value) { v.Map().Set(key, text) })
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				validValue(f, v.List().Get(i), func(text protoreflect.Value) { v.List().Set(i, text) })
			}
		default:
			validValue(f, v, func(text protoreflect.Value) { m.Set(f, text) })
		}
		return true
	})
}

// validValue sets a text that is not UTF-8, and looks into a message. Keys of maps are words of ours.
func validValue(f protoreflect.FieldDescriptor, v protoreflect.Value, set func(protoreflect.Value)) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		valid(v.Message())
	case protoreflect.StringKind:
		if text := v.String(); !utf8.ValidString(text) {
			set(protoreflect.ValueOfString(escaped(text)))
		}
	}
}

// escaped is a text with its bytes that are not UTF-8 as \xNN.
func escaped(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, text[0])
		} else {
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}
