// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// childDir is the environment variable that makes the test binary a collector on a data directory.
const childDir = "HOLDFAST_TEST_COLLECTOR_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild serves until it is killed. Files are small, so that many of them are begun and dropped on the way.
func runChild(dir string) error {
	c, err := collector.New(context.Background(), collector.Config{
		DataDir: dir, GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0",
		Alerts: sqlite.Bounds{Bytes: 64 << 20}, Records: sqlite.Bounds{Bytes: 64 << 20},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	fmt.Println(c.GRPCAddr())
	return c.Run(context.Background())
}

// child is a collector in a process of its own.
type child struct {
	cmd     *exec.Cmd
	address string
}

func startChild(t *testing.T, dir string) child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the collector did not start: %v", errors.Join(err, cmd.Wait()))
	}
	return child{cmd: cmd, address: strings.TrimSpace(line)}
}

// kill is kill -9.
func (c child) kill(t *testing.T) {
	t.Helper()
	check(t, c.cmd.Process.Kill())
	// That it was killed is no news.
	_ = c.cmd.Wait()
}

// sender is an agent with a spool of its own for one lane: it goes on sending behind what was acknowledged.
type sender struct {
	agent   *collectortest.Agent
	lane    apiv1.Lane
	address atomic.Pointer[string]
	acked   atomic.Uint64
	total   atomic.Uint64
	again   atomic.Uint64
}

// run sends until ctx ends, over as many streams as it takes.
func (s *sender) run(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		a := *s.agent
		a.Address = *s.address.Load()
		stream, _, err := a.Connect(ctx, &apiv1.Position{Lane: s.lane, Epoch: 3, Acked: s.acked.Load()})
		if err != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		s.again.Add(1)
		s.push(ctx, t, stream)
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	}
}

// push sends batches of all sizes, a few ahead of what is acknowledged, until the stream ends.
func (s *sender) push(ctx context.Context, t *testing.T, stream *collectortest.Stream) {
	next := s.acked.Load() + 1
	for ctx.Err() == nil {
		for ahead := 0; ahead < 4; ahead++ {
			n := 1 + rand.IntN(40)
			if err := stream.Say(batch(t, s.lane, 3, next, n)); err != nil {
				return
			}
			next += uint64(n)
			s.total.Store(max(s.total.Load(), next-1))
		}
		ack, err := stream.Ack(s.lane, 3, s.acked.Load()+1)
		if err != nil {
			return
		}
		s.acked.Store(ack.GetAcked())
	}
}

// TestKilled kills a collector again and again while agents send, and then counts: every record that was ever
// acknowledged is stored, and none twice.
func TestKilled(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 8
	}
	dir := t.TempDir()
	first := collectortest.Start(t, collector.Config{DataDir: dir})
	senders := []*sender{
		{agent: first.Enrol(t, "a"), lane: alerts}, {agent: first.Enrol(t, "b"), lane: alerts}, {agent: first.Enrol(t, "c"), lane: records},
	}
	first.Stop(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	for i := range kills {
		c := startChild(t, dir)
		for _, s := range senders {
			s.address.Store(&c.address)
			if i == 0 {
				group.Go(func() { s.run(ctx, t) })
			}
		}
		if i%4 == 0 {
			// Most collectors die at any moment; every fourth has done something first.
			before := senders[0].acked.Load()
			wait.True(t, patience, "an acknowledgement", func() bool { return senders[0].acked.Load() > before })
		}
		time.Sleep(time.Duration(30+rand.IntN(200)) * time.Millisecond)
		c.kill(t)
	}
	cancel()
	group.Wait()

	s, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	check(t, err)
	defer s.Close()
	for _, sent := range senders {
		stored := sequences(t, s, sent.lane, sent.agent.Node)
		acked, last := sent.acked.Load(), uint64(len(stored))
		if acked > last || last > sent.total.Load() || acked == 0 {
			t.Errorf("%s: %d stored, %d acknowledged, %d sent", sent.agent.Node, last, acked, sent.total.Load())
		}
		for i := range last {
			if stored[i+1] != 1 {
				t.Fatalf("%s: record %d is stored %d times", sent.agent.Node, i+1, stored[i+1])
			}
		}
		t.Logf("%s: %d sent, %d acknowledged, %d stored once each, over %d streams and %d kills",
			sent.agent.Node, sent.total.Load(), acked, last, sent.again.Load(), kills)
		losses, err := s.Losses(t.Context(), sent.lane)
		check(t, err)
		if len(losses) != 0 {
			t.Errorf("losses: %v", losses)
		}
	}
}

// sequences counts how often each sequence of a node is stored.
func sequences(t *testing.T, s store.Store, lane apiv1.Lane, node string) map[uint64]int {
	t.Helper()
	seen := map[uint64]int{}
	q := store.Query{Lane: lane, Filter: store.Filter{Node: node}, Limit: store.MaxLimit}
	for {
		page, err := s.List(t.Context(), q)
		check(t, err)
		for _, row := range page.Rows {
			seen[row.Sequence]++
		}
		if q.After = page.Next; q.After == "" {
			return seen
		}
	}
}

// TestTokenBeside makes a token in one process while another serves.
func TestTokenBeside(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	defer c.kill(t)
	s, err := sqlite.OpenState(t.Context(), dir)
	check(t, err)
	defer s.Close()
	a, err := authority.Open(authority.Config{Dir: dir, Store: s})
	check(t, err)
	token, _, err := a.CreateToken(t.Context(), authority.Grant{Role: store.RoleJoin, Uses: 1})
	check(t, err)
	_, err = collectortest.Enrol(timeout(t), c.address, token, "node-1")
	check(t, err)
}
