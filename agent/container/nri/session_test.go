// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-project/holdfast/agent/container"
)

// peer is the runtime's end of a session, which plays what a runtime sent once (testdata). A real runtime is met in
// tests/nri.
type peer struct {
	t      *testing.T
	trunk  *trunk
	stream uint32
}

// ask sends a request and returns the answer's payload and error.
func (p *peer) ask(method string, payload []byte) ([]byte, error) {
	p.t.Helper()
	p.stream += 2
	body := appendText(appendText(nil, 1, pluginServiceName), 2, method)
	body = protowire.AppendBytes(protowire.AppendTag(body, 3, protowire.BytesType), payload)
	if err := p.trunk.write(message{conn: pluginService, stream: p.stream, kind: kindRequest, body: body}); err != nil {
		p.t.Fatal(err)
	}
	m, err := p.trunk.read()
	if err != nil || m.conn != pluginService || m.stream != p.stream || m.kind != kindResponse {
		p.t.Fatalf("%s was answered with %+v, %v", method, m, err)
	}
	c, err := readCallPayload(m.body)
	return c, errors.Join(err, readReply(m.body))
}

func readCallPayload(data []byte) (payload []byte, err error) {
	err = fields(data, func(f field) error {
		if f.num == 2 {
			payload = f.bytes
		}
		return nil
	})
	return payload, err
}

// stage is a source with a registry, and the socket where a runtime listens.
type stage struct {
	t        *testing.T
	source   *Source
	registry *container.Registry
	listener net.Listener

	mu    sync.Mutex
	ready func(context.Context, *container.Container) error
	asked []*container.Container
}

