// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Key is the key of the container app of a deployment.
func Key(name string) profile.Key {
	return profile.Key{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"}
}

func observed(node, name string, version uint64, text string) store.Observed {
	return store.Observed{
		Node: node, Key: Key(name), Version: version, Received: At(int(version)), Seen: At(int(version)), Entries: int(version),
		States: map[profile.Signal]profile.State{profile.SignalProcess: profile.StateStable}, Text: []byte(text),
	}
}

func testObserved(t *testing.T, open Opener) {
	s := open(t)
	check(t, s.PutObserved(t.Context(), observed("b", "web", 1, "b1")))
	check(t, s.PutObserved(t.Context(), observed("a", "web", 1, "a1")))
	check(t, s.PutObserved(t.Context(), observed("a", "db", 3, "a-db")))
	check(t, s.PutObserved(t.Context(), observed("a", "web", 2, "a2")))
	refused := observed("b", "web", 5, "")
	refused.Text, refused.States, refused.Refused, refused.Raw = nil, nil, "line 1: nonsense", bytes.Repeat([]byte("x"), 1<<20)
	check(t, s.PutObserved(t.Context(), refused))
	check(t, s.Close())

	s = opened(t, open)
	all, err := s.Observed(t.Context(), Key("web"))
	check(t, err)
	equal(t, "nodes that have observed the key", len(all), 2)
	equal(t, "first", fmt.Sprintf("%s %d %s %v %d", all[0].Node, all[0].Version, all[0].Text, all[0].Refused, all[0].Entries), "a 2 a2  2")
	equal(t, "time", all[0].Received, At(2))
	equal(t, "state", all[0].States[profile.SignalProcess], profile.StateStable)
	equal(t, "refused", fmt.Sprintf("%s %d %s %s %d", all[1].Node, all[1].Version, all[1].Text, all[1].Refused, all[1].Entries), "b 5 b1 line 1: nonsense 1")
	if n := len(all[1].Raw); n == 0 || n > 1<<16 {
		t.Errorf("%d bytes of what was refused are kept", n)
	}
	check(t, s.PutObserved(t.Context(), observed("b", "web", 6, "b6")))
	all, err = s.Observed(t.Context(), Key("web"))
	check(t, err)
	equal(t, "accepted again", fmt.Sprintf("%s %q %d", all[1].Text, all[1].Refused, len(all[1].Raw)), `b6 "" 0`)

	for node, want := range map[string]string{"": "db/a web/a web/b", "a": "db/a web/a", "c": ""} {
		list, err := s.ListObserved(t.Context(), node)
		check(t, err)
		var got []byte
		for _, o := range list {
			got = fmt.Appendf(got, "%s/%s ", o.Key.Name, o.Node)
			equal(t, "text in a list", len(o.Text), 0)
		}
		equal(t, "list of node "+node, string(bytes.TrimSpace(got)), want)
	}
	testForgotten(t, s)
}

// testForgotten goes on behind testObserved.
func testForgotten(t *testing.T, s store.Store) {
	check(t, s.TouchObserved(t.Context(), "a", []profile.Key{Key("web"), Key("unknown")}, At(100)))
	keys, err := s.TrimObserved(t.Context(), At(50))
	check(t, err)
	equal(t, "keys of which something was forgotten", fmt.Sprint(keys), fmt.Sprint([]profile.Key{Key("db"), Key("web")}))
	list, err := s.ListObserved(t.Context(), "")
	check(t, err)
	equal(t, "left", len(list), 1)
	equal(t, "left", list[0].Node, "a")
	equal(t, "seen", list[0].Seen, At(100))
	at, err := s.RemoveObserved(t.Context(), Key("web"), At(110))
	check(t, err)
	equal(t, "when it was removed", at, At(110))
	list, err = s.ListObserved(t.Context(), "")
	check(t, err)
	equal(t, "left in the end", len(list), 0)
}

func testRemovals(t *testing.T, open Opener) {
	s := open(t)
	check(t, s.PutObserved(t.Context(), observed("a", "web", 1, "a1"), observed("a", "db", 1, "a-db")))
	remove := func(name string, at, want time.Time) {
		t.Helper()
		got, err := s.RemoveObserved(t.Context(), Key(name), at)
		check(t, err)
		equal(t, name+" was removed", got, want)
	}
	remove("web", At(10), At(10))
	remove("unknown", At(12), At(12))
	// The clock may have been set back.
	remove("web", At(5), At(12).Add(1))
	check(t, s.Close())

	s = opened(t, open)
	list, err := s.ListObserved(t.Context(), "")
	check(t, err)
	equal(t, "profiles left", len(list), 1)
	equal(t, "left", list[0].Key, Key("db"))
	removals, err := s.Removals(t.Context())
	check(t, err)
	equal(t, "removals", fmt.Sprint(removals), fmt.Sprint([]store.Removal{{Key: Key("unknown"), At: At(12)}, {Key: Key("web"), At: At(12).Add(1)}}))

	kept := func(names map[string]bool) {
		t.Helper()
		removals, err := s.Removals(t.Context())
		check(t, err)
		equal(t, "removals that are kept", len(removals), store.MaxRemovals)
		for name, want := range names {
			equal(t, name+" is kept", slices.ContainsFunc(removals, func(r store.Removal) bool { return r.Key == Key(name) }), want)
		}
	}
	for i := range store.MaxRemovals - 1 {
		remove(fmt.Sprint("w", i), At(20), At(20).Add(time.Duration(i)))
	}
	kept(map[string]bool{"unknown": false, "web": true, "w0": true})
	// Where others were removed by a clock that was ahead, the oldest goes, and not what is removed now; of a key that was
	// forgotten too, an agent that heeded it before takes a new time alone.
	remove("late", At(1), At(20).Add(store.MaxRemovals-1))
	remove("unknown", At(2), At(20).Add(store.MaxRemovals))
	kept(map[string]bool{"web": false, "w0": false, "w1": true, "late": true, "unknown": true})
}

func testObservedLimit(t *testing.T, open Opener) {
	s := opened(t, open)
	var all []store.Observed
	for i := range profile.MaxProfiles {
		all = append(all, observed("a", fmt.Sprint("w", i), 1, "x"))
	}
	is(t, s.PutObserved(t.Context(), append(all, observed("a", "one more", 1, "x"))...), store.ErrTooMany)
	list, err := s.ListObserved(t.Context(), "")
	check(t, err)
	equal(t, "profiles after too many", len(list), 0)
	check(t, s.PutObserved(t.Context(), all...))
	is(t, s.PutObserved(t.Context(), observed("a", "more", 1, "x")), store.ErrTooMany)
	check(t, s.PutObserved(t.Context(), observed("a", "w7", 2, "y")))
	check(t, s.PutObserved(t.Context(), observed("b", "more", 1, "x")))
	list, err = s.ListObserved(t.Context(), "a")
	check(t, err)
	equal(t, "profiles of the node", len(list), profile.MaxProfiles)
}

func effective(name, text string) store.Effective {
	return store.Effective{Key: Key(name), Changed: At(1), Entries: len(text), Digest: sha256.Sum256([]byte(text)), Text: []byte(text)}
}

func testEffective(t *testing.T, open Opener) {
	s := open(t)
	put := func(e store.Effective, want uint64) {
		t.Helper()
		got, err := s.PutEffective(t.Context(), e)
		check(t, err)
		equal(t, "version", got, want)
	}
	_, err := s.Effective(t.Context(), Key("web"))
	is(t, err, store.ErrNotFound)
	put(store.Effective{Key: Key("web")}, 0)
	put(effective("web", "one"), 1)
	put(effective("web", "one"), 1)
	put(effective("web", "two"), 2)
	put(effective("db", ""), 1)
	check(t, s.Close())

	s = open(t)
	e, err := s.Effective(t.Context(), Key("web"))
	check(t, err)
	equal(t, "effective", fmt.Sprintf("%d %s %d %s", e.Version, e.Text, e.Entries, e.Changed), fmt.Sprintf("2 two 3 %s", At(1)))
	equal(t, "digest", e.Digest, sha256.Sum256([]byte("two")))
	put(store.Effective{Key: Key("web")}, 0)
	_, err = s.Effective(t.Context(), Key("web"))
	is(t, err, store.ErrNotFound)
	list, err := s.ListEffective(t.Context())
	check(t, err)
	equal(t, "list", len(list), 1)
	equal(t, "list", list[0].Key, Key("db"))
	put(effective("web", "two"), 4)
	for i, text := range []string{strings.Repeat("long ", 10000), "\x1f\x8b no gzip", ""} {
		put(effective("web", text), uint64(5+i))
		e, err = s.Effective(t.Context(), Key("web"))
		check(t, err)
		equal(t, "text", string(e.Text), text)
	}
	check(t, s.Close())
}

func overlay(name string, base uint64, text string) store.Overlay {
	return store.Overlay{
		Key: Key(name), Base: base, Written: At(int(base)), Author: "ann", Reason: "since " + text, Action: "edit", Entries: len(text), Text: []byte(text),
	}
}

func testOverlays(t *testing.T, open Opener) {
	s := open(t)
	put := func(want error, overlays ...store.Overlay) []uint64 {
		t.Helper()
		versions, err := s.PutOverlays(t.Context(), overlays...)
		is(t, err, want)
		return versions
	}
	_, err := s.Overlay(t.Context(), Key("web"), 0)
	is(t, err, store.ErrNotFound)
	equal(t, "versions", fmt.Sprint(put(nil, overlay("web", 0, "one"), overlay("db", 0, "db"))), "[1 1]")
	equal(t, "versions", fmt.Sprint(put(nil, overlay("web", 1, "two"))), "[2]")
	put(store.ErrChanged, overlay("web", 1, "late"))
	put(store.ErrChanged, overlay("db", 1, "kept out"), overlay("web", 0, "late"))
	check(t, s.Close())

	s = opened(t, open)
	for version, want := range map[uint64]string{0: "2 two", 1: "1 one", 2: "2 two"} {
		o, err := s.Overlay(t.Context(), Key("web"), version)
		check(t, err)
		equal(t, "overlay", fmt.Sprintf("%d %s", o.Version, o.Text), want)
	}
	_, err = s.Overlay(t.Context(), Key("web"), 3)
	is(t, err, store.ErrNotFound)
	put(nil, overlay("web", 2, ""))
	list, err := s.ListOverlays(t.Context())
	check(t, err)
	equal(t, "list", len(list), 2)
	equal(t, "first", fmt.Sprintf("%s %d", list[0].Key.Name, list[0].Version), "db 1")
	equal(t, "second", fmt.Sprintf("%s %d %d", list[1].Key.Name, list[1].Version, list[1].Entries), "web 3 0")
	history, err := s.OverlayHistory(t.Context(), Key("web"))
	check(t, err)
	var got []byte
	for _, o := range history {
		got = fmt.Appendf(got, "%d %s %s %s %s %d; ", o.Version, o.Author, o.Reason, o.Action, o.Written.Format(time.TimeOnly), len(o.Text))
	}
	equal(t, "history", string(got), "3 ann since  edit 12:00:02 0; 2 ann since two edit 12:00:01 0; 1 ann since one edit 12:00:00 0; ")
	for base := uint64(3); base < store.MaxOverlayVersions+5; base++ {
		put(nil, overlay("web", base, "more"))
	}
	history, err = s.OverlayHistory(t.Context(), Key("web"))
	check(t, err)
	equal(t, "versions that are kept", len(history), store.MaxOverlayVersions)
	equal(t, "newest", history[0].Version, uint64(store.MaxOverlayVersions+5))
	var many []store.Overlay
	for i := range store.MaxOverlays {
		many = append(many, overlay(fmt.Sprint("w", i), 0, "x"))
	}
	put(store.ErrTooMany, many...)
	list, err = s.ListOverlays(t.Context())
	check(t, err)
	equal(t, "after too many", len(list), 2)
}

func testModes(t *testing.T, open Opener) {
	s := open(t)
	change := func(c store.ModeChange) (uint64, []uint64) {
		t.Helper()
		version, ids, err := s.ChangeModes(t.Context(), c)
		check(t, err)
		return version, ids
	}
	setting := func(workload string, signals ...profile.Signal) []store.ModeSetting {
		return []store.ModeSetting{{Workload: workload, Signals: signals, Mode: profile.ModeEnforce, Author: "ann", Reason: "ready", Set: At(1), Until: At(9)}}
	}
	all, version, err := s.Modes(t.Context())
	check(t, err)
	equal(t, "before any", fmt.Sprint(all, version), "[] 0")
	change(store.ModeChange{Add: setting("shop/*")})
	version, ids := change(store.ModeChange{Add: setting("shop/web", profile.SignalProcess, profile.SignalEgress)})
	equal(t, "second", fmt.Sprint(version, ids), "2 [2]")
	version, ids = change(store.ModeChange{Add: setting("bank/*"), End: []uint64{1}, At: At(2), Author: "bob", Reason: "replaced"})
	equal(t, "third", fmt.Sprint(version, ids), "3 [3]")
	_, _, err = s.ChangeModes(t.Context(), store.ModeChange{Add: setting("x"), End: []uint64{1}, At: At(3)})
	is(t, err, store.ErrNotFound)
	check(t, s.Close())

	s = opened(t, open)
	all, version, err = s.Modes(t.Context())
	check(t, err)
	equal(t, "version", version, uint64(3))
	equal(t, "settings", len(all), 2)
	equal(t, "first", fmt.Sprint(all[0]), fmt.Sprint(store.ModeSetting{
		ID: 2, Workload: "shop/web", Signals: []profile.Signal{"process", "egress"}, Mode: "enforce", Author: "ann", Reason: "ready", Set: At(1), Until: At(9),
	}))
	equal(t, "second", all[1].ID, uint64(3))
	history, err := s.ModeHistory(t.Context(), 2)
	check(t, err)
	equal(t, "bounded history", fmt.Sprint(history[0].ID, history[1].ID, len(history)), "3 2 2")
	history, err = s.ModeHistory(t.Context(), 100)
	check(t, err)
	equal(t, "ended", fmt.Sprint(history[2].ID, history[2].Ended, history[2].EndedBy, history[2].EndReason), fmt.Sprint(1, At(2), "bob", "replaced"))
	equal(t, "signals of all", len(history[2].Signals), 0)
	var many []store.ModeSetting
	for range store.MaxModes - 2 {
		many = append(many, setting("shop/*")...)
	}
	change(store.ModeChange{Add: many})
	_, _, err = s.ChangeModes(t.Context(), store.ModeChange{Add: setting("shop/*")})
	is(t, err, store.ErrTooMany)
}
