// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func merged(t *testing.T, profiles ...*Profile) *Profile {
	t.Helper()
	all := profiles[0]
	for _, p := range profiles[1:] {
		var err error
		if all, err = Merge(all, p); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func same(t *testing.T, what string, seed uint64, a, b *Profile) {
	t.Helper()
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("seed %d: %s:\n%s\nis not\n%s", seed, what, Encode(a), Encode(b))
	}
}

// TestMergeIsAJoin checks with random profiles what lets nodes be heard in any order and any number of times.
func TestMergeIsAJoin(t *testing.T) {
	for seed := range uint64(200) {
		r := newRandom(seed)
		a, b, c := r.observed("node-a"), r.observed("node-b"), r.observed(pick(r, "node-a", "node-c"))
		before := Encode(a)
		ab := merged(t, a, b)
		same(t, "a with b, and b with a", seed, ab, merged(t, b, a))
		same(t, "(a with b) with c, and a with (b with c)", seed, merged(t, ab, c), merged(t, a, merged(t, b, c)))
		same(t, "a with a, and a", seed, merged(t, a, a), a)
		same(t, "(a with b) with a, and a with b", seed, merged(t, ab, a), ab)
		if !bytes.Equal(Encode(a), before) {
			t.Fatalf("seed %d: merging has changed a", seed)
		}
		if err := ab.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for signal, l := range ab.Signals {
			if want := a.Signals[signal].Observed + b.Signals[signal].Observed; l.Observed != want {
				t.Fatalf("seed %d: %s: %d observed, want %d", seed, signal, l.Observed, want)
			}
		}
	}
}

// TestMergeTakesTheLaterState checks that what a node says later replaces what it said before, whichever comes first.
func TestMergeTakesTheLaterState(t *testing.T) {
	p := newRandom(3).observed("node-a")
	p.Signals = map[Signal]Learning{SignalFile: {Observed: 10, Once: 5, Replicas: 1}}
	old := p.Attributed("node-a")
	p.Signals[SignalFile] = Learning{Observed: 20, Once: 2, Replicas: 2}
	now := p.Attributed("node-a")
	for _, m := range []*Profile{merged(t, old, now), merged(t, now, old, now)} {
		if l := m.Signals[SignalFile]; l.Observed != 20 || l.Once != 2 || l.Replicas != 2 {
			t.Errorf("merged to %+v", l)
		}
	}
}

func TestMergeKeepsCandidatesApart(t *testing.T) {
	learned := &Profile{Processes: []Process{{Path: "/a", Seen: Provenance{Origin: Learned}, Files: []File{
		{Path: "/x", Access: Read, Seen: Provenance{Origin: Learned}},
	}}}}
	suspect := &Profile{Processes: []Process{
		{Path: "/a", Sources: []Source{FromUpper}, Seen: Provenance{Origin: Candidate, Suspect: FromDrift}},
		{Path: "/a", Seen: Provenance{Origin: Learned}, Files: []File{
			{Path: "/x", Access: Write, Seen: Provenance{Origin: Candidate, Suspect: BySession}},
		}},
	}}
	m := merged(t, learned, suspect)
	if len(m.Processes) != 2 || m.Processes[0].Sources != nil || len(m.Processes[0].Files) != 2 {
		t.Errorf("merged to\n%s", Encode(m))
	}
	e, err := Effective(m, nil)
	if err != nil || len(e.Processes) != 1 || len(e.Processes[0].Files) != 1 || e.Processes[0].Files[0].Access != Read {
		t.Errorf("effective (%v)\n%s", err, Encode(e))
	}
}

func TestMergeLimit(t *testing.T) {
	big := func(folder string) *Profile {
		p := Process{Path: "/a", Seen: Provenance{Origin: Learned}}
		for i := range MaxEntries - 10 {
			p.Files = append(p.Files, File{Path: fmt.Sprintf("/%s/%d", folder, i), Access: Write, Seen: p.Seen})
		}
		return &Profile{Processes: []Process{p}, Signals: map[Signal]Learning{SignalFile: {State: StateStable}}}
	}
	m, err := Merge(big("a"), big("b"))
	if !errors.Is(err, ErrLimit) || m == nil || m.Len() != MaxEntries-9 || m.Signals[SignalFile].State != StatePartial {
		t.Errorf("error %v", err)
	}
	if _, err := Effective(big("a"), big("b")); !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
	other := big("a")
	other.Key.Name = "x"
	if _, err := Merge(big("a"), other); err == nil {
		t.Error("profiles of different keys are merged")
	}
}

