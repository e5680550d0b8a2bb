// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// contentRig is a sensor whose content is read, and what came of it.
type contentRig struct {
	*netRig
	content *Content

	mu     sync.Mutex
	pieces []piece
	fresh  chan struct{}
	// told is the time of the last Settle.
	told atomic.Int64
}

// piece is a copy of a record.
type piece struct {
	wire.Content
	text []byte
}

func (p *piece) is(flag wire.ContentFlag) bool { return wire.ContentFlag(p.ContentFlags)&flag != 0 }

func newContentRig(t *testing.T, cfg ContentConfig) *contentRig {
	t.Helper()
	r := &contentRig{netRig: startNetRig(t, Config{}), fresh: make(chan struct{}, 1)}
	r.content = r.sensor.NewContent(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.content.Run(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
		if s := r.content.Stats(); s.Malformed != 0 {
			t.Errorf("%d records of content are malformed", s.Malformed)
		}
		must(t, r.content.Close())
	})
	return r
}

// Settle implements ContentHandler.
func (r *contentRig) Settle(now int64) { r.told.Store(now) }

// Content implements ContentHandler.
func (r *contentRig) Content(c *wire.Content, text []byte) {
	r.mu.Lock()
	r.pieces = append(r.pieces, piece{*c, bytes.Clone(text)})
	r.mu.Unlock()
	select {
	case r.fresh <- struct{}{}:
	default:
	}
}

// inspected is a container under a policy, whose content is taken.
func (r *contentRig) inspected(m modes, budget Budget) *testPolicy {
	r.t.Helper()
	p := r.under(m)
	var wants Directions
	if m[wire.SignalDlp] != wire.ModeOff {
		wants |= Leaving
	}
	if m[wire.SignalWaf] != wire.ModeOff {
		wants |= Entering
	}
	must(r.t, r.content.Inspect(p.id, wants, budget))
	r.t.Cleanup(func() { must(r.t, r.content.Release(p.id)) })
	return p
}

// of gives the pieces of a container that fit.
func (r *contentRig) of(container uint64, fits func(*piece) bool) []piece {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []piece
	for _, p := range r.pieces {
		if p.Head.Origin == container && fits(&p) {
			list = append(list, p)
		}
	}
	return list
}

// stream puts together what came of a container that fits: TLS in the order of its coming, TCP by sequence.
func (r *contentRig) stream(container uint64, fits func(*piece) bool) string {
	list := r.of(container, fits)
	slices.SortStableFunc(list, func(a, b piece) int { return int(int32(a.Sequence - b.Sequence)) })
	var text strings.Builder
	var next uint32
	for i, p := range list {
		if i == 0 {
			next = p.Sequence
		}
		if known := int32(next - p.Sequence); known >= 0 && int(known) < len(p.text) {
			text.Write(p.text[known:])
			next = p.Sequence + uint32(len(p.text))
		}
	}
	return text.String()
}

// wait waits until what came of a container that fits is as it should be.
func (r *contentRig) wait(container uint64, what string, fits func(*piece) bool, done func(string) bool) string {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		text := r.stream(container, fits)
		if done(text) {
			return text
		}
		select {
		case <-r.fresh:
		case <-deadline:
			for _, p := range r.of(container, func(*piece) bool { return true }) {
				r.t.Logf("via %d tls %#x cookie %d flags %#x %d->%d at %d of %d: %.60q", p.Via, p.Tls, p.Cookie, p.ContentFlags,
					p.LocalPort, p.RemotePort, p.At, p.Total, p.text)
			}
			r.t.Fatalf("%s: %d bytes came: %.200q", what, len(text), text)
		}
	}
}

// has waits for a text.
func (r *contentRig) has(container uint64, what, text string, fits func(*piece) bool) {
	r.t.Helper()
	r.wait(container, what, fits, func(got string) bool { return strings.Contains(got, text) })
}

// until waits for a condition.
func (r *contentRig) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s: %+v", what, r.content.Stats())
		}
	}
}

// untilProbed waits until some file has probes and none waits to be looked at.
func (r *contentRig) untilProbed(t *testing.T) {
	t.Helper()
	r.until(t, "a file has probes", func() bool { return r.content.Stats().Files > 0 && len(r.content.files.looks) == 0 })
}

// checkTLS looks that what came within TLS has its socket, and that nothing of the same sockets came from packets but the first.
func (r *contentRig) checkTLS(t *testing.T, container uint64) {
	t.Helper()
	sockets := map[uint64]bool{}
	for _, p := range r.of(container, func(p *piece) bool { return !plain(p) }) {
		sockets[p.Cookie] = true
		if p.Cookie == 0 || p.Tls == 0 || p.RemotePort == 0 || p.LocalPort == 0 || address(p.Family, p.Remote).String() != "127.0.0.1" {
			t.Errorf("within TLS: %+v", p.Content)
		}
	}
	first := 0
	for _, p := range r.of(container, plain) {
		switch {
		case p.is(wire.ContentTls):
			first++
		case sockets[p.Cookie]:
			t.Errorf("%d bytes of a socket with TLS came from a packet", p.Length)
		}
	}
	if first == 0 {
		t.Error("no packet with which TLS begins came")
	}
}

// testContentPrograms looks that programs are there while a container is inspected, and no longer.
func testContentPrograms(t *testing.T, r *contentRig) {
	if r.content.taking != nil {
		t.Fatal("programs are there while no container is inspected")
	}
	c := r.under(leaving)
	must(t, r.content.Inspect(c.id, Leaving, Budget{}))
	info, err := r.content.taking.programs["on_content_egress"].Info()
	must(t, err)
	id, _ := info.ID()
	if !slices.Contains(r.attached(t, ebpf.AttachCGroupInetEgress), id) {
		t.Error("no program is attached while a container is inspected")
	}
	must(t, r.content.Release(c.id))
	must(t, r.content.Release(c.id))
	if s := r.content.Stats(); r.content.taking != nil || s.Files != 0 || s.Containers != 0 {
		t.Errorf("after the last release: %+v", s)
	}
	if slices.Contains(r.attached(t, ebpf.AttachCGroupInetEgress), id) {
		t.Error("a program is attached while no container is inspected")
	}
}

// attached gives the programs that are attached to the root cgroup in a place.
func (r *contentRig) attached(t *testing.T, at ebpf.AttachType) []ebpf.ProgramID {
	t.Helper()
	root, err := os.Open(r.root)
	must(t, err)
	defer root.Close()
	found, err := link.QueryPrograms(link.QueryOptions{Target: int(root.Fd()), Attach: at})
	must(t, err)
	var list []ebpf.ProgramID
	for _, p := range found.Programs {
		list = append(list, p.ID)
	}
	return list
}

// fits checks that no program comes near what a verifier is willing to follow, a million instructions since Linux 5.2: a later one may
// follow more of the same program. Kernels tell since 5.16.
func (r *contentRig) fits() {
	r.t.Helper()
	const most = 500_000
	for name, program := range r.content.taking.programs {
		info, err := program.Info()
		must(r.t, err)
		n, told := info.VerifiedInstructions()
		if n > most {
			r.t.Errorf("program %s: the verifier followed %d instructions, at most %d", name, n, most)
		}
		if told && n > most/10 {
			r.t.Logf("program %s: the verifier followed %d instructions", name, n)
		}
	}
}
