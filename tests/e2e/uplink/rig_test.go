// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/uplink"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/ingest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// node is the name of the agents of these tests.
const node = "node-1"

// patience is how long a test waits for what takes a moment, on a machine that is busy with something else.
const patience = 30 * time.Second

// collector is the collector's parts that agents meet, in this process, so that a test can choose how long certificates
// last.
type collector struct {
	store     *sqlite.Store
	authority *authority.Authority
	fleet     *fleet.Fleet
	address   string
	log       *logs
	stop      func()
}

// startCollector serves a directory, on an address that it had before or on a new one.
func startCollector(t *testing.T, dir, address string, ttl time.Duration) *collector {
	t.Helper()
	c := &collector{log: &logs{}}
	logger := slog.New(slog.NewTextHandler(c.log, nil))
	var err error
	if c.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Log: logger}); err != nil {
		t.Fatal(err)
	}
	if c.authority, err = authority.Open(authority.Config{Dir: dir, Store: c.store, LeafTTL: ttl}); err != nil {
		t.Fatal(err)
	}
	if c.fleet, err = fleet.New(t.Context(), fleet.Config{Store: c.store, Log: logger, Every: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	server, err := ingest.New(ingest.Config{
		Authority: c.authority, Fleet: c.fleet, Store: c.store, Log: logger, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t, address)
	c.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return server.Run(ctx, listener) },
		server.Alerts().Run, server.Records().Run, server.Refusals().Run, c.fleet.Run,
	} {
		group.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("collector: %v", err)
			}
		})
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if err := c.store.Close(); err != nil {
			t.Errorf("close the collector's store: %v", err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// listen gives a listener on the address, or on a free port. A port that was in use a moment ago may take a while.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	var listener net.Listener
	wait.Until(t, 10*time.Second, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		return err
	})
	return listener
}

// token makes a join token and gives a file that holds it.
func (c *collector) token(t *testing.T, g authority.Grant) string {
	t.Helper()
	g.Role = store.RoleJoin
	if g.Uses == 0 {
		g.Uses = 1
	}
	text, _, err := c.authority.CreateToken(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, text+"\n")
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// agent is an uplink with its spools.
type agent struct {
	*uplink.Uplink
	dir             string
	alerts, records *spool.Spool
	tails           *tail.Hub
	policies        chan *apiv1.RecordPolicy
	log             *logs
	// ended gives what Run returned.
	ended chan error
	stop  func()
}

// newAgent makes an agent in a directory without running it.
func newAgent(t *testing.T, dir, name, address, token string) (*agent, error) {
	t.Helper()
	a := &agent{dir: dir, tails: tail.New(), policies: make(chan *apiv1.RecordPolicy, 100), log: &logs{}, ended: make(chan error, 1)}
	a.alerts, a.records = openSpool(t, dir, "alerts"), openSpool(t, dir, "records")
	var err error
	a.Uplink, err = uplink.New(uplink.Config{
		Address: address, Node: name, DataDir: dir, JoinTokenFile: token, Alerts: a.alerts, Records: a.records,
		Hello:          func() *apiv1.Hello { return &apiv1.Hello{AgentVersion: "test", KernelRelease: "6.1"} },
		Health:         func() *apiv1.Health { return &apiv1.Health{TimeNs: time.Now().UnixNano(), Containers: 7} },
		OnRecordPolicy: func(p *apiv1.RecordPolicy) { a.policies <- p },
		Tails:          a.tails, Logger: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return a, err
}

func openSpool(t *testing.T, dir, name string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, name), SyncEvery: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, spool.ErrClosed) {
			t.Errorf("close the spool of %s: %v", name, err)
		}
	})
	return s
}

// startAgent runs an agent until the test ends, or stop is called.
func startAgent(t *testing.T, dir, name, address, token string) *agent {
	t.Helper()
	a, err := newAgent(t, dir, name, address, token)
	if err != nil {
		t.Fatal(err)
	}
	a.run(t)
	return a
}

func (a *agent) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, s := range []*spool.Spool{a.alerts, a.records} {
		group.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("spool: %v", err)
			}
		})
	}
	group.Go(func() { a.ended <- a.Run(ctx) })
	a.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		for _, s := range []*spool.Spool{a.alerts, a.records} {
			if err := s.Close(); err != nil {
				t.Errorf("close the spool: %v", err)
			}
		}
	})
	t.Cleanup(a.stop)
}

// alert appends an alert with a number in its output.
func (a *agent) alert(t *testing.T, number int) {
	t.Helper()
	appendTo(t, a.alerts, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
		Rule: "test", Priority: apiv1.Priority_PRIORITY_WARNING, Output: fmt.Sprint(number), Count: 1,
		Event: &apiv1.Event{Type: "exec", TimeNs: time.Now().UnixNano()},
	}}})
}

// record appends an event with a number as its pid.
func (a *agent) record(t *testing.T, number int) {
	t.Helper()
	appendTo(t, a.records, &apiv1.Record{Record: &apiv1.Record_Event{Event: &apiv1.Event{
		Type: "exec", TimeNs: time.Now().UnixNano(), Process: &apiv1.Process{Pid: uint32(number)},
	}}})
}

func appendTo(t *testing.T, s *spool.Spool, r *apiv1.Record) {
	t.Helper()
	payload, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(payload); err != nil {
		t.Fatal(err)
	}
}

// numbers counts how often each alert is stored.
func numbers(t *testing.T, s store.Reader) map[string]int {
	t.Helper()
	found := map[string]int{}
	q := store.Query{Lane: apiv1.Lane_LANE_ALERTS, Limit: store.MaxLimit}
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Rows {
			found[row.Record.GetAlert().GetOutput()]++
		}
		if page.Next == "" {
			return found
		}
		q.After = page.Next
	}
}

// exactlyOnce checks that the alerts 0 to n-1 are stored once each, and that nothing else is.
func exactlyOnce(t *testing.T, s store.Reader, n int) {
	t.Helper()
	found := numbers(t, s)
	for i := range n {
		if found[fmt.Sprint(i)] != 1 {
			t.Errorf("alert %d is stored %d times", i, found[fmt.Sprint(i)])
		}
	}
	if len(found) != n {
		t.Errorf("%d different alerts are stored, expected %d", len(found), n)
	}
	losses, err := s.(store.Lines).Losses(t.Context(), apiv1.Lane_LANE_ALERTS)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		t.Errorf("lost: %+v", l)
	}
}

// connected waits until the agent is connected.
func (a *agent) connected(t *testing.T) {
	t.Helper()
	wait.Until(t, 15*time.Second, func() error {
		if s := a.Stats(); !s.Connected {
			return fmt.Errorf("not connected: %v", s.LastError)
		}
		return nil
	})
}

// delivered waits until everything that was appended is acknowledged.
func (a *agent) delivered(t *testing.T) {
	t.Helper()
	for _, s := range []*spool.Spool{a.alerts, a.records} {
		wait.Until(t, 30*time.Second, func() error {
			if err := s.Sync(t.Context()); err != nil {
				return err
			}
			if st := s.Stats(); st.Backlog > 0 {
				return fmt.Errorf("%d records are not acknowledged: %+v", st.Backlog, a.Stats())
			}
			return nil
		})
	}
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is io.Writer.Write.
func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
