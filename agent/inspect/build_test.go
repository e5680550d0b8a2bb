// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"compress/zlib"
	"encoding/base32"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/dns/dnsmessage"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func itoa(n int) string   { return strconv.Itoa(n) }
func itoa16(n int) string { return strconv.FormatInt(int64(n), 16) }

// compressed is what a writer makes of a text.
func compressed(t testing.TB, text string, open func(io.Writer) (io.WriteCloser, error)) string {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gz(t testing.TB, text string) string {
	return compressed(t, text, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func zlibbed(t testing.TB, text string) string {
	return compressed(t, text, func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil })
}

func deflated(t testing.TB, text string) string {
	return compressed(t, text, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) })
}

func brotlied(t testing.TB, text string) string {
	return compressed(t, text, func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriterLevel(w, 5), nil })
}

func zstded(t testing.TB, text string) string {
	return compressed(t, text, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) })
}

// wrap breaks a text into lines.
func wrap(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return b.String() + s
}

// clientHello is a TLS hello with a server name and a protocol.
func clientHello(host, proto string) string {
	u16 := func(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }
	name := "\x00" + u16(len(host)) + host
	ext := "\x00\x00" + u16(len(name)+2) + u16(len(name)) + name
	if proto != "" {
		one := string([]byte{byte(len(proto))}) + proto
		ext += "\x00\x10" + u16(len(one)+2) + u16(len(one)) + one
	}
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + u16(len(ext)) + ext
	msg := "\x01\x00" + u16(len(body)) + body
	return "\x16\x03\x01" + u16(len(msg)) + msg
}

// wsFrame is a WebSocket frame.
func wsFrame(first byte, masked bool, body string) string {
	head := []byte{first, byte(len(body))}
	if len(body) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(body)))
	}
	if !masked {
		return string(head) + body
	}
	head[1] |= 0x80
	key := []byte{1, 0x82, 3, 0x44}
	data := []byte(body)
	for i := range data {
		data[i] ^= key[i&3]
	}
	return string(head) + string(key) + string(data)
}

// wsDeflated is messages of permessage-deflate that share a window; the second is in two frames.
func wsDeflated(t testing.TB, one, two string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	message := func(text string) string {
		b.Reset()
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
	}
	first, second := message(one), message(two)
	return wsFrame(0xc1, true, first) + wsFrame(0x41, true, second[:3]) + wsFrame(0x80, true, second[3:])
}

func dnsMessage(t testing.TB, answer bool, name string) string {
	t.Helper()
	n := dnsmessage.MustNewName(name)
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, Response: answer},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
	}
	if answer {
		head := dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: 60}
		m.Answers = []dnsmessage.Resource{
			{Header: head, Body: &dnsmessage.TXTResource{TXT: []string{"text " + card}}},
			{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("edge.example.net.")}},
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func dnsFramed(m string) string { return string([]byte{byte(len(m) >> 8), byte(len(m))}) + m }

// base32Labels is a text in base32, in labels of thirty.
func base32Labels(text string) string {
	s := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(text)))
	return strings.ReplaceAll(wrap(s, 30), "\r\n", ".")
}

// resp is a command of Redis.
func resp(args ...string) string {
	s := "*" + itoa(len(args)) + "\r\n"
	for _, a := range args {
		s += "$" + itoa(len(a)) + "\r\n" + a + "\r\n"
	}
	return s
}

// pg is a message of PostgreSQL.
func pg(kind byte, body string) string {
	return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

func pgStart(code uint32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return string(binary.BigEndian.AppendUint32(b, code)) + body
}

func pgValuesOf(values ...string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)+1))
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return string(b) + "\xff\xff\xff\xff"
}

// my is a packet of MySQL.
func my(seq byte, body string) string {
	n := len(body)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}) + body
}

// h2side writes frames of one side.
type h2side struct {
	t   testing.TB
	out bytes.Buffer
	fr  *h2.Framer
	hp  bytes.Buffer
	enc *hpack.Encoder
}

func newH2(t testing.TB) *h2side {
	s := &h2side{t: t}
	s.fr = h2.NewFramer(&s.out, nil)
	s.enc = hpack.NewEncoder(&s.hp)
	return s
}

// take gives what was written since it was called.
func (s *h2side) take() string {
	defer s.out.Reset()
	return s.out.String()
}

