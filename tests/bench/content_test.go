// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// contentPiece is the most text that a record of the kernel has.
const contentPiece = 4096

// looked is what both benchmarks look for.
type looked struct {
	matcher *dlp.Matcher
	filter  *waf.Filter
}

func compileAll(b *testing.B) looked {
	b.Helper()
	set, err := dlp.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	matcher, err := set.Compile(dlp.CompileConfig{})
	if err != nil {
		b.Fatal(err)
	}
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return looked{matcher, filter}
}

// reader looks for sensitive data in what is sent and attacks in what comes, as far as the modes say; nothing is to be found.
func (l looked) reader(b *testing.B, dlp, waf bool) *content.Reader {
	b.Helper()
	r, err := content.New(content.Config{
		Matcher: l.matcher, Filter: l.filter, Modes: func(uint64) (bool, bool) { return dlp, waf },
		Found: func(f content.Found) { b.Errorf("found %s in ordinary text", f.Detector) },
	})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// give hands text over as the kernel does, in pieces.
func give(r *content.Reader, c *wire.Content, flags wire.ContentFlag, text []byte) {
	for piece := range slices.Chunk(text, contentPiece) {
		c.ContentFlags, c.Length, c.Total = uint16(flags), uint16(len(piece)), uint32(len(piece))
		r.Content(c, piece)
		c.Sequence += uint32(len(piece))
	}
}

// BenchmarkContent says what the agent does in a second of one processor with what a web server sends and gets, from the record of
// the kernel to the last check: medians of rounds in which the contenders take turns.
func BenchmarkContent(b *testing.B) {
	l := compileAll(b)
	request := []byte("GET /items?q=green+tea&page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101\r\n" +
		"Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nCookie: session=k3v9x2m7q1; theme=dark\r\n\r\n")
	answer := func(kind string, body []byte) []byte {
		return append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
			kind, len(body)), body...)
	}
	type contender struct {
		name     string
		dlp, waf bool
		answer   []byte
		times    []float64
	}
	small, large := answer("text/html", traffic.Mixed(1<<10)), answer("application/json", traffic.JSON(64<<10))
	contenders := []contender{
		{name: "1 KiB, nothing asked", answer: small}, {name: "1 KiB, dlp", dlp: true, answer: small},
		{name: "1 KiB, dlp and waf", dlp: true, waf: true, answer: small}, {name: "64 KiB, nothing asked", answer: large},
		{name: "64 KiB, dlp", dlp: true, answer: large}, {name: "64 KiB, dlp and waf", dlp: true, waf: true, answer: large},
	}
	for b.Loop() {
		for range inspectRounds {
			for i := range contenders {
				c := &contenders[i]
				c.times = append(c.times, readAnswers(b, l.reader(b, c.dlp, c.waf), request, c.answer))
			}
		}
		b.Logf("%-28s %8s %16s", "answers of", "MB/s", "µs each with request")
		for _, c := range contenders {
			t := median(c.times)
			b.Logf("%-28s %8.0f %16.1f", c.name, float64(len(request)+len(c.answer))/t/1e6, t*1e6)
		}
	}
}

// readAnswers has a reader read some megabytes of requests and answers of one connection, and returns the seconds that one takes.
func readAnswers(b *testing.B, r *content.Reader, request, answer []byte) float64 {
	b.Helper()
	in := wire.Content{
		Head: wire.Head{Time: 1e9, Tgid: 7, Origin: 9}, Cookie: 1, Family: unix.AF_INET, Protocol: inspect.ProtocolTCP, LocalPort: 80, RemotePort: 40000,
	}
	out := in
	n := inspectRound / (len(request) + len(answer))
	start := spent(b)
	for range n {
		give(r, &in, wire.ContentInbound, request)
		give(r, &out, wire.ContentInbound|wire.ContentOut, answer)
		r.Settle(int64(out.Head.Time))
	}
	return (spent(b) - start).Seconds() / float64(n)
}

// BenchmarkContentFlows says what 10,000 connections to servers hold while all that is sent is looked through for sensitive
// data and all that comes for attacks: the heap in use, after a collection, less that before the first piece.
func BenchmarkContentFlows(b *testing.B) {
	l := compileAll(b)
	const request = "GET /items?page=2 HTTP/1.1\r\nHost: shop.example\r\nCookie: session=0123456789abcdef\r\n\r\n"
	answer := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n" + strings.Repeat(`{"item":17},`, 400)[:4000]
	states := []struct{ name, in, out string }{
		{"between two requests", request, answer},
		{"within a request's headers", request[:40], ""},
		{"within a request's body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("x", 2000), ""},
		{"within an answer", request, answer[:2000]},
		{"bytes of no known protocol", "", strings.Repeat("x", 2000)},
	}
	for b.Loop() {
		b.Logf("%-28s %10s %10s %10s %10s", "10,000 connections", "heap KiB", "KiB each", "followed", "charged")
		for _, s := range states {
			held, stats := holdConnections(b, l, s.in, s.out)
			b.Logf("%-28s %10d %10.1f %10d %10d", s.name, held>>10, float64(held)/inspectFlows/1024, stats.Flows, stats.Memory>>10)
		}
	}
}

func holdConnections(b *testing.B, l looked, in, out string) (held int64, stats content.Stats) {
	b.Helper()
	before := inUse()
	r := l.reader(b, true, true)
	for i := range uint64(inspectFlows) {
		c := wire.Content{
			Head: wire.Head{Time: 1e9 + i, Tgid: 7, Origin: 9}, Cookie: i + 1, Family: unix.AF_INET, Protocol: inspect.ProtocolTCP,
			LocalPort: 80, RemotePort: 40000,
		}
		binary.BigEndian.PutUint64(c.Remote[:], i)
		give(r, &c, wire.ContentInbound, []byte(in))
		c.Sequence = 0
		give(r, &c, wire.ContentInbound|wire.ContentOut, []byte(out))
	}
	// What is counted of flows is renewed as time passes.
	r.Settle(12e8)
	held = int64(inUse()) - int64(before)
	stats = r.Stats()
	runtime.KeepAlive(r)
	return held, stats
}
