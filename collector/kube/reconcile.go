// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Fleet is what the controller needs of fleet.Fleet, whose methods say what they do.
type Fleet interface {
	PutObject(ctx context.Context, key profile.Key, after *profile.Profile, by fleet.Author) (fleet.Edited, error)
	Overlays(ctx context.Context) ([]store.Overlay, error)
	Modes(ctx context.Context) ([]store.ModeSetting, uint64, error)
	SetObjectModes(ctx context.Context, settings []store.ModeSetting) ([][]string, error)
	SetObjectConflicts(all []fleet.ObjectConflict)
	Live() []fleet.Node
	EffectiveVersion(key profile.Key) uint64
}

// applied is what came of an object's profile the last time, which need not be tried again as long as neither the object nor
// the overlay changes.
type applied struct {
	uid     string
	gen     int64
	overlay uint64
	edited  fleet.Edited
	err     error
}

// reconciler brings the fleet to what objects say. It is used by one goroutine.
type reconciler struct {
	fleet   Fleet
	applied map[profile.Key]applied
}

// run makes overlays and modes what a plan says, and completes its verdicts. The error says what could not be done now and is
// to be tried again.
func (r *reconciler) run(ctx context.Context, p *plan) error {
	errs := []error{r.overlays(ctx, p), r.modes(ctx, p)}
	var conflicts []fleet.ObjectConflict
	for ref, v := range p.verdicts {
		if len(v.conflicts) > 0 && v.reason == v1alpha1.ReasonApplied {
			v.refuse(v1alpha1.ReasonConflicted, v.conflicts[0].message)
		}
		conflicts = append(conflicts, p.told(ref, v)...)
	}
	r.fleet.SetObjectConflicts(conflicts)
	return errors.Join(errs...)
}

// overlays writes those that are new or changed, and takes those away whose object is gone.
func (r *reconciler) overlays(ctx context.Context, p *plan) error {
	newest, err := r.fleet.Overlays(ctx)
	if err != nil {
		return err
	}
	versions := map[profile.Key]uint64{}
	var errs []error
	for _, o := range newest {
		versions[o.Key] = o.Version
		if _, wanted := p.wanted[o.Key]; wanted || o.Action != fleet.ObjectAction {
			continue
		}
		object := fleet.ObjectOf(o.Author)
		_, err := r.fleet.PutObject(ctx, o.Key, nil, fleet.Author{Name: o.Author, Reason: "the object " + object + " is gone"})
		if err != nil {
			errs = append(errs, fmt.Errorf("overlay of the object %s, which is gone: %w", object, err))
		}
	}
	for key, o := range p.overlays {
		if err := r.overlay(ctx, key, o, versions[key], p.verdicts[o.of]); err != nil {
			errs = append(errs, fmt.Errorf("overlay of %s: %w", o.of, err))
		}
	}
	for key := range r.applied {
		if _, wanted := p.overlays[key]; !wanted {
			delete(r.applied, key)
		}
	}
	return errors.Join(errs...)
}

// overlay writes one, unless that was done, and tells the object's verdict of it.
func (r *reconciler) overlay(ctx context.Context, key profile.Key, o overlay, version uint64, v *verdict) error {
	last, known := r.applied[key]
	if !known || last.uid != o.uid || last.gen != o.gen || last.overlay != version {
		edited, err := r.fleet.PutObject(ctx, key, o.profile, o.by)
		if err == nil {
			version = edited.Overlay
		}
		last = applied{uid: o.uid, gen: o.gen, overlay: version, edited: edited, err: err}
		r.applied[key] = last
	}
	v.edited = last.edited
	switch err := last.err; {
	case err == nil:
	case errors.Is(err, fleet.ErrHeld):
		v.conflict("overlay of "+key.String(), "", strings.TrimPrefix(err.Error(), fleet.ErrHeld.Error()+": "))
	case errors.Is(err, fleet.ErrRefused), errors.Is(err, fleet.ErrPolicy), errors.Is(err, store.ErrTooMany):
		v.refuse(v1alpha1.ReasonRefused, err.Error())
	default:
		delete(r.applied, key)
		v.refuse(v1alpha1.ReasonRefused, "not now: "+err.Error())
		return err
	}
	return nil
}

// modes makes the settings of objects those of the plan. What an object that is not valid set before stays.
func (r *reconciler) modes(ctx context.Context, p *plan) error {
	wanted := p.settings
	for ref, v := range p.verdicts {
		if v.reason != v1alpha1.ReasonInvalid {
			continue
		}
		held, _, err := r.fleet.Modes(ctx)
		if err != nil {
			return err
		}
		for _, s := range held {
			if fleet.ObjectOf(s.Author) == ref.namespace+"/"+ref.name && p.ofProfile(s.Workload) {
				wanted = append(wanted, setting{ref, s})
			}
		}
	}
	settings := make([]store.ModeSetting, len(wanted))
	for i, s := range wanted {
		settings[i] = s.ModeSetting
	}
	conflicts, err := r.fleet.SetObjectModes(ctx, settings)
	if err != nil {
		for _, s := range wanted {
			p.verdicts[s.of].refuse(v1alpha1.ReasonRefused, err.Error())
		}
		return fmt.Errorf("modes of objects: %w", err)
	}
	for i, s := range wanted {
		v := p.verdicts[s.of]
		for _, message := range conflicts[i] {
			v.conflict("mode of "+s.Workload, s.Workload, message)
		}
		for _, signal := range settings[i].Signals {
			v.settings = append(v.settings, claim{s.Workload, signal})
		}
	}
	return nil
}

// ofProfile reports whether a pattern is that of a key that some object is about.
func (p *plan) ofProfile(pattern string) bool {
	for key := range p.wanted {
		if key.Namespace+"/"+key.Name+"/"+key.Container == pattern {
			return true
		}
	}
	return false
}

// told are the conflicts of an object as the fleet tells people of them.
func (p *plan) told(ref reference, v *verdict) []fleet.ObjectConflict {
	var all []fleet.ObjectConflict
	for _, c := range v.conflicts {
		told := fleet.ObjectConflict{Object: ref.String(), Workload: c.pattern, Message: c.message}
		if c.pattern == "" {
			told.Key = p.keys[ref]
		}
		all = append(all, told)
	}
	return all
}
