// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// Bounds of what waits: requests in all, and of one container.
const (
	maxWaiting     = 128
	maxOfContainer = 32
)

// Config makes a Stage.
type Config struct {
	// Rules are the settings of the rules. MaxBody counts for nothing: requests come cut.
	Rules crs.Config
	// Percent is how much of one processor the rules may take, over a second or longer: 1 to 100.
	Percent int
	// Found takes findings, on Run's goroutine. It must not wait. What stands around the evidence is not masked: content.Reader.Shown.
	Found  func(content.Found)
	Logger *slog.Logger
}

// Stage evaluates requests. Use New.
type Stage struct {
	cfg  Config
	wake chan struct{}

	// mu guards queue.
	mu    sync.Mutex
	queue queue

	// What follows belongs to Run's goroutine.
	budget  budget
	attacks *dlp.Attacks
	rules   map[int]*waf.Rule

	counts counts
}

type counts struct{ evaluated, attacks, cut, full, failed, used atomic.Uint64 }

// Stats is what a stage did and gave up.
type Stats struct {
	// Evaluated requests, Attacks among them, and Cut of which a part only; Full for which there was no room, and Failed that could
	// not be evaluated.
	Evaluated, Attacks, Cut, Full, Failed uint64
	// Used is the processor time of the rules, without what collects their garbage.
	Used time.Duration
}

// New makes a stage. An error says what of the settings is out of range.
func New(cfg Config) (*Stage, error) {
	if cfg.Found == nil || cfg.Logger == nil {
		return nil, errors.New("core rule set: a taker of findings and a logger are needed")
	}
	if cfg.Percent < 1 || cfg.Percent > 100 {
		return nil, fmt.Errorf("core rule set: %d%% of a processor: it is 1 to 100", cfg.Percent)
	}
	if err := cfg.Rules.Check(); err != nil {
		return nil, err
	}
	return &Stage{
		cfg: cfg, wake: make(chan struct{}, 1), queue: queue{most: maxWaiting, each: maxOfContainer, of: map[uint64][]*content.Request{}},
		attacks: dlp.NewAttacks(dlp.AttacksConfig{}), rules: map[int]*waf.Rule{},
	}, nil
}

// Stats may be called from any goroutine.
func (s *Stage) Stats() Stats {
	c := &s.counts
	return Stats{
		Evaluated: c.evaluated.Load(), Attacks: c.attacks.Load(), Cut: c.cut.Load(), Full: c.full.Load(), Failed: c.failed.Load(),
		Used: time.Duration(c.used.Load()),
	}
}

// Take takes a request for evaluation, or counts it where too many wait. It does not wait; any goroutine may call it.
func (s *Stage) Take(r *content.Request) {
	s.mu.Lock()
	ok := s.queue.put(r)
	s.mu.Unlock()
	if !ok {
		s.counts.full.Add(1)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Stage) take() *content.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.take()
}

// Run evaluates what comes until the context ends. With rules that cannot be loaded it goes on, and counts requests as failed.
func (s *Stage) Run(ctx context.Context) error {
	// What the rules use is told by the thread's clock, and the thread ends with them.
	runtime.LockOSThread()
	s.budget = budget{percent: int64(s.cfg.Percent), earned: time.Now()}
	var engine *crs.Engine
	var broken error
	for {
		r := s.take()
		if r == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-s.wake:
			}
			continue
		}
		if !s.rest(ctx) {
			return nil
		}
		before, err := threadTime()
		if err != nil {
			return err
		}
		if engine == nil && broken == nil {
			if engine, broken = crs.New(s.cfg.Rules); broken != nil {
				s.cfg.Logger.Error("the core rule set is not applied", "error", broken)
			}
		}
		if engine == nil {
			s.counts.failed.Add(1)
			continue
		}
		s.evaluate(engine, r)
		after, err := threadTime()
		if err != nil {
			return err
		}
		s.budget.spend(after - before)
		s.counts.used.Add(uint64(after - before))
	}
}

// rest waits until there is something to spend; false says that the context has ended.
func (s *Stage) rest(ctx context.Context) bool {
	for ctx.Err() == nil {
		wait := s.budget.wait(time.Now())
		if wait == 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
	return false
}
