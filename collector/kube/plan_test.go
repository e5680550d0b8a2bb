// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// meta is that of an object that was made some minutes after others.
func metaOf(name string, minute int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Generation: 1,
		CreationTimestamp: metav1.NewTime(begin.Add(time.Duration(minute) * time.Minute)),
		ManagedFields:     []metav1.ManagedFieldsEntry{{Manager: "argocd"}},
	}
}

func profileOf(name string, minute int, modes v1alpha1.Modes, paths ...string) *v1alpha1.HoldfastProfile {
	o := &v1alpha1.HoldfastProfile{ObjectMeta: metaOf(name, minute), Spec: v1alpha1.ProfileSpec{
		Workload: v1alpha1.Workload{Kind: "Deployment", Name: "web", Container: "app"}, Modes: modes,
	}}
	for _, path := range paths {
		o.Spec.Processes = append(o.Spec.Processes, v1alpha1.Process{Path: path, AnyArguments: true})
	}
	return o
}

func policyOf(name string, minute int, modes v1alpha1.Modes, workloads ...v1alpha1.Selector) *v1alpha1.HoldfastPolicy {
	return &v1alpha1.HoldfastPolicy{ObjectMeta: metaOf(name, minute), Spec: v1alpha1.PolicySpec{Workloads: workloads, Modes: modes}}
}

func readObject(o *v1alpha1.HoldfastProfile) parsed {
	p, err := o.Profile()
	return parsed{p, err}
}

