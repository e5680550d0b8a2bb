// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/uplink"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// learner is an agent's part in profiles: what it has observed of each key, and what it was told.
type learner struct {
	changed chan struct{}

	mu       sync.Mutex
	observed map[profile.Key]*observation
	// taken counts what was given out to be sent.
	taken   int
	refused []string
	told    map[profile.Key]uplink.Effective
	// removed are the newest removals that were heeded.
	removed map[profile.Key]uint64
	// tellings counts how often a profile was applied.
	tellings map[profile.Key]int
	modes    *apiv1.ModeSettings
}

type observation struct {
	version uint64
	paths   []string
	dirty   bool
	// raw is sent in place of the profile, if it is set.
	raw string
}

func newLearner() *learner {
	return &learner{
		changed: make(chan struct{}, 1), observed: map[profile.Key]*observation{}, told: map[profile.Key]uplink.Effective{},
		removed: map[profile.Key]uint64{}, tellings: map[profile.Key]int{},
	}
}

func (l *learner) Changed() <-chan struct{} { return l.changed }

func (l *learner) Keys() []profile.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []profile.Key
	for key := range l.observed {
		keys = append(keys, key)
	}
	return keys
}

func (l *learner) Hold(held map[profile.Key]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, o := range l.observed {
		o.dirty = o.version > 0 && held[key] != o.version
	}
}

func (l *learner) Take() (uplink.Observed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, o := range l.observed {
		if o.dirty {
			o.dirty = false
			l.taken++
			return uplink.Observed{
				Key: key, Version: o.version, Removed: l.removed[key], Text: o.text(key), States: map[profile.Signal]profile.State{profile.SignalProcess: profile.StateLearning},
			}, true
		}
	}
	return uplink.Observed{}, false
}

func (o *observation) text(key profile.Key) []byte {
	if o.raw != "" {
		return []byte(o.raw)
	}
	p := &profile.Profile{Key: key}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, path := range o.paths {
		p.Processes = append(p.Processes, profile.Process{
			Path: path, AnyArguments: true, Parents: []profile.Parent{{Path: profile.Runtime, Seen: profile.Provenance{Origin: profile.Learned}}},
			Seen: profile.Provenance{Origin: profile.Learned, First: at, Last: at.Add(time.Duration(o.version) * time.Second), Count: uint64(i + 1), Replicas: map[string]uint32{"somebody else": 9}},
		})
	}
	p.Normalise()
	return profile.Encode(p)
}

func (l *learner) Answer(key profile.Key, version uint64, refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if refused != "" {
		l.refused = append(l.refused, refused)
	}
}

func (l *learner) Apply(effective []uplink.Effective) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range effective {
		l.told[e.Key] = e
		l.tellings[e.Key]++
	}
}

func (l *learner) Forget(removals []uplink.Removal) (dropped []profile.Key, later []uplink.Removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range removals {
		if l.removed[r.Key] >= r.At {
			continue
		}
		l.removed[r.Key] = r.At
		if o := l.observed[r.Key]; o != nil {
			*o = observation{version: o.version}
			delete(l.told, r.Key)
			dropped = append(dropped, r.Key)
		}
	}
	return dropped, nil
}

func (l *learner) onModes(m *apiv1.ModeSettings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.modes = m
}

// run notes that the node runs a key.
func (l *learner) run(key profile.Key) {
	l.change(key, func(*observation) {})
}

// learn adds an executable to what is observed.
func (l *learner) learn(key profile.Key, path string) {
	l.change(key, func(o *observation) {
		o.paths = append(o.paths, path)
		o.version++
		o.dirty = true
	})
}

func (l *learner) change(key profile.Key, do func(*observation)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.observed[key] == nil {
		l.observed[key] = &observation{}
	}
	do(l.observed[key])
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// allows waits until the node was told that a key may run exactly these, and returns how long that took.
func (l *learner) allows(t *testing.T, within time.Duration, key profile.Key, paths ...string) time.Duration {
	t.Helper()
	begin := time.Now()
	wait.Until(t, within, func() error {
		l.mu.Lock()
		text := l.told[key].Text
		l.mu.Unlock()
		var got []string
		if text != nil {
			p, err := profile.DecodeOne("told", text)
			if err != nil {
				return err
			}
			for _, process := range p.Processes {
				got = append(got, process.Path)
			}
		}
		if strings.Join(got, " ") != strings.Join(paths, " ") {
			return fmt.Errorf("%s may run %q, expected %q", key, got, paths)
		}
		return nil
	})
	return time.Since(begin)
}

// tellingsOf is how often the node was told of a key.
func (l *learner) tellingsOf(key profile.Key) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tellings[key]
}