func (s *h2side) block(fields ...string) []byte {
	s.hp.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := s.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			s.t.Fatal(err)
		}
	}
	return bytes.Clone(s.hp.Bytes())
}

func (s *h2side) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// headers writes a header block, in pieces of at most size bytes.
func (s *h2side) headers(stream uint32, end bool, size int, fields ...string) {
	b := s.block(fields...)
	first := b[:min(size, len(b))]
	b = b[len(first):]
	s.must(s.fr.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(b) == 0, PadLength: 3,
		Priority: h2.PriorityParam{Weight: 7}}))
	for len(b) > 0 {
		part := b[:min(size, len(b))]
		b = b[len(part):]
		s.must(s.fr.WriteContinuation(stream, len(b) == 0, part))
	}
}

func (s *h2side) data(stream uint32, end bool, b string) {
	s.must(s.fr.WriteDataPadded(stream, end, []byte(b), []byte{0, 0}))
}

func http2Conversations(t testing.TB) []conversation {
	c, s := newH2(t), newH2(t)
	c.must(c.fr.WriteSettings(h2.Setting{ID: h2.SettingHeaderTableSize, Val: 8192}))
	c.headers(1, false, 20, ":method", "POST", ":scheme", "http", ":path", "/a?c=4111%20", ":authority", "h2.example", "x-secret", card, "content-type", "application/json")
	c.headers(3, true, 1000, ":method", "GET", ":scheme", "http", ":path", "/b", ":authority", "h2.example", "x-secret", card)
	c.data(1, false, `{"card":"4111\u00201111`)
	c.must(c.fr.WritePing(false, [8]byte{}))
	c.data(1, true, ` 1111 1111"}`)
	first := http2Preface + c.take()
	s.headers(3, false, 1000, ":status", "200", "content-encoding", "gzip")
	zipped := gz(t, "answer b "+card)
	s.data(3, false, zipped[:12])
	s.headers(1, false, 1000, ":status", "103")
	s.headers(1, false, 1000, ":status", "201", "content-type", "text/plain")
	s.data(1, false, "answer a")
	s.data(3, true, zipped[12:])
	s.headers(1, true, 1000, "x-trailer", card)
	answer := s.take()

	g, gs := newH2(t), newH2(t)
	g.headers(1, false, 1000, ":method", "POST", ":scheme", "http", ":path", "/shop.Cards/Put", ":authority", "grpc.example", "content-type", "application/grpc+proto", "grpc-encoding", "gzip")
	g.data(1, false, grpcMessage(0, "\x0a\x13"+card)+grpcMessage(1, gz(t, "compressed "+card))[:9])
	g.data(1, true, grpcMessage(1, gz(t, "compressed "+card))[9:]+grpcMessage(0, "")+grpcMessage(0, "last"))
	gs.headers(1, false, 1000, ":status", "200", "content-type", "application/grpc", "grpc-encoding", "snappy")
	gs.data(1, false, grpcMessage(1, "????")+grpcMessage(0, "plain answer"))
	gs.headers(1, true, 1000, "grpc-status", "0")

	u := newH2(t)
	u.headers(1, true, 1000, ":status", "200", "x-up", "yes")
	lost := newH2(t)
	lost.headers(1, false, 1000, ":method", "PUT", ":path", "/lost", ":authority", "h")
	lost.data(1, false, strings.Repeat("a", 50))
	lost.data(1, true, "end "+card)
	cutAt := strings.Index(lost.out.String(), "aaaa") + 10
	all := http2Preface + lost.take()
	cutAt += len(http2Preface)
	return []conversation{
		{name: "http2", port: 80, steps: []step{say(Out, first), say(In, answer)}},
		{name: "http2-grpc", port: 50051, inbound: true, steps: []step{say(In, http2Preface+g.take()), say(Out, gs.take())}},
		{name: "http2-upgrade", port: 80, steps: []step{
			say(Out, "GET /up HTTP/1.1\r\nHost: up.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
			say(In, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"+u.take()),
			say(Out, http2Preface),
		}},
		{name: "http2-gap", port: 80, steps: []step{{Out, all[:cutAt], 7}, say(Out, all[cutAt+7:])}},
	}
}

func grpcMessage(flag byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(body)))) + body
}
