// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// BenchmarkContentFlows says what 10,000 connections to servers hold while all that is sent is looked through for sensitive
// data and all that comes for attacks: the heap in use, after a collection, less that before the first piece.
func BenchmarkContentFlows(b *testing.B) {
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
			held, stats := holdConnections(b, matcher, filter, s.in, s.out)
			b.Logf("%-28s %10d %10.1f %10d %10d", s.name, held>>10, float64(held)/inspectFlows/1024, stats.Flows, stats.Memory>>10)
		}
	}
}

func holdConnections(b *testing.B, matcher *dlp.Matcher, filter *waf.Filter, in, out string) (held int64, stats content.Stats) {
	b.Helper()
	before := inUse()
	r, err := content.New(content.Config{
		Matcher: matcher, Filter: filter, Modes: func(uint64) (dlp, waf bool) { return true, true },
		Found: func(f content.Found) { b.Errorf("found %s in ordinary text", f.Detector) },
	})
	if err != nil {
		b.Fatal(err)
	}
	send := func(c wire.Content, flags wire.ContentFlag, text string) {
		if text == "" {
			return
		}
		c.ContentFlags, c.Length, c.Total = uint16(flags), uint16(len(text)), uint32(len(text))
		r.Content(&c, []byte(text))
	}
	for i := range uint64(inspectFlows) {
		c := wire.Content{
			Head: wire.Head{Time: 1e9 + i, Tgid: 7, Origin: 9}, Cookie: i + 1, Family: unix.AF_INET, Protocol: inspect.ProtocolTCP,
			LocalPort: 80, RemotePort: 40000, Sequence: 1,
		}
		binary.BigEndian.PutUint64(c.Remote[:], i)
		send(c, wire.ContentInbound, in)
		send(c, wire.ContentInbound|wire.ContentOut, out)
		r.Settle(int64(c.Head.Time))
	}
	// What is counted of flows is renewed as time passes.
	r.Settle(12e8)
	held = int64(inUse()) - int64(before)
	stats = r.Stats()
	runtime.KeepAlive(r)
	return held, stats
}
