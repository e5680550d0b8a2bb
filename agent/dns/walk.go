// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	headerSize = 12
	// nameMax is the length of a name in a message (RFC 1035, 2.3.4).
	nameMax = 255
	// textMax is the length of a name as text, when every byte is escaped as \DDD.
	textMax = 4 * nameMax
	// questionMax and recordMax bound what is visited of one message.
	questionMax = 8
	recordMax   = 64
)

// Errors that a message is refused with; ErrShort says that it ends before what it promises, which is also how a message
// looks that was cut in capture.
var (
	ErrShort   = errors.New("ends too early")
	ErrName    = errors.New("bad name")
	ErrPointer = errors.New("name pointer does not point back")
)

// Header is the fixed part of a message.
type Header struct {
	ID uint16
	// Answer tells a response from a query.
	Answer bool
	Opcode uint8
	// Truncated says that the server had more to say than fitted.
	Truncated bool
	RCode     uint8
	// Counts as the message claims them.
	Questions, Answers uint16
}

// Record is an answer while it is visited: its slices are valid until the visitor returns.
type Record struct {
	// Name is the owner in text form.
	Name  []byte
	Type  Type
	Class uint16
	TTL   uint32
	// Data is the record's data as it stands in the message.
	Data []byte
	// Target is the name that the data holds in text form, for CNAME, DNAME, NS and PTR; else empty.
	Target []byte
}

// Visitor takes the parts of a message in their order.
type Visitor interface {
	Question(name []byte, t Type, class uint16)
	Answer(r *Record)
}

// Walker visits messages, reusing its buffers.
type Walker struct {
	name   [textMax]byte
	target [textMax]byte
	record Record
}

// Walk visits the questions and the answer section. After an error, what was visited before holds. Sections after the
// answers are not looked at.
func (w *Walker) Walk(msg []byte, v Visitor) (Header, error) {
	h, err := ReadHeader(msg)
	if err != nil {
		return h, err
	}
	at := headerSize
	for i := range int(h.Questions) {
		if i == questionMax {
			return h, nil
		}
		if at, err = w.question(msg, at, v); err != nil {
			return h, fmt.Errorf("question %d: %w", i+1, err)
		}
	}
	for i := range min(int(h.Answers), recordMax) {
		if at, err = w.answer(msg, at, v); err != nil {
			return h, fmt.Errorf("answer %d: %w", i+1, err)
		}
	}
	return h, nil
}

// ReadHeader reads the fixed part.
func ReadHeader(msg []byte) (Header, error) {
	if len(msg) < headerSize {
		return Header{}, fmt.Errorf("header: %w", ErrShort)
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	return Header{
		ID:        binary.BigEndian.Uint16(msg),
		Answer:    flags&0x8000 != 0,
		Opcode:    uint8(flags >> 11 & 15),
		Truncated: flags&0x0200 != 0,
		RCode:     uint8(flags & 15),
		Questions: binary.BigEndian.Uint16(msg[4:]),
		Answers:   binary.BigEndian.Uint16(msg[6:]),
	}, nil
}

func (w *Walker) question(msg []byte, at int, v Visitor) (int, error) {
	name, at, err := appendName(w.name[:0], msg, at)
	if err != nil {
		return 0, err
	}
	if len(msg)-at < 4 {
		return 0, ErrShort
	}
	v.Question(name, Type(binary.BigEndian.Uint16(msg[at:])), binary.BigEndian.Uint16(msg[at+2:]))
	return at + 4, nil
}

func (w *Walker) answer(msg []byte, at int, v Visitor) (int, error) {
	name, at, err := appendName(w.name[:0], msg, at)
	if err != nil {
		return 0, err
	}
	if len(msg)-at < 10 {
		return 0, ErrShort
	}
	size := int(binary.BigEndian.Uint16(msg[at+8:]))
	w.record = Record{
		Name:  name,
		Type:  Type(binary.BigEndian.Uint16(msg[at:])),
		Class: binary.BigEndian.Uint16(msg[at+2:]),
		TTL:   binary.BigEndian.Uint32(msg[at+4:]),
	}
	at += 10
	if len(msg)-at < size {
		return 0, ErrShort
	}
	w.record.Data = msg[at : at+size]
	if w.record.Type.isName() {
		if w.record.Target, _, err = appendName(w.target[:0], msg, at); err != nil {
			return 0, fmt.Errorf("data: %w", err)
		}
	}
	v.Answer(&w.record)
	return at + size, nil
}

// appendName appends the name at an offset as text, without the final dot, and gives the offset after it. Each pointer
// must lead to before where the part that holds it begins, so that the walk ends.
func appendName(to, msg []byte, at int) (text []byte, after int, err error) {
	start, size := at, 0
	after = -1
	for {
		if at >= len(msg) {
			return nil, 0, ErrShort
		}
		c := int(msg[at])
		switch {
		case c == 0:
			if after < 0 {
				after = at + 1
			}
			if len(to) == 0 {
				to = append(to, '.')
			}
			return to, after, nil
		case c < 64:
			if size += c + 1; size >= nameMax {
				return nil, 0, ErrName
			}
			if len(msg)-at-1 < c {
				return nil, 0, ErrShort
			}
			to = appendLabel(to, msg[at+1:at+1+c])
			at += 1 + c
		case c >= 192:
			if at+1 >= len(msg) {
				return nil, 0, ErrShort
			}
			if after < 0 {
				after = at + 2
			}
			at = (c&63)<<8 | int(msg[at+1])
			if at >= start {
				return nil, 0, ErrPointer
			}
			start = at
		default:
			return nil, 0, ErrName
		}
	}
}

// appendLabel appends a label after a dot, escaped as in RFC 1035, 5.1.
func appendLabel(to, label []byte) []byte {
	if len(to) > 0 {
		to = append(to, '.')
	}
	return appendEscaped(to, label, '.')
}

// appendEscaped writes bytes that are not printable ASCII as \DDD, and the backslash and one more after a backslash.
func appendEscaped(to, text []byte, special byte) []byte {
	for _, c := range text {
		switch {
		case c == '\\' || c == special:
			to = append(to, '\\', c)
		case c <= ' ' || c >= 127:
			to = append(to, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			to = append(to, c)
		}
	}
	return to
}
