// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math/bits"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Config sets how the engine reports.
type Config struct {
	// Window is how long equal deeds count as one, nanoseconds; default ten seconds.
	Window int64
}

// Match is a rule that an event fulfils.
type Match struct {
	Rule *Rule
	// Count is how many equal deeds this one stands for: itself, and those that were folded since the last one was
	// reported.
	Count uint64
}

// Engine runs the rules. Not safe for concurrent use.
type Engine struct {
	cfg     Config
	rules   []Rule
	byType  [wire.TypeLimit][]*Rule
	matches []Match
	folds   [foldSlots]fold
	folded  uint64
}

// foldSlots bounds what is remembered of deeds just reported. A deed that finds its place taken by a fresher one is
// reported again, never lost.
const foldSlots = 4096

type fold struct {
	key   uint64
	time  int64
	count uint64
}

// New makes an engine with the rules of this package.
func New(cfg Config) *Engine {
	if cfg.Window == 0 {
		cfg.Window = 10e9
	}
	e := &Engine{cfg: cfg, rules: rules()}
	e.matches = make([]Match, 0, len(e.rules))
	for i := range e.rules {
		rule := &e.rules[i]
		for set := rule.types; set != 0; set &= set - 1 {
			t := bits.TrailingZeros64(set)
			e.byType[t] = append(e.byType[t], rule)
		}
	}
	return e
}

// Rules lists the rules.
func (e *Engine) Rules() []Rule { return e.rules }

// Folded counts the deeds that were not reported because an equal one had just been.
func (e *Engine) Folded() uint64 { return e.folded }

// Match gives the rules that an enriched event fulfils. The slice is valid until the next call. It allocates nothing.
func (e *Engine) Match(ev *event.Event) []Match {
	e.matches = e.matches[:0]
	candidates := e.byType[ev.Type]
	if len(candidates) == 0 || ev.Process == nil {
		return nil
	}
	inContainer := ev.Process.Origin != 0 || ev.Head.Origin != 0
	// Until its first exec in the container's own mounts, a process is the runtime at work.
	if inContainer && ev.Process.Execs == 0 && !ev.Process.Stub {
		return nil
	}
	for _, rule := range candidates {
		if !inContainer && !rule.host || !rule.match(e, ev) {
			continue
		}
		if count, report := e.fold(rule, ev); report {
			e.matches = append(e.matches, Match{Rule: rule, Count: count})
		}
	}
	return e.matches
}

// fold decides whether the deed is reported or counts with the one before.
func (e *Engine) fold(rule *Rule, ev *event.Event) (count uint64, report bool) {
	key := hashText(hashSeed, rule.Name)
	key = hashWord(key, ev.Process.Start)
	key = hashWord(key, uint64(ev.Process.PID))
	key = hashWord(key, rule.subject(ev))
	slot := &e.folds[key%foldSlots]
	if slot.key == key && ev.Time-slot.time < e.cfg.Window {
		slot.count++
		e.folded++
		return 0, false
	}
	count = 1
	if slot.key == key {
		count += slot.count
	}
	*slot = fold{key: key, time: ev.Time}
	return count, true
}

const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hashWord(h, w uint64) uint64 {
	h = (h ^ w) * hashPrime
	return h ^ h>>29
}

func hashText[T string | []byte](h uint64, text T) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * hashPrime
	}
	return h ^ h>>29
}
