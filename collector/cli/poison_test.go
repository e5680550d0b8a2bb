// SPDX-License-Identifier: Apache-2.0

package cli_test

import "google.golang.org/protobuf/reflect/protoreflect"

// poison puts text into every text field of a message and of the messages in it, and into the values of maps of texts.
func poison(m protoreflect.Message, text string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		inOneof := field.ContainingOneof() != nil
		switch {
		case field.IsMap():
			if field.MapValue().Kind() == protoreflect.StringKind {
				m.Mutable(field).Map().Set(protoreflect.ValueOfString(text).MapKey(), protoreflect.ValueOfString(text))
			}
		case field.IsList() && field.Kind() == protoreflect.StringKind:
			m.Mutable(field).List().Append(protoreflect.ValueOfString(text))
		case field.IsList() && field.Message() != nil:
			list := m.Get(field).List()
			for j := range list.Len() {
				poison(list.Get(j).Message(), text)
			}
		case field.Kind() == protoreflect.StringKind && !inOneof:
			m.Set(field, protoreflect.ValueOfString(text))
		case field.Message() != nil && m.Has(field):
			poison(m.Mutable(field).Message(), text)
		}
	}
}
