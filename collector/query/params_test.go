// SPDX-License-Identifier: Apache-2.0

package query

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                          {},
		"0s":                        now,
		"90s":                       now.Add(-90 * time.Second),
		"1h30m":                     now.Add(-90 * time.Minute),
		"7d":                        now.AddDate(0, 0, -7),
		"1d12h":                     now.Add(-36 * time.Hour),
		"2026-11-18T09:00:00+01:00": time.Date(2026, 11, 18, 8, 0, 0, 0, time.UTC),
		"2026-11-18T08:00:00.5Z":    time.Date(2026, 11, 18, 8, 0, 0, 500_000_000, time.UTC),
	} {
		p := params{values: map[string][]string{"since": {text}}}
		if got, err := p.moment("since", now); err != nil || !got.Equal(want) {
			t.Errorf("since=%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"1", "d", "-1d", "1d-30h", "1.5d", "h", "now", "2026-11-18", "9999999h9999999h", "1dd"} {
		p := params{values: map[string][]string{"since": {text}}}
		if got, err := p.moment("since", now); err == nil {
			t.Errorf("since=%s is %v, want an error", text, got)
		}
	}
}

// FuzzParams makes sure that every query string is either refused, with a status for callers, or one whose parameters
// the call takes and whose times lie in the past of an age.
func FuzzParams(f *testing.F) {
	routes := (&server{}).routes()
	f.Add("since=1h&priority=warning&limit=5", uint8(0))
	f.Add("type=a,b&type=c&pid=7,8", uint8(5))
	f.Add("workload=&all=true", uint8(8))
	f.Add("%zz;&=&&a=b=c", uint8(2))
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw string, index uint8) {
		rt := routes[int(index)%len(routes)]
		p, err := parseParams(raw, rt)
		if err == nil {
			for name := range p.values {
				if !slices.Contains(rt.params, name) {
					t.Fatalf("%q lets parameter %q through", raw, name)
				}
			}
			_, err = p.filter(now)
		}
		if err == nil {
			_, err = p.pids()
		}
		if err == nil {
			_, err = p.number("limit", 1, 1000)
		}
		var refused problem
		if err != nil && (!errors.As(err, &refused) || refused.status != http.StatusBadRequest) {
			t.Fatalf("%q ends in %v", raw, err)
		}
	})
}
