// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestTranscripts plays testdata/*.txt: commands, a line of dashes, and what the registry answers, with blank lines
// between. $A to $D stand for container ids, $U to $X for pod uids.
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", play)
}

// Further ids, of containers and of pods.
const (
	hexC = "cccc4ac8a2a8b1c8e0e5f2a1b6f0f3c1a09a0f6bd5a4f4a1d3b8e7a55e0d1c2b"
	hexD = "dddd4ac8a2a8b1c8e0e5f2a1b6f0f3c1a09a0f6bd5a4f4a1d3b8e7a55e0d1c2b"
	uidW = "7f0f6f3a-5b8e-4f43-9c39-1c2d3e4f5a6b"
	uidX = "8a1f6f3a-5b8e-4f43-9c39-1c2d3e4f5a6b"
)

var names = strings.NewReplacer("$A", hexA, "$B", hexB, "$C", hexC, "$D", hexD, "$U", uidA, "$V", uidU, "$W", uidW, "$X", uidX)
var shorts = strings.NewReplacer(hexA, "$A", hexB, "$B", hexC, "$C", hexD, "$D", uidA, "$U", uidU, "$V", uidW, "$W", uidX, "$X")

// stage is a registry with a clock and the sources of a transcript.
type stage struct {
	r     *Registry
	now   time.Time
	feeds map[string]*Feed
	tree  []Birth
	out   bytes.Buffer
}

func play(t *testing.T, script string) string {
	t.Helper()
	s := &stage{now: time.Unix(1000, 0).UTC(), feeds: map[string]*Feed{}}
	r, err := New(Config{
		Node: "node-1", Deadline: 3 * time.Second, Grace: time.Minute,
		Walk: func(context.Context) ([]Birth, error) {
			if s.tree == nil {
				return nil, errors.New("nothing to walk")
			}
			return s.tree, nil
		},
		OnResolved: func(cgroup uint64, c *Container) { fmt.Fprintf(&s.out, "! resolved %d %s\n", cgroup, c.State) },
		OnPlaced:   func(cgroup, owner uint64) { fmt.Fprintf(&s.out, "! placed %d in %d\n", cgroup, owner) },
		OnExpected: func(c *Container) { fmt.Fprintf(&s.out, "! expected %s\n", describe(c)) },
		Now:        func() time.Time { return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.r = r
	var whole strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		if i > 0 {
			whole.WriteString("\n")
		}
		command, _, _ := strings.Cut(block, "\n----")
		for line := range strings.Lines(command) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				s.do(t, strings.Fields(names.Replace(line)))
			}
		}
		answer := shorts.Replace(s.out.String())
		s.out.Reset()
		fmt.Fprintf(&whole, "%s\n----\n%s", strings.TrimSpace(command), answer)
	}
	return whole.String()
}

func (s *stage) do(t *testing.T, f []string) {
	t.Helper()
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		return n
	}
	places := []string{"unknown", "host", "pod", "container", "nested"}
	switch f[0] {
	case "born":
		p := s.r.Born(s.birth(number(1), number(2), f[3:]))
		fmt.Fprintf(&s.out, "%s %d\n", places[p.Kind], p.Container)
	case "tree":
		s.tree = append(s.tree, s.birth(number(1), number(2), f[3:]))
	case "fell":
		s.tree = slices.DeleteFunc(s.tree, func(b Birth) bool { return b.Cgroup == number(1) })
	case "scan":
		if err := s.r.Scan(t.Context()); err != nil {
			fmt.Fprintf(&s.out, "error: %v\n", err)
		}
	case "gone":
		s.r.Gone(number(1))
	case "missing":
		s.r.Missing(number(1))
	case "lookup":
		c, state := s.r.Lookup(number(1))
		fmt.Fprintf(&s.out, "%s %s\n", state, describe(c))
	case "path":
		fmt.Fprintf(&s.out, "%q\n", s.r.Path(number(1)))
	case "owner":
		s.r.SetOwner(f[1], Owner{Kind: f[2], Name: f[3]})
	case "kube":
		s.r.SetPod(f[1], s.facts(f[2:]))
	case "ended":
		s.r.EndPod(f[1])
	case "await":
		s.r.AwaitOwners(f[1] == "on")
	case "pass":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(d)
		if next := s.r.Advance(s.now); !next.IsZero() {
			fmt.Fprintf(&s.out, "next in %s\n", next.Sub(s.now))
		}
	case "stats":
		fmt.Fprintf(&s.out, "%+v\n", s.r.Stats())
	default:
		s.source(t, f)
	}
}

func (s *stage) birth(id, parent uint64, rest []string) Birth {
	return Birth{Cgroup: id, Parent: parent, Name: strings.Join(rest, " "), At: s.now}
}

