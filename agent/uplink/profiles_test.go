// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// learner is the agent's part: it holds one observed text for each key.
type learner struct {
	changed chan struct{}

	mu      sync.Mutex
	keys    []profile.Key
	texts   map[profile.Key]Observed
	dirty   map[profile.Key]bool
	answers []string
	applied []Effective
	// removed are the removals that were told, enforced the keys of which none is heeded.
	removed  []Removal
	enforced map[profile.Key]bool
}

func newLearner(keys ...profile.Key) *learner {
	return &learner{changed: make(chan struct{}, 1), keys: keys, texts: map[profile.Key]Observed{}, dirty: map[profile.Key]bool{}}
}

func (l *learner) Changed() <-chan struct{} { return l.changed }

func (l *learner) Keys() []profile.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys
}

func (l *learner) Hold(held map[profile.Key]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, o := range l.texts {
		l.dirty[key] = held[key] != o.Version
	}
}

func (l *learner) Take() (Observed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, dirty := range l.dirty {
		if dirty {
			l.dirty[key] = false
			return l.texts[key], true
		}
	}
	return Observed{}, false
}

func (l *learner) Answer(key profile.Key, version uint64, refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, fmt.Sprintf("%s %d %s", key.Name, version, refused))
}

func (l *learner) Apply(effective []Effective) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = append(l.applied, effective...)
}

func (l *learner) Forget(removals []Removal) (dropped []profile.Key, later []Removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range removals {
		if l.enforced[r.Key] {
			later = append(later, r)
			continue
		}
		l.removed = append(l.removed, r)
		if _, ok := l.texts[r.Key]; ok {
			delete(l.texts, r.Key)
			delete(l.dirty, r.Key)
			dropped = append(dropped, r.Key)
		}
	}
	return dropped, later
}

// heeds waits until so many removals were heeded.
func (l *learner) heeds(t *testing.T, n int) {
	t.Helper()
	wait.Until(t, patience, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.removed) != n {
			return fmt.Errorf("%d removals are heeded, expected %d", len(l.removed), n)
		}
		return nil
	})
}

// learn changes what is observed of a key.
func (l *learner) learn(key profile.Key, version uint64, text string) {
	l.learnAfter(0, key, version, text)
}

// learnAfter does so after a removal was heeded.
func (l *learner) learnAfter(removed uint64, key profile.Key, version uint64, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts[key] = Observed{Key: key, Version: version, Removed: removed, Text: []byte(text), States: map[profile.Signal]profile.State{profile.SignalFile: profile.StateStable}}
	l.dirty[key] = true
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// has waits until what was applied and answered, sorted, is this.
func (l *learner) has(t *testing.T, applied, answers string) {
	t.Helper()
	wait.Until(t, patience, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		var texts []string
		for _, e := range l.applied {
			texts = append(texts, fmt.Sprintf("%s %d %.20s", e.Key.Name, e.Version, e.Text))
		}
		slices.Sort(texts)
		slices.Sort(l.answers)
		if got := strings.Join(texts, "; "); got != applied {
			return fmt.Errorf("applied %q, expected %q", got, applied)
		}
		if got := strings.Join(l.answers, "; "); got != answers {
			return fmt.Errorf("answers %q, expected %q", got, answers)
		}
		return nil
	})
}

func testKey(name string) profile.Key {
	return profile.Key{Namespace: "shop", Kind: "Deployment", Name: name, Container: "app"}
}

// profilePeer is a collector that keeps profiles: it welcomes with what it holds, and hands what comes to the test.
func profilePeer(held []*apiv1.ObservedAck, heard func(*apiv1.AgentMessage) []*apiv1.CollectorMessage) *peer {
	return &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		welcome := &apiv1.Welcome{Observed: &apiv1.ObservedHeld{Held: held}, Modes: &apiv1.ModeSettings{Version: 1}}
		if err := s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Welcome{Welcome: welcome}}); err != nil {
			return err
		}
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			for _, answer := range heard(m) {
				if err := s.Send(answer); err != nil {
					return err
				}
			}
		}
	}}
}

func effectiveMessage(all ...*apiv1.EffectiveProfile) *apiv1.CollectorMessage {
	return &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Profiles{Profiles: &apiv1.Profiles{Profiles: all}}}
}

