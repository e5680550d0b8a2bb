// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is read and written of NRI's messages, by field number. The numbers are those of nri.pkg.api.v1alpha1 and of
// ttrpc's Request and Response, which may gain fields and lose none.

// Events that a plugin can ask for; bit n-1 of the mask stands for event n.
const (
	eventCreateContainer = 4
	eventStartContainer  = 6
	eventRemoveContainer = 11

	wantedEvents = 1<<(eventCreateContainer-1) | 1<<(eventStartContainer-1) | 1<<(eventRemoveContainer-1)
)

// maxEntries is how many labels or annotations of one object are read; the registry keeps fewer.
const maxEntries = 1024

// maxID bounds an id, which becomes the name of a cgroup, in bytes.
const maxID = 128

// call is a request of ttrpc.
type call struct {
	service, method string
	payload         []byte
	timeout         time.Duration
}

// pod is a sandbox as NRI gives it.
type pod struct {
	id, name, uid, namespace string
	labels, annotations      map[string]string
}

// box is a container as NRI gives it.
type box struct {
	id, sandbox, name   string
	labels, annotations map[string]string
	cgroupsPath         string
	hasLinux            bool
	pid                 uint32
	image, digest, conf string
}

// field is one field of a message. bytes is set for strings and messages, number for integers.
type field struct {
	num    protowire.Number
	bytes  []byte
	number uint64
}

// fields gives each field of a message to take, and ends with the first error.
func fields(data []byte, take func(field) error) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		f := field{num: num}
		switch typ {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(data)
		default:
			if n = protowire.ConsumeFieldValue(num, typ, data); n >= 0 {
				data = data[n:]
				continue
			}
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		data = data[n:]
		if err := take(f); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}

func readCall(data []byte) (c call, err error) {
	err = fields(data, func(f field) error {
		switch f.num {
		case 1:
			c.service = string(f.bytes)
		case 2:
			c.method = string(f.bytes)
		case 3:
			c.payload = f.bytes
		case 4:
			c.timeout = time.Duration(f.number)
		}
		return nil
	})
	return c, err
}

// readReply returns the error that a response of ttrpc carries.
func readReply(data []byte) error {
	var code uint64
	var text string
	err := fields(data, func(f field) error {
		if f.num != 1 {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			switch f.num {
			case 1:
				code = f.number
			case 2:
				text = string(f.bytes)
			}
			return nil
		})
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("the runtime refuses: %s (code %d)", text, code)
	}
	return err
}

// subject is what a request says of: one pod and one container of it.
type subject struct {
	pod   pod
	box   box
	event uint64
}

// readSubject reads CreateContainerRequest, StartContainerRequest and RemoveContainerRequest, which share their first two
// fields.
func readSubject(data []byte) (s subject, err error) {
	err = fields(data, func(f field) (err error) {
		switch f.num {
		case 1:
			s.pod, err = readPod(f.bytes)
		case 2:
			s.box, err = readBox(f.bytes)
		}
		return err
	})
	return s, errors.Join(err, s.check(err))
}

// readChange reads StateChangeEvent, by which runtimes before NRI 0.9 tell of starts and removals.
func readChange(data []byte) (s subject, err error) {
	err = fields(data, func(f field) (err error) {
		switch f.num {
		case 1:
			s.event = f.number
		case 2:
			s.pod, err = readPod(f.bytes)
		case 3:
			s.box, err = readBox(f.bytes)
		}
		return err
	})
	return s, errors.Join(err, s.check(err))
}

// check refuses a request that names no container.
func (s *subject) check(before error) error {
	if before != nil {
		return nil
	}
	return checkID("container", s.box.id)
}

func checkID(what, id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%s id of %d bytes, 1 to %d are allowed", what, len(id), maxID)
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return fmt.Errorf("%s id %q: the byte %q is not allowed", what, id, c)
		}
	}
	return nil
}

// listing is a SynchronizeRequest, or a part of one.
type listing struct {
	pods  []pod
	boxes []box
	more  bool
}