// source does the commands of sources: "<source> <command> …".
func (s *stage) source(t *testing.T, f []string) {
	t.Helper()
	if len(f) < 2 {
		t.Fatalf("unknown command %v", f)
	}
	feed := s.feeds[f[0]]
	if feed == nil {
		rank := map[string]Rank{"nri": RankNRI, "cri": RankCRI}
		var err error
		if feed, err = s.r.Feed(f[0], rank[f[0]]); err != nil {
			t.Fatal(err)
		}
		s.feeds[f[0]] = feed
	}
	switch f[1] {
	case "up":
		feed.Up()
	case "off":
		feed.Off(strings.Join(f[2:], " "))
	case "namespace":
		feed.Namespace(f[2])
	case "put":
		feed.Put(s.record(t, f[2:]))
	case "announce":
		fmt.Fprintf(&s.out, "! announced %s\n", describe(feed.Announce(s.record(t, f[2:]))))
	case "lapse":
		feed.Lapse(Key{f[2], f[3]})
	case "drop":
		feed.Drop(Key{f[2], f[3]})
	case "started":
		pid, _ := strconv.ParseUint(f[4], 10, 32)
		feed.Started(Key{f[2], f[3]}, uint32(pid), strings.Join(f[5:], " "))
	case "begin":
		feed.BeginSync()
	case "end":
		feed.EndSync()
	case "absent":
		feed.Absent(Query{Cgroup: uint64(must(strconv.Atoi(f[2])))})
	case "asked":
		for len(feed.queries) > 0 {
			fmt.Fprintf(&s.out, "%+v\n", <-feed.queries)
		}
	default:
		t.Fatalf("unknown command %v", f)
	}
}

// facts reads "key=value…" as what Kubernetes says of a pod.
func (s *stage) facts(f []string) PodFacts {
	var facts PodFacts
	for _, pair := range f {
		k, v, _ := strings.Cut(pair, "=")
		key, value, _ := strings.Cut(v, ":")
		switch k {
		case "pod":
			facts.Name = v
		case "ns":
			facts.Namespace = v
		case "owner":
			facts.Owner = Owner{Kind: key, Name: value}
		case "label":
			facts.Labels = map[string]string{key: value}
		case "annotation":
			facts.Annotations = map[string]string{key: value}
		case "ownerannotation":
			facts.OwnerAnnotations = map[string]string{key: value}
		case "nsannotation":
			facts.NamespaceAnnotations = map[string]string{key: value}
		case "command":
			facts.Commands = map[string][][]string{key: {strings.Split(value, ",")}}
		}
	}
	return facts
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

// record reads "<namespace> <id> key=value…".
func (s *stage) record(t *testing.T, f []string) Record {
	t.Helper()
	rec := Record{Key: Key{f[0], f[1]}, Runtime: "containerd", Created: s.now}
	for _, pair := range f[2:] {
		k, v, _ := strings.Cut(pair, "=")
		switch k {
		case "name":
			rec.Name = v
		case "image":
			rec.Image = v
		case "digest":
			rec.ImageDigest = v
		case "pod":
			rec.Pod = v
		case "uid":
			rec.PodUID = v
		case "ns":
			rec.Namespace = v
		case "sandbox":
			rec.SandboxID, rec.Sandbox = v, v == rec.ID
		case "path":
			rec.CgroupsPath, rec.HasSpec = v, true
		case "podlabel":
			key, value, _ := strings.Cut(v, ":")
			rec.PodLabels = map[string]string{key: value}
		case "age":
			d, err := time.ParseDuration(v)
			if err != nil {
				t.Fatal(err)
			}
			rec.Created = s.now.Add(-d)
		default:
			t.Fatalf("unknown field %q", k)
		}
	}
	return rec
}

func describe(c *Container) string {
	if c == nil {
		return "nil"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%s", c.Kind, c.WorkloadKind, c.Workload)
	for _, x := range [][2]string{
		{"id", c.ID}, {"name", c.Name}, {"image", c.Image}, {"digest", c.ImageDigest}, {"pod", c.Pod}, {"uid", c.PodUID},
		{"ns", c.Namespace}, {"runtime", c.Runtime}, {"in", c.RuntimeNamespace}, {"path", c.CgroupPath},
	} {
		if x[1] != "" {
			fmt.Fprintf(&b, " %s=%s", x[0], x[1])
		}
	}
	for _, x := range []struct {
		name string
		m    map[string]string
	}{{"annotations", c.Annotations}, {"owner's", c.OwnerAnnotations}, {"namespace's", c.NamespaceAnnotations}} {
		if len(x.m) > 0 {
			fmt.Fprintf(&b, " %s=%v", x.name, x.m)
		}
	}
	if len(c.Commands) > 0 {
		fmt.Fprintf(&b, " commands=%q", c.Commands)
	}
	if c.InitPID != 0 {
		fmt.Fprintf(&b, " pid=%d", c.InitPID)
	}
	return b.String()
}
