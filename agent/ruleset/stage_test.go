// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// request is one to a container from an address.
func request(container uint64, from, target string) *content.Request {
	r := &content.Request{
		Request: waf.Request{
			Method: []byte("GET"), Target: []byte(target), Host: []byte("shop.example.com"), Version: []byte("HTTP/1.1"),
			Headers: []waf.Pair{
				{Name: []byte("Host"), Value: []byte("shop.example.com")}, {Name: []byte("User-Agent"), Value: []byte("Mozilla/5.0 (X11; Linux x86_64)")},
				{Name: []byte("Accept"), Value: []byte("*/*")},
			},
		},
		Lineage: container, Time: int64(time.Hour), App: "http1",
		Peer: dlp.Peer{Addr: netip.AddrPortFrom(netip.MustParseAddr(from), 40000)},
	}
	r.Piece.Head.Origin, r.Piece.Head.Tgid = container, 20
	return r
}

// stage makes one that gives its findings to a channel.
func stage(t *testing.T, percent int) (*Stage, chan content.Found) {
	t.Helper()
	found := make(chan content.Found, 16)
	s, err := New(Config{Percent: percent, Found: func(f content.Found) { found <- f }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s, found
}

// run runs the stage until the test ends.
func run(t *testing.T, s *Stage) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestFindings has ordinary requests and two attacks, of which the same from the same client is told once.
func TestFindings(t *testing.T) {
	s, found := stage(t, 100)
	run(t, s)
	const attack = "/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E&password=hunter2"
	for _, r := range []*content.Request{
		request(7, "203.0.113.9", "/item?id=5&q=green+tea"), request(7, "203.0.113.9", attack), request(7, "203.0.113.9", attack), request(7, "203.0.113.10", attack),
	} {
		s.Take(r)
	}
	for _, from := range []string{"203.0.113.9", "203.0.113.10"} {
		f := <-found
		if f.Reason != dlp.Attack || f.Class != "cross-site-scripting" || !strings.HasPrefix(f.Detector, "crs-941") || f.Score < crs.DefaultThreshold ||
			f.Name != "q" || f.Part != "parameter" || f.Path != "/search" || f.Peer.Addr.Addr().String() != from || f.Piece.Head.Tgid != 20 || f.Join != 7 || len(f.Masked) != 1 {
			t.Errorf("%+v", f)
		}
		if strings.Contains(strings.Join(f.Masked, ""), "hunter2") {
			t.Errorf("%q is not masked", f.Masked)
		}
	}
	if got := s.Stats(); got.Evaluated != 4 || got.Attacks != 3 || got.Used == 0 || got.Full+got.Failed+got.Cut != 0 {
		t.Errorf("%+v", got)
	}
}

// TestRoom has more requests than may wait: what finds no room is counted, and one container takes no other's.
func TestRoom(t *testing.T) {
	s, _ := stage(t, 100)
	for range maxOfContainer + 3 {
		s.Take(request(7, "203.0.113.9", "/"))
	}
	s.Take(request(8, "203.0.113.9", "/"))
	s.Take(request(8, "203.0.113.9", "/"))
	if got := s.Stats().Full; got != 3 {
		t.Errorf("%d found no room, 3 expected", got)
	}
	var turns []uint64
	for r := s.take(); r != nil; r = s.take() {
		turns = append(turns, r.Lineage)
	}
	if len(turns) != maxOfContainer+2 || turns[1] != 8 || turns[3] != 8 || turns[2] != 7 {
		t.Errorf("%d requests in turns %v", len(turns), turns)
	}
	for n := range uint64(10) {
		for range maxOfContainer {
			s.Take(request(n, "203.0.113.9", "/"))
		}
	}
	if s.queue.waiting != maxWaiting {
		t.Errorf("%d wait", s.queue.waiting)
	}
}

// TestBudget has time be earned, spent and owed.
func TestBudget(t *testing.T) {
	start := time.Unix(1000, 0)
	b := budget{percent: 10, earned: start}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	if w := b.wait(at(time.Second)); w != 0 || b.left != 100*time.Millisecond {
		t.Errorf("after a second: wait %s, %s left", w, b.left)
	}
	if b.wait(at(time.Minute)); b.left != 100*time.Millisecond {
		t.Errorf("after a minute: %s left", b.left)
	}
	b.spend(150 * time.Millisecond)
	w := b.wait(at(time.Minute))
	if w < 500*time.Millisecond || w > 501*time.Millisecond {
		t.Errorf("with 50 ms owed: wait %s", w)
	}
	if again := b.wait(at(time.Minute + w)); again != 0 {
		t.Errorf("after the wait: wait %s", again)
	}
}

func TestConfig(t *testing.T) {
	found := func(content.Found) {}
	for _, cfg := range []Config{
		{Percent: 10, Logger: slog.Default()}, {Found: found, Logger: slog.Default()}, {Found: found, Percent: 101, Logger: slog.Default()},
		{Found: found, Percent: 10, Logger: slog.Default(), Rules: crs.Config{Paranoia: 9}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
