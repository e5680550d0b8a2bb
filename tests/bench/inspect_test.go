// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/inspect"
)

const (
	inspectRound  = 4 << 20 // bytes in a round of one contender
	inspectRounds = 5
	inspectFlows  = 10_000
)

// texts is a sink that counts, so that the figures are those of the inspector.
type texts struct{ bytes int }

func (*texts) Begin(*inspect.Context)                         {}
func (*texts) End(*inspect.Context)                           {}
func (*texts) Opaque(*inspect.Context, inspect.Reason)        {}
func (s *texts) Text(_ *inspect.Context, part []byte, _ bool) { s.bytes += len(part) }

// exchange is what is sent over and over on one flow.
type exchange struct {
	name    string
	port    uint16
	open    [2]string
	out, in string
}

// BenchmarkInspect compares the cost of protocols, in MB a second of captured bytes in pieces of 4 KiB, within one
// interleaved run; the ratio is to bytes of an unknown protocol, which are handed on as they are.
func BenchmarkInspect(b *testing.B) {
	contenders := inspectTraffic(b)
	b.ResetTimer()
	for b.Loop() {
		times := make([][]float64, len(contenders))
		given := make([]int, len(contenders))
		for range inspectRounds {
			for i := range contenders {
				took, n := contenders[i].run(b)
				times[i], given[i] = append(times[i], took), n
			}
		}
		base := median(times[0])
		b.Logf("%-28s %8s %8s %8s", "", "MB/s", "ratio", "out/in")
		for i, c := range contenders {
			t := median(times[i])
			b.Logf("%-28s %8.0f %8.2f %8.2f", c.name, inspectRound/t/1e6, t/base, float64(given[i])/inspectRound)
		}
	}
}

// run sends a round of a contender and returns the seconds it took, and how much reached the sink.
func (c *exchange) run(b *testing.B) (seconds float64, given int) {
	b.Helper()
	var sink texts
	in, err := inspect.New(inspect.Config{}, &sink)
	if err != nil {
		b.Fatal(err)
	}
	p := inspect.Piece{Key: inspect.Key{Cookie: 1}, Protocol: inspect.ProtocolTCP, LocalPort: 40000, RemotePort: c.port}
	send := func(d inspect.Dir, data []byte) {
		for p.Dir = d; len(data) > 0; data = data[len(p.Data):] {
			p.Data = data[:min(4096, len(data))]
			in.Piece(&p)
		}
	}
	send(inspect.Out, []byte(c.open[0]))
	send(inspect.In, []byte(c.open[1]))
	out, back := []byte(c.out), []byte(c.in)
	start := time.Now()
	for sent := 0; sent < inspectRound; sent += len(out) + len(back) {
		send(inspect.Out, out)
		send(inspect.In, back)
	}
	return time.Since(start).Seconds(), sink.bytes
}

