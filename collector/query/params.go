// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
)

const (
	// maxParamBytes bounds one value, maxParamValues the values of one list.
	maxParamBytes  = 1024
	maxParamValues = 64
)

// params are the parameters of a call, each known to be one that the call takes.
type params struct {
	values url.Values
	// author is who calls.
	author string
}

// parseParams refuses parameters that the route does not take: a mistyped filter must not look like one that matches
// everything.
func parseParams(raw string, rt route) (params, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return params{}, problemf(http.StatusBadRequest, "query string: %w", err)
	}
	for name, all := range values {
		if !slices.Contains(rt.params, name) {
			return params{}, unknownParam(name, rt.params)
		}
		if len(all) > 1 && !isList(name) {
			return params{}, invalid(name, "given %d times, want once", len(all))
		}
		if len(all) > maxParamValues {
			return params{}, invalid(name, "%d values, want at most %d", len(all), maxParamValues)
		}
		for _, value := range all {
			if len(value) > maxParamBytes {
				return params{}, invalid(name, "%d bytes, want at most %d", len(value), maxParamBytes)
			}
		}
	}
	return params{values: values}, nil
}

func unknownParam(name string, known []string) error {
	if len(known) == 0 {
		return problemf(http.StatusBadRequest, "unknown parameter %q: this call takes none", name)
	}
	known = slices.Sorted(slices.Values(known))
	return problemf(http.StatusBadRequest, "unknown parameter %q: this call takes %s", name, strings.Join(known, ", "))
}

func invalid(name, format string, args ...any) error {
	return problemf(http.StatusBadRequest, "parameter %s: %w", name, fmt.Errorf(format, args...))
}

// isList says whether a parameter may be repeated; its values may also be joined by commas.
func isList(name string) bool {
	return name == "type" || name == "pid"
}

func (p params) text(name string) string {
	return p.values.Get(name)
}

func (p params) list(name string) []string {
	var all []string
	for _, value := range p.values[name] {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

func (p params) flag(name string) (bool, error) {
	switch text := p.text(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid(name, "%q is neither true nor false", text)
	}
}

// number returns a number from low to high, or 0 where the parameter is not given.
func (p params) number(name string, low, high int) (int, error) {
	text := p.text(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, invalid(name, "%q is not a number from %d to %d", text, low, high)
	}
	return n, nil
}

func (p params) pids() ([]uint32, error) {
	var pids []uint32
	for _, text := range p.list("pid") {
		pid, err := strconv.ParseUint(text, 10, 32)
		if err != nil || pid == 0 {
			return nil, invalid("pid", "%q is not a process id", text)
		}
		pids = append(pids, uint32(pid))
	}
	return pids, nil
}

// moment returns a time: RFC 3339, or an age before now such as 90s, 1h30m or 7d. It is zero where the parameter is not
// given.
func (p params) moment(name string, now time.Time) (time.Time, error) {
	text := p.text(name)
	if text == "" {
		return time.Time{}, nil
	}
	if age, err := parseAge(text); err == nil {
		return now.Add(-age), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, invalid(name, "%q is neither an age such as 15m, 1h or 7d, nor a time such as %s", text,
			"2026-01-31T08:00:00Z")
	}
	return t, nil
}

// parseAge reads a duration that is not negative, with days before the units that time.ParseDuration knows.
func parseAge(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	var age time.Duration
	if days, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("days %q: %w", days, err)
		}
		if age, text = time.Duration(n)*day, rest; text == "" {
			return age, nil
		}
	}
	rest, err := time.ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if rest < 0 || age+rest < 0 {
		return 0, fmt.Errorf("%q is negative or too long", text)
	}
	return age + rest, nil
}

// filter reads what says which rows of a lane match.
func (p params) filter(now time.Time) (store.Filter, error) {
	since, err := p.moment("since", now)
	if err != nil {
		return store.Filter{}, err
	}
	until, err := p.moment("until", now)
	if err != nil {
		return store.Filter{}, err
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return store.Filter{}, problemf(http.StatusBadRequest, "since is not before until: nothing can match")
	}
	f := store.Filter{
		Since: since, Until: until, Workload: p.text("workload"), Node: p.text("node"), Rule: p.text("rule"),
		Types: p.list("type"), Text: p.text("text"),
	}
	if name := p.text("priority"); name != "" {
		if f.Priority, err = view.ParsePriority(name); err != nil {
			return store.Filter{}, problem{status: http.StatusBadRequest, err: fmt.Errorf("parameter priority: %w", err)}
		}
	}
	return f, nil
}