// startLearner runs an agent that takes part in profiles.
func startLearner(t *testing.T, dir, name, address, token string, l *learner) *agent {
	t.Helper()
	a := &agent{dir: dir, tails: tail.New(), policies: make(chan *apiv1.RecordPolicy, 100), log: &logs{}, ended: make(chan error, 1)}
	a.alerts, a.records = openSpool(t, dir, "alerts"), openSpool(t, dir, "records")
	var err error
	a.Uplink, err = uplink.New(uplink.Config{
		Address: address, Node: name, DataDir: dir, JoinTokenFile: token, Alerts: a.alerts, Records: a.records,
		Hello: func() *apiv1.Hello { return &apiv1.Hello{} }, Health: func() *apiv1.Health { return &apiv1.Health{} },
		OnRecordPolicy: func(p *apiv1.RecordPolicy) { a.policies <- p },
		OnModes:        l.onModes, Profiles: l,
		Tails: a.tails, Logger: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.run(t)
	return a
}

func appKey(name string) profile.Key {
	return profile.Key{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"}
}

// TestLearnedElsewhere learns on one node: it is allowed on the other one. A node that does not run the
// workload is told nothing. What is learned while the collector is away arrives later, once, and nothing is sent twice.
func TestLearnedElsewhere(t *testing.T) {
	data := t.TempDir()
	c := startCollector(t, data, "", 0)
	one, two, three := newLearner(), newLearner(), newLearner()
	first := startLearner(t, t.TempDir(), "node-1", c.address, c.token(t, authority.Grant{}), one)
	secondDir := t.TempDir()
	second := startLearner(t, secondDir, "node-2", c.address, c.token(t, authority.Grant{}), two)
	startLearner(t, t.TempDir(), "node-3", c.address, c.token(t, authority.Grant{}), three)
	web, db := appKey("web"), appKey("db")
	two.run(web)
	one.learn(web, "/bin/a")
	one.learn(web, "/bin/b")
	two.learn(web, "/bin/c")
	three.learn(db, "/bin/db")
	begin := time.Now()
	two.allows(t, patience, web, "/bin/a", "/bin/b", "/bin/c")
	one.allows(t, patience, web, "/bin/a", "/bin/b", "/bin/c")
	three.allows(t, patience, db, "/bin/db")
	t.Logf("learned on one node, allowed on the other after %s", time.Since(begin))
	one.learn(web, "/bin/d")
	t.Logf("one entry more: %s", two.allows(t, patience, web, "/bin/a", "/bin/b", "/bin/c", "/bin/d"))
	if _, told := three.told[web]; told {
		t.Error("a node was told of a workload that it does not run")
	}
	checkOwn(t, c.store, web)
	// A container comes to a node that has never run the workload.
	three.run(web)
	t.Logf("a node that is new to the workload: %s", three.allows(t, patience, web, "/bin/a", "/bin/b", "/bin/c", "/bin/d"))

	// Counts and times change, and agents are told nothing. What they are told of another profile, which was learned after that, is
	// told after it.
	next := appKey("web-next")
	two.run(next)
	tellings := two.tellingsOf(web)
	one.change(web, func(o *observation) { o.version++; o.dirty = true })
	held(t, c.store, web, "node-1", one)
	one.learn(next, "/bin/next")
	two.allows(t, patience, next, "/bin/next")
	if two.tellingsOf(web) != tellings {
		t.Error("agents were told of a profile in which only counts have changed")
	}

	// The collector is away.
	c.stop()
	one.learn(web, "/bin/e")
	two.learn(web, "/bin/f")
	one.learn(web, "/bin/g")
	sentOne, sentTwo := one.taken, two.taken
	c = startCollector(t, data, c.address, 0)
	all := []string{"/bin/a", "/bin/b", "/bin/c", "/bin/d", "/bin/e", "/bin/f", "/bin/g"}
	two.allows(t, 45*time.Second, web, all...)
	one.allows(t, patience, web, all...)
	for name, l := range map[string]struct {
		*learner
		before int
	}{"node-1": {one, sentOne}, "node-2": {two, sentTwo}} {
		held(t, c.store, web, name, l.learner)
		if n := l.taken - l.before; n != 1 {
			t.Errorf("%s has sent its profile %d times after the collector was back", name, n)
		}
	}

	// The collector is away, and an agent starts.
	first.stop()
	second.stop()
	c.stop()
	again := newLearner()
	again.run(web)
	third := startLearner(t, secondDir, "node-2", c.address, "", again)
	again.allows(t, patience, web, all...)
	third.stop()
}

// held waits until the collector holds what a node has observed.
func held(t *testing.T, s store.Store, key profile.Key, node string, l *learner) {
	t.Helper()
	wait.Until(t, 30*time.Second, func() error {
		l.mu.Lock()
		want := l.observed[key].version
		l.mu.Unlock()
		all, err := s.Observed(t.Context(), key)
		if err != nil {
			return err
		}
		for _, o := range all {
			if o.Node == node && o.Version == want {
				return nil
			}
		}
		return fmt.Errorf("version %d of %s is not stored: %+v", want, node, all)
	})
}

// checkOwn checks that what a node says is kept as its own.
func checkOwn(t *testing.T, s store.Store, key profile.Key) {
	t.Helper()
	all, err := s.Observed(t.Context(), key)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d nodes have observed it: %v", len(all), err)
	}
	for _, o := range all {
		if !bytes.Contains(o.Text, []byte(o.Node)) || bytes.Contains(o.Text, []byte("somebody else")) {
			t.Errorf("what %s says is not its own:\n%s", o.Node, o.Text)
		}
	}
}

// TestMalformedProfile sends what is no profile, or not one that an agent may send. It is kept aside, the agent is told
// why, and what was there before counts.
func TestMalformedProfile(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	one, two := newLearner(), newLearner()
	a := startLearner(t, t.TempDir(), "node-1", c.address, c.token(t, authority.Grant{}), one)
	startLearner(t, t.TempDir(), "node-2", c.address, c.token(t, authority.Grant{}), two)
	web := appKey("web")
	two.run(web)
	one.learn(web, "/bin/a")
	two.allows(t, patience, web, "/bin/a")
	written := &profile.Profile{Key: web, Processes: []profile.Process{{Path: "/bin/evil", Seen: profile.Provenance{Origin: profile.Written, Author: "me"}}}}
	written.Normalise()
	other := &profile.Profile{Key: appKey("other"), Processes: []profile.Process{{Path: "/bin/evil", Seen: profile.Provenance{Origin: profile.Learned}}}}
	other.Normalise()
	for _, test := range []struct{ raw, says string }{
		{"\x00\xff{{{", "YAML"},
		{"kind: Profile\n", "apiVersion"},
		{string(profile.Encode(written)), "for people to say"},
		{string(profile.Encode(other)), "shop/Deployment/other/app"},
		{strings.Repeat("a: &a [*a]\n", 10), ""},
	} {
		n := len(one.refused)
		one.change(web, func(o *observation) { o.raw, o.dirty, o.version = test.raw, true, o.version+1 })
		wait.Until(t, patience, func() error {
			one.mu.Lock()
			defer one.mu.Unlock()
			if len(one.refused) != n+1 || !strings.Contains(one.refused[n], test.says) {
				return fmt.Errorf("refusals are %q, expected one more that says %q", one.refused[n:], test.says)
			}
			return nil
		})
		all, err := c.store.Observed(t.Context(), web)
		if err != nil || len(all) != 1 || all[0].Refused == "" || string(all[0].Raw) != test.raw || !bytes.Contains(all[0].Text, []byte("/bin/a")) {
			t.Errorf("kept aside: %+v, %v", all, err)
		}
	}
	two.allows(t, time.Second, web, "/bin/a")
	one.change(web, func(o *observation) {
		o.raw, o.dirty, o.version, o.paths = "", true, o.version+1, []string{"/bin/a", "/bin/b"}
	})
	two.allows(t, patience, web, "/bin/a", "/bin/b")
	if s := a.Stats(); s.Streams != 1 || !s.Connected {
		t.Errorf("the stream ended: %+v", s)
	}
}

// TestModes sets and clears modes: connected agents hear of it at once, others when they connect.
func TestModes(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	one := newLearner()
	startLearner(t, t.TempDir(), "node-1", c.address, c.token(t, authority.Grant{}), one).connected(t)
	is := func(l *learner, want string) {
		t.Helper()
		wait.Until(t, patience, func() error {
			l.mu.Lock()
			defer l.mu.Unlock()
			var got []byte
			for _, m := range l.modes.GetSettings() {
				got = fmt.Appendf(got, "%d %s %v %s by %s; ", m.GetId(), m.GetWorkload(), m.GetSignals(), m.GetMode(), m.GetAuthor())
			}
			if string(got) != want {
				return fmt.Errorf("modes are %q, expected %q", got, want)
			}
			return nil
		})
	}
	is(one, "")
	by := fleet.Author{Name: "ann", Reason: "it is stable"}
	set := func(s store.ModeSetting) {
		t.Helper()
		if _, _, _, err := c.fleet.SetMode(t.Context(), s, by); err != nil {
			t.Fatal(err)
		}
	}
	set(store.ModeSetting{Workload: "shop/web", Signals: []profile.Signal{profile.SignalProcess}, Mode: profile.ModeMonitor})
	is(one, "1 shop/web [process] monitor by ann; ")
	set(store.ModeSetting{Workload: "shop/web", Mode: profile.ModeEnforce})
	is(one, "2 shop/web [] enforce by ann; ")
	// Break-glass lies over what is there.
	set(store.ModeSetting{Workload: "shop/web", Mode: profile.ModeMonitor, Until: time.Now().Add(time.Hour)})
	is(one, "2 shop/web [] enforce by ann; 3 shop/web [] monitor by ann; ")
	two := newLearner()
	startLearner(t, t.TempDir(), "node-2", c.address, c.token(t, authority.Grant{}), two)
	is(two, "2 shop/web [] enforce by ann; 3 shop/web [] monitor by ann; ")
	if _, _, err := c.fleet.ClearMode(t.Context(), 3, by); err != nil {
		t.Fatal(err)
	}
	is(one, "2 shop/web [] enforce by ann; ")
	is(two, "2 shop/web [] enforce by ann; ")
}

// TestProfilesOverKills kills the collector with SIGKILL again and again while two nodes learn, and restarts one of them.
// In the end either node is allowed all that both have learned.
func TestProfilesOverKills(t *testing.T) {
	program := filepath.Join(t.TempDir(), "holdfast-collector")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../collector/cmd/holdfast-collector")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the collector: %v\n%s", err, out)
	}
	data := t.TempDir()
	token := func() string {
		created, err := exec.CommandContext(t.Context(), program, "token", "create", "--data-dir", data).Output()
		if err != nil {
			t.Fatalf("make a token: %v", err)
		}
		return writeFile(t, string(created))
	}
	listener := listen(t, "")
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	web := appKey("web")
	one, two := newLearner(), newLearner()
	startLearner(t, t.TempDir(), "node-1", address, token(), one)
	dir := t.TempDir()
	// It may not have enrolled yet when it is started again.
	ticket := token()
	second := startLearner(t, dir, "node-2", address, ticket, two)
	var want []string
	for round := range 4 {
		serving := serve(t, program, data, address)
		for i := range 5 {
			a, b := fmt.Sprintf("/bin/a%d-%d", round, i), fmt.Sprintf("/bin/b%d-%d", round, i)
			one.learn(web, a)
			two.learn(web, b)
			want = append(want, a, b)
			if i == 3 {
				// Somewhere between what was heard of the last round and what was not of this one.
				wait.Until(t, 60*time.Second, func() error {
					one.mu.Lock()
					defer one.mu.Unlock()
					if one.tellings[web] < round+1 {
						return fmt.Errorf("node-1 was told %d times", one.tellings[web])
					}
					return nil
				})
			}
		}
		if err := serving.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = serving.Wait() // it was killed
		if round == 1 {
			second.stop()
			second = startLearner(t, dir, "node-2", address, ticket, two)
		}
	}
	serve(t, program, data, address)
	slices.Sort(want)
	one.allows(t, 60*time.Second, web, want...)
	two.allows(t, 60*time.Second, web, want...)
	t.Logf("%d programs learned by two nodes over 4 kills: both may run all of them", len(want))
}
