// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary runs itself as the process that is killed.
const (
	childEnv     = "SPOOL_TEST_CHILD"
	childDirEnv  = "SPOOL_TEST_DIR"
	childSeedEnv = "SPOOL_TEST_SEED"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "open":
		if _, err := Open(small(os.Getenv(childDirEnv))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "append":
		if err := appendUntilKilled(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
}

func killConfig(dir string) Config {
	cfg := small(dir)
	cfg.MaxBytes, cfg.SegmentBytes, cfg.BufferBytes = 64<<20, 16<<10, 64<<10
	return cfg
}

// appendUntilKilled appends, reads and acknowledges, and says what it was promised
// on stdout: "d seq payload" is durable, "r epoch seq payload" was delivered, "a
// epoch seq" is about to be acknowledged.
func appendUntilKilled() error {
	s, err := Open(killConfig(os.Getenv(childDirEnv)))
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(os.Getenv(childSeedEnv), 10, 64)
	if err != nil {
		return err
	}
	ctx := context.Background()
	// One write a line: a killed process loses nothing that it has said.
	say := func(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
	say("o %d", s.Epoch())
	errs := make(chan error, 8)
	go func() { errs <- s.Run(ctx) }()
	for w := range 4 {
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := 0; ; i++ {
				p := fmt.Sprintf("%d-%d-%d-%s", seed, w, i, strings.Repeat("x", rnd.IntN(900)))
				if rnd.IntN(4) == 0 {
					if _, err := s.Append([]byte(p)); err != nil && !errors.Is(err, ErrFull) {
						errs <- err
						return
					}
					continue
				}
				seq, err := s.AppendSync(ctx, []byte(p))
				if err != nil {
					errs <- err
					return
				}
				say("d %d %s", seq, p)
			}
		}()
	}
	go func() {
		rnd := rand.New(rand.NewPCG(seed, 99))
		var b Batch
		for {
			if err := s.Next(ctx, &b, 1+rnd.IntN(30), 8<<10); err != nil {
				errs <- err
				return
			}
			for _, r := range b.Records {
				say("r %d %d %s", b.Epoch, r.Seq, r.Payload)
			}
			for _, l := range b.Losses {
				say("l %d %d %d %d", b.Epoch, l.First, l.Last, l.Cause)
			}
			if seed%20 == 7 && rnd.IntN(3) == 0 {
				say("a %d %d", b.Epoch, b.Last)
				if err := s.Ack(b.Epoch, b.Last); err != nil {
					errs <- err
					return
				}
			}
		}
	}()
	return <-errs
}

// witness holds what killed processes were promised.
type witness struct {
	epoch   uint64
	durable map[pos]string
	seen    map[pos]string // delivered or durable: a sequence and its only payload
	lost    map[pos]Cause
	acked   pos
}

func (w *witness) hear(line string) error {
	f := strings.Split(line, " ")
	num := func(i int) uint64 {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			panic(fmt.Sprintf("line %q: %v", line, err))
		}
		return n
	}
	once := func(p pos, payload string) error {
		if old, ok := w.seen[p]; ok && old != payload {
			return fmt.Errorf("sequence %d was used for %.40q and %.40q", p.seq, old, payload)
		}
		w.seen[p] = payload
		return nil
	}
	switch f[0] {
	case "o":
		if w.epoch != 0 && w.epoch != num(1) {
			return errors.New("kill -9 changed the epoch")
		}
		w.epoch = num(1)
	case "d":
		w.durable[pos{w.epoch, num(1)}] = f[2]
		return once(pos{w.epoch, num(1)}, f[2])
	case "r":
		return once(pos{num(1), num(2)}, f[3])
	case "l":
		for seq := num(2); seq <= num(3); seq++ {
			w.lost[pos{num(1), seq}] = Cause(num(4))
		}
	case "a":
		w.acked = pos{num(1), max(w.acked.seq, num(2))}
	default:
		return fmt.Errorf("line %.80q", line)
	}
	return nil
}

// TestKill9 kills a process that appends, reads and acknowledges, at random points,
// again and again on the same directory. What was durable must be there exactly
// once unless it was acknowledged, and no sequence may be used for two records.
func TestKill9(t *testing.T) {
	kills := 120
	if testing.Short() {
		kills = 20
	}
	dir := t.TempDir()
	w := &witness{durable: map[pos]string{}, seen: map[pos]string{}, lost: map[pos]Cause{}}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))
	for i := range kills {
		killOnce(t, w, dir, i, time.Duration(rnd.IntN(25_000))*time.Microsecond)
		if i%10 == 9 { // a clean pass between
			mustClose(t, mustOpen(t, killConfig(dir)))
		}
	}
	var damage []Damage
	cfg := killConfig(dir)
	cfg.OnDamage = func(d Damage) { damage = append(damage, d) }
	s := mustOpen(t, cfg)
	g := newGot()
	acked := s.Stats().Acked
	g.read(t, s, false)
	missing := 0
	for p, want := range w.durable {
		if have, ok := g.records[p]; p.seq > acked && (!ok || have != want) {
			missing++
		}
		if c, ok := w.lost[p]; ok {
			t.Errorf("durable sequence %d was reported lost: %v", p.seq, c)
		}
	}
	for p, have := range g.records {
		if old, ok := w.seen[p]; ok && old != have {
			t.Errorf("sequence %d holds %.40q, was %.40q", p.seq, have, old)
		}
	}
	if acked > w.acked.seq {
		t.Errorf("acknowledged %d, but only %d was", acked, w.acked.seq)
	}
	st := s.Stats()
	if missing > 0 || g.twice > 0 || st.Lost[CauseCorrupt] > 0 {
		t.Errorf("%d durable records missing, %d twice, stats %+v, damage %v", missing, g.twice, st, damage)
	}
	t.Logf("%d kills: %d records promised durable, %d delivered or durable, %d left unacknowledged, 0 missing, 0 twice, 0 sequences reused; crash losses %d, next sequence %d",
		kills, len(w.durable), len(w.seen), len(g.records), g.lost()[CauseCrash], st.Next)
}

func killOnce(t *testing.T, w *witness, dir string, i int, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=append", childDirEnv+"="+dir, fmt.Sprintf("%s=%d", childSeedEnv, i))
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	var once sync.Once
	kill := func() { _ = cmd.Process.Kill() }
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // the rest of a line that was cut off promises nothing
			break
		}
		once.Do(func() { timer = time.AfterFunc(after, kill) })
		if err := w.hear(strings.TrimSuffix(line, "\n")); err != nil {
			t.Errorf("kill %d: %v", i, err)
		}
	}
	if timer != nil {
		timer.Stop()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() || stderr.Len() > 0 {
		t.Fatalf("child %d was not killed: %v: %s", i, err, stderr.Bytes())
	}
}
