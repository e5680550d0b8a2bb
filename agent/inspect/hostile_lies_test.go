// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// endless is a stream that says something that is not so, or does not come to an end: what begins it, and what goes on.
type endless struct {
	name        string
	port        uint16
	begin, more string
	// answers goes the other way after the beginning.
	answers string
	// cause is how what was given up is counted; nil where all of it is read.
	cause func(Stats) uint64
}

func skipped(st Stats) uint64   { return st.SkippedBytes }
func malformed(st Stats) uint64 { return st.Malformed }
func cut(st Stats) uint64       { return st.HeaderBytesCut }
func long(st Stats) uint64      { return st.LongFields }

// http2Frame is a frame of HTTP/2.
func http2Frame(kind, flags byte, stream uint32, body string) string {
	b := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + body
}

func endlessStreams(t testing.TB) []endless {
	const (
		upgrade   = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
		switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		deflate   = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	)
	call := func(encoding string) string {
		c := newH2(t)
		c.headers(1, false, 1000, ":method", "POST", ":path", "/s/m", ":authority", "h", "content-type", "application/grpc", "grpc-encoding", encoding)
		return http2Preface + c.take()
	}
	form := func(kind, body string) string {
		return "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: " + kind + "\r\nContent-Length: 1000000000\r\n\r\n" + body
	}
	lie := "\x00\xff\xff\xff\xff"
	return []endless{
		{name: "websocket fragments", port: 80, begin: upgrade, answers: switching + "\r\n", more: wsFrame(0x00, true, "more of it"), cause: skipped},
		{name: "websocket fragments without content", port: 80, begin: upgrade, answers: switching + "\r\n", more: wsFrame(0x00, true, "")},
		{name: "websocket compressed fragments", port: 80, begin: upgrade, answers: switching + deflate + "\r\n",
			more: wsFrame(0x41, true, strings.Repeat("\x00", 90)) + wsFrame(0x00, true, strings.Repeat("\x55", 90)), cause: func(st Stats) uint64 { return st.BadEncodings }},
		{name: "websocket pings within a message", port: 80, begin: upgrade, answers: switching + "\r\n", more: wsFrame(0x89, true, "ping") + wsFrame(0x00, true, "x"), cause: nil},
		{name: "websocket frame of 2^63 bytes", port: 80, begin: upgrade, answers: switching + "\r\n" + "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", more: "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffkeykey", cause: skipped},
		{name: "grpc message of 4 GiB", port: 80, begin: call("identity") + http2Frame(frameData, 0, 1, lie), more: http2Frame(frameData, 0, 1, strings.Repeat("a", 200)), cause: skipped},
		{name: "grpc compressed message of 4 GiB", port: 80, begin: call("gzip") + http2Frame(frameData, 0, 1, "\x01"+lie[1:]), more: http2Frame(frameData, 0, 1, strings.Repeat("a", 200)), cause: func(st Stats) uint64 { return st.BadEncodings }},
		{name: "grpc messages of nothing", port: 80, begin: call("gzip"), more: http2Frame(frameData, 0, 1, strings.Repeat("\x01\x00\x00\x00\x00", 50))},
		{name: "grpc messages that end early", port: 80, begin: call("gzip"), more: http2Frame(frameData, 0, 1, "\x01\x00\x00\x00\x08"+"1234") + http2Frame(frameData, flagEndStream, 1, "")},
		{name: "http2 settings", port: 80, begin: http2Preface, more: http2Frame(frameSettings, 0, 0, "\x00\x01\x00\x01\x00\x00") + http2Frame(frameSettings, 0, 0, "\x00\x01\x00\x00\x00\x00")},
		{name: "http2 table updates", port: 80, begin: http2Preface, more: http2Frame(frameHeaders, flagEndHeaders, 1, strings.Repeat("\x3f\xe1\x1f\x20", 50)+"\x82")},
		{name: "http2 table entries", port: 80, begin: http2Preface + http2Frame(frameHeaders, 0, 1, "\x82"), more: http2Frame(frameContinuation, 0, 1, strings.Repeat("\x40\x00\x00", 50)), cause: cut},
		{name: "http2 continuation of one byte", port: 80, begin: http2Preface + http2Frame(frameHeaders, 0, 1, "\x40\x01y\x7f\x80\xff\x02"), more: http2Frame(frameContinuation, 0, 1, "z"), cause: cut},
		{name: "http2 resets", port: 80, begin: http2Preface, more: http2Frame(frameHeaders, flagEndHeaders, 1, "\x82") + http2Frame(frameReset, 0, 1, "\x00\x00\x00\x08")},
		{name: "http2 padding", port: 80, begin: http2Preface, more: http2Frame(frameData, flagPadded, 1, "\xff"+strings.Repeat("\x00", 200))},
		{name: "http2 promises", port: 80, begin: http2Preface, more: http2Frame(framePush, flagEndHeaders, 1, "\x00\x00\x00\x02\x82"), cause: nil},
		{name: "chunks of a byte", port: 80, begin: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", more: "1;a=b\r\nx\r\n", cause: nil},
		{name: "chunk of 2^63 bytes", port: 80, begin: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", more: "more of it", cause: skipped},
		{name: "chunk of no number", port: 80, begin: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", more: "fffffffffffffffff\r\n", cause: malformed},
		{name: "trailers", port: 80, begin: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", more: "X-More: of it\r\n", cause: cut},
		{name: "a trailer", port: 80, begin: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", more: "more of it", cause: cut},
		{name: "interim answers", port: 80, begin: "GET / HTTP/1.1\r\n\r\n", more: "GET / HTTP/1.1\r\n\r\n", answers: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)},
		{name: "pipelined requests", port: 80, begin: "GET / HTTP/1.1\r\n\r\n", more: "GET / HTTP/1.1\r\n\r\n", cause: malformed},
		{name: "multipart header", port: 80, begin: form("multipart/form-data; boundary=b", "--b\r\nX: "), more: "more of it", cause: cut},
		{name: "multipart parts", port: 80, begin: form("multipart/form-data; boundary=b", "--b\r\n"), more: "\r\nx\r\n--b\r\n", cause: skipped},
		{name: "multipart almost a boundary", port: 80, begin: form("multipart/form-data; boundary="+strings.Repeat("-", 60)+"b", ""), more: strings.Repeat("\r\n--", 100), cause: skipped},
		{name: "multipart in multipart", port: 80, begin: form("multipart/mixed; boundary=b", ""), more: "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", cause: skipped},
		{name: "json arrays", port: 80, begin: form("application/json", ""), more: "[[[[[[[[", cause: skipped},
		{name: "json string", port: 80, begin: form("application/json", `{"a":"\u0041`), more: `\u0041\\`, cause: skipped},
		{name: "json key", port: 80, begin: form("application/json", `{"`), more: `a\"`, cause: skipped},
		{name: "form field", port: 80, begin: form("application/x-www-form-urlencoded", "a="), more: "%41+%zz", cause: skipped},
		{name: "form name", port: 80, begin: form("application/x-www-form-urlencoded", ""), more: "%41a", cause: skipped},
		{name: "redis array of 2^62", port: 6379, begin: "*4611686018427387904\r\n", more: "$1\r\nx\r\n", cause: nil},
		{name: "redis arrays", port: 6379, begin: "", more: "*1000000\r\n", cause: nil},
		{name: "redis string of 2^62", port: 6379, begin: "*1\r\n$4611686018427387904\r\n", more: "more of it", cause: skipped},
		{name: "redis line", port: 6379, begin: "*", more: "1111111111", cause: long},
		{name: "postgres message of 4 GiB", port: 5432, begin: pgStart(3<<16, "user\x00u\x00\x00") + "Q\xff\xff\xff\xff", more: "more of it", cause: nil},
		{name: "postgres parameters", port: 5432, begin: pgStart(3<<16, "user\x00u\x00\x00"), more: pg('B', "\x00\x00\x00\x00\xff\xff\x7f\xff\xff\xff"), cause: nil},
		{name: "mysql packets of 16 MiB", port: 3306, begin: "\xff\xff\xff\x00\x03SELECT ", more: "more of it", cause: skipped},
		{name: "mysql empty packets", port: 3306, begin: my(0, "\x03SELECT 1"), more: my(0, ""), cause: nil},
		{name: "smtp commands", port: 25, begin: "EHLO h\r\n", more: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", cause: nil},
		{name: "smtp command", port: 25, begin: "EHLO h\r\n", more: "RCPT TO:<cccc", cause: long},
		{name: "smtp mail", port: 25, begin: "EHLO h\r\nMAIL FROM:<a@b>\r\nDATA\r\nContent-Type: multipart/mixed; boundary=b\r\n", more: "X-More: of it\r\n ", cause: skipped},
		{name: "smtp chunks", port: 25, begin: "EHLO h\r\nMAIL FROM:<a@b>\r\n", more: "BDAT 0\r\n", cause: nil},
		{name: "dns messages", port: 53, begin: "", more: dnsFramed("\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xc0\x0c\x00\x01\x00\x01"), cause: nil},
		{name: "tls hello", port: 443, begin: "\x16\x03\x01\x40\x00\x01\xff\xff\xff", more: "more of it", cause: func(st Stats) uint64 { return st.OpaqueBytes }},
	}
}

// TestEndlessStreams sends 4 MiB of each: what is held stays small, work is a few times what came, what goes to the sink is no
// more than what came with its decoded forms, and what was given up is counted by its cause.
func TestEndlessStreams(t *testing.T) {
	for _, e := range endlessStreams(t) {
		t.Run(e.name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			send(in, testKey, Out, e.port, []byte(e.begin))
			send(in, testKey, In, e.port, []byte(e.answers))
			part := bytes.Repeat([]byte(e.more), 1+(64<<10)/len(e.more))
			for range 64 {
				send(in, testKey, Out, e.port, part)
			}
			held := heap() - before
			runtime.KeepAlive(in)
			st := in.Stats()
			if held > 2<<20 || st.Memory > 1<<20 {
				t.Errorf("%d KiB are held, %d charged", held>>10, st.Memory>>10)
			}
			if sink.bytes > 3*int64(st.Bytes) {
				t.Errorf("of %d bytes %d reached the sink", st.Bytes, sink.bytes)
			}
			if e.cause != nil && e.cause(st) == 0 {
				t.Errorf("what was given up is not counted: %+v", st)
			}
			checkWork(t, st)
			in.Closed(testKey)
			if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 {
				t.Errorf("%d bytes, %d decoders after the end", st.Memory, st.Decoders)
			}
			t.Logf("%d KiB held; %+v", held>>10, st)
		})
	}
}
