// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math/bits"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Config sets how the engine reports.
type Config struct {
	// Window is how long equal deeds count as one, nanoseconds; default ten seconds.
	Window int64
	// Explain is asked for the nearest entry of the profile when an alert is made of a verdict; nil for nobody.
	Explain Explainer
}

// Match is a rule that an event fulfils.
type Match struct {
	Rule *Rule
	// Also are the other rules that see the same deed, where Rule is about what the policy said of it. Valid as long as the
	// slice of matches is.
	Also []*Rule
	// Count is how many equal deeds this one stands for: itself, and those that were folded since the last one was
	// reported.
	Count uint64

	explain Explainer
}

// Engine runs the rules. Not safe for concurrent use.
type Engine struct {
	cfg     Config
	rules   []Rule
	byType  [wire.TypeLimit][]*Rule
	matches []Match
	also    []*Rule
	folds   [foldSlots]fold
	folded  uint64

	findings []Rule
	verdicts []Rule
	byReason [wire.Reasons]*Rule
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
	e := &Engine{cfg: cfg, rules: rules(), findings: findingRules(), verdicts: verdictRules()}
	e.matches, e.also = make([]Match, 0, len(e.rules)), make([]*Rule, 0, len(e.rules))
	for i := range e.verdicts {
		rule := &e.verdicts[i]
		for set := rule.reasons; set != 0; set &= set - 1 {
			e.byReason[bits.TrailingZeros32(set)] = rule
		}
	}
	for i := range e.rules {
		rule := &e.rules[i]
		for set := rule.types; set != 0; set &= set - 1 {
			t := bits.TrailingZeros64(set)
			e.byType[t] = append(e.byType[t], rule)
		}
	}
	return e
}

// Rules lists the rules that look at what is done.
func (e *Engine) Rules() []Rule { return e.rules }

// Verdicts lists the rules about what policies do not allow.
func (e *Engine) Verdicts() []Rule { return e.verdicts }

// Folded counts the deeds that were not reported because an equal one had just been.
func (e *Engine) Folded() uint64 { return e.folded }

// Match gives the rules that an enriched event fulfils: of a deed that the policy does not allow, one. The slice is valid
// until the next call. It allocates nothing.
func (e *Engine) Match(ev *event.Event) []Match {
	e.matches = e.matches[:0]
	if ev.Process == nil {
		return nil
	}
	if wire.Flag(ev.Head.Flags)&report.VerdictFlags != 0 {
		return e.judged(ev)
	}
	for _, rule := range e.byType[ev.Type] {
		if !e.sees(rule, ev) {
			continue
		}
		if count, fresh := e.foldAt(foldKey(rule, ev), ev.Time); fresh {
			e.matches = append(e.matches, Match{Rule: rule, Count: count})
		}
	}
	return e.matches
}

// sees reports whether the rule holds for the event.
func (e *Engine) sees(rule *Rule, ev *event.Event) bool {
	inContainer := ev.Process.Origin != 0 || ev.Head.Origin != 0
	// Until its first exec in the container's own mounts, a process is the runtime at work.
	if inContainer && ev.Process.Execs == 0 && !ev.Process.Stub {
		return false
	}
	return (inContainer || rule.host) && rule.match(e, ev)
}

// foldKey names a deed: what a rule found a process do to a subject.
func foldKey(rule *Rule, ev *event.Event) uint64 {
	key := hashText(hashSeed, rule.Name)
	key = hashWord(key, ev.Process.Start)
	key = hashWord(key, uint64(ev.Process.PID))
	return hashWord(key, rule.subject(ev))
}

// foldAt decides whether a deed is to be reported or counts with the one before.
func (e *Engine) foldAt(key uint64, now int64) (count uint64, fresh bool) {
	slot := &e.folds[key%foldSlots]
	if slot.key == key && now-slot.time < e.cfg.Window {
		slot.count++
		e.folded++
		return 0, false
	}
	count = 1
	if slot.key == key {
		count += slot.count
	}
	*slot = fold{key: key, time: now}
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