// TestAttributed checks that a node speaks for itself alone.
func TestAttributed(t *testing.T) {
	p := newRandom(4).observed("node-a")
	p.Processes = append(p.Processes, Process{Path: "/z", Seen: Provenance{Replicas: map[string]uint32{"x": 2, "y": 3}}})
	p.Signals[SignalFile] = Learning{Observed: 3, Nodes: map[string]Observation{"x": {Observed: 1 << 60}}}
	q := p.Attributed("node-b")
	for i := range q.Processes {
		q.Processes[i].provenances(func(s *Provenance) {
			for node := range s.Replicas {
				if node != "node-b" {
					t.Errorf("attributed to %s", node)
				}
			}
		})
	}
	if got := q.Processes[len(q.Processes)-1].Seen.Replicas; got["node-b"] != 3 {
		t.Errorf("replicas %v", got)
	}
	if got := q.Signals[SignalFile].Nodes; len(got) != 1 || got["node-b"].Observed != 3 {
		t.Errorf("nodes %v", got)
	}
}

// TestEffectiveProperties checks with random layers what holds for every effective profile.
func TestEffectiveProperties(t *testing.T) {
	for seed := range uint64(200) {
		r := newRandom(seed)
		observed, overlay := merged(t, r.observed("a"), r.observed("b")), r.overlay()
		e, err := Effective(observed, overlay)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, Encode(e))
		}
		paths := make(map[string]bool)
		for i := range e.Processes {
			p := &e.Processes[i]
			if paths[p.Path] {
				t.Fatalf("seed %d: %s stands twice", seed, p.Path)
			}
			paths[p.Path] = true
			if p.Executable() != (len(p.Parents) > 0 && (len(p.Arguments) > 0 || p.AnyArguments)) {
				t.Fatalf("seed %d: %s", seed, Encode(e))
			}
			p.provenances(func(s *Provenance) {
				if s.Origin == Candidate || s.Origin == Removed {
					t.Fatalf("seed %d: %s", seed, Encode(e))
				}
			})
		}
		again, err := Effective(e, nil)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "effective of effective", seed, again, e)
		text, err := DecodeOne("e.yaml", Encode(e))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(Encode(text), Encode(e)) {
			t.Fatalf("seed %d: %s\nis read as\n%s", seed, Encode(e), Encode(text))
		}
		shuffled := observed.Clone()
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled.Processes), func(i, j int) {
			shuffled.Processes[i], shuffled.Processes[j] = shuffled.Processes[j], shuffled.Processes[i]
		})
		if other, err := Effective(shuffled, overlay); err != nil || !bytes.Equal(Encode(other), Encode(e)) {
			t.Fatalf("seed %d: the order of processes makes a difference (%v)", seed, err)
		}
	}
}

