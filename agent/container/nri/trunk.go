// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The socket carries frames: the number of a logical connection and a length, 32 bits each, most significant byte first,
// and that many bytes of the connection. Each logical connection carries messages of ttrpc: length and stream, 32 bits
// each, a byte for the kind and one of flags, and the body.
const (
	// pluginService is the connection on which the runtime asks, runtimeService the one on which this side does.
	pluginService  = 1
	runtimeService = 2

	frameHeader   = 8
	messageHeader = 10

	// maxBody is ttrpc's bound of a message's body, maxFrame NRI's of a frame.
	maxBody  = 4 << 20
	maxFrame = messageHeader + maxBody

	kindRequest  = 1
	kindResponse = 2

	// keptBuffer is how much of a connection's buffer is kept for the next message.
	keptBuffer = 64 << 10
	// writeTimeout is how long the runtime may take to read an answer.
	writeTimeout = 5 * time.Second
)

// message is one of ttrpc's with the connection it belongs to.
type message struct {
	conn   uint32
	stream uint32
	kind   byte
	body   []byte
}

// trunk reads and writes messages over a socket. Reading is for one goroutine, writing for any.
type trunk struct {
	conn net.Conn
	r    *bufio.Reader
	// left holds what was read of the next message of each connection.
	left [runtimeService + 1][]byte

	mu sync.Mutex
}

func newTrunk(conn net.Conn) *trunk { return &trunk{conn: conn, r: bufio.NewReader(conn)} }

// read returns the next message of either connection. Its body is the caller's.
func (t *trunk) read() (message, error) {
	for {
		for id := uint32(pluginService); id <= runtimeService; id++ {
			if m, ok, err := t.cut(id); ok || err != nil {
				return m, err
			}
		}
		if err := t.fill(); err != nil {
			return message{}, err
		}
	}
}

// cut takes a whole message out of what was read of a connection.
func (t *trunk) cut(id uint32) (message, bool, error) {
	have := t.left[id]
	if len(have) < messageHeader {
		return message{}, false, nil
	}
	size := binary.BigEndian.Uint32(have)
	if size > maxBody {
		return message{}, false, fmt.Errorf("connection %d: a message of %d bytes, at most %d are allowed", id, size, maxBody)
	}
	whole := messageHeader + int(size)
	if len(have) < whole {
		return message{}, false, nil
	}
	m := message{conn: id, stream: binary.BigEndian.Uint32(have[4:]), kind: have[8]}
	m.body = append(m.body, have[messageHeader:whole]...)
	rest := copy(have, have[whole:])
	t.left[id] = have[:rest]
	if rest == 0 && cap(have) > keptBuffer {
		t.left[id] = nil
	}
	return m, true, nil
}

// fill reads one frame. Frames of other connections are left out.
func (t *trunk) fill() error {
	var header [frameHeader]byte
	if _, err := io.ReadFull(t.r, header[:]); err != nil {
		return fmt.Errorf("read a frame: %w", err)
	}
	id, size := binary.BigEndian.Uint32(header[:]), binary.BigEndian.Uint32(header[4:])
	if size > maxFrame {
		return fmt.Errorf("connection %d: a frame of %d bytes, at most %d are allowed", id, size, maxFrame)
	}
	if id != pluginService && id != runtimeService {
		if _, err := t.r.Discard(int(size)); err != nil {
			return fmt.Errorf("skip a frame of connection %d: %w", id, err)
		}
		return nil
	}
	have := t.left[id]
	if len(have) > maxFrame {
		return fmt.Errorf("connection %d: %d bytes wait for the end of a message", id, len(have))
	}
	t.left[id] = append(have, make([]byte, size)...)
	if _, err := io.ReadFull(t.r, t.left[id][len(have):]); err != nil {
		return fmt.Errorf("read %d bytes of connection %d: %w", size, id, err)
	}
	return nil
}

// write sends a message as one frame. The runtime's reader takes no frame beyond its own buffer at the beginning of a
// message, 4096 bytes: everything that is written here is far below.
func (t *trunk) write(m message) error {
	frame := make([]byte, 0, frameHeader+messageHeader+len(m.body))
	frame = binary.BigEndian.AppendUint32(frame, m.conn)
	frame = binary.BigEndian.AppendUint32(frame, uint32(messageHeader+len(m.body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(m.body)))
	frame = binary.BigEndian.AppendUint32(frame, m.stream)
	frame = append(frame, m.kind, 0)
	frame = append(frame, m.body...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write to the runtime: %w", err)
	}
	if _, err := t.conn.Write(frame); err != nil {
		return fmt.Errorf("write to the runtime: %w", err)
	}
	return nil
}
