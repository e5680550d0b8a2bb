// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// source is a connection that only delivers what is given to it.
type source struct {
	net.Conn
	io.Reader
}

func (s source) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func frame(conn uint32, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, conn)
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	return append(out, data...)
}

func packed(stream uint32, body string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = binary.BigEndian.AppendUint32(out, stream)
	return append(append(out, kindRequest, 0), body...)
}

func TestReadCutsMessages(t *testing.T) {
	long := strings.Repeat("x", 3*keptBuffer)
	two := append(packed(1, "one"), packed(3, "two")...)
	var data []byte
	for _, part := range [][]byte{
		// Two in one frame, one in three with another connection's and a stranger's between, an empty one, a long one.
		frame(pluginService, two), frame(pluginService, packed(5, "three")[:7]), frame(runtimeService, packed(1, "reply")),
		frame(9, []byte("stranger")), frame(pluginService, packed(5, "three")[7:12]), frame(pluginService, packed(5, "three")[12:]),
		frame(pluginService, packed(7, "")), frame(pluginService, packed(9, long)),
	} {
		data = append(data, part...)
	}
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(data), "byte by byte": iotest.OneByteReader(bytes.NewReader(data))} {
		tr := newTrunk(source{Reader: r})
		for _, want := range []message{
			{pluginService, 1, kindRequest, []byte("one")}, {pluginService, 3, kindRequest, []byte("two")},
			{runtimeService, 1, kindRequest, []byte("reply")}, {pluginService, 5, kindRequest, []byte("three")},
			{pluginService, 7, kindRequest, nil}, {pluginService, 9, kindRequest, []byte(long)},
		} {
			m, err := tr.read()
			if err != nil || m.conn != want.conn || m.stream != want.stream || m.kind != want.kind || !bytes.Equal(m.body, want.body) {
				t.Fatalf("%s: connection %d stream %d with %d bytes (%v), want connection %d stream %d with %d", name, m.conn, m.stream, len(m.body), err, want.conn, want.stream, len(want.body))
			}
		}
		if _, err := tr.read(); err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: behind the last message: %v", name, err)
		}
		if n := cap(tr.left[pluginService]); n > keptBuffer {
			t.Errorf("%s: %d bytes are kept of a long message", name, n)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	oversized := packed(1, "")
	binary.BigEndian.PutUint32(oversized, maxBody+1)
	huge := frame(pluginService, nil)
	binary.BigEndian.PutUint32(huge[4:], 1<<31)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"message": {frame(pluginService, oversized), "a message of 4194305 bytes"},
		"frame":   {huge, "a frame of 2147483648 bytes"},
		"cut off": {frame(pluginService, []byte("abc"))[:9], "read 3 bytes of connection 1"},
	} {
		if _, err := newTrunk(source{Reader: bytes.NewReader(test.data)}).read(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzTrunk(f *testing.F) {
	f.Add(append(frame(pluginService, packed(1, "one")), frame(runtimeService, packed(2, "two"))...))
	f.Add(frame(pluginService, packed(1, "one")[:5]))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := newTrunk(source{Reader: bytes.NewReader(data)})
		for read := 0; ; {
			m, err := tr.read()
			if err != nil {
				return
			}
			if read += messageHeader + len(m.body); read > len(data) {
				t.Fatalf("%d bytes were read of %d", read, len(data))
			}
		}
	})
}
