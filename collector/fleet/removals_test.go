// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// observeAfter sends what a node has observed that has heeded a removal, 0 for none, and returns why it was refused.
func observeAfter(t *testing.T, s *fleet.Session, version, heeded uint64, p *profile.Profile) string {
	t.Helper()
	m := &apiv1.ObservedProfile{Key: message(p.Key), Version: version, Profile: profile.Encode(p), Forgotten: proto.Uint64(heeded)}
	if err := s.Observed(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for {
		<-s.News()
		for _, m := range s.TakeNews(t.Context()) {
			if a := m.GetObserved(); a != nil && a.GetVersion() == version {
				return a.GetRefused()
			}
		}
	}
}

// told are the removals that wait for an agent, by name. They come before profiles.
func told(t *testing.T, s *fleet.Session) map[string]uint64 {
	t.Helper()
	removals, profiles := map[string]uint64{}, 0
	for _, m := range s.TakeNews(t.Context()) {
		profiles += len(m.GetProfiles().GetProfiles())
		for _, r := range m.GetForget().GetRemovals() {
			removals[r.GetKey().GetName()] = r.GetAt()
			if profiles > 0 {
				t.Errorf("%s is to be forgotten after effective profiles were told", r.GetKey().GetName())
			}
		}
	}
	return removals
}

var gone = fleet.Author{Name: "ann", Reason: "it is gone"}

// TestRemovalReachesNodes removes a profile: nodes that are connected are told at once, others when they come back, also when
// the collector was started anew meanwhile. What was learned before is refused, what is learned afterwards is taken.
func TestRemovalReachesNodes(t *testing.T) {
	r := start(t, t.TempDir())
	a, b := r.join("a"), r.join("b")
	if n := len(told(t, a)); n != 0 {
		t.Errorf("%d removals before there was any", n)
	}
	for _, s := range []*fleet.Session{a, b} {
		if refused := observeAfter(t, s, 1, 0, programs(keyed("web"), "/bin/old")); refused != "" {
			t.Fatal(refused)
		}
	}
	r.version(keyed("web"), 0, 1)
	b.Leave(t.Context())
	if _, err := r.Forget(t.Context(), keyed("web"), gone); err != nil {
		t.Fatal(err)
	}
	at := told(t, a)["web"]
	if at == 0 {
		t.Fatal("a connected node was not told")
	}
	if again := told(t, a); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
	// What was on its way is late.
	if refused := observeAfter(t, a, 2, 0, programs(keyed("web"), "/bin/old")); !strings.Contains(refused, "removed") {
		t.Errorf("what was learned before was taken: %q", refused)
	}
	r.stop()

	r = start(t, r.dir)
	b = r.join("b")
	if got := told(t, b); got["web"] != at {
		t.Errorf("a node that comes back is told %v, want web at %d", got, at)
	}
	if refused := observeAfter(t, b, 2, at-1, programs(keyed("web"), "/bin/old")); refused == "" {
		t.Error("what another node learned before was taken")
	}
	if _, err := r.Profile(t.Context(), keyed("web")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the profile is back: %v", err)
	}
	if n := r.ProfileCounts().Refused; n != 0 {
		t.Errorf("%d profiles count as malformed", n)
	}
	if refused := observeAfter(t, b, 3, at, programs(keyed("web"), "/bin/new")); refused != "" {
		t.Errorf("what was learned afterwards is refused: %s", refused)
	}
	r.version(keyed("web"), 0, 1)
	if refused := observeAfter(t, b, 1, 0, programs(keyed("db"), "/bin/db")); refused != "" {
		t.Errorf("another profile is refused: %s", refused)
	}
	if _, err := r.Forget(t.Context(), keyed("web"), gone); err != nil {
		t.Fatal(err)
	}
	if second := told(t, b)["web"]; second <= at {
		t.Errorf("removed again at %d, after %d", second, at)
	}
}

// TestRemovalAndOldAgents has an agent that knows nothing of removals: it is told all the same, and taken as it is.
func TestRemovalAndOldAgents(t *testing.T) {
	r := start(t, t.TempDir())
	old := r.join("old")
	observe(t, old, 1, programs(keyed("web"), "/bin/a"))
	r.version(keyed("web"), 1, 1)
	if _, err := r.Forget(t.Context(), keyed("web"), gone); err != nil {
		t.Fatal(err)
	}
	if refused := observe(t, old, 1, programs(keyed("web"), "/bin/a")); refused != "" {
		t.Errorf("its workload would have no profile for good: %s", refused)
	}
	r.version(keyed("web"), 0, 1)
}

// TestRemovalAndOverlays writes overlays behind a removal: what nodes learned before stays away from them.
func TestRemovalAndOverlays(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.join("a")
	observeAfter(t, a, 1, 0, programs(keyed("web"), "/bin/old", "/bin/older"))
	r.version(keyed("web"), 0, 2)
	if _, err := r.Forget(t.Context(), keyed("web"), gone); err != nil {
		t.Fatal(err)
	}
	written := programs(keyed("web"), "/bin/written")
	written.Processes[0].Seen.Origin = profile.Written
	text := string(profile.Encode(written))
	if _, err := r.Import(t.Context(), []string{text}, gone); err != nil {
		t.Fatal(err)
	}
	if refused := observeAfter(t, a, 2, 0, programs(keyed("web"), "/bin/old", "/bin/older")); refused == "" {
		t.Error("what was learned before was taken behind an import")
	}
	allowed := func(want ...string) {
		t.Helper()
		l, err := r.Layer(t.Context(), keyed("web"), fleet.LayerEffective, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		if l.Profile != nil {
			for _, p := range l.Profile.Processes {
				paths = append(paths, p.Path)
			}
		}
		if fmt.Sprint(paths) != fmt.Sprint(want) {
			t.Errorf("allowed: %v, want %v", paths, want)
		}
	}
	allowed("/bin/written")
	// To take the overlay away is no removal: what was learned stays.
	at := told(t, r.join("b"))["web"]
	if refused := observeAfter(t, a, 3, at, programs(keyed("web"), "/bin/new")); refused != "" {
		t.Fatal(refused)
	}
	allowed("/bin/new", "/bin/written")
	if _, err := r.PutOverlay(t.Context(), keyed("web"), "", nil, gone); err != nil {
		t.Fatal(err)
	}
	allowed("/bin/new")
	if got := told(t, r.join("c")); !maps.Equal(got, map[string]uint64{"web": at}) {
		t.Errorf("removals are %v, want that of web at %d alone", got, at)
	}
}

// TestRemovalsAndNodesAtOnce has nodes send what they learned while the profile is removed: nothing of before is left.
func TestRemovalsAndNodesAtOnce(t *testing.T) {
	r := start(t, t.TempDir())
	old := programs(keyed("web"), "/bin/old")
	const nodes = 8
	var group sync.WaitGroup
	begin := make(chan struct{})
	var sessions []*fleet.Session
	for n := range nodes {
		s := r.join(fmt.Sprint("node-", n))
		sessions = append(sessions, s)
		observeAfter(t, s, 1, 0, old)
	}
	for _, s := range sessions {
		group.Go(func() {
			<-begin
			for version := uint64(2); version < 10; version++ {
				m := &apiv1.ObservedProfile{Key: message(old.Key), Version: version, Profile: profile.Encode(old), Forgotten: proto.Uint64(0)}
				if err := s.Observed(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(begin)
	if _, err := r.Forget(t.Context(), keyed("web"), gone); err != nil {
		t.Error(err)
	}
	group.Wait()
	if list, err := r.store.Observed(t.Context(), keyed("web")); err != nil || len(list) != 0 {
		t.Errorf("%d nodes have brought it back: %v", len(list), err)
	}
	for _, s := range sessions {
		if told(t, s)["web"] == 0 {
			t.Error("a node was not told")
		}
	}
}
