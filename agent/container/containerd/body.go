// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// body is what identity needs of an event's body. The messages of containerd's package events share the first field,
// which is the container's id, the image's or the namespace's name. They are read here by field number because the
// generated package would bring in two more modules, one of them archived.
type body struct {
	// name is field 1 of every message.
	name string
	// image is field 2 of ContainerCreate.
	image string
	// pid is field 2 of TaskStart and field 6 of TaskCreate.
	pid uint32
}

// Field numbers of containerd's events/{container,task,image,namespace}.proto.
const (
	fieldName      protowire.Number = 1
	fieldImage     protowire.Number = 2
	fieldStartPID  protowire.Number = 2
	fieldCreatePID protowire.Number = 6
)

// readBody decodes the body of an event. pid is the number of the field that holds a process id, 0 for none.
func readBody(data []byte, pid protowire.Number) (b body, err error) {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return body{}, fmt.Errorf("decode event: %w", protowire.ParseError(n))
		}
		data = data[n:]
		switch {
		case typ == protowire.BytesType && (num == fieldName || num == fieldImage):
			var s []byte
			if s, n = protowire.ConsumeBytes(data); n >= 0 && num == fieldName {
				b.name = string(s)
			} else if n >= 0 {
				b.image = string(s)
			}
		case typ == protowire.VarintType && num == pid:
			var v uint64
			v, n = protowire.ConsumeVarint(data)
			b.pid = uint32(v)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return body{}, fmt.Errorf("decode event: field %d: %w", num, protowire.ParseError(n))
		}
		data = data[n:]
	}
	if b.name == "" {
		return body{}, fmt.Errorf("decode event: field %d, the name, is empty", fieldName)
	}
	return b, nil
}
