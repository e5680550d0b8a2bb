// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Source is what decided a mode.
type Source string

// The sources, strongest first. A brake or a promotion changes what another source decided.
const (
	FromBrake      Source = "brake"
	FromPromotion  Source = "promotion"
	FromBreakGlass Source = "break-glass"
	FromSetting    Source = "collector"
	FromAnnotation Source = "annotation"
	FromPattern    Source = "collector pattern"
	FromFile       Source = "file"
	FromDefault    Source = "default"
)

// Decision is a mode and what decided it.
type Decision struct {
	Mode   profile.Mode
	Source Source
	// Author and Reason are of who set it; Reason says in words what decided for anything but a setting.
	Author, Reason string
	// Set is when it was set, Until when it ends, where that is known.
	Set, Until time.Time
	// what names the source with its particulars.
	what string
}

// String says in words what was decided and by what.
func (d Decision) String() string {
	return fmt.Sprintf("%s by %s", d.Mode, d.what)
}

// By names what decided, with its particulars, such as: collector setting 12 for "shop/web" by "ann".
func (d Decision) By() string { return d.what }

// rules are the sources of modes.
type rules struct {
	settings []compiled
	file     map[profile.Key]profile.Modes
	defaults profile.Modes
}

// subject is a container with the modes that annotations ask for, most specific first, and the settings that are about it,
// the one that counts first.
type subject struct {
	Container
	annotated []annotated
	settings  []*compiled
}

func (r *rules) subject(one Container, annotated []annotated) subject {
	s := subject{Container: one, annotated: annotated}
	for i := range r.settings {
		if r.settings[i].pattern.Match(one.Container) {
			s.settings = append(s.settings, &r.settings[i])
		}
	}
	return s
}

// all gives what each source says of a signal, strongest first. The last is always the default.
func (r *rules) all(s *subject, signal profile.Signal, now time.Time) []Decision {
	var glass, exact, pattern, list []Decision
	for _, set := range s.settings {
		if !set.covers(signal) || !set.Until.IsZero() && !now.Before(set.Until) {
			continue
		}
		switch {
		case !set.Until.IsZero():
			glass = append(glass, set.decision(FromBreakGlass))
		case set.exact():
			exact = append(exact, set.decision(FromSetting))
		default:
			pattern = append(pattern, set.decision(FromPattern))
		}
	}
	list = append(append(list, glass...), exact...)
	for _, a := range s.annotated {
		if m, ok := a.modes[signal]; ok {
			what := "annotation " + Annotation + " of " + a.of
			list = append(list, Decision{Mode: m, Source: FromAnnotation, Author: "annotation", Reason: what, what: what})
		}
	}
	list = append(list, pattern...)
	if m, ok := r.file[s.Key][signal]; ok {
		what := "policy file of the agent"
		list = append(list, Decision{Mode: m, Source: FromFile, Author: "file", Reason: what, what: what})
	}
	m, ok := r.defaults[signal]
	if !ok {
		m = profile.ModeOff
	}
	return append(list, Decision{Mode: m, Source: FromDefault, Author: "default", Reason: "default of the agent", what: "default of the agent"})
}

// decision is what the setting says.
func (s *compiled) decision(of Source) Decision {
	return Decision{Mode: s.Mode, Source: of, Author: s.Author, Reason: s.Reason, Set: s.Set, Until: s.Until, what: s.String()}
}

// next is when the first setting ends after a time; zero for never.
func (r *rules) next(now time.Time) time.Time {
	var first time.Time
	for i := range r.settings {
		first = earlier(first, after(r.settings[i].Until, now))
	}
	return first
}

// earlier is the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// after is the time if it is after now, else zero.
func after(t, now time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return time.Time{}
}

// Explanation is the mode of a container's signal, and why.
type Explanation struct {
	Decision
	// Over is what would hold otherwise, strongest first.
	Over []Decision
}

// String says it in one sentence.
func (e Explanation) String() string {
	if len(e.Over) == 0 {
		return e.Decision.String()
	}
	over := make([]string, len(e.Over))
	for i, d := range e.Over {
		over[i] = d.String()
	}
	return e.Decision.String() + ", over " + strings.Join(over, ", ")
}

// strength orders modes, weakest first.
func strength(m profile.Mode) int {
	switch m {
	case profile.ModeLearn:
		return 1
	case profile.ModeMonitor:
		return 2
	case profile.ModeEnforce:
		return 3
	default:
		return 0
	}
}
