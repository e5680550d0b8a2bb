// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/uplink"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// removedAt is when profiles are removed in these tests; learning was before or after.
var removedAt = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func keyed(name string) profile.Key {
	return profile.Key{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"}
}

// program is a profile with one program, seen first at some time.
func program(key profile.Key, path string, first time.Time) *profile.Profile {
	seen := profile.Provenance{Origin: profile.Learned, First: first, Last: first, Count: 1}
	p := &profile.Profile{Key: key, Processes: []profile.Process{{Path: path, AnyArguments: true, Seen: seen}}}
	p.Normalise()
	return p
}

// learned makes a guard that has learned profiles under an agent before, with version 5 each.
func learned(t *testing.T, dir string, profiles ...*profile.Profile) *Guard {
	t.Helper()
	for _, p := range profiles {
		text := append(fmt.Appendf(nil, firstLine, 5), profile.Encode(p)...)
		if err := os.WriteFile(filepath.Join(dir, fileName(p.Key)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := New(Config{
		Node: "n1", Dir: dir, Defaults: profile.Modes{profile.SignalProcess: profile.ModeLearn},
		Now: func() time.Time { return removedAt.Add(time.Hour) }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// taken is all that the uplink is given: name, newest removal heeded, and programs.
func taken(g *Guard) string {
	var all []string
	for {
		o, ok := g.Take()
		if !ok {
			slices.Sort(all)
			return strings.Join(all, "; ")
		}
		p, err := profile.DecodeOne("taken", o.Text)
		if err != nil {
			return err.Error()
		}
		one := fmt.Sprintf("%s %d", o.Key.Name, o.Removed)
		for _, q := range p.Processes {
			one += " " + q.Path
		}
		all = append(all, one)
	}
}

func effective(key profile.Key, path string) uplink.Effective {
	return uplink.Effective{Key: key, Version: 9, Text: profile.EncodeBare(program(key, path, removedAt))}
}

func removal(name string, at time.Time) uplink.Removal {
	return uplink.Removal{Key: keyed(name), At: uint64(at.UnixNano())}
}

// workloadsOf are the workloads of keys.
func workloadsOf(keys []profile.Key) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestForget has profiles removed that were learned before, afterwards, not at all, or elsewhere: what is older goes, in
// memory and on disk, and is not given out any more; the rest stays. A removal is heeded once, also over a restart.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	before, after := removedAt.Add(-time.Hour), removedAt.Add(time.Minute)
	g := learned(t, dir, program(keyed("old"), "/bin/old", before), program(keyed("new"), "/bin/new", after),
		program(keyed("other"), "/bin/other", before), program(keyed("mixed"), "/bin/mixed", after))
	g.Apply([]uplink.Effective{effective(keyed("mixed"), "/bin/elsewhere"), effective(keyed("told"), "/bin/told")})
	g.Hold(nil)
	if got, want := taken(g), "mixed 0 /bin/mixed; new 0 /bin/new; old 0 /bin/old; other 0 /bin/other"; got != want {
		t.Fatalf("taken at first: %q, want %q", got, want)
	}
	all := []uplink.Removal{removal("old", removedAt), removal("new", removedAt), removal("unknown", removedAt), removal("mixed", removedAt)}
	dropped, later := g.Forget(all)
	if got := workloadsOf(dropped); got != "mixed old" || len(later) != 0 {
		t.Errorf("dropped %q, later %v", got, later)
	}
	// The answers to what was taken come now, and are not about what there is.
	for _, name := range []string{"old", "new", "mixed"} {
		g.Answer(keyed(name), 5, "it was learned before")
	}
	at := removedAt.UnixNano()
	if got, want := taken(g), fmt.Sprintf("new %d /bin/new", at); got != want {
		t.Errorf("taken afterwards: %q, want %q", got, want)
	}
	if w := g.workloads[keyed("mixed")]; w.effective != nil || w.effectiveVersion != 0 {
		t.Error("what the collector told before is held")
	}
	if g.workloads[keyed("told")].effective == nil {
		t.Error("another effective profile is gone")
	}
	if dropped, later := g.Forget(all); len(dropped)+len(later) != 0 {
		t.Errorf("heeded twice: %v, %v", dropped, later)
	}
	g.save()

	g = learned(t, dir)
	g.Hold(nil)
	if got, want := taken(g), fmt.Sprintf("new %d /bin/new; other 0 /bin/other", at); got != want {
		t.Errorf("taken after a restart: %q, want %q", got, want)
	}
	// What the collector has told since is not from before the removal.
	g.Apply([]uplink.Effective{effective(keyed("old"), "/bin/anew")})
	if dropped, later := g.Forget(all); len(dropped)+len(later) != 0 || g.workloads[keyed("old")].effective == nil {
		t.Errorf("heeded again after a restart: %v, %v", dropped, later)
	}
	if dropped, _ := g.Forget([]uplink.Removal{removal("old", removedAt.Add(time.Hour))}); workloadsOf(dropped) != "old" {
		t.Errorf("a later removal was not heeded: %v", dropped)
	}
}

// TestForgetOfARunningWorkload keeps what is enforced, untold, until it is not; then its containers learn anew.
func TestForgetOfARunningWorkload(t *testing.T) {
	g := learned(t, t.TempDir(), program(keyed("web"), "/bin/old", removedAt.Add(-time.Hour)))
	c := &container.Container{
		State: container.StateResolved, Kind: container.KindContainer, Cgroup: 7, ID: "c7", Namespace: "shop",
		WorkloadKind: "Deployment", Workload: "web", Name: "app", ImageDigest: "sha256:aa", Image: "web",
	}
	w := g.workloads[keyed("web")]
	g.members[7], w.containers = &member{container: c, workload: w}, 1
	g.learner.Began(c, removedAt)
	enforce := mode.Setting{ID: 1, Workload: "shop/web", Mode: profile.ModeEnforce, Author: "ann", Set: removedAt}
	if _, err := g.modes.SetCollector([]mode.Setting{enforce}, g.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.modes.Start(mode.Container{Container: c, Key: keyed("web")}, g.now()); err != nil {
		t.Fatal(err)
	}
	g.Hold(nil)
	removals := []uplink.Removal{removal("web", removedAt)}
	for range 2 {
		dropped, later := g.Forget(removals)
		if len(dropped) != 0 || !slices.Equal(later, removals) {
			t.Fatalf("enforced: dropped %v, later %v", dropped, later)
		}
	}
	if got := taken(g); got != "" {
		t.Errorf("what was removed is told: %s", got)
	}
	if p, ok := g.learner.Profile(keyed("web")); !ok || len(p.Processes) != 1 {
		t.Error("what is enforced was forgotten")
	}
	if _, err := g.modes.SetCollector(nil, g.now()); err != nil {
		t.Fatal(err)
	}
	if dropped, later := g.Forget(removals); workloadsOf(dropped) != "web" || len(later) != 0 {
		t.Fatalf("not enforced: dropped %v, later %v", dropped, later)
	}
	p, ok := g.learner.Profile(keyed("web"))
	if !ok || len(p.Processes) != 0 || len(p.Images) != 1 {
		t.Errorf("learning did not begin anew with the container: %v, %+v", ok, p)
	}
}

// TestForgetIsWrittenLast checks that a removal does not count as heeded on disk while what was learned before may be there.
func TestForgetIsWrittenLast(t *testing.T) {
	dir := t.TempDir()
	g := learned(t, dir, program(keyed("old"), "/bin/old", removedAt.Add(-time.Hour)))
	g.Forget([]uplink.Removal{removal("old", removedAt), removal("unknown", removedAt)})
	// The file cannot be removed: it is a folder that is not empty.
	path := filepath.Join(dir, fileName(keyed("old")))
	if err := os.Rename(path, path+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	g.save()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".kept", path); err != nil {
		t.Fatal(err)
	}
	again := learned(t, dir)
	if heeded := again.removals.heeded; heeded[keyed("old")] != 0 || heeded[keyed("unknown")] == 0 {
		t.Errorf("heeded: %v", heeded)
	}
	if dropped, _ := again.Forget([]uplink.Removal{removal("old", removedAt)}); workloadsOf(dropped) != "old" {
		t.Errorf("dropped %v", dropped)
	}
	g.save()
	if text, err := os.ReadFile(filepath.Join(dir, removalsFile)); err != nil || !strings.Contains(string(text), `"old"`) {
		t.Errorf("the removal was not written down when that was possible: %s, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(dir, removalsFile), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if broken := learned(t, dir); len(broken.removals.heeded) != 0 {
		t.Errorf("of a file that is cut short: %v", broken.removals.heeded)
	}
}

// TestRemovalsAreBounded heeds more removals than are kept: the newest stay.
func TestRemovalsAreBounded(t *testing.T) {
	var r removals
	for i := range maxHeeded + 100 {
		r.heed(keyed(fmt.Sprint(i)), uint64(1000+i))
	}
	if _, ok := r.heeded[keyed("100")]; len(r.heeded) != maxHeeded || !ok {
		t.Errorf("%d removals are kept", len(r.heeded))
	}
}
