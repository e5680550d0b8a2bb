// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// reference names an object.
type reference struct {
	kind, namespace, name string
}

// String is Kind namespace/name.
func (r reference) String() string { return r.kind + " " + r.namespace + "/" + r.name }

// verdict is what has become of an object.
type verdict struct {
	// reason is one of v1alpha1's, message says more for people.
	reason, message string
	conflicts       []conflict
	// edited is what the object's profile has led to.
	edited fleet.Edited
	// settings are the modes that the object sets, by pattern and signal.
	settings []claim
}

// conflict is something that says otherwise than an object, and stays in force.
type conflict struct {
	// with is another object, or what people wrote or set; pattern is given where it is about modes.
	with, message, pattern string
}

// conflict notes that something else says otherwise.
func (v *verdict) conflict(with, pattern, message string) {
	v.conflicts = append(v.conflicts, conflict{with: with, pattern: pattern, message: message})
}

// refuse notes that an object cannot be taken.
func (v *verdict) refuse(reason, message string) { v.reason, v.message = reason, message }

// claim is a signal of a pattern that an object sets the mode of.
type claim struct {
	pattern string
	signal  profile.Signal
}

// plan is what the objects come to.
type plan struct {
	// overlays are by key, with the object that each is of. wanted says of which object each key is, also where that is not
	// valid: what was in force of it before stays.
	overlays map[profile.Key]overlay
	wanted   map[profile.Key]reference
	settings []setting
	verdicts map[reference]*verdict
	// keys are those that profiles are about, perNamespace counts settings.
	keys         map[reference]profile.Key
	perNamespace map[string]int
}

// overlay is the profile of an object.
type overlay struct {
	of      reference
	uid     string
	gen     int64
	profile *profile.Profile
	by      fleet.Author
}

// setting is a mode setting of an object.
type setting struct {
	of reference
	store.ModeSetting
}

// parsed is what an object says, read once for each generation.
type parsed struct {
	profile *profile.Profile
	err     error
}

// newPlan says what objects come to. Of two that are about the same, the older one is in force, and of two that are as old the
// one that comes first by kind, namespace and name; the other is in conflict.
func newPlan(profiles []*v1alpha1.HoldfastProfile, policies []*v1alpha1.HoldfastPolicy, read func(*v1alpha1.HoldfastProfile) parsed) *plan {
	p := &plan{overlays: map[profile.Key]overlay{}, wanted: map[profile.Key]reference{}, verdicts: map[reference]*verdict{},
		keys: map[reference]profile.Key{}, perNamespace: map[string]int{}}
	type object struct {
		meta  metav1.Object
		of    reference
		apply func()
	}
	var all []object
	holders := map[claim]reference{}
	for _, o := range profiles {
		ref := reference{v1alpha1.ProfileKind, o.Namespace, o.Name}
		all = append(all, object{o, ref, func() { p.addProfile(o, ref, read(o), holders) }})
	}
	for _, o := range policies {
		ref := reference{v1alpha1.PolicyKind, o.Namespace, o.Name}
		all = append(all, object{o, ref, func() { p.addModes(o, ref, patterns(o), o.Spec.Modes, holders) }})
	}
	slices.SortFunc(all, func(a, b object) int {
		x, y := a.meta.GetCreationTimestamp(), b.meta.GetCreationTimestamp()
		return cmp.Or(x.Compare(y.Time), strings.Compare(a.of.String(), b.of.String()))
	})
	for _, o := range all {
		p.verdicts[o.of] = &verdict{reason: v1alpha1.ReasonApplied}
		o.apply()
	}
	return p
}

// addProfile takes the overlay and the modes of a HoldfastProfile.
func (p *plan) addProfile(o *v1alpha1.HoldfastProfile, ref reference, read parsed, holders map[claim]reference) {
	v := p.verdicts[ref]
	key := o.Key()
	p.keys[ref] = key
	if older, taken := p.wanted[key]; taken {
		v.conflict(older.String(), "", fmt.Sprintf("%s is older and says what %s may do; two objects are not put together", older, key))
		return
	}
	p.wanted[key] = ref
	if read.err != nil {
		v.refuse(v1alpha1.ReasonInvalid, read.err.Error())
		return
	}
	p.overlays[key] = overlay{of: ref, uid: string(o.UID), gen: o.Generation, profile: read.profile, by: authorOf(o, ref)}
	p.addModes(o, ref, []string{key.Namespace + "/" + key.Name + "/" + key.Container}, o.Spec.Modes, holders)
}

// addModes takes the modes that an object sets for patterns.
func (p *plan) addModes(o metav1.Object, ref reference, patterns []string, modes v1alpha1.Modes, holders map[claim]reference) {
	v := p.verdicts[ref]
	by := authorOf(o, ref)
	wanted := modes.Set()
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			v.refuse(v1alpha1.ReasonInvalid, fmt.Sprintf("pattern %q: %v", pattern, err))
			return
		}
		byMode := map[profile.Mode][]profile.Signal{}
		for _, signal := range profile.Signals() {
			mode, ok := wanted[signal]
			c := claim{pattern, signal}
			switch holder, taken := holders[c]; {
			case !ok || taken && holder == ref:
			case taken:
				v.conflict(holder.String(), pattern, fmt.Sprintf("%s is older and sets the mode of %s for %s", holder, signal, pattern))
			default:
				holders[c] = ref
				byMode[mode] = append(byMode[mode], signal)
			}
		}
		for _, mode := range []profile.Mode{profile.ModeOff, profile.ModeLearn, profile.ModeMonitor, profile.ModeEnforce} {
			if signals := byMode[mode]; len(signals) > 0 {
				if p.perNamespace[ref.namespace]++; p.perNamespace[ref.namespace] > maxSettings {
					v.refuse(v1alpha1.ReasonRefused, fmt.Sprintf("the objects of namespace %s set more than %d modes", ref.namespace, maxSettings))
					return
				}
				p.settings = append(p.settings, setting{ref, store.ModeSetting{
					Workload: pattern, Signals: signals, Mode: mode, Author: by.Name, Reason: by.Reason,
				}})
			}
		}
	}
}

// maxSettings is how many mode settings the objects of a namespace make.
const maxSettings = 512

// patterns are those of the workloads that a policy is about.
func patterns(o *v1alpha1.HoldfastPolicy) []string {
	if len(o.Spec.Workloads) == 0 {
		return []string{o.Namespace}
	}
	var all []string
	for _, w := range o.Spec.Workloads {
		pattern := o.Namespace + "/" + w.Name
		if w.Container != "" {
			pattern += "/" + w.Container
		}
		if !slices.Contains(all, pattern) {
			all = append(all, pattern)
		}
	}
	return all
}

// Bounds of the words of an object that go into authors and reasons.
const (
	maxManager = 128
	maxReason  = 256
)

// authorOf is who answers for what an object says, and why it does.
func authorOf(o metav1.Object, ref reference) fleet.Author {
	manager := "unknown"
	if fields := o.GetManagedFields(); len(fields) > 0 && fields[0].Manager != "" {
		manager = plain(fields[0].Manager, maxManager)
	}
	reason := plain(strings.TrimSpace(o.GetAnnotations()[v1alpha1.ReasonAnnotation]), maxReason)
	if reason == "" {
		reason = fmt.Sprintf("generation %d of %s", o.GetGeneration(), ref)
	}
	return fleet.Author{Name: fleet.ObjectAuthor(ref.namespace, ref.name, manager), Reason: reason}
}