func readListing(data []byte) (l listing, err error) {
	err = fields(data, func(f field) error {
		switch f.num {
		case 1:
			p, err := readPod(f.bytes)
			if err == nil {
				err = checkID("pod sandbox", p.id)
			}
			l.pods = append(l.pods, p)
			return err
		case 2:
			b, err := readBox(f.bytes)
			if err == nil {
				err = checkID("container", b.id)
			}
			l.boxes = append(l.boxes, b)
			return err
		case 3:
			l.more = f.number != 0
		}
		return nil
	})
	return l, err
}

func readPod(data []byte) (p pod, err error) {
	err = fields(data, func(f field) error {
		switch f.num {
		case 1:
			p.id = string(f.bytes)
		case 2:
			p.name = string(f.bytes)
		case 3:
			p.uid = string(f.bytes)
		case 4:
			p.namespace = string(f.bytes)
		case 5:
			return addEntry(&p.labels, f.bytes)
		case 6:
			return addEntry(&p.annotations, f.bytes)
		}
		return nil
	})
	return p, err
}

func readBox(data []byte) (b box, err error) {
	err = fields(data, func(f field) error {
		switch f.num {
		case 1:
			b.id = string(f.bytes)
		case 2:
			b.sandbox = string(f.bytes)
		case 3:
			b.name = string(f.bytes)
		case 5:
			return addEntry(&b.labels, f.bytes)
		case 6:
			return addEntry(&b.annotations, f.bytes)
		case 11:
			b.hasLinux = true
			return fields(f.bytes, func(f field) error {
				if f.num == 5 {
					b.cgroupsPath = string(f.bytes)
				}
				return nil
			})
		case 12:
			b.pid = uint32(f.number)
		case 22:
			return b.readImage(f.bytes)
		}
		return nil
	})
	return b, err
}

func (b *box) readImage(data []byte) error {
	return fields(data, func(f field) error {
		switch f.num {
		case 1:
			b.image = string(f.bytes)
		case 2:
			b.digest = string(f.bytes)
		case 3:
			b.conf = string(f.bytes)
		}
		return nil
	})
}

// addEntry adds an entry of a map of strings, up to a bound.
func addEntry(m *map[string]string, data []byte) error {
	var key, value string
	err := fields(data, func(f field) error {
		switch f.num {
		case 1:
			key = string(f.bytes)
		case 2:
			value = string(f.bytes)
		}
		return nil
	})
	if err != nil || len(*m) >= maxEntries {
		return err
	}
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
	return nil
}

// readConfigure reads what a runtime calls itself.
func readConfigure(data []byte) (runtime, version string, err error) {
	err = fields(data, func(f field) error {
		switch f.num {
		case 2:
			runtime = string(f.bytes)
		case 3:
			version = string(f.bytes)
		}
		return nil
	})
	return runtime, version, err
}

func appendText(b []byte, num protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), text)
}

func appendNumber(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// register is the request by which a plugin makes itself known.
func register(name, index string) []byte {
	payload := appendText(appendText(nil, 1, name), 2, index)
	b := appendText(appendText(nil, 1, "nri.pkg.api.v1alpha1.Runtime"), 2, "RegisterPlugin")
	return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), payload)
}

// configured asks for the events that are wanted.
func configured() []byte { return appendNumber(nil, 2, wantedEvents) }

// synchronized answers a listing; a part of one is answered with the word that more may come.
func synchronized(more bool) []byte {
	if !more {
		return nil
	}
	return appendNumber(nil, 2, 1)
}

// reply wraps the answer to a request.
func reply(payload []byte) []byte {
	if len(payload) == 0 {
		return nil
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), payload)
}

// codeUnimplemented is gRPC's.
const codeUnimplemented = 12

// refusal answers a request that this side does not know.
func refusal(text string) []byte {
	status := appendText(appendNumber(nil, 1, codeUnimplemented), 2, text)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), status)
}
