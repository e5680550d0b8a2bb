// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// running is what one connected node does for one key.
type running struct {
	key   profile.Key
	state *apiv1.WorkloadState
}

// runs is what connected nodes do, by key.
type runs map[profile.Key][]running

// runningOf is what connected nodes do.
func runningOf(nodes []fleet.Node) runs {
	all := runs{}
	for _, n := range nodes {
		if !n.Connected {
			continue
		}
		for _, w := range n.Health.GetWorkloads() {
			k := w.GetKey()
			key := profile.Key{Namespace: k.GetNamespace(), Kind: k.GetKind(), Name: k.GetName(), Container: k.GetContainer()}
			all[key] = append(all[key], running{key, w})
		}
	}
	return all
}

// profileStatus says what runs under a HoldfastProfile: containers whose node has the newest effective profile in force, and the
// modes that the object sets.
func profileStatus(o *v1alpha1.HoldfastProfile, v *verdict, all runs, effective uint64) v1alpha1.ProfileStatus {
	s := v1alpha1.ProfileStatus{Status: statusOf(v, o.Generation, o.Spec.Modes, all[o.Key()], func(r running) bool {
		return r.state.GetProfileVersion() == effective
	})}
	if v.reason == v1alpha1.ReasonApplied {
		s.OverlayVersion = int64(v.edited.Overlay)
	}
	s.EffectiveVersion = int64(effective)
	return s
}

// policyStatus says what runs in the modes of a HoldfastPolicy.
func policyStatus(o *v1alpha1.HoldfastPolicy, v *verdict, all runs) v1alpha1.PolicyStatus {
	var about []running
	matchers := make([]func(string) bool, 0, len(o.Spec.Workloads))
	for _, pattern := range patterns(o) {
		if m, err := store.Compile(store.Filter{Workload: pattern}); err == nil {
			matchers = append(matchers, m.Workload)
		}
	}
	for key, on := range all {
		if key.Namespace != o.Namespace {
			continue
		}
		name := key.Namespace + "/" + key.Name + "/" + key.Container
		if slices.ContainsFunc(matchers, func(match func(string) bool) bool { return match(name) }) {
			about = append(about, on...)
		}
	}
	return v1alpha1.PolicyStatus{Status: statusOf(v, o.Generation, o.Spec.Modes, about, func(running) bool { return true })}
}

// statusOf is what all objects have, without the times of conditions.
func statusOf(v *verdict, generation int64, modes v1alpha1.Modes, about []running, under func(running) bool) v1alpha1.Status {
	s := v1alpha1.Status{ObservedGeneration: generation, Conflicting: int64(len(v.conflicts))}
	wanted := modes.Set()
	for _, r := range about {
		containers := int64(r.state.GetContainers())
		s.Matched += containers
		s.Blocked += int64(r.state.GetBlocked())
		s.WouldBlock += int64(r.state.GetWouldBlock())
		if v.reason == v1alpha1.ReasonApplied && under(r) && inModes(r.state, wanted) {
			s.Covered += containers
		}
	}
	s.Coverage = fmt.Sprintf("%d/%d", s.Covered, s.Matched)
	s.Signals = signalsOf(about)
	for _, c := range v.conflicts[:min(len(v.conflicts), v1alpha1.MaxConflicts)] {
		s.Conflicts = append(s.Conflicts, v1alpha1.Conflict{With: c.with, Message: plain(c.message, maxMessage)})
	}
	s.Conditions = conditionsOf(v, generation)
	return s
}

// maxMessage is how long a message in a status is.
const maxMessage = 2048

func conditionsOf(v *verdict, generation int64) []metav1.Condition {
	is := func(b bool) metav1.ConditionStatus {
		if b {
			return metav1.ConditionTrue
		}
		return metav1.ConditionFalse
	}
	conflicted := metav1.Condition{
		Type: v1alpha1.ConditionConflicted, Status: is(len(v.conflicts) > 0), Reason: v1alpha1.ReasonNone, ObservedGeneration: generation,
	}
	if len(v.conflicts) > 0 {
		conflicted.Reason, conflicted.Message = v1alpha1.ReasonConflicted, plain(v.conflicts[0].message, maxMessage)
	}
	return []metav1.Condition{{
		Type: v1alpha1.ConditionApplied, Status: is(v.reason == v1alpha1.ReasonApplied), Reason: v.reason, Message: plain(v.message, maxMessage),
		ObservedGeneration: generation,
	}, conflicted}
}

// inModes reports whether a node has the modes in force that are wanted.
func inModes(state *apiv1.WorkloadState, wanted profile.Modes) bool {
	found := 0
	for _, s := range state.GetSignals() {
		if mode, ok := wanted[profile.Signal(s.GetSignal())]; ok {
			if s.GetMode() != string(mode) {
				return false
			}
			found++
		}
	}
	return found == len(wanted)
}

// signalsOf are the modes and states that are in force, together.
func signalsOf(about []running) v1alpha1.SignalStatuses {
	modes, states := map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, r := range about {
		for _, s := range r.state.GetSignals() {
			note(modes, s.GetSignal(), s.GetMode())
			note(states, s.GetSignal(), s.GetState())
		}
	}
	of := func(signal profile.Signal) *v1alpha1.SignalStatus {
		if len(modes[string(signal)]) == 0 {
			return nil
		}
		return &v1alpha1.SignalStatus{
			Mode: strings.Join(ordered(modes[string(signal)], profile.ModeEnforce, profile.ModeMonitor, profile.ModeLearn, profile.ModeOff), ","),
			State: first(ordered(states[string(signal)], profile.StateLearning, profile.StatePartial, profile.StateStabilising,
				profile.StateStable)),
		}
	}
	return v1alpha1.SignalStatuses{
		Process: of(profile.SignalProcess), File: of(profile.SignalFile), Egress: of(profile.SignalEgress), Protect: of(profile.SignalProtect),
		DLP: of(profile.SignalDLP), WAF: of(profile.SignalWAF),
	}
}

func note(into map[string]map[string]bool, signal, word string) {
	if into[signal] == nil {
		into[signal] = map[string]bool{}
	}
	into[signal][word] = true
}

// ordered are those words of a set that are known, in order.
func ordered[T ~string](set map[string]bool, order ...T) []string {
	var words []string
	for _, w := range order {
		if set[string(w)] {
			words = append(words, string(w))
		}
	}
	return words
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// statusEvery is how often an object's status is written at most; countsEvery if nothing but the counts of deeds have changed.
const (
	statusEvery = 5 * time.Second
	countsEvery = 30 * time.Second
)

// due reports whether a status is to be written, in place of one that was written at a time; zero if it was not by this
// process. other says that it differs in something else. The conditions of the new one get the times of the old one where nothing has changed.
func due(old, now *v1alpha1.Status, other bool, written, at time.Time) bool {
	conditions := slices.Clone(old.Conditions)
	for _, c := range now.Conditions {
		c.LastTransitionTime = metav1.NewTime(at.Truncate(time.Second))
		meta.SetStatusCondition(&conditions, c)
	}
	now.Conditions = conditions
	if !other && equality.Semantic.DeepEqual(old, now) {
		return false
	}
	if at.Sub(written) >= countsEvery {
		return true
	}
	without := *now
	without.Blocked, without.WouldBlock = old.Blocked, old.WouldBlock
	return (other || !equality.Semantic.DeepEqual(old, &without)) && at.Sub(written) >= statusEvery
}
