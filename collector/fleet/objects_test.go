// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// written is a profile that people wrote, which allows programs.
func written(key profile.Key, paths ...string) *profile.Profile {
	p := programs(key, paths...)
	for i := range p.Processes {
		p.Processes[i].Seen.Origin = profile.Written
	}
	return p
}

func put(t *testing.T, r *rig, key profile.Key, p *profile.Profile) error {
	t.Helper()
	_, err := r.PutObject(t.Context(), key, p, fleet.Author{Name: fleet.ObjectAuthor("shop", "web", "argocd"), Reason: "from Git"})
	return err
}

func (r *rig) overlay(key profile.Key) (text, author, action string) {
	r.t.Helper()
	l, err := r.Layer(r.t.Context(), key, fleet.LayerOverlay, "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	history, err := r.OverlayHistory(r.t.Context(), key)
	if err != nil || len(history) == 0 {
		r.t.Fatalf("no history of %s: %v", key, err)
	}
	return l.Text(), history[0].Author, history[0].Action
}

// TestObjectOverlay puts an object's profile into the fleet, beside people who write, too.
func TestObjectOverlay(t *testing.T) {
	r := start(t, t.TempDir())
	key := keyed("web")
	people := fleet.Author{Name: "ann", Reason: "INC-17"}
	if err := put(t, r, key, written(key, "/bin/a")); err != nil {
		t.Fatal(err)
	}
	text, author, action := r.overlay(key)
	if !strings.Contains(text, "/bin/a") || author != "kubernetes: shop/web (argocd)" || action != fleet.ObjectAction {
		t.Fatalf("%s by %s (%s)", text, author, action)
	}
	// The same again is no new version.
	if err := put(t, r, key, written(key, "/bin/a")); err != nil {
		t.Fatal(err)
	}
	if history, _ := r.OverlayHistory(t.Context(), key); len(history) != 1 {
		t.Errorf("%d versions", len(history))
	}
	// A person allows one thing more: it stays in force, and the object is in conflict until it says so, too.
	if edited, err := r.PutOverlay(t.Context(), key, string(profile.Encode(written(key, "/bin/a", "/bin/b"))), nil, people); err != nil || edited.Object != "shop/web" {
		t.Fatalf("%+v, %v", edited, err)
	}
	for _, object := range []*profile.Profile{written(key, "/bin/a"), written(key, "/bin/a", "/bin/c")} {
		if err := put(t, r, key, object); !errors.Is(err, fleet.ErrHeld) || !strings.Contains(err.Error(), "/bin/b") || !strings.Contains(err.Error(), "INC-17") {
			t.Errorf("an object that lacks what a person allowed: %v", err)
		}
	}
	if text, _, _ := r.overlay(key); !strings.Contains(text, "/bin/b") {
		t.Error("what the person wrote is not in force")
	}
	if err := put(t, r, key, written(key, "/bin/a", "/bin/b", "/bin/c")); err != nil {
		t.Fatal(err)
	}
	// A person takes an entry of the object away: the object must not bring it back by itself.
	if _, err := r.PutOverlay(t.Context(), key, string(profile.Encode(written(key, "/bin/a", "/bin/b"))), nil, people); err != nil {
		t.Fatal(err)
	}
	if err := put(t, r, key, written(key, "/bin/a", "/bin/b", "/bin/c")); !errors.Is(err, fleet.ErrHeld) || !strings.Contains(err.Error(), "it has") {
		t.Errorf("an object that has what a person took away: %v", err)
	}
	if err := put(t, r, key, written(key, "/bin/a", "/bin/b")); err != nil {
		t.Error(err)
	}
	// A person may give the overlay back by emptying it.
	if _, err := r.PutOverlay(t.Context(), key, string(profile.Encode(written(key, "/bin/x"))), nil, people); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutOverlay(t.Context(), key, "", nil, people); err != nil {
		t.Fatal(err)
	}
	if err := put(t, r, key, written(key, "/bin/a")); err != nil {
		t.Error(err)
	}
	if err := put(t, r, key, nil); err != nil {
		t.Fatal(err)
	}
	if text, _, action := r.overlay(key); text != "" || action != "remove" {
		t.Errorf("after the object is gone: %q (%s)", text, action)
	}
	// What people wrote stays when an object goes that was in conflict with it.
	if _, err := r.PutOverlay(t.Context(), key, string(profile.Encode(written(key, "/bin/x"))), nil, people); err != nil {
		t.Fatal(err)
	}
	if err := put(t, r, key, nil); err != nil {
		t.Fatal(err)
	}
	if text, _, _ := r.overlay(key); !strings.Contains(text, "/bin/x") {
		t.Error("what a person wrote went with an object")
	}
	// Nobody speaks in the name of an object.
	_, err := r.PutOverlay(t.Context(), key, "", nil, fleet.Author{Name: fleet.ObjectAuthor("shop", "web", "x"), Reason: "forged"})
	if !errors.Is(err, fleet.ErrPolicy) {
		t.Errorf("a person with the name of an object: %v", err)
	}
}

// TestObjectModes sets modes of objects beside those of people.
func TestObjectModes(t *testing.T) {
	r := start(t, t.TempDir())
	people := fleet.Author{Name: "ann", Reason: "careful"}
	object := func(workload string, mode profile.Mode, signals ...profile.Signal) store.ModeSetting {
		return store.ModeSetting{Workload: workload, Mode: mode, Signals: signals, Author: fleet.ObjectAuthor("shop", "web", "flux"), Reason: "from Git"}
	}
	set := func(all ...store.ModeSetting) [][]string {
		t.Helper()
		conflicts, err := r.SetObjectModes(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		return conflicts
	}
	holds := func() map[string]store.ModeSetting {
		t.Helper()
		all, _, err := r.Modes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]store.ModeSetting{}
		for _, s := range all {
			for _, signal := range s.Signals {
				byName[s.Workload+" "+string(signal)] = s
			}
		}
		return byName
	}
	set(object("shop/web", profile.ModeEnforce, profile.SignalProcess, profile.SignalEgress), object("shop", profile.ModeMonitor, profile.SignalFile))
	before := holds()
	if len(before) != 3 || before["shop/web egress"].Mode != profile.ModeEnforce || before["shop/web egress"].Author != "kubernetes: shop/web (flux)" {
		t.Fatalf("%+v", before)
	}
	set(object("shop/web", profile.ModeEnforce, profile.SignalProcess, profile.SignalEgress), object("shop", profile.ModeLearn, profile.SignalFile))
	after := holds()
	if after["shop/web egress"].ID != before["shop/web egress"].ID || after["shop file"].Mode != profile.ModeLearn {
		t.Errorf("%+v", after)
	}
	// What an object set cannot be cleared, but a person can set something else.
	if _, _, err := r.ClearMode(t.Context(), after["shop file"].ID, people); !errors.Is(err, fleet.ErrHeld) {
		t.Errorf("a setting of an object is cleared: %v", err)
	}
	mine, _, _, err := r.SetMode(t.Context(), store.ModeSetting{Workload: "shop/web", Mode: profile.ModeMonitor, Signals: []profile.Signal{profile.SignalEgress}}, people)
	if err != nil {
		t.Fatal(err)
	}
	conflicts := set(object("shop/web", profile.ModeEnforce, profile.SignalProcess, profile.SignalEgress))
	if len(conflicts[0]) != 1 || !strings.Contains(conflicts[0][0], "ann set egress of shop/web to monitor") {
		t.Errorf("conflicts %q", conflicts)
	}
	now := holds()
	if len(now) != 2 || now["shop/web egress"].Author != "ann" || now["shop/web process"].Mode != profile.ModeEnforce {
		t.Errorf("%+v", now)
	}
	if _, _, err := r.ClearMode(t.Context(), mine.ID, people); err != nil {
		t.Fatal(err)
	}
	if conflicts := set(object("shop/web", profile.ModeEnforce, profile.SignalProcess, profile.SignalEgress)); len(conflicts[0]) != 0 || holds()["shop/web egress"].Mode != profile.ModeEnforce {
		t.Errorf("conflicts %q, %+v", conflicts, holds())
	}
	// Break-glass lies over it and is no conflict.
	glass := store.ModeSetting{Workload: "shop/web", Mode: profile.ModeMonitor, Until: time.Now().Add(time.Hour)}
	if _, _, _, err := r.SetMode(t.Context(), glass, people); err != nil {
		t.Fatal(err)
	}
	if conflicts := set(object("shop/web", profile.ModeEnforce, profile.SignalProcess, profile.SignalEgress)); len(conflicts[0]) != 0 {
		t.Errorf("conflicts %q", conflicts)
	}
	set()
	if left := holds(); len(left) != 0 {
		t.Errorf("after the objects are gone: %+v", left)
	}
}
