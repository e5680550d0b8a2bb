// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/rules/dlp"
)

const (
	dlpText    = 1 << 20
	dlpRounds  = 7
	dlpRepeats = 8 // the clock of processor time is coarse on some machines
)

// BenchmarkDLP compares the matcher with what any search costs, on a mix of HTTP, JSON and logs: a loop over the bytes, a
// search for one literal, a walk of the inline automaton, and one regular expression of many. The contenders take turns
// within each round; the figures are means of rounds and ratios of means, in
// processor time.
func BenchmarkDLP(b *testing.B) {
	text := ordinaryTraffic(dlpText)
	set, err := dlp.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	compile := func(class ...dlp.Class) *dlp.Matcher {
		ids := []string{}
		for _, d := range set.Detectors() {
			for _, c := range class {
				if d.Class == c {
					ids = append(ids, d.ID)
				}
			}
		}
		if class == nil {
			ids = nil
		}
		m, err := set.Compile(dlp.CompileConfig{Enabled: ids})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	all := compile()
	inline, err := all.Inline()
	if err != nil {
		b.Fatal(err)
	}
	type contender struct {
		name string
		size int // bytes looked at
		run  func()
	}
	sum, stream := 0, all.Stream()
	var matches []dlp.Match
	var parts []dlp.StreamMatch
	few := regexp.MustCompile(`AKIA[A-Z2-7]{16}|ghp_[A-Za-z0-9]{36}|xox[abp]-[A-Za-z0-9-]{24}|\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b`)
	contenders := []contender{
		{"sum of the bytes", dlpText, func() {
			for _, c := range text {
				sum += int(c)
			}
		}},
		{"bytes.Count of one literal", dlpText, func() { sum += bytes.Count(text, []byte("AKIA")) }},
		{"regexp, four patterns", dlpText / 16, func() { sum += len(few.FindAllIndex(text[:dlpText/16], -1)) }},
		{"walk of the inline automaton", dlpText, func() { sum += walk(&inline, text) }},
		{"stream, parts of 1,400 bytes", dlpText, func() {
			for rest := text; len(rest) > 0; rest = rest[min(1400, len(rest)):] {
				parts = stream.Write(parts[:0], rest[:min(1400, len(rest))])
			}
			parts = stream.Close(parts[:0])
		}},
	}
	for _, c := range []struct {
		name    string
		classes []dlp.Class
	}{
		{"all detectors", nil}, {"cards", []dlp.Class{dlp.Card}}, {"bank accounts", []dlp.Class{dlp.Bank}},
		{"national ids", []dlp.Class{dlp.NationalID}}, {"health", []dlp.Class{dlp.Health}}, {"contacts", []dlp.Class{dlp.Contact}},
		{"credentials and keys", []dlp.Class{dlp.Credential, dlp.Key}},
	} {
		m := compile(c.classes...)
		contenders = append(contenders, contender{"scan, " + c.name, dlpText, func() { matches = m.Scan(matches[:0], text) }})
	}
	for b.Loop() {
		times := make([]float64, len(contenders))
		for range dlpRounds {
			for i, c := range contenders {
				size, start := 0, spent(b)
				for range dlpRepeats {
					c.run()
					size += c.size
				}
				times[i] += float64(spent(b)-start) / float64(size) / dlpRounds
			}
		}
		base := times[0]
		b.Logf("%-34s %8s %8s %8s", "", "ns/byte", "MB/s", "ratio")
		for i, c := range contenders {
			t := times[i]
			b.Logf("%-34s %8.3f %8.0f %8.2f", c.name, t, 1e3/t, t/base)
		}
	}
	_ = sum
}

// spent is the processor time of this process. What else the machine does while a contender waits is not counted.
func spent(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// walk goes with the automaton over a text, as the packet filter does.
func walk(in *dlp.Inline, text []byte) int {
	state, accepted := 0, 0
	for _, c := range text {
		state = int(in.Next[state*dlp.InlineClasses+int(in.Classes[c])])
		if in.Accept[state] != 0 {
			accepted++
		}
	}
	return accepted
}

// ordinaryTraffic is a mix of requests, JSON answers and log lines, with the ids and times that such have.
func ordinaryTraffic(size int) []byte {
	g := rand.New(rand.NewPCG(1, 2))
	words := bytes.Fields([]byte("the order was taken by our service and sent on to the next one for a look at its state while users " +
		"wait for the page with items prices names and pictures in stock account total status message content type length"))
	var b []byte
	for len(b) < size {
		switch g.IntN(4) {
		case 0:
			b = fmt.Appendf(b, "POST /api/v1/orders/%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"+
				"Accept: application/json, text/plain, */*\r\nContent-Type: application/json\r\nX-Request-Id: %016x\r\n\r\n", g.IntN(1e6), g.Uint64())
		case 1:
			b = fmt.Appendf(b, `{"id":%d,"name":"%s %s","state":"active","price":%d.%02d,"tags":["%s","%s"],"created":"2026-%02d-%02dT10:%02d:00Z"}`+"\n",
				g.IntN(1e9), words[g.IntN(len(words))], words[g.IntN(len(words))], g.IntN(999), g.IntN(99), words[g.IntN(len(words))],
				words[g.IntN(len(words))], 1+g.IntN(12), 1+g.IntN(28), g.IntN(60))
		case 2:
			b = fmt.Appendf(b, "2026-11-22T%02d:%02d:%02d.%03dZ level=info component=api msg=\"request done\" status=%d duration=%dms peer=10.0.%d.%d\n",
				g.IntN(24), g.IntN(60), g.IntN(60), g.IntN(1000), 200+g.IntN(300), g.IntN(900), g.IntN(256), g.IntN(256))
		default:
			for range 30 {
				b = append(append(b, words[g.IntN(len(words))]...), ' ')
			}
			b = append(b, ".\n"...)
		}
	}
	return b[:size]
}
