// SPDX-License-Identifier: Apache-2.0

package learn_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/learn"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// running is a node with a container, in which a service runs with pid 20.
func running(t *testing.T, cfg learn.Config) *node {
	n := newNode(t, cfg)
	for _, line := range []string{
		"container 77 shop Deployment web app sha256:aa", "task 1 0 0 0 /usr/bin/runc runc", "fork 1 10 0",
		"known exec 10 1 0 /usr/bin/runc runc", "fork 10 20 77", "exec 20 5 32 /usr/bin/app app",
	} {
		n.run(strings.Fields(line))
	}
	return n
}

func (n *node) only(t *testing.T) *profile.Profile {
	t.Helper()
	keys := n.learner.Keys()
	if len(keys) != 1 {
		t.Fatalf("%d profiles", len(keys))
	}
	p, ok := n.learner.Profile(keys[0])
	if !ok {
		t.Fatal("no profile")
	}
	return p
}

func TestObserveAllocatesNothing(t *testing.T) {
	n := running(t, learn.Config{})
	n.run(strings.Fields("fork 20 21 77"))
	var events []*event.Event
	for _, line := range []string{
		"exec 21 5 32 /usr/bin/id id -u 33", "open 20 0x241 /var/log/app.log", "rename 20 /data/a /data/b",
		"mmap_exec 20 0 /data/x.so", "ask 20 nothing.example.com", "answer 20 api.example.com 60 198.51.100.1 2001:db8::1",
		"connect 20 6 198.51.100.1 443", "connect 20 6 192.0.2.1 80", "listen 20 6 8080", "socket 20 16 3",
	} {
		words := strings.Fields(line)
		e := n.event(words[0], words[1:])
		e.Head.Flags |= uint16(wire.FlagLearn)
		n.learner.Observe(e)
		events = append(events, e)
	}
	learned := n.learner.Stats().Learned
	if allocations := testing.AllocsPerRun(1000, func() {
		for _, e := range events {
			if n.learner.Observe(e) {
				t.Fatalf("%s is new again", event.Name(e.Type))
			}
		}
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
	if got := n.learner.Stats().Learned; got != learned {
		t.Errorf("%d entries were learned again", got-learned)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	for name, cfg := range map[string]learn.Config{"a profile": {MaxEntries: 100}, "all": {MaxTotal: 100}} {
		t.Run(name, func(t *testing.T) {
			n := running(t, cfg)
			n.now += 5e9
			for i := range 1000 {
				n.run([]string{"connect", "20", "6", "192.0.2.1", fmt.Sprint(1000 + i)})
			}
			p := n.only(t)
			s := n.learner.Stats()
			if p.Len() != 100 || s.Entries != 100 || s.Refused != 903 {
				t.Errorf("%d entries in the profile, %+v", p.Len(), s)
			}
			if l := p.Signals[profile.SignalEgress]; l.State != profile.StatePartial || l.Lost.Unix() != n.at().Unix() {
				t.Errorf("egress is %+v", l)
			}
			if l := p.Signals[profile.SignalProcess]; l.State == profile.StatePartial {
				t.Errorf("process is %+v, though all of it fitted", l)
			}
			// Room that is given back can be used.
			if !n.learner.Drop(p.Key) || n.learner.Stats().Entries != 0 {
				t.Error("dropped, and entries are left")
			}
			if got := n.run(strings.Fields("connect 20 6 192.0.9.9 80")); got != "  new\n" {
				t.Errorf("after that: %q", got)
			}
		})
	}
}

func TestProfilesAreBounded(t *testing.T) {
	n := newNode(t, learn.Config{MaxProfiles: 10})
	for i := range 20 {
		n.run([]string{"container", fmt.Sprint(100 + i), "shop", "Pod", fmt.Sprint("p", i), "app", "sha256:aa"})
	}
	if s := n.learner.Stats(); s.Profiles != 10 || s.Refused != 10 {
		t.Errorf("%+v", s)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	n := running(t, learn.Config{})
	n.run(strings.Fields("answer 20 kept.example.com 600 203.0.113.1"))
	for i := range 1000 {
		n.run([]string{"answer", "20", "many.example.com", "600", fmt.Sprintf("10.0.%d.%d", i/250, i%250)})
		// What is told again and again stays.
		n.run(strings.Fields("answer 20 kept.example.com 600 203.0.113.1"))
	}
	if s := n.learner.Stats(); s.Answers != 1001-256 {
		t.Errorf("%d answers were forgotten, of 1001 with room for 256", s.Answers)
	}
	n.run(strings.Fields("connect 20 6 203.0.113.1 443"))
	// More names than there is room for at one address: the ones that last longest stay.
	for i := range 10 {
		n.run([]string{"answer", "20", fmt.Sprintf("n%d.example.com", i), fmt.Sprint(100 - i), "203.0.113.2"})
	}
	n.run(strings.Fields("connect 20 6 203.0.113.2 443"))
	var names []string
	for _, e := range n.only(t).Processes[0].Egress {
		names = append(names, e.Name+e.CIDR)
	}
	if got := strings.Join(names, " "); got != "kept.example.com n0.example.com n1.example.com n2.example.com n3.example.com "+
		"n4.example.com n5.example.com n6.example.com n9.example.com" {
		t.Errorf("learned %s", got)
	}
}

// TestCountsComeFromTheKernel lets every entry of the policy in force be used seven times.
func TestCountsComeFromTheKernel(t *testing.T) {
	n := running(t, learn.Config{})
	for _, line := range []string{
		"open 20 1 /data/x", "connect 20 6 192.0.2.1 80", "answer 20 a.example.com 60 192.0.2.2", "connect 20 6 192.0.2.2 443",
		"mmap_exec 20 0 /data/x.so", "listen 20 6 80", "socket 20 16 3", "fork 20 21 77", "exec 21 5 32 /bin/sh sh -c x",
		"fork 10 30 77", "exec 30 5 32 /bin/bash bash",
	} {
		n.run(strings.Fields(line))
	}
	for i := range 40 {
		n.run([]string{"create", "20", fmt.Sprintf("/spool/q/%c%c", 'g'+i%7, 'g'+i/7)})
	}
	o := policy.Options{Hasher: policy.NewHasher(new(wire.HashKey))}
	p := n.only(t)
	inForce, err := policy.Compile(p, o)
	if err != nil {
		t.Fatal(err)
	}
	unknown := 0
	err = n.learner.Count(p.Key, o, func(part *policy.Set) uint64 {
		for key := range part.Allow {
			if _, ok := inForce.Allow[key]; !ok {
				unknown++
			}
		}
		for key := range part.Egress {
			if _, ok := inForce.Egress[key]; !ok {
				unknown++
			}
		}
		if part.Len() == 0 {
			unknown++
		}
		return 7
	}, n.at())
	if err != nil || unknown > 0 {
		t.Fatalf("%d entries that were asked for are not in force, %v", unknown, err)
	}
	after := n.only(t)
	before := map[string]uint64{}
	for _, e := range p.Entries() {
		before[e.ID()] = e.Seen.Count
	}
	for _, e := range after.Entries() {
		want := before[e.ID()] + 7
		if e.Seen.Origin == profile.Candidate {
			want -= 7
		}
		if e.Seen.Count != want {
			t.Errorf("%s of %s %s was counted %d times, want %d", e.Kind, e.Process, e.Text, e.Seen.Count, want)
		}
	}
	for _, signal := range []profile.Signal{profile.SignalProcess, profile.SignalFile, profile.SignalEgress} {
		if l := after.Signals[signal]; l.Once != 0 || l.Observed < p.Signals[signal].Observed+14 {
			t.Errorf("%s: %+v", signal, l)
		}
	}
}

func TestAnswersThatStand(t *testing.T) {
	n := running(t, learn.Config{})
	n.run(strings.Fields("answer 20 a.example.com 60 203.0.113.1"))
	n.run(strings.Fields("answer 20 b.example.com 10 203.0.113.1 203.0.113.2"))
	n.run(strings.Fields("wait 36"))
	list := n.learner.Answers(77, n.at())
	if len(list) != 1 || list[0].Name != "a.example.com" || list[0].Address.String() != "203.0.113.1" ||
		list[0].Until.Sub(n.at()) != 26*time.Second {
		t.Errorf("%v", list)
	}
	for address, want := range map[string]string{"::ffff:203.0.113.1": "[a.example.com]", "203.0.113.2": "[]", "203.0.113.3": "[]"} {
		if got := fmt.Sprint(n.learner.Names(77, netip.MustParseAddr(address), n.at())); got != want {
			t.Errorf("%s stands for %s, want %s", address, got, want)
		}
	}
	if list := n.learner.Answers(78, n.at()); list != nil {
		t.Errorf("of a container that is not known: %v", list)
	}
}

func TestRestoreRefuses(t *testing.T) {
	n := running(t, learn.Config{})
	p := n.only(t)
	if err := n.learner.Restore(p); !errors.Is(err, learn.ErrKnown) {
		t.Errorf("a profile that is known: %v", err)
	}
	if err := learn.New(learn.Config{MaxEntries: 2}).Restore(p); !errors.Is(err, learn.ErrFull) {
		t.Errorf("a profile that does not fit: %v", err)
	}
	p = p.Clone()
	p.Processes[0].Files = []profile.File{{Path: "relative", Access: profile.Write}}
	fresh := learn.New(learn.Config{})
	if err := fresh.Restore(p); err == nil || !strings.Contains(err.Error(), `process "/usr/bin/app": file "relative"`) {
		t.Errorf("a profile with a bad path: %v", err)
	}
	if s := fresh.Stats(); s.Profiles != 0 || s.Entries != 0 {
		t.Errorf("something was kept of it: %+v", s)
	}
}

func TestProfileIsGivenAnewOnlyWhenItChanged(t *testing.T) {
	n := running(t, learn.Config{})
	first := n.only(t)
	if n.only(t) != first {
		t.Error("nothing has changed, and there is another profile")
	}
	count := first.Processes[0].Seen.Count
	n.run(strings.Fields("exec 20 5 32 /usr/bin/app app"))
	if again := n.only(t); again == first || again.Processes[0].Seen.Count != count+1 || first.Processes[0].Seen.Count != count {
		t.Error("the count is not in the new profile alone")
	}
	for _, line := range []string{"lost ring_bulk_gap", "container 78 shop Deployment web app sha256:bb"} {
		before := n.only(t)
		if n.run(strings.Fields(line)); n.only(t) == before {
			t.Errorf("%s is not in the profile", line)
		}
	}
}

// TestEntriesBecomeOne gives many entries that are alike, from two containers, the second of which sees one of them.
func TestEntriesBecomeOne(t *testing.T) {
	n := running(t, learn.Config{})
	for i := range 40 {
		n.run([]string{"create", "20", fmt.Sprintf("/data/%c%c", 'g'+i%7, 'g'+i/7)})
		n.run([]string{"connect", "20", "6", fmt.Sprintf("192.0.2.%d", i), "80"})
	}
	n.run(strings.Fields("container 78 shop Deployment web app sha256:aa"))
	n.run(strings.Fields("fork 10 30 78"))
	n.run(strings.Fields("known exec 30 6 32 /usr/bin/app app"))
	n.run(strings.Fields("create 30 /data/gg"))
	before := n.learner.Stats().Entries
	p := n.only(t)
	q := p.Processes[0]
	if len(q.Files) != 1 || q.Files[0].Path != "/data/*" || len(q.Egress) != 1 || q.Egress[0].CIDR != "192.0.2.0/24" {
		t.Fatalf("%+v", q)
	}
	if q.Files[0].Seen.Replicas["n1"] != 2 || q.Egress[0].Seen.Replicas["n1"] != 1 {
		t.Errorf("replicas %v and %v", q.Files[0].Seen.Replicas, q.Egress[0].Seen.Replicas)
	}
	if got := n.learner.Stats().Entries; got != p.Len() || before-got != 78 {
		t.Errorf("%d entries are held after %d, %d in the profile", got, before, p.Len())
	}
	// What they stand for is no news, and a replica that is seen again is not counted again.
	if got := n.run(strings.Fields("connect 30 6 192.0.2.99 80")); got != "" {
		t.Errorf("an address of the prefix: %q", got)
	}
	if got := n.run(strings.Fields("create 30 /data/new")); got != "" {
		t.Errorf("a file of the folder: %q", got)
	}
	if got := n.only(t).Processes[0].Files[0].Seen.Replicas["n1"]; got != 2 {
		t.Errorf("%d replicas", got)
	}
	// More than the folder allows is allowed to the file alone.
	if got := n.run(strings.Fields("unlink 30 /data/new")); got != "  new\n" {
		t.Errorf("the file is removed: %q", got)
	}
	if f := n.only(t).Processes[0].Files; len(f) != 2 || f[1].Path != "/data/new" || f[1].Access != profile.Delete {
		t.Errorf("%+v", f)
	}
	n.restart()
}

// TestReplicas counts containers, of one that comes back after the agent's restart too.
func TestReplicas(t *testing.T) {
	n := running(t, learn.Config{})
	for i := range 70 {
		cgroup, pid := fmt.Sprint(100+i), fmt.Sprint(1000+i)
		n.run([]string{"container", cgroup, "shop", "Deployment", "web", "app", "sha256:aa"})
		n.run([]string{"fork", "10", pid, cgroup})
		n.run([]string{"exec", pid, "5", "32", "/usr/bin/app", "app"})
	}
	if got := n.only(t).Processes[0].Seen.Replicas["n1"]; got != 64 {
		t.Errorf("%d replicas of 71, counted to 64", got)
	}
	n.restart()
	n.run(strings.Fields("container 77 shop Deployment web app sha256:aa"))
	n.run(strings.Fields("exec 20 5 32 /usr/bin/app app"))
	p := n.only(t)
	if got := p.Processes[0].Seen.Replicas["n1"]; got != 64 || p.Signals[profile.SignalProcess].Replicas != 64 {
		t.Errorf("after a restart %d replicas, %+v", got, p.Signals)
	}
}

// TestWhateverIsDoneTheProfileIsValid does what attackers may: any bytes in paths, names and arguments.
func TestWhateverIsDoneTheProfileIsValid(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	bytes := func(most int) string {
		text := make([]byte, random.IntN(most))
		for i := range text {
			text[i] = "/.a1-<*\\\x00\x01\x02\xff \n{:'\"é"[random.IntN(19)]
		}
		return string(text)
	}
	n := running(t, learn.Config{})
	n.run(strings.Fields("fork 10 30 77"))
	for range 3000 {
		pid := []string{"20", "30"}[random.IntN(2)]
		path := "/" + bytes(20)
		var e *event.Event
		switch random.IntN(6) {
		case 0:
			e = n.event("exec", []string{pid, "5", "32", path, bytes(20), bytes(20)})
		case 1:
			e = n.event("rename", []string{pid, path, "/" + bytes(5000)})
		case 2:
			e = n.event("mmap_exec", []string{pid, "0", path})
		case 3:
			e = n.event("ask", []string{pid, "x" + bytes(20)})
		case 4:
			e = n.event("open", []string{pid, fmt.Sprint(random.IntN(1024)), path})
		default:
			e = n.event("connect", []string{pid, fmt.Sprint(random.IntN(300)), "192.0.2.1", fmt.Sprint(random.IntN(3))})
		}
		n.observe(e, wire.FlagLearn)
	}
	p := n.only(t)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	text := profile.Encode(p)
	read, err := profile.DecodeOne("profile", text)
	if err != nil || string(profile.Encode(read)) != string(text) {
		t.Fatalf("read back it is another one: %v", err)
	}
	if p.Len() < 500 {
		t.Errorf("only %d entries of 3000 deeds", p.Len())
	}
	n.restart()
}