// BenchmarkInspectFlows says what 10,000 flows hold: with half a request, in the midst of a body, and of a compressed
// one, for which the default memory is too little, so that some make room.
func BenchmarkInspectFlows(b *testing.B) {
	zipped := zip(b, strings.Repeat("some words of text ", 500))
	states := []struct{ name, data string }{
		{"first bytes", "GE"},
		{"half a header", "POST / HTTP/1.1\r\nHost: shop.example\r\nX-Head"},
		{"within a body", "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 200)},
		{"within a gzip body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n" + zipped[:60]},
	}
	for b.Loop() {
		b.Logf("%-28s %10s %10s %10s", "10,000 flows", "heap KiB", "charged", "evicted")
		for _, s := range states {
			held, st := holdFlows(b, s.data)
			b.Logf("%-28s %10d %10d %10d", s.name, held>>10, st.Memory>>10, st.Evicted)
		}
	}
}

func holdFlows(b *testing.B, data string) (held int64, st inspect.Stats) {
	b.Helper()
	before := inUse()
	in, err := inspect.New(inspect.Config{}, &texts{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range inspectFlows {
		in.Piece(&inspect.Piece{
			Key: inspect.Key{Cookie: uint64(i + 1)}, Protocol: inspect.ProtocolTCP, RemotePort: 80, Data: []byte(data),
		})
	}
	held = int64(inUse()) - int64(before)
	st = in.Stats()
	for i := range inspectFlows {
		in.Closed(inspect.Key{Cookie: uint64(i + 1)})
	}
	return held, st
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func zip(b *testing.B, text string) string {
	b.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.String()
}

// inspectProse is text of n bytes that compresses as prose does.
func inspectProse(n int) string {
	var s strings.Builder
	words := strings.Fields("the order of customer number was sent to this address on and will be there in days thank you for with us")
	for i := 0; s.Len() < n; i++ {
		fmt.Fprintf(&s, "%s %d ", words[i*7%len(words)], i*i%9973)
	}
	return s.String()[:n]
}

func inspectTraffic(b *testing.B) []exchange {
	text := inspectProse(8 << 10)
	records := "[" + strings.TrimSuffix(strings.Repeat(`{"id":48213,"name":"J\u00f6rg Example","mail":"j@shop.example","note":"`+inspectProse(60)+`"},`, 50), ",") + "]"
	answer := func(kind, encoding, body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: %s\r\n"+
			"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", kind, encoding, len(body), body)
	}
	get := "GET /shop/orders?page=3 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nCookie: session=abcdef012345\r\n\r\n"
	ws := func(body string) string {
		return "\x82\x7e" + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
	}
	frame := func(kind, flags byte, stream uint32, body string) string {
		head := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
		return string(binary.BigEndian.AppendUint32(head, stream)) + body
	}
	row := func(v string) string {
		body := "\x00\x01" + string(binary.BigEndian.AppendUint32(nil, uint32(len(v)))) + v
		return "D" + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
	}
	upgrade := [2]string{
		"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
	}
	return []exchange{
		{name: "unknown protocol", port: 9000, out: text},
		{name: "HTTP/1, 8 KiB of text", port: 80, out: get, in: answer("text/plain", "identity", text)},
		{name: "HTTP/1, headers alone", port: 80, out: get, in: "HTTP/1.1 204 No Content\r\nServer: nginx\r\n\r\n"},
		{name: "HTTP/1, JSON", port: 80, out: get, in: answer("application/json", "identity", records)},
		{name: "HTTP/1, gzip", port: 80, out: get, in: answer("text/plain", "gzip", zip(b, inspectProse(64<<10)))},
		{name: "HTTP/1, base64", port: 80, out: get, in: answer("text/plain", "identity", base64.StdEncoding.EncodeToString([]byte(text)))},
		{
			name: "HTTP/2, 8 KiB of text", port: 80, open: [2]string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, ""), ""},
			// The same stream number again, after it ended, is a new stream to an inspector.
			out: frame(1, 5, 1, "\x82\x86\x84\x41\x0cshop.example"), in: frame(1, 4, 1, "\x88\x5f\x0atext/plain") + frame(0, 1, 1, text),
		},
		{name: "WebSocket", port: 80, open: upgrade, in: ws(text)},
		{name: "Redis", port: 6379, out: "*2\r\n$3\r\nGET\r\n$5\r\nuser1\r\n", in: fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)},
		{
			name: "Postgres, rows of 100 bytes", port: 5432, open: [2]string{"\x00\x00\x00\x08\x00\x03\x00\x00", ""},
			out: "Q\x00\x00\x00\x0dselect 1\x00", in: strings.Repeat(row(text[:100]), 80) + "C\x00\x00\x00\x05\x00",
		},
		{name: "SMTP", port: 25, open: [2]string{"EHLO h\r\n", ""}, out: "MAIL FROM:<a@b>\r\nDATA\r\nSubject: x\r\n\r\n" + strings.ReplaceAll(text, " the ", "\r\n") + "\r\n.\r\n"},
	}
}
