// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Matcher is a compiled Filter: what every implementation of Store means by it. It may be used concurrently.
type Matcher struct {
	filter   Filter
	workload string
	text     string
}

// Compile checks a filter. A malformed one is ErrFilter.
func Compile(f Filter) (*Matcher, error) {
	m := &Matcher{filter: f, text: strings.ToLower(f.Text)}
	if f.Workload != "" {
		if strings.Count(f.Workload, "/") > 2 {
			return nil, fmt.Errorf("workload pattern %q has more parts than namespace/workload/container: %w", f.Workload, ErrFilter)
		}
		m.workload = f.Workload + strings.Repeat("/*", 2-strings.Count(f.Workload, "/"))
	}
	for _, p := range []struct{ name, pattern string }{{"workload", f.Workload}, {"rule", f.Rule}} {
		if _, err := path.Match(p.pattern, ""); err != nil {
			return nil, fmt.Errorf("%s pattern %q: %w", p.name, p.pattern, ErrFilter)
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return nil, fmt.Errorf("since %s is not before until %s: %w", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339), ErrFilter)
	}
	return m, nil
}

// Workload says whether a subject, as Subject gives it, matches Filter.Workload.
func (m *Matcher) Workload(subject string) bool {
	if m.workload == "" {
		return true
	}
	ok, err := path.Match(m.workload, subject)
	return ok && err == nil
}

// Rule says whether a rule name matches Filter.Rule.
func (m *Matcher) Rule(rule string) bool {
	return m.filter.Rule == "" || glob(m.filter.Rule, rule)
}

// Match says whether a row matches the whole filter.
func (m *Matcher) Match(r Row) bool {
	f := &m.filter
	at := TimeOf(r.Record, r.Received)
	event, alert := EventOf(r.Record), r.Record.GetAlert()
	switch {
	case !f.Since.IsZero() && at.Before(f.Since),
		!f.Until.IsZero() && !at.Before(f.Until),
		f.Node != "" && f.Node != r.Node,
		!m.Rule(alert.GetRule()),
		alert.GetPriority() < f.Priority,
		len(f.Types) > 0 && !slices.Contains(f.Types, event.GetType()),
		!m.Workload(Subject(event.GetContainer())):
		return false
	}
	return m.Text(r.Record)
}

// Text says whether a record contains Filter.Text.
func (m *Matcher) Text(r *apiv1.Record) bool {
	if m.text == "" {
		return true
	}
	for text := range texts(r) {
		if strings.Contains(strings.ToLower(text), m.text) {
			return true
		}
	}
	return false
}

// TimeOf is the time of a record's event, or when it was received if the event has none.
func TimeOf(r *apiv1.Record, received time.Time) time.Time {
	if ns := EventOf(r).GetTimeNs(); ns > 0 {
		return time.Unix(0, ns)
	}
	return received
}

// texts yields what Filter.Text is looked for in.
func texts(r *apiv1.Record) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		a, e := r.GetAlert(), EventOf(r)
		p, c := e.GetProcess(), e.GetContainer()
		n := e.GetNetwork()
		if n == nil {
			n = e.GetDns().GetNetwork()
		}
		for _, s := range []string{
			a.GetRule(), a.GetOutput(), e.GetType(), p.GetExe(), p.GetComm(), p.GetCwd(), p.GetScript(),
			strings.Join(p.GetArgv(), " "), c.GetId(), c.GetName(), c.GetImage(), c.GetPod(), c.GetNamespace(),
			c.GetWorkload(), e.GetFile().GetPath(), e.GetFile().GetTarget(), n.GetLocalAddress(), n.GetRemoteAddress(),
			e.GetDns().GetQuestion(),
		} {
			if s != "" && !yield(s) {
				return
			}
		}
		for _, s := range a.GetFields() {
			if !yield(s) {
				return
			}
		}
		for _, s := range e.GetSecurity().GetValues() {
			if !yield(s) {
				return
			}
		}
	}
}

// glob is path.Match with a * that crosses slashes: rule names are text, in which a slash is a character like any other.
func glob(pattern, name string) bool {
	const stand = "\x00"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", stand), strings.ReplaceAll(name, "/", stand))
	return ok && err == nil
}
