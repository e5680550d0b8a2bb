// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestGeneraliseTranscripts reads the files in testdata/generalise: lines of what a process does, of which N..M in braces
// stands for many. Beside each is what becomes of it.
func TestGeneraliseTranscripts(t *testing.T) {
	golden.Each(t, "testdata/generalise/*.txt", func(t *testing.T, file, text string) {
		p := Process{Path: "/usr/sbin/app", Seen: Provenance{Origin: Learned}}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				deeds(t, &p, line)
			}
		}
		g := Generalise(&Profile{Processes: []Process{p}})
		var out []byte
		for _, e := range g.Entries() {
			out = fmt.Appendf(out, "%s %s\n", e.Kind, e.Text)
		}
		golden.Compare(t, strings.TrimSuffix(file, ".txt")+".out", out)
		lossless(t, &Profile{Processes: []Process{p}}, g)
	})
}

// deeds adds what a line of a transcript says.
func deeds(t *testing.T, p *Process, line string) {
	t.Helper()
	before, rest, many := strings.Cut(line, "{")
	if many {
		span, after, _ := strings.Cut(rest, "}")
		from, to, _ := strings.Cut(span, "..")
		i, err := strconv.Atoi(from)
		if err != nil {
			// Letters stand for themselves.
			for c := from[0]; c <= to[0]; c++ {
				deeds(t, p, before+string(c)+after)
			}
			return
		}
		last, err := strconv.Atoi(to)
		if err != nil {
			t.Fatal(err)
		}
		for ; i <= last; i++ {
			deeds(t, p, before+strconv.Itoa(i)+after)
		}
		return
	}
	words := strings.Fields(line)
	seen := Provenance{Origin: Learned}
	if words[0] == "written" || words[0] == "candidate" {
		seen.Origin, words = Origin(words[0]), words[1:]
	}
	switch words[0] {
	case "exe":
		p.Path = words[1]
	case "run":
		p.Arguments = append(p.Arguments, Argument{Shape: ShapeArguments([]byte(strings.Join(words[1:], "\x00") + "\x00")), Seen: seen})
	case "contact":
		port, err := strconv.Atoi(words[3])
		if err != nil {
			t.Fatal(err)
		}
		a := netip.MustParseAddr(words[2])
		p.Egress = append(p.Egress, Egress{CIDR: netip.PrefixFrom(a, a.BitLen()).String(), Protocol: words[1], Port: uint16(port), Seen: seen})
	default:
		var access Access
		for _, word := range strings.Split(words[0], "+") {
			a, err := ParseAccess(word)
			if err != nil {
				t.Fatal(err)
			}
			access |= a
		}
		path := words[1]
		if seen.Origin != Written {
			path = ExactTemplate([]byte(path))
		}
		p.Files = append(p.Files, File{Path: path, Access: access, Seen: seen})
	}
}