// outline is what a plan comes to, a line each.
func outline(p *plan) string {
	var lines []string
	for key, o := range p.overlays {
		lines = append(lines, fmt.Sprintf("overlay %s: %s by %s", key, o.of, o.by.Name))
	}
	for _, s := range p.settings {
		lines = append(lines, fmt.Sprintf("mode %s %v %s: %s (%s)", s.Workload, s.Signals, s.Mode, s.of, s.Reason))
	}
	for ref, v := range p.verdicts {
		for _, c := range v.conflicts {
			lines = append(lines, fmt.Sprintf("conflict of %s with %s", ref, c.with))
		}
		if v.reason != v1alpha1.ReasonApplied {
			lines = append(lines, fmt.Sprintf("%s: %s", ref, v.reason))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	reasoned := policyOf("all", 1, v1alpha1.Modes{Process: "monitor", Protect: "enforce"})
	reasoned.Annotations = map[string]string{v1alpha1.ReasonAnnotation: "we\nstart carefully"}
	invalid := profileOf("bad", 1, v1alpha1.Modes{Process: "enforce"}, "/bin/a")
	invalid.Spec.Processes[0].AnyArguments = false
	invalid.Spec.Processes[0].Arguments = []v1alpha1.Argument{{Argv: []string{"a", "8080"}}}
	for _, test := range []struct {
		name     string
		profiles []*v1alpha1.HoldfastProfile
		policies []*v1alpha1.HoldfastPolicy
		want     string
	}{
		{name: "nothing"},
		{
			name:     "one of each",
			profiles: []*v1alpha1.HoldfastProfile{profileOf("web", 1, v1alpha1.Modes{Process: "enforce", File: "enforce", Egress: "monitor"}, "/bin/a")},
			policies: []*v1alpha1.HoldfastPolicy{reasoned},
			want: `mode shop [process] monitor: HoldfastPolicy shop/all (we?start carefully)
mode shop [protect] enforce: HoldfastPolicy shop/all (we?start carefully)
mode shop/web/app [egress] monitor: HoldfastProfile shop/web (generation 1 of HoldfastProfile shop/web)
mode shop/web/app [process file] enforce: HoldfastProfile shop/web (generation 1 of HoldfastProfile shop/web)
overlay shop/Deployment/web/app: HoldfastProfile shop/web by kubernetes: shop/web (argocd)`,
		},
		{
			name: "two of one container: the older one holds, whatever the names",
			profiles: []*v1alpha1.HoldfastProfile{
				profileOf("a", 2, v1alpha1.Modes{Process: "monitor"}, "/bin/a"), profileOf("z", 1, v1alpha1.Modes{Process: "enforce"}, "/bin/a"),
			},
			want: `conflict of HoldfastProfile shop/a with HoldfastProfile shop/z
mode shop/web/app [process] enforce: HoldfastProfile shop/z (generation 1 of HoldfastProfile shop/z)
overlay shop/Deployment/web/app: HoldfastProfile shop/z by kubernetes: shop/z (argocd)`,
		},
		{
			name:     "as old: the name decides",
			profiles: []*v1alpha1.HoldfastProfile{profileOf("b", 1, v1alpha1.Modes{}), profileOf("a", 1, v1alpha1.Modes{})},
			want: `conflict of HoldfastProfile shop/b with HoldfastProfile shop/a
overlay shop/Deployment/web/app: HoldfastProfile shop/a by kubernetes: shop/a (argocd)`,
		},
		{
			name: "policies of one pattern: signal by signal",
			policies: []*v1alpha1.HoldfastPolicy{
				policyOf("old", 1, v1alpha1.Modes{Process: "enforce"}, v1alpha1.Selector{Name: "web-*"}),
				policyOf("new", 2, v1alpha1.Modes{Process: "monitor", File: "monitor"}, v1alpha1.Selector{Name: "web-*"}, v1alpha1.Selector{Name: "db", Container: "pg?"}),
			},
			want: `conflict of HoldfastPolicy shop/new with HoldfastPolicy shop/old
mode shop/db/pg? [process file] monitor: HoldfastPolicy shop/new (generation 1 of HoldfastPolicy shop/new)
mode shop/web-* [file] monitor: HoldfastPolicy shop/new (generation 1 of HoldfastPolicy shop/new)
mode shop/web-* [process] enforce: HoldfastPolicy shop/old (generation 1 of HoldfastPolicy shop/old)`,
		},
		{
			name:     "what is not valid holds its place",
			profiles: []*v1alpha1.HoldfastProfile{invalid, profileOf("web", 2, v1alpha1.Modes{}, "/bin/a")},
			policies: []*v1alpha1.HoldfastPolicy{policyOf("bad", 1, v1alpha1.Modes{Process: "monitor"}, v1alpha1.Selector{Name: "[^]"})},
			want: `HoldfastPolicy shop/bad: Invalid
HoldfastProfile shop/bad: Invalid
conflict of HoldfastProfile shop/web with HoldfastProfile shop/bad`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, turned := range []bool{false, true} {
				if turned {
					slices.Reverse(test.profiles)
					slices.Reverse(test.policies)
				}
				if got := outline(newPlan(test.profiles, test.policies, readObject)); got != test.want {
					t.Errorf("got\n%s\nwant\n%s", got, test.want)
				}
			}
		})
	}
}

// TestPlanBounds checks that a namespace cannot take the modes of all others for itself.
func TestPlanBounds(t *testing.T) {
	var policies []*v1alpha1.HoldfastPolicy
	for i := range maxSettings + 10 {
		policies = append(policies, policyOf(fmt.Sprintf("p%03d", i), i, v1alpha1.Modes{Process: "monitor"}, v1alpha1.Selector{Name: fmt.Sprintf("w%d", i)}))
	}
	p := newPlan(nil, policies, readObject)
	refused := 0
	for _, v := range p.verdicts {
		if v.reason == v1alpha1.ReasonRefused {
			refused++
		}
	}
	if len(p.settings) != maxSettings || refused != 10 {
		t.Errorf("%d settings, %d objects refused", len(p.settings), refused)
	}
}

// state is what a node does for a workload, with one mode for all signals.
func state(name string, containers uint32, version, block uint64, mode string) *apiv1.WorkloadState {
	w := &apiv1.WorkloadState{
		Key:        &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"},
		Containers: containers, ProfileVersion: version, Blocked: block, WouldBlock: 2 * block,
	}
	for _, signal := range profile.Signals() {
		w.Signals = append(w.Signals, &apiv1.SignalState{Signal: string(signal), Mode: mode, State: "stable"})
	}
	w.Signals[0].State = "learning"
	return w
}

func nodes(states ...*apiv1.WorkloadState) []fleet.Node {
	var all []fleet.Node
	for _, s := range states {
		all = append(all, fleet.Node{Connected: true, Node: store.Node{Health: &apiv1.Health{Workloads: []*apiv1.WorkloadState{s}}}})
	}
	return append(all, fleet.Node{Node: store.Node{Health: &apiv1.Health{Workloads: []*apiv1.WorkloadState{state("web", 100, 7, 100, "enforce")}}}})
}

func TestStatus(t *testing.T) {
	all := runningOf(nodes(state("web", 3, 7, 1, "enforce"), state("web", 2, 6, 1, "enforce"), state("web", 1, 7, 0, "monitor"), state("web-2", 4, 7, 5, "enforce")))
	v := &verdict{reason: v1alpha1.ReasonApplied, edited: fleet.Edited{Overlay: 4}}
	s := profileStatus(profileOf("web", 1, v1alpha1.Modes{Process: "enforce"}), v, all, 7)
	if s.Coverage != "3/6" || s.Blocked != 2 || s.WouldBlock != 4 || s.OverlayVersion != 4 || s.EffectiveVersion != 7 {
		t.Errorf("%+v", s)
	}
	if p := s.Signals.Process; p == nil || p.Mode != "enforce,monitor" || p.State != "learning" || s.Signals.Egress.State != "stable" {
		t.Errorf("%+v", s.Signals)
	}
	p := policyStatus(policyOf("p", 1, v1alpha1.Modes{Protect: "enforce"}, v1alpha1.Selector{Name: "web*"}), v, all)
	if p.Coverage != "9/10" {
		t.Errorf("%s of a policy", p.Coverage)
	}
	none := policyStatus(policyOf("p", 1, v1alpha1.Modes{Protect: "enforce"}, v1alpha1.Selector{Name: "db"}), v, all)
	if none.Coverage != "0/0" || none.Signals.Process != nil {
		t.Errorf("%+v of nothing", none)
	}
	for range 20 {
		v.conflict("x", "", "m")
	}
	v.refuse(v1alpha1.ReasonConflicted, "m")
	s = profileStatus(profileOf("web", 1, v1alpha1.Modes{}), v, all, 7)
	if s.Covered != 0 || s.Matched != 6 || len(s.Conflicts) != v1alpha1.MaxConflicts || s.Conflicting != 20 || s.Conditions[0].Status != metav1.ConditionFalse {
		t.Errorf("%+v in conflict", s)
	}
}

func TestStatusIsFolded(t *testing.T) {
	now := func(blocked uint64, reason string) *v1alpha1.Status {
		v := &verdict{reason: reason}
		s := policyStatus(policyOf("p", 1, v1alpha1.Modes{Process: "enforce"}), v, runningOf(nodes(state("web", 1, 1, blocked, "enforce")))).Status
		return &s
	}
	old := now(1, v1alpha1.ReasonApplied)
	if !due(&v1alpha1.Status{}, old, false, time.Time{}, begin) {
		t.Fatal("the first status is not written")
	}
	for _, test := range []struct {
		what   string
		status *v1alpha1.Status
		after  time.Duration
		want   bool
	}{
		{"nothing new", now(1, v1alpha1.ReasonApplied), time.Hour, false},
		{"counts, soon", now(9, v1alpha1.ReasonApplied), statusEvery, false},
		{"counts, later", now(9, v1alpha1.ReasonApplied), countsEvery, true},
		{"another outcome at once", now(1, v1alpha1.ReasonRefused), time.Second, false},
		{"another outcome", now(1, v1alpha1.ReasonRefused), statusEvery, true},
	} {
		if got := due(old, test.status, false, begin, begin.Add(test.after)); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
	changed := now(1, v1alpha1.ReasonRefused)
	due(old, changed, false, begin, begin.Add(time.Hour))
	if at := changed.Conditions[0].LastTransitionTime; !at.Time.Equal(begin.Add(time.Hour)) {
		t.Errorf("what has changed is of %s", at)
	}
	if at := changed.Conditions[1].LastTransitionTime; !at.Time.Equal(begin) {
		t.Errorf("what has not changed is of %s", at)
	}
}