// TestProfiles takes profiles up and down, with everything that a collector may do wrong, and starts the agent again while
// the collector is away.
func TestProfiles(t *testing.T) {
	large := strings.Repeat("process /usr/bin/x\n", 100000)
	packed, encoding, err := apiv1.PackProfile([]byte(large))
	if err != nil {
		t.Fatal(err)
	}
	authority := newCA(t)
	var mu sync.Mutex
	var observed, announced []string
	p := profilePeer([]*apiv1.ObservedAck{{Key: keyMessage(testKey("known")), Version: 7}}, func(m *apiv1.AgentMessage) []*apiv1.CollectorMessage {
		mu.Lock()
		defer mu.Unlock()
		if a := m.GetAnnounce(); a != nil {
			for i, k := range a.GetKeys() {
				announced = append(announced, fmt.Sprintf("%s %d", k.GetName(), len(a.GetDigests()[i])))
			}
			return []*apiv1.CollectorMessage{effectiveMessage(
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("web")), Version: 3, Profile: []byte("small")},
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("large")), Version: 4, Profile: packed, Encoding: encoding},
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("broken")), Version: 1, Profile: []byte("no gzip"), Encoding: encoding},
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("bomb")), Version: 1, Profile: bomb(t), Encoding: encoding},
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("later")), Version: 1, Profile: []byte("x"), Encoding: 9},
			)}
		}
		o := m.GetObserved()
		if o == nil {
			return nil
		}
		text, err := apiv1.UnpackProfile(o.GetProfile(), o.GetEncoding())
		observed = append(observed, fmt.Sprintf("%s %d %.10s %v %v", o.GetKey().GetName(), o.GetVersion(), text, err, o.GetStates()[0].GetState()))
		ack := &apiv1.ObservedAck{Key: o.GetKey(), Version: o.GetVersion()}
		if o.GetKey().GetName() == "refused" {
			ack.Refused = "line 1: nonsense"
		}
		stale := &apiv1.ObservedAck{Key: o.GetKey(), Version: o.GetVersion() - 1}
		return []*apiv1.CollectorMessage{
			{Message: &apiv1.CollectorMessage_Observed{Observed: stale}}, {Message: &apiv1.CollectorMessage_Observed{Observed: ack}},
		}
	})
	servePeer(t, p, authority.server())
	agent := newLearner(testKey("web"), testKey("large"))
	agent.learn(testKey("known"), 7, "not sent again")
	agent.learn(testKey("web"), 1, "text of web")
	agent.learn(testKey("refused"), 1, strings.Repeat("text of refused ", 1000))
	var modes []uint64
	change := func(c *Config) {
		c.Profiles = agent
		c.OnModes = func(m *apiv1.ModeSettings) { modes = append(modes, m.GetVersion()) }
	}
	r := newRig(t, p.address, authority.node("node-1"), change)
	r.run()
	kept := "large 4 process /usr/bin/x\np; web 3 small"
	agent.has(t, kept, "refused 1 line 1: nonsense; web 1 ")
	agent.learn(testKey("web"), 2, "more of web")
	agent.has(t, kept, "refused 1 line 1: nonsense; web 1 ; web 2 ")
	r.stop()
	mu.Lock()
	slices.Sort(observed)
	slices.Sort(announced)
	if got, want := strings.Join(observed, "; "), "refused 1 text of re <nil> stable; web 1 text of we <nil> stable; web 2 more of we <nil> stable"; got != want {
		t.Errorf("the collector heard %q, expected %q", got, want)
	}
	if got := strings.Join(announced, "; "); got != "large 0; web 0" {
		t.Errorf("announced: %q", got)
	}
	mu.Unlock()
	for _, broken := range []string{"broken", "bomb", "later"} {
		if !strings.Contains(r.log.String(), broken+"/app") && !strings.Contains(r.log.String(), broken+" app") {
			t.Errorf("the log does not tell of the profile %s:\n%s", broken, r.log)
		}
	}

	// The collector is away, one file is damaged, and one has the name of another.
	for name, text := range map[string]string{"0.profile": "\xff\xff", fileOf(testKey("other")): string(encodeEffective(t, "another"))} {
		if err := os.WriteFile(filepath.Join(r.cfg.DataDir, "profiles", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := newLearner(testKey("web"))
	id := authority.node("node-1")
	second := newRig(t, "127.0.0.1:1", id, func(c *Config) {
		change(c)
		c.Profiles = again
	})
	second.dir, second.effective.dir = r.dir, r.effective.dir
	second.run()
	again.has(t, kept, "")
	second.stop()
	if want := []uint64{1, 1}; !slices.Equal(modes, want) {
		t.Errorf("modes of versions %d, expected %d", modes, want)
	}
	if len(second.effective.digest(testKey("web"))) != 32 {
		t.Error("what is held would not be announced")
	}
}

// bomb is gzip of more than any profile.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(make([]byte, apiv1.MaxProfile+1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodeEffective(t *testing.T, name string) []byte {
	t.Helper()
	b, err := proto.Marshal(&apiv1.EffectiveProfile{Key: keyMessage(testKey(name)), Version: 1, Profile: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOlderCollector connects to a collector that knows nothing of profiles: it is sent none.
func TestOlderCollector(t *testing.T) {
	authority := newCA(t)
	heard := make(chan string, 1000)
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 1); err != nil {
			return err
		}
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			heard <- fmt.Sprintf("%T", m.GetMessage())
		}
	}}
	servePeer(t, p, authority.server())
	agent := newLearner(testKey("web"))
	agent.learn(testKey("web"), 1, "text")
	r := newRig(t, p.address, authority.node("node-1"), func(c *Config) { c.Profiles = agent })
	r.run()
	for range 5 {
		if kind := <-heard; kind != "*apiv1.AgentMessage_Health" {
			t.Fatalf("the collector was sent %s", kind)
		}
	}
}

// TestKeeperIsBounded keeps as many profiles as an agent may have, and forgets those first that the node has no use for.
func TestKeeperIsBounded(t *testing.T) {
	r := newRig(t, "127.0.0.1:1", newCA(t).node("node-1"), nil)
	k := r.effective
	used := func() []profile.Key { return []profile.Key{testKey("w0"), testKey("w1")} }
	for i := range profile.MaxProfiles + 3 {
		key := testKey(fmt.Sprint("w", i))
		k.put(Effective{Key: key, Version: 1, Text: []byte("x")}, &apiv1.EffectiveProfile{Key: keyMessage(key), Version: 1, Profile: []byte("x")}, used)
	}
	k.put(Effective{Key: testKey("w1")}, nil, used)
	k.write()
	for name, want := range map[string]bool{"w0": true, "w1": false, "w2": false, "w4": false, "w5": true, "w1002": true} {
		_, err := os.Stat(filepath.Join(k.dir, fileOf(testKey(name))))
		if (err == nil) != want || (k.digest(testKey(name)) != nil) != want {
			t.Errorf("profile %s is kept: %v, expected %v", name, err, want)
		}
	}
	files, err := os.ReadDir(k.dir)
	if err != nil || len(files) != profile.MaxProfiles-1 {
		t.Errorf("%d files, expected %d: %v", len(files), profile.MaxProfiles-1, err)
	}
}
