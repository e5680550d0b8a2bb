// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Bounds of what is told of pods.
const (
	// maxSeries is how many pods and kinds of deeds are remembered.
	maxSeries = 4096
	// perMinute is how many times a minute Events of one namespace are written.
	perMinute = 30
	// again is how soon an Event is written again with a higher count.
	again = 30 * time.Second
	// forgotten is how long nothing of its kind happened before the next deed gets an Event of its own.
	forgotten = 10 * time.Minute
)

// subject is what an Event is about: a kind of deed in a container of a pod.
type subject struct {
	namespace, pod, uid, container string
	// reason is a word in CamelCase, deed what was done against the profile.
	reason, deed string
}

// deed is a blocked deed as it is told.
type deed struct {
	subject
	note  string
	count int64
	at    time.Time
}

// maxNote is how long the text of an Event may be, in bytes (validation of events.k8s.io/v1).
const maxNote = 1024

// deedOf is what an alert tells of a pod; false if it is not about a deed that was blocked in one.
func deedOf(row store.Row) (deed, bool) {
	a := row.Record.GetAlert()
	c := a.GetEvent().GetContainer()
	if c.GetPodUid() == "" || c.GetPod() == "" || c.GetNamespace() == "" {
		return deed{}, false
	}
	verb := "Blocked"
	switch a.GetAction() {
	case apiv1.Action_ACTION_BLOCKED:
	case apiv1.Action_ACTION_KILLED:
		verb = "Killed"
	default:
		return deed{}, false
	}
	v := a.GetViolation()
	next := "; next: holdfast explain " + row.ID
	return deed{
		subject: subject{
			namespace: c.GetNamespace(), pod: c.GetPod(), uid: c.GetPodUid(), container: c.GetName(),
			reason: "Holdfast" + verb, deed: kindOf(v),
		},
		note:  plain(a.GetOutput(), maxNote-len(next)) + next,
		count: int64(max(a.GetCount(), 1)),
		at:    time.Unix(0, a.GetEvent().GetTimeNs()),
	}, true
}

// kindOf is the kind of a deed in CamelCase, such as ProcessExecutable: its signal, and why it is not allowed.
func kindOf(v *apiv1.Violation) string {
	kind := ""
	for word := range strings.FieldsFuncSeq(v.GetSignal()+" "+v.GetReason(), func(r rune) bool { return r < 'a' || r > 'z' }) {
		kind += strings.ToUpper(word[:1]) + word[1:]
	}
	return cmp.Or(kind, "Rule")
}

// series is an Event and what is still to be written of it.
type series struct {
	deed
	name string
	// count is how many deeds there were, written how many of them the API server has been told of.
	count, written int64
	first, last    time.Time
	// wrote is when it was written last; busy says that it is being written now.
	wrote time.Time
	busy  bool
}

// folder makes Events out of deeds. It has no clock and does no input or output.
type folder struct {
	series map[subject]*series
	spent  map[string]int
	minute time.Time
	// folded counts the deeds that had no Event of their own, shed those that have none at all.
	folded, shed uint64
}

func newFolder() *folder { return &folder{series: map[subject]*series{}, spent: map[string]int{}} }

// add takes a deed that became known at a time.
func (f *folder) add(d deed, now time.Time) {
	s, known := f.series[d.subject]
	if known && now.Sub(s.last) >= forgotten && s.count == s.written {
		known = false
	}
	if known {
		s.count += d.count
		s.last = now
		f.folded += uint64(d.count)
		return
	}
	if len(f.series) >= maxSeries {
		f.expire(now)
	}
	if len(f.series) >= maxSeries && f.series[d.subject] == nil {
		f.shed += uint64(d.count)
		return
	}
	f.series[d.subject] = &series{deed: d, name: eventName(d, now), count: d.count, first: now, last: now}
	f.folded += uint64(d.count - 1)
}

// eventName names an Event of a pod so that no other has the name. Names of pods are names of Events, as long as there is room.
func eventName(d deed, now time.Time) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{d.uid, d.container, d.reason, d.deed, now.UTC().Format(time.RFC3339Nano)}, "\x00")))
	const most = 200
	return strings.TrimRight(d.pod[:min(len(d.pod), most)], ".-") + "." + hex.EncodeToString(sum[:8])
}

// expire forgets what is over and written.
func (f *folder) expire(now time.Time) {
	for key, s := range f.series {
		if !s.busy && s.count == s.written && now.Sub(s.last) >= forgotten {
			delete(f.series, key)
		}
	}
}

// next is what is to be written now, the oldest first: what is new, and what has a higher count for long enough, as far as
// namespaces may. The caller says with done or failed what became of each.
func (f *folder) next(now time.Time, most int) []series {
	if now.Sub(f.minute) >= time.Minute {
		f.minute = now
		clear(f.spent)
	}
	var due []*series
	for _, s := range f.series {
		if !s.busy && s.count > s.written && (s.wrote.IsZero() || now.Sub(s.wrote) >= again) {
			due = append(due, s)
		}
	}
	slices.SortFunc(due, func(a, b *series) int { return cmp.Or(a.first.Compare(b.first), strings.Compare(a.name, b.name)) })
	var all []series
	for _, s := range due {
		if len(all) == most {
			break
		}
		if f.spent[s.namespace] >= perMinute {
			continue
		}
		f.spent[s.namespace]++
		s.busy = true
		all = append(all, *s)
	}
	return all
}

// done says that a series was written as next gave it.
func (f *folder) done(s series, now time.Time) {
	if held := f.series[s.subject]; held != nil && held.name == s.name {
		held.busy, held.written, held.wrote = false, s.count, now
	}
}

// failed says that a series was not written. It is tried again, unless it cannot be: what it stood for is shed then.
func (f *folder) failed(s series, now time.Time, lasting bool) {
	held := f.series[s.subject]
	if held == nil || held.name != s.name {
		return
	}
	held.busy, held.wrote = false, now
	if lasting {
		f.shed += uint64(held.count - held.written)
		delete(f.series, s.subject)
	}
}
