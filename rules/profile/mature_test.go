// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"strings"
	"testing"
	"time"
)

func TestAssess(t *testing.T) {
	begin := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	for _, c := range []struct {
		name    string
		signals map[Signal]Learning
		now     time.Duration
		running uint32
		want    State
		reasons string
	}{
		{"nothing at all", nil, time.Hour, 1, StateLearning, "nothing was observed yet"},
		{"something new just now", map[Signal]Learning{SignalFile: {Observed: 5000, Replicas: 1, Since: begin, New: at(time.Hour)}},
			time.Hour + time.Second, 1, StateLearning,
			"new behaviour just now; quiet for 1 s of 15 min; the next deed is new with a chance of 0%; 1 of 1 replicas"},
		{"new 3 minutes ago", map[Signal]Learning{SignalFile: {Observed: 100, Once: 5, Replicas: 2, Since: begin, New: at(time.Hour)}},
			time.Hour + 3*time.Minute, 2, StateLearning,
			"new behaviour 3 min ago; quiet for 3 min of 15 min; the next deed is new with a chance of 5%, 0.1% is the bound; 2 of 2 replicas"},
		{"quiet, but not known well enough", map[Signal]Learning{SignalFile: {Observed: 100, Once: 5, Replicas: 2, Since: begin, New: at(time.Hour)}},
			3 * time.Hour, 2, StateStabilising,
			"new behaviour 2 h ago; the next deed is new with a chance of 5%, 0.1% is the bound; 2 of 2 replicas"},
		{"quiet and known, but of one replica", map[Signal]Learning{SignalFile: {Observed: 10000, Once: 5, Replicas: 1, Since: begin, New: at(time.Hour)}},
			3 * time.Hour, 5, StateStabilising,
			"new behaviour 2 h ago; the next deed is new with a chance of 0.05%; 1 of 3 replicas"},
		{"stable", map[Signal]Learning{SignalFile: {Observed: 10000, Once: 5, Replicas: 4, Since: begin, New: at(time.Hour)}},
			3 * time.Hour, 5, StateStable,
			"new behaviour 2 h ago; the next deed is new with a chance of 0.05%; 3 of 3 replicas"},
		{"what is seen once a start", map[Signal]Learning{SignalFile: {Observed: 4, Once: 4, Replicas: 1, Since: begin, New: at(time.Minute)}},
			25 * time.Hour, 1, StateStable,
			"new behaviour 24 h ago; too little is done for an estimate, but nothing new for long; 1 of 1 replicas"},
		{"the longer it took, the longer it must be quiet", map[Signal]Learning{SignalFile: {Observed: 1e6, Replicas: 1, Since: begin, New: at(40 * time.Hour)}},
			49 * time.Hour, 1, StateLearning,
			"new behaviour 9 h ago; quiet for 9 h of 10 h; the next deed is new with a chance of 0%; 1 of 1 replicas"},
		{"but no longer than patience", map[Signal]Learning{SignalFile: {Observed: 1e6, Replicas: 1, Since: begin, New: at(1000 * time.Hour)}},
			1025 * time.Hour, 1, StateStable,
			"new behaviour 25 h ago; the next deed is new with a chance of 0%; 1 of 1 replicas"},
		{"loss", map[Signal]Learning{SignalFile: {Observed: 1e6, Replicas: 1, Since: begin, New: at(time.Minute), Lost: at(5 * time.Hour)}},
			5*time.Hour + 4*time.Minute, 1, StatePartial,
			"new behaviour 5 h ago; quiet for 4 min of 10 min; the next deed is new with a chance of 0%; events were lost 4 min ago; 1 of 1 replicas"},
		{"loss long ago", map[Signal]Learning{SignalFile: {Observed: 1e6, Replicas: 1, Since: begin, New: at(time.Minute), Lost: at(5 * time.Hour)}},
			6 * time.Hour, 1, StateStable,
			"new behaviour 5 h ago; the next deed is new with a chance of 0%; events were lost 60 min ago; 1 of 1 replicas"},
		{"what does nothing of the kind", map[Signal]Learning{SignalProcess: {Observed: 1e6, Replicas: 2, Since: begin, New: at(time.Minute)}},
			25 * time.Hour, 2, StateStable, "nothing was observed; 2 of 2 replicas"},
		{"what has not yet done anything of the kind", map[Signal]Learning{SignalProcess: {Observed: 1e6, Replicas: 2, Since: begin, New: at(time.Minute)}},
			3 * time.Hour, 2, StateStabilising, "nothing was observed; 2 of 2 replicas"},
		{"a clock that went back", map[Signal]Learning{SignalFile: {Observed: 1e6, Replicas: 1, Since: begin, New: at(time.Hour)}},
			time.Minute, 1, StateLearning,
			"new behaviour just now; quiet for 0 s of 15 min; the next deed is new with a chance of 0%; 1 of 1 replicas"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Profile{Signals: c.signals}
			a := p.Assess(SignalFile, at(c.now), c.running, Criteria{})
			if got := strings.Join(a.Reasons, "; "); a.State != c.want || got != c.reasons {
				t.Errorf("%s: %s\nwant %s: %s", a.State, got, c.want, c.reasons)
			}
		})
	}
	if a := (&Profile{}).Assess(SignalProtect, begin, 0, Criteria{}); a.State != StateStable {
		t.Errorf("protect is %s", a.State)
	}
}

// TestAssessOnlyMatures checks that, as long as nothing new comes, learning only becomes more mature.
func TestAssessOnlyMatures(t *testing.T) {
	begin := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	rank := map[State]int{StatePartial: 0, StateLearning: 0, StateStabilising: 1, StateStable: 2}
	for seed := range uint64(200) {
		r := newRandom(seed)
		l := Learning{
			Observed: r.Uint64N(5000) + 1, Replicas: r.Uint32N(3), Since: begin,
			New: begin.Add(time.Duration(r.IntN(100)) * time.Hour),
		}
		l.Once = r.Uint64N(10)
		if r.IntN(3) == 0 {
			l.Lost = begin.Add(time.Duration(r.IntN(100)) * time.Hour)
		}
		p := &Profile{Signals: map[Signal]Learning{SignalFile: l}}
		was := -1
		for now := later(l.New, l.Lost); now.Before(begin.Add(2000 * time.Hour)); now = now.Add(time.Hour) {
			a := p.Assess(SignalFile, now, 2, Criteria{})
			if rank[a.State] < was {
				t.Fatalf("seed %d: %+v sinks to %s after %s", seed, l, a.State, now.Sub(begin))
			}
			was = rank[a.State]
		}
		if was == 0 || was < 2 && l.Replicas >= 2 {
			t.Fatalf("seed %d: %+v never matures: %d", seed, l, was)
		}
	}
}
