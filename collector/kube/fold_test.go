// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

var begin = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// blocked is an alert about a deed that was blocked in a pod.
func blocked(pod, reason string) store.Row {
	return store.Row{ID: "node-a:1:7", Record: &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
		Action: apiv1.Action_ACTION_BLOCKED, Output: "nginx ran /tmp/x, which is not in its profile", Count: 1,
		Violation: &apiv1.Violation{Signal: "process", Reason: reason},
		Event: &apiv1.Event{TimeNs: begin.UnixNano(), Container: &apiv1.Container{
			Namespace: "shop", Pod: pod, PodUid: "uid-" + pod, Name: "app",
		}},
	}}}}
}

func deedIn(t *testing.T, row store.Row) deed {
	t.Helper()
	d, is := deedOf(row)
	if !is {
		t.Fatal("no deed in a pod")
	}
	return d
}

func TestDeedOf(t *testing.T) {
	d := deedIn(t, blocked("web-1", "executable"))
	if d.reason != "HoldfastBlocked" || d.subject.deed != "ProcessExecutable" || d.count != 1 || !d.at.Equal(begin) {
		t.Errorf("%+v", d)
	}
	if want := "nginx ran /tmp/x, which is not in its profile; next: holdfast explain node-a:1:7"; d.note != want {
		t.Errorf("%q", d.note)
	}
	for name, spoil := range map[string]func(*apiv1.Alert){
		"would block": func(a *apiv1.Alert) { a.Action = apiv1.Action_ACTION_WOULD_BLOCK },
		"no pod":      func(a *apiv1.Alert) { a.Event.Container.PodUid = "" },
		"host":        func(a *apiv1.Alert) { a.Event.Container = nil },
	} {
		row := blocked("web-1", "executable")
		spoil(row.Record.GetAlert())
		if _, is := deedOf(row); is {
			t.Errorf("%s: an Event is made of it", name)
		}
	}
	// What an attacker writes neither breaks lines nor pushes out what to run next.
	row := blocked("web-1", "executable")
	row.Record.GetAlert().Output = strings.Repeat("ü\x1b[31m\n\u202e", 1000)
	d = deedIn(t, row)
	if len(d.note) > maxNote || !strings.HasSuffix(d.note, "holdfast explain node-a:1:7") || strings.ContainsAny(d.note, "\x1b\n\u202e") {
		t.Errorf("%d bytes: %q", len(d.note), d.note)
	}
}

func TestFolderFolds(t *testing.T) {
	f := newFolder()
	for range 1000 {
		f.add(deedIn(t, blocked("web-1", "executable")), begin)
	}
	f.add(deedIn(t, blocked("web-1", "arguments")), begin)
	all := f.next(begin, 10)
	if len(all) != 2 || all[0].count+all[1].count != 1001 || f.folded != 999 {
		t.Fatalf("%d Events, %d folded: %+v", len(all), f.folded, all)
	}
	if again := f.next(begin, 10); len(again) != 0 {
		t.Errorf("what is being written is given again: %+v", again)
	}
	for _, s := range all {
		f.done(s, begin)
	}
	f.add(deedIn(t, blocked("web-1", "executable")), begin.Add(time.Second))
	if early := f.next(begin.Add(2*time.Second), 10); len(early) != 0 {
		t.Errorf("a count is raised at once: %+v", early)
	}
	raised := f.next(begin.Add(again), 10)
	if len(raised) != 1 || raised[0].written != 1000 || raised[0].count != 1001 || raised[0].name != all[0].name && raised[0].name != all[1].name {
		t.Fatalf("%+v", raised)
	}
	f.failed(raised[0], begin.Add(again), false)
	if soon := f.next(begin.Add(again+time.Second), 10); len(soon) != 0 {
		t.Errorf("what failed is tried at once: %+v", soon)
	}
	if retried := f.next(begin.Add(2*again), 10); len(retried) != 1 {
		t.Errorf("what failed is not tried again: %+v", retried)
	} else {
		f.done(retried[0], begin.Add(2*again))
	}
	// After a long silence the next deed has an Event of its own.
	later := begin.Add(time.Hour)
	f.add(deedIn(t, blocked("web-1", "executable")), later)
	fresh := f.next(later, 10)
	if len(fresh) != 1 || fresh[0].count != 1 || fresh[0].name == raised[0].name {
		t.Errorf("%+v", fresh)
	}
}

func TestFolderBounds(t *testing.T) {
	f := newFolder()
	for i := range maxSeries + 100 {
		f.add(deedIn(t, blocked(fmt.Sprintf("web-%d", i), "executable")), begin)
	}
	if len(f.series) != maxSeries || f.shed != 100 {
		t.Errorf("%d series, %d shed", len(f.series), f.shed)
	}
	writes := 0
	for second := range 60 {
		for _, s := range f.next(begin.Add(time.Duration(second)*time.Second), writeMost) {
			f.done(s, begin)
			writes++
		}
	}
	if writes != perMinute {
		t.Errorf("%d Events of a namespace in a minute, expected %d", writes, perMinute)
	}
	s := f.next(begin.Add(time.Minute), 1)
	if len(s) != 1 {
		t.Fatalf("nothing is written in the next minute")
	}
	f.failed(s[0], begin.Add(time.Minute), true)
	if f.shed != 101 || len(f.series) != maxSeries-1 {
		t.Errorf("what can never be written is kept: %d series, %d shed", len(f.series), f.shed)
	}
	f.expire(begin.Add(time.Hour))
	if left := maxSeries - 1 - perMinute; len(f.series) != left {
		t.Errorf("%d series are remembered, expected the %d that are not written", len(f.series), left)
	}
}