// lossless checks that what a profile allows is allowed by another one.
func lossless(t *testing.T, from, to *Profile) {
	t.Helper()
	m, err := NewMatcher(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range from.Processes {
		for _, f := range p.Files {
			template, err := ParseTemplate(f.Path)
			if err != nil || template.Kind != KindExact || !f.Seen.Allows() {
				continue
			}
			d := Deed{Kind: DoFile, Executable: p.Path, Path: string(template.Raw), Access: f.Access, Protected: true}
			if v := m.Judge(d); !v.Allowed {
				t.Errorf("%s any more", v.Why)
			}
		}
		for _, e := range p.Egress {
			if prefix, err := netip.ParsePrefix(e.CIDR); err == nil && e.Seen.Allows() {
				d := Deed{Kind: DoContact, Executable: p.Path, Address: prefix.Addr(), Protocol: e.Protocol, Port: e.Port}
				if v := m.Judge(d); !v.Allowed {
					t.Errorf("%s any more", v.Why)
				}
			}
		}
		if q := to.Processes[0]; !q.AnyArguments {
			for _, a := range p.Arguments {
				if !slices.ContainsFunc(q.Arguments, func(b Argument) bool { return slices.Equal(a.Shape, b.Shape) }) {
					t.Errorf("%q are not allowed any more", a.Shape)
				}
			}
		}
	}
}

// TestGeneraliseProperties checks with random paths that the order in which they came makes no difference, that a second
// time changes nothing, and that nothing is lost.
func TestGeneraliseProperties(t *testing.T) {
	for seed := range uint64(30) {
		r := newRandom(seed)
		p := Process{Path: "/bin/app", Seen: Provenance{Origin: Learned}}
		seen := make(map[string]bool)
		for range r.IntN(600) {
			path := pick(r, "", "/srv", "/srv/data", "/var/lib/app", "/etc")
			for range r.IntN(3) {
				path += "/" + pick(r, "x", "y", fmt.Sprint(r.IntN(40)), "s"+strings.Repeat("z", r.IntN(30)))
			}
			path += "/" + pick(r, "f", strings.Repeat("g", r.IntN(25)+1), fmt.Sprintf("h%d", r.IntN(30)))
			if !seen[path] {
				p.Files = append(p.Files, File{Path: path, Access: Access(r.IntN(15) + 1), Seen: r.seen("a")})
			}
			seen[path] = true
		}
		whole := &Profile{Key: Key{Kind: "Pod", Name: "p", Container: "c"}, Processes: []Process{p}}
		g := Generalise(whole)
		if err := g.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		shuffled := whole.Clone()
		files := shuffled.Processes[0].Files
		rand.New(rand.NewPCG(seed, 2)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		same(t, "generalised after shuffling, and before", seed, Generalise(shuffled), g)
		same(t, "generalised twice, and once", seed, Generalise(g), g)
		lossless(t, whole, g)
	}
}

func TestGeneraliseBound(t *testing.T) {
	p := Process{Path: "/bin/app", Seen: Provenance{Origin: Learned}}
	for i := range MaxEntries - 1 {
		text := strings.NewReplacer("0", "g", "1", "h", "2", "i", "3", "j", "4", "k", "5", "l", "6", "m", "7", "n").Replace(fmt.Sprintf("%06o", i))
		p.Files = append(p.Files, File{Path: "/srv/data/" + text[:3] + "/" + text[3:5] + "/" + text[5:], Access: Write, Seen: p.Seen})
	}
	g := Generalise(&Profile{Processes: []Process{p}})
	if n := g.Len(); n != 2 || g.Processes[0].Files[0].Path != "/srv/data/**" {
		t.Errorf("%d entries", n)
	}
}

func TestInterprets(t *testing.T) {
	if !slices.IsSorted(interpreters) {
		t.Error("the list is not in order")
	}
	for path, want := range map[string]bool{
		"/bin/sh": true, "/usr/bin/python3.11": true, "/usr/bin/perl5.36.0": true, "/lib64/ld-linux-x86-64.so.2": true,
		"/usr/lib/jvm/bin/java": true, "/usr/bin/env": true, "/opt/busybox-1.36": true, "/usr/sbin/nginx": false,
		"/usr/bin/cat": false, "/usr/bin/java-config": false, "": false, "/usr/bin/Rscript": true,
	} {
		if Interprets(path) != want {
			t.Errorf("%q interprets: %t", path, !want)
		}
	}
}

// TestGeneraliseLeavesOthers checks that only what was learned is generalised.
func TestGeneraliseLeavesOthers(t *testing.T) {
	p := newRandom(5).observed("a")
	for i := range 40 {
		p.Processes[0].Arguments = append(p.Processes[0].Arguments, Argument{
			Shape: []string{"x", strings.Repeat("y", i)}, Seen: Provenance{Origin: Candidate, Suspect: BySession},
		})
	}
	before := Encode(p)
	if g := Generalise(p); g.Processes[0].AnyArguments != p.Processes[0].AnyArguments {
		t.Error("candidates have become any arguments")
	}
	if !bytes.Equal(Encode(p), before) {
		t.Error("generalising has changed the profile")
	}
}
