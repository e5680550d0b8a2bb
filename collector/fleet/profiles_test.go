// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// rig is a fleet over a real store, whose agents the test plays.
type rig struct {
	*fleet.Fleet
	t     *testing.T
	dir   string
	store *sqlite.Store
	stop  func()
}

// start runs a fleet over a directory.
func start(t *testing.T, dir string) *rig {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.New(t.Context(), fleet.Config{
		Store: s, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Every: 50 * time.Millisecond, Gather: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	r := &rig{Fleet: f, t: t, dir: dir, store: s}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *rig) join(node string) *fleet.Session {
	s := r.Join(r.t.Context(), fleet.Arrival{Hello: &apiv1.Hello{Node: node}, Issued: time.Now()})
	r.t.Cleanup(func() { s.Leave(context.WithoutCancel(r.t.Context())) })
	return s
}

func keyed(name string) profile.Key {
	return profile.Key{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"}
}

func message(k profile.Key) *apiv1.ProfileKey {
	return &apiv1.ProfileKey{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Container: k.Container}
}

// programs is a profile that may run programs.
func programs(key profile.Key, paths ...string) *profile.Profile {
	p := &profile.Profile{Key: key}
	for _, path := range paths {
		p.Processes = append(p.Processes, profile.Process{Path: path, AnyArguments: true, Seen: profile.Provenance{Origin: profile.Learned}})
	}
	p.Normalise()
	return p
}

// observe sends what a node has observed, and returns why it was refused, if it was.
func observe(t *testing.T, s *fleet.Session, version uint64, p *profile.Profile) string {
	t.Helper()
	m := &apiv1.ObservedProfile{Key: message(p.Key), Version: version, Profile: profile.Encode(p)}
	if err := s.Observed(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for {
		<-s.News()
		for _, m := range s.TakeNews(t.Context()) {
			if a := m.GetObserved(); a != nil && a.GetVersion() == version && a.GetKey().GetName() == p.Key.Name {
				return a.GetRefused()
			}
		}
	}
}

// version waits until the effective profile of a key has a version, 0 for any, and so many programs, each with its parent.
func (r *rig) version(key profile.Key, version uint64, programs int) fleet.Profile {
	r.t.Helper()
	var p fleet.Profile
	wait.Until(r.t, 20*time.Second, func() error {
		var err error
		p, err = r.Profile(r.t.Context(), key)
		if err != nil || version != 0 && p.Version != version || p.Entries != 2*programs {
			return fmt.Errorf("profile is %+v (%w), expected version %d with %d programs", p, err, version, programs)
		}
		return nil
	})
	return p
}

// troubled waits until the profile of web says what could not be taken into account.
func (r *rig) troubled(within time.Duration, says string) fleet.Profile {
	r.t.Helper()
	var p fleet.Profile
	wait.Until(r.t, within, func() error {
		var err error
		p, err = r.Profile(r.t.Context(), keyed("web"))
		if err == nil && !strings.Contains(p.Trouble, says) {
			err = fmt.Errorf("its trouble is %q, not %q", p.Trouble, says)
		}
		return err
	})
	return p
}

// TestComputedAtStart stores what a node has observed, and ends before anybody is told: the next start does it.
func TestComputedAtStart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	if refused := observe(t, first.join("a"), 1, programs(keyed("web"), "/bin/a")); refused != "" {
		t.Fatal(refused)
	}
	first.version(keyed("web"), 1, 1)
	err := first.store.PutObserved(t.Context(), store.Observed{
		Node: "b", Key: keyed("web"), Version: 1, Received: time.Now(), Seen: time.Now(), Text: profile.Encode(programs(keyed("web"), "/bin/b")),
	})
	if err != nil {
		t.Fatal(err)
	}
	first.stop()
	second := start(t, dir)
	second.version(keyed("web"), 2, 2)
	second.stop()
	third := start(t, dir)
	third.version(keyed("web"), 2, 2)
}

// TestUnreadableOverlay has an overlay that cannot be read any more: what was in force stays, and it can be replaced.
func TestUnreadableOverlay(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.join("a")
	observe(t, a, 1, programs(keyed("web"), "/bin/a"))
	r.version(keyed("web"), 1, 1)
	if _, err := r.store.PutOverlays(t.Context(), store.Overlay{Key: keyed("web"), Text: []byte("nonsense"), Entries: 1}); err != nil {
		t.Fatal(err)
	}
	observe(t, a, 2, programs(keyed("web"), "/bin/a", "/bin/b"))
	r.troubled(10*time.Second, "overlay version 1")
	r.version(keyed("web"), 1, 1)
	base := uint64(1)
	by := fleet.Author{Name: "ann", Reason: "repair"}
	if _, err := r.PutOverlay(t.Context(), keyed("web"), "", &base, by); err != nil {
		t.Fatal(err)
	}
	if p := r.version(keyed("web"), 2, 2); p.Trouble != "" {
		t.Errorf("trouble is left: %s", p.Trouble)
	}
}

// TestLimits has nodes observe more than a profile holds, one of them alone too, and send more than they take answers.
func TestLimits(t *testing.T) {
	r := start(t, t.TempDir())
	a, b := r.join("a"), r.join("b")
	half := make([]string, profile.MaxEntries/3)
	for i := range half {
		half[i] = fmt.Sprintf("/bin/a%d", i)
	}
	if refused := observe(t, a, 1, programs(keyed("web"), half...)); refused != "" {
		t.Fatalf("a large profile is refused: %s", refused)
	}
	before := r.version(keyed("web"), 1, len(half))
	for i := range half {
		half[i] = fmt.Sprintf("/bin/b%d", i)
	}
	observe(t, b, 1, programs(keyed("web"), half...))
	if p := r.troubled(2*time.Minute, "too many entries"); p.Version != before.Version || p.Entries != before.Entries {
		t.Errorf("what is effective has changed from %+v to %+v", before, p)
	}
	by := fleet.Author{Name: "ann", Reason: "all of it"}
	if _, err := r.PutOverlay(t.Context(), keyed("web"), string(profile.Encode(programs(keyed("web"), half...))), nil, by); !errors.Is(err, fleet.ErrRefused) {
		t.Errorf("an overlay that makes too many entries: %v", err)
	}
	tooMany := programs(keyed("web"), half...)
	for i := range profile.MaxEntries {
		tooMany.Processes = append(tooMany.Processes, profile.Process{Path: fmt.Sprintf("/bin/c%d", i), AnyArguments: true, Seen: profile.Provenance{Origin: profile.Learned}})
	}
	if refused := observe(t, b, 2, tooMany); !strings.Contains(refused, "65536") {
		t.Errorf("too many entries: refused with %q", refused)
	}
	m := &apiv1.ObservedProfile{Key: message(keyed("w0")), Version: 2, Profile: []byte("x")}
	var err error
	for range 1000 {
		if err = a.Observed(t.Context(), m); err != nil {
			break
		}
	}
	if !errors.Is(err, fleet.ErrPolicy) {
		t.Errorf("a thousand profiles without taking an answer: %v", err)
	}
	keys := make([]*apiv1.ProfileKey, profile.MaxProfiles+1)
	for i := range keys {
		keys[i] = message(keyed(fmt.Sprint(i)))
	}
	if c := r.ProfileCounts(); c.Profiles != 1 || c.Troubled != 1 || c.Refused < 2 {
		t.Errorf("counts: %+v", c)
	}
	// A key that names nothing is left out.
	if err := a.Announce(t.Context(), &apiv1.Announce{Keys: []*apiv1.ProfileKey{message(keyed("web")), {}}}); err != nil {
		t.Error(err)
	}
	if got := a.Announced(); len(got) != 1 || got[0] != keyed("web") {
		t.Errorf("announced: %v", got)
	}
	for _, m := range []*apiv1.Announce{{Keys: keys}, {Keys: keys[:2], Digests: make([][]byte, 1)}} {
		if err := a.Announce(t.Context(), m); !errors.Is(err, fleet.ErrPolicy) {
			t.Errorf("%d keys and %d digests are announced: %v", len(m.Keys), len(m.Digests), err)
		}
	}
}

// TestRefusalIsText refuses profiles whose mistakes are long and not ASCII: messages take nothing but UTF-8.
func TestRefusalIsText(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.join("a")
	for i := range 4 {
		m := &apiv1.ObservedProfile{Key: message(keyed("web")), Version: uint64(i + 1)}
		m.Profile = []byte(strings.Repeat("x", i))
		for j := range 5 {
			m.Profile = fmt.Appendf(m.Profile, "%s%d: 1\n", strings.Repeat("é", 300), j)
		}
		if err := a.Observed(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		held, err := a.Held(t.Context())
		if err != nil || len(held.GetHeld()) != 1 || len(held.GetHeld()[0].GetRefused()) < 900 {
			t.Fatalf("held: %v, %v", held, err)
		}
		if _, err := proto.Marshal(held); err != nil {
			t.Error(err)
		}
	}
}

// TestManyNodes has many nodes observe one workload at once, in any order: all of it is merged, and every node is told.
func TestManyNodes(t *testing.T) {
	r := start(t, t.TempDir())
	const nodes, each = 40, 50
	var group sync.WaitGroup
	for n := range nodes {
		s := r.join(fmt.Sprint("node-", n))
		if err := s.Announce(t.Context(), &apiv1.Announce{Keys: []*apiv1.ProfileKey{message(keyed("web"))}}); err != nil {
			t.Fatal(err)
		}
		paths := []string{"/bin/common"}
		for i := range each - 1 {
			paths = append(paths, fmt.Sprintf("/bin/n%d-%d", n, i))
		}
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		group.Go(func() {
			m := &apiv1.ObservedProfile{Key: message(keyed("web")), Version: 1, Profile: profile.Encode(programs(keyed("web"), paths...))}
			if err := s.Observed(t.Context(), m); err != nil {
				t.Error(err)
			}
			deadline := time.After(30 * time.Second)
			for told := 0; told != 2*(nodes*(each-1)+1); {
				select {
				case <-s.News():
				case <-deadline:
					t.Errorf("node %d was told of %d entries", n, told)
					return
				}
				for _, m := range s.TakeNews(t.Context()) {
					for _, p := range m.GetProfiles().GetProfiles() {
						told = entriesOf(t, r, p)
					}
				}
			}
		})
	}
	group.Wait()
	p, err := r.Profile(t.Context(), keyed("web"))
	if err != nil || len(p.Nodes) != nodes || p.Trouble != "" {
		t.Errorf("profile is %+v: %v", p, err)
	}
	t.Logf("%d versions for %d nodes", p.Version, nodes)
}

// entriesOf is how many entries the version has that an agent is told.
func entriesOf(t *testing.T, r *rig, m *apiv1.EffectiveProfile) int {
	e, err := r.store.Effective(t.Context(), keyed("web"))
	if err != nil {
		t.Error(err)
		return 0
	}
	if e.Version != m.GetVersion() {
		return 0
	}
	return e.Entries
}

// TestGeneralisedTogether has nodes see a few argument vectors each, which are many together.
func TestGeneralisedTogether(t *testing.T) {
	r := start(t, t.TempDir())
	const nodes, each = 8, 8
	for n := range nodes {
		p := programs(keyed("web"), "/usr/bin/worker")
		p.Processes[0].AnyArguments = false
		for i := range each {
			shape := []string{"worker", strings.Repeat("x", n+1), strings.Repeat("y", i+1)}
			p.Processes[0].Arguments = append(p.Processes[0].Arguments, profile.Argument{Shape: shape, Seen: profile.Provenance{Origin: profile.Learned}})
		}
		if refused := observe(t, r.join(fmt.Sprint("node-", n)), 1, p); refused != "" {
			t.Fatal(refused)
		}
		if one := profile.Generalise(p); one.Processes[0].AnyArguments {
			t.Fatal("what one node has seen is enough by itself")
		}
	}
	r.version(keyed("web"), 0, 1)
	layer, err := r.Layer(t.Context(), keyed("web"), fleet.LayerEffective, "", 0)
	if err != nil || len(layer.Profile.Processes) != 1 || !layer.Profile.Processes[0].AnyArguments {
		t.Errorf("effective: %s, %v", layer.Text(), err)
	}
}

// TestRevokedNode revokes a node: what it has observed counts no more, until it is taken in again and sends it anew.
func TestRevokedNode(t *testing.T) {
	r := start(t, t.TempDir())
	a, b := r.join("a"), r.join("b")
	observe(t, a, 1, programs(keyed("web"), "/bin/a"))
	observe(t, b, 1, programs(keyed("web"), "/bin/a", "/bin/b"))
	r.version(keyed("web"), 0, 2)
	if err := r.Revoke(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	r.version(keyed("web"), 0, 1)
	back := r.join("b")
	held, err := back.Held(t.Context())
	if err != nil || len(held.GetHeld()) != 0 {
		t.Errorf("the node is told that its profile is held: %v, %v", held, err)
	}
	observe(t, back, 1, programs(keyed("web"), "/bin/b"))
	r.version(keyed("web"), 0, 2)
}

// TestForgottenProfile tells an agent that has announced a profile since that there is none any more, and keeps versions
// growing.
func TestForgottenProfile(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.join("a")
	observe(t, a, 1, programs(keyed("web"), "/bin/a"))
	r.version(keyed("web"), 1, 1)
	by := fleet.Author{Name: "ann", Reason: "it is gone"}
	edited, err := r.Forget(t.Context(), keyed("web"), by)
	if err != nil || edited.Version != 0 || len(edited.Changes) == 0 {
		t.Fatalf("forgotten: %+v, %v", edited, err)
	}
	if _, err := r.Profile(t.Context(), keyed("web")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is still known: %v", err)
	}
	if _, err := r.Forget(t.Context(), keyed("web"), by); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("forgotten twice: %v", err)
	}
	observe(t, a, 2, programs(keyed("web"), "/bin/a"))
	r.version(keyed("web"), 3, 1)
	if err := a.Announce(t.Context(), &apiv1.Announce{Keys: []*apiv1.ProfileKey{message(keyed("web"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Forget(t.Context(), keyed("web"), by); !errors.Is(err, fleet.ErrInUse) {
		t.Errorf("what a node runs is forgotten: %v", err)
	}
}

// TestModesFitAMessage has settings that fill a message: no more are taken until others end.
func TestModesFitAMessage(t *testing.T) {
	r := start(t, t.TempDir())
	var many []store.ModeSetting
	for i := range 2000 {
		many = append(many, store.ModeSetting{
			Workload: fmt.Sprint("shop/w", i), Mode: profile.ModeMonitor, Author: "ann", Reason: strings.Repeat("x", 1000), Set: time.Now(),
		})
	}
	if _, _, err := r.store.ChangeModes(t.Context(), store.ModeChange{Add: many}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, r.dir)
	by := fleet.Author{Name: "ann", Reason: strings.Repeat("y", 1000)}
	n, err := 0, error(nil)
	for ; err == nil && n < 100; n++ {
		_, _, _, err = r.SetMode(t.Context(), store.ModeSetting{Workload: fmt.Sprint("bank/w", n), Mode: profile.ModeEnforce}, by)
	}
	if !errors.Is(err, store.ErrTooMany) {
		t.Fatalf("%d settings more than fit a message: %v", n, err)
	}
	if _, replaced, _, err := r.SetMode(t.Context(), store.ModeSetting{Workload: "shop/w7", Mode: profile.ModeEnforce}, by); err != nil || len(replaced) != 1 {
		t.Errorf("one in place of another: %v, %v", replaced, err)
	}
	if size := proto.Size(r.join("a").CurrentModes()); size > 3<<20 {
		t.Errorf("agents are told %d bytes", size)
	}
}