// layer reads the processes of a profile.
func layer(t *testing.T, processes string) *Profile {
	t.Helper()
	p, err := DecodeOne("layer.yaml", []byte(fmt.Sprintf(head, "p")+"processes:\n"+processes))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEffective(t *testing.T) {
	observed := layer(t, `
- path: /bin/app
  parents: [{path: (runtime)}, {path: /bin/sh}]
  arguments: [{argv: [app]}, {argv: [app, -v]}]
  files: [{path: /tmp/a, access: [write, create]}, {path: /tmp/<n>, access: [write]}, {path: /var/x/**, access: [write]}]
  egress: [{cidr: 10.1.2.3, protocol: tcp, port: 80}, {cidr: 10.0.0.0/8, protocol: udp, port: 53}, {name: a.example.com, protocol: tcp, port: 443}]
- path: /bin/sh
  sources: [image, upper]
  parents: [{path: (runtime), seen: {origin: candidate, suspect: exec session}}]
  files: [{path: /etc/x, access: [write]}]
- path: /bin/ls
`)
	for _, c := range []struct{ name, overlay, want string }{
		{"nothing", "  []", `
- path: /bin/app
  parents: [{path: (runtime)}, {path: /bin/sh}]
  arguments: [{argv: [app]}, {argv: [app, -v]}]
  files: [{path: /tmp/a, access: [write, create]}, {path: /tmp/<n>, access: [write]}, {path: /var/x/**, access: [write]}]
  egress: [{cidr: 10.1.2.3, protocol: tcp, port: 80}, {cidr: 10.0.0.0/8, protocol: udp, port: 53}, {name: a.example.com, protocol: tcp, port: 443}]
- path: /bin/sh
  seen: {origin: context}
  files: [{path: /etc/x, access: [write]}]
- path: /bin/ls
  parents: [{path: "*"}]
  anyArguments: true
`},
		{"removals from one and from all", `
- path: /bin/app
  parents: [{path: /bin/sh, remove: true}]
  arguments: [{argv: [app, -v], remove: true}]
  files: [{path: /tmp/*, access: [create, write], remove: true}, {path: /tmp/b, access: [create]}]
- path: "*"
  egress: [{cidr: 10.0.0.0/16, protocol: any, remove: true}, {cidr: 10.1.0.0/16, protocol: any, remove: true}, {name: "*.example.com", protocol: tcp, remove: true}]
  files: [{path: /etc/**, access: [write], remove: true}]
- path: /bin/sh
  remove: true
  sources: [upper]
- path: /bin/ls
  remove: true
`, `
- path: /bin/app
  parents: [{path: (runtime)}]
  arguments: [{argv: [app]}]
  files: [{path: /tmp/b, access: [create]}, {path: /var/x/**, access: [write]}]
  egress: [{cidr: 10.0.0.0/8, protocol: udp, port: 53}]
`},
		{"additions", `
- path: /bin/ls
  seen: {origin: context}
  arguments: [{argv: [ls]}]
- path: /bin/sh
  parents: [{path: /bin/app}]
- path: /bin/app
  remove: true
- path: /bin/new
  seen: {origin: context}
  egress: [{name: x.org, protocol: tcp, port: 80}]
- path: "*"
  files: [{path: /dev/shm/<n>, access: [create]}]
`, `
- path: /bin/sh
  sources: [image, upper]
  parents: [{path: /bin/app}]
  anyArguments: true
  files: [{path: /etc/x, access: [write]}]
- path: /bin/ls
  parents: [{path: "*"}]
  arguments: [{argv: [ls]}]
- path: /bin/new
  seen: {origin: context}
  egress: [{name: x.org, protocol: tcp, port: 80}]
- path: "*"
  files: [{path: /dev/shm/<n>, access: [create]}]
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Effective(observed, layer(t, c.overlay))
			if err != nil {
				t.Fatal(err)
			}
			if want := Encode(layer(t, c.want)); !bytes.Equal(Encode(got), want) {
				t.Errorf("got\n%s\nwant\n%s", Encode(got), want)
			}
		})
	}
	if e, err := Effective(nil, nil); err != nil || e.Len() != 0 {
		t.Errorf("effective of nothing is %+v (%v)", e, err)
	}
}

func TestCoversTemplate(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"/a/b", "/a/b", true},
		{"/a/*", "/a/b", true},
		{"/a/*", "/a/<n>", true},
		{"/a/*", "/a/b/<n>", false},
		{"/a/*", "/a/**", false},
		{"/a/*", "/a<n>/<n>", false},
		{"/a/<n>", "/a/7", true},
		{"/a/<n>", "/a/*", false},
		{"/a/<n>/*", "/a/<n>/x<n>", true},
		{"/a/<n>/*", "/a/7/*", true},
		{"/a/<n>/*", "/a/x/*", false},
		{"/a/**", "/a/b/c", true},
		{"/a/**", "/a/*", true},
		{"/a/**", "/a/b/**", true},
		{"/a/**", "/a/x<n>/*", true},
		{"/a/**", "/a<n>/x", false},
		{"/a/**", "/<n>/x", false},
		{"/a/b/**", "/a/**", false},
		{"/**", "/a", true},
		{"bad", "/a", false},
		{"/a/*", "bad", false},
	} {
		if got := coversTemplate(c.wide, c.narrow); got != c.want {
			t.Errorf("%s covers %s: %t", c.wide, c.narrow, got)
		}
	}
}

func TestEntryIDs(t *testing.T) {
	p := newRandom(9).observed("node-a")
	seen := make(map[string]string)
	entries := p.Entries()
	if len(entries) < 5 {
		t.Fatalf("%d entries", len(entries))
	}
	for _, e := range entries {
		id := e.ID()
		if other, ok := seen[id]; ok || len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Errorf("%s %s has the id %s, as has %s", e.Kind, e.Text, id, other)
		}
		seen[id] = string(e.Kind) + " " + e.Text
	}
}