func newStage(t *testing.T, wait time.Duration) *stage {
	t.Helper()
	s := &stage{t: t, ready: func(context.Context, *container.Container) error { return nil }}
	var err error
	if s.registry, err = container.New(container.Config{Node: "node-1"}); err != nil {
		t.Fatal(err)
	}
	feed, err := s.registry.Feed("nri", container.RankNRI)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "nri.sock")
	if s.listener, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	s.source, err = New(Config{Socket: socket, Feed: feed, Wait: wait, Ready: func(ctx context.Context, c *container.Container) error {
		s.mu.Lock()
		s.asked = append(s.asked, c)
		ready := s.ready
		s.mu.Unlock()
		return ready(ctx, c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = s.listener.Close()
	})
	return s
}

// setReady sets what making a container ready does.
func (s *stage) setReady(ready func(context.Context, *container.Container) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// accept takes the next session up to the point where the plugin is at work.
func (s *stage) accept(listings ...[]byte) *peer {
	s.t.Helper()
	conn, err := s.listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	p := &peer{t: s.t, trunk: newTrunk(conn), stream: 1}
	m, err := p.trunk.read()
	if err != nil || m.conn != runtimeService {
		s.t.Fatalf("%+v, %v", m, err)
	}
	c, err := readCall(m.body)
	if err != nil || c.method != "RegisterPlugin" {
		s.t.Fatalf("registers by %+v, %v", c, err)
	}
	if err := p.trunk.write(message{conn: runtimeService, stream: m.stream, kind: kindResponse}); err != nil {
		s.t.Fatal(err)
	}
	events, err := p.ask("Configure", recorded(s.t, "configure"))
	if err != nil || string(events) != string(appendNumber(nil, 2, 0x428)) {
		s.t.Fatalf("asks for the events %x, %v", events, err)
	}
	for _, l := range listings {
		if _, err := p.ask("Synchronize", l); err != nil {
			s.t.Fatal(err)
		}
	}
	return p
}

func (s *stage) state() string { return s.registry.Sources()[0].State }

func TestContainerIsReadyBeforeTheRuntimeGoesOn(t *testing.T) {
	s := newStage(t, time.Minute)
	if s.state() != "off" {
		t.Errorf("before the first session the source is %s", s.state())
	}
	p := s.accept(nil)
	released := make(chan struct{})
	s.setReady(func(ctx context.Context, _ *container.Container) error {
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	time.AfterFunc(20*time.Millisecond, func() { close(released) })
	if payload, err := p.ask("CreateContainer", recorded(t, "create")); err != nil || len(payload) != 0 {
		t.Errorf("answered with %x, %v", payload, err)
	}
	select {
	case <-released:
	default:
		t.Error("the runtime went on before the container was ready")
	}
	c := s.asked[0]
	if c.ID != recordedID || c.Namespace != "shop" || c.Pod != "web" || c.Cgroup != 0 || c.Annotations["holdfast.dev/mode"] != "enforce" || c.Workload != "web" {
		t.Errorf("made ready: %+v", c)
	}
	for key := range c.Annotations {
		if strings.HasPrefix(key, runtimeNotes) {
			t.Errorf("the runtime's annotation %s is the pod's", key)
		}
	}
	if got := s.source.Stats(); got.Announced != 1 || got.Ready != 1 || got.Waited == 0 || s.state() != "up" {
		t.Errorf("%+v, %s", got, s.state())
	}
}

// TestContainersAreNeverRefused has everything go wrong: the runtime goes on each time.
func TestContainersAreNeverRefused(t *testing.T) {
	s := newStage(t, 40*time.Millisecond)
	p := s.accept(nil)
	stuck := func(ctx context.Context, _ *container.Container) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, step := range []struct {
		name, method string
		payload      []byte
		ready        func(context.Context, *container.Container) error
		count        func(Stats) uint64
	}{
		{"late", "CreateContainer", recorded(t, "create"), stuck, func(s Stats) uint64 { return s.Late }},
		{"failed", "StartContainer", recorded(t, "start"), func(context.Context, *container.Container) error { return errors.New("no room") }, func(s Stats) uint64 { return s.Failed }},
		{"garbage", "CreateContainer", []byte{0xff, 0xff}, stuck, func(s Stats) uint64 { return s.BadMessages }},
		{"garbage at the start", "StartContainer", []byte("no message"), stuck, func(s Stats) uint64 { return s.BadMessages - 1 }},
		{"garbage at the end", "RemoveContainer", []byte{0x08}, stuck, func(s Stats) uint64 { return s.BadMessages - 2 }},
		{"garbage change", "StateChange", []byte{0x08, eventStartContainer, 0xff}, stuck, func(s Stats) uint64 { return s.BadMessages - 3 }},
	} {
		s.setReady(step.ready)
		if payload, err := p.ask(step.method, step.payload); err != nil || len(payload) != 0 {
			t.Errorf("%s: answered with %x, %v", step.name, payload, err)
		}
		if got := s.source.Stats(); step.count(got) != 1 {
			t.Errorf("%s: %+v", step.name, got)
		}
	}
	if _, err := p.ask("UpdateContainer", nil); err == nil || !strings.Contains(err.Error(), `no method "UpdateContainer"`) {
		t.Errorf("a request that was not asked for: %v", err)
	}
}

// TestWaitShrinks has one answer after the other come late: they hold up less and less, and one in time ends that.
func TestWaitShrinks(t *testing.T) {
	s := newStage(t, 32*time.Millisecond)
	p := s.accept(nil)
	var waits []time.Duration
	s.setReady(func(ctx context.Context, _ *container.Container) error {
		waits = append(waits, time.Duration(s.source.wait.Load()))
		if len(waits) == 5 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	for range 6 {
		if _, err := p.ask("CreateContainer", recorded(t, "create")); err != nil {
			t.Fatal(err)
		}
	}
	want := []time.Duration{32, 16, leastWait / time.Millisecond, leastWait / time.Millisecond, leastWait / time.Millisecond, 32}
	for i, w := range want {
		if waits[i] != w*time.Millisecond {
			t.Fatalf("waits %v", waits)
		}
	}
}

// TestSessionsFollowOneAnother ends sessions in bad ways, and has the next one tell what there is in two parts.
func TestSessionsFollowOneAnother(t *testing.T) {
	s := newStage(t, time.Minute)
	p := s.accept(recorded(t, "synchronize"))
	if n := s.registry.Stats().Records; n != 2 {
		t.Fatalf("%d containers are known, want the pod's and one in it", n)
	}
	if _, err := p.trunk.conn.Write(frame(pluginService, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, kindRequest, 0})); err != nil {
		t.Fatal(err)
	}
	if _, err := p.trunk.read(); err == nil {
		t.Fatal("a session goes on after a message that is too large")
	}
	all, more := recorded(t, "synchronize"), appendNumber(nil, 3, 1)
	list, err := readListing(all)
	if err != nil {
		t.Fatal(err)
	}
	podOnly := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), appendText(nil, 1, list.pods[0].id))
	p = s.accept()
	for _, part := range []struct {
		data []byte
		more bool
	}{{append(podOnly, more...), true}, {all, false}} {
		answer, err := p.ask("Synchronize", part.data)
		if err != nil || (string(answer) == string(synchronized(true))) != part.more {
			t.Errorf("a part was answered with %x, %v", answer, err)
		}
	}
	if got := s.source.Stats(); got.Connects != 2 || s.state() != "up" || s.registry.Stats().Records != 2 {
		t.Errorf("%+v, %s, %+v", got, s.state(), s.registry.Stats())
	}
	// What the next listing does not have is gone.
	_ = p.trunk.conn.Close()
	p = s.accept(nil)
	if _, err := p.ask("RemoveContainer", recorded(t, "create")); err != nil {
		t.Error(err)
	}
	if n := s.registry.Stats().Retained; n != 2 {
		t.Errorf("%d containers are kept for late events, want the two that have gone", n)
	}
}

// TestAnnouncedAndNeverMade has a container announced that no cgroup comes of.
func TestAnnouncedAndNeverMade(t *testing.T) {
	s := newStage(t, time.Minute)
	p := s.accept(nil)
	if _, err := p.ask("CreateContainer", recorded(t, "create")); err != nil {
		t.Fatal(err)
	}
	s.source.sweep(time.Now().Add(announcement / 2))
	if n := s.registry.Stats().Retained; n != 0 {
		t.Error("it was forgotten before its time")
	}
	s.source.sweep(time.Now().Add(2 * announcement))
	if n := s.registry.Stats().Retained; n != 1 || len(s.source.announced) != 0 {
		t.Errorf("%d of one announced container were given up, %d are remembered", n, len(s.source.announced))
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a source without a feed is made")
	}
}
