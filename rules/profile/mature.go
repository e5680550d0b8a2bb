// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"time"
)

// Criteria say when what was learned is believed to be all. The zero value stands for DefaultCriteria.
type Criteria struct {
	// Unseen is the bound of the chance that the next observation is of something new.
	Unseen float64
	// Quiet is how long nothing new must have come at least, Patience how long at most where the chance is below the bound.
	// Between them, it is a quarter of the time in which new things came.
	Quiet, Patience time.Duration
	// Replicas is how many containers must have been learned from, if as many run.
	Replicas uint32
}

// DefaultCriteria are one in a thousand, ten minutes to one day, and three containers.
func DefaultCriteria() Criteria {
	return Criteria{Unseen: 0.001, Quiet: 10 * time.Minute, Patience: 24 * time.Hour, Replicas: 3}
}

// Assessment is how far the learning of a signal is, and why.
type Assessment struct {
	State State
	// Unseen is the Good-Turing estimate of the chance that the next observation is of something new: the part of the
	// observations that were of something seen only then. It is 1 before anything was observed.
	Unseen float64
	// Quiet is for how long nothing new has come and nothing was lost, Needed how long that must be.
	Quiet, Needed time.Duration
	// Replicas were learned from of Wanted.
	Replicas, Wanted uint32
	// Reasons say for people what the state rests on.
	Reasons []string
}

// Assess says how far the learning of a signal is. running is how many containers of the workload run now.
//
// It is partial while events were lost so recently that what was in them may not have been done again; stabilising when
// nothing new has come for long enough; and stable when, besides, enough containers were learned from and the chance of
// something new is below the bound. A workload that does little is never observed often enough for such an estimate: its
// learning is stable, too, when nothing new has come for a day and for four times as long as new things did.
func (p *Profile) Assess(signal Signal, now time.Time, running uint32, criteria Criteria) Assessment {
	if !signal.Learned() {
		return Assessment{State: StateStable, Reasons: []string{"needs no learning"}}
	}
	if criteria == (Criteria{}) {
		criteria = DefaultCriteria()
	}
	l := p.Signals[signal]
	since := p.since(l)
	if since.IsZero() {
		return Assessment{State: StateLearning, Unseen: 1, Reasons: []string{"nothing was observed yet"}}
	}
	last := later(since, l.New)
	a := Assessment{Unseen: 1, Replicas: l.Replicas, Wanted: max(min(running, criteria.Replicas), 1)}
	if l.Observed == 0 {
		// What does nothing of the kind was learned from as much as the rest.
		a.Replicas = p.replicas()
	} else {
		a.Unseen = min(float64(l.Once)/float64(l.Observed), 1)
	}
	grew := last.Sub(since)
	a.Needed = min(max(grew/4, criteria.Quiet), criteria.Patience)
	a.Quiet = max(now.Sub(later(last, l.Lost)), 0)
	patient := a.Quiet >= max(criteria.Patience, 4*grew)
	switch {
	case !l.Lost.IsZero() && now.Sub(l.Lost) < a.Needed:
		a.State = StatePartial
	case a.Quiet < a.Needed:
		a.State = StateLearning
	case a.Replicas < a.Wanted || a.Unseen > criteria.Unseen && !patient:
		a.State = StateStabilising
	default:
		a.State = StateStable
	}
	a.Reasons = a.reasons(l, now, criteria, patient)
	return a
}

// since is when the learning of a signal began: with the first one, if it has seen nothing itself.
func (p *Profile) since(l Learning) time.Time {
	if !l.Since.IsZero() {
		return l.Since
	}
	var since time.Time
	for _, other := range p.Signals {
		since = earlier(since, other.Since)
	}
	return since
}

// replicas counts the containers that were learned from, whatever they did.
func (p *Profile) replicas() uint32 {
	var n uint32
	for _, l := range p.Signals {
		n = max(n, l.Replicas)
	}
	return n
}

func (a Assessment) reasons(l Learning, now time.Time, criteria Criteria, patient bool) []string {
	var reasons []string
	if l.New.IsZero() {
		reasons = append(reasons, "nothing was observed")
	} else {
		reasons = append(reasons, "new behaviour "+ago(now.Sub(l.New)))
	}
	if a.Quiet < a.Needed {
		reasons = append(reasons, fmt.Sprintf("quiet for %s of %s", span(a.Quiet), span(a.Needed)))
	}
	switch {
	case l.Observed == 0:
	case a.Unseen <= criteria.Unseen:
		reasons = append(reasons, fmt.Sprintf("the next deed is new with a chance of %s", chance(a.Unseen)))
	case patient:
		reasons = append(reasons, "too little is done for an estimate, but nothing new for long")
	default:
		reasons = append(reasons, fmt.Sprintf("the next deed is new with a chance of %s, %s is the bound",
			chance(a.Unseen), chance(criteria.Unseen)))
	}
	if !l.Lost.IsZero() {
		reasons = append(reasons, "events were lost "+ago(now.Sub(l.Lost)))
	}
	return append(reasons, fmt.Sprintf("%d of %d replicas", min(a.Replicas, a.Wanted), a.Wanted))
}

// chance writes a probability for people.
func chance(p float64) string {
	return fmt.Sprintf("%.3g%%", 100*p)
}

// ago says for people when something was.
func ago(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return span(d) + " ago"
}

// span writes a time for people, in its largest unit.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d s", max(d, 0)/time.Second)
	}
}
