// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// dice makes profiles and deeds out of small sets, so that deeds often meet entries.
type dice struct{ *rand.Rand }

func oneOf[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func some[T any](d dice, most int, one func() T) []T {
	var list []T
	for range d.IntN(most + 1) {
		list = append(list, one())
	}
	return list
}

func (d dice) exe() string { return oneOf(d, "/usr/bin/a", "/usr/bin/b", "/opt/c", "/opt/d 1") }

func (d dice) path() string {
	return oneOf(d, "/", "/a", "/b", "/tmp/x", "/tmp/12", "/tmp/34", "/tmp/sub/x", "/srv/1/a", "/srv/22/b", "/srv/x/a", "/var/lib/x/y",
		"/var/lib/x/z/y", "/var/lib/x", "/var/library", "/data/in/1", "/data/y", "/a*b", "/tmp/\x01", "/tmp/\x02", "/tmp/\xff")
}

func (d dice) seen() profile.Provenance {
	if d.IntN(5) == 0 {
		return profile.Provenance{Origin: profile.Candidate, Suspect: profile.BySession}
	}
	return profile.Provenance{Origin: profile.Learned}
}

func (d dice) argv() []byte {
	return []byte(oneOf(d, "a\x00", "a\x00-p\x0080\x00", "a\x00-p\x008080\x00", "a\x00-p\x00http\x00", "b\x00\x00", "a\x00\x01\x00", "a\x00cut", ""))
}

func (d dice) process() profile.Process {
	p := profile.Process{Path: d.exe(), Seen: d.seen()}
	if d.IntN(4) == 0 {
		p.Path, p.Seen.Origin, p.Seen.Suspect = profile.Any, profile.Learned, ""
	} else {
		p.Sources = oneOf(d, nil, []profile.Source{profile.FromUpper}, []profile.Source{profile.FromImage, profile.FromMemory})
		p.Parents = some(d, 3, func() profile.Parent {
			return profile.Parent{Path: oneOf(d, profile.Runtime, profile.Any, d.exe(), d.exe()), Seen: d.seen()}
		})
		p.AnyArguments = d.IntN(4) == 0
		if !p.AnyArguments {
			p.Arguments = some(d, 2, func() profile.Argument {
				return profile.Argument{Shape: profile.ShapeArguments(d.argv()), Seen: d.seen()}
			})
		}
	}
	p.Libraries = some(d, 2, func() profile.Library { return profile.Library{Path: d.path(), Seen: d.seen()} })
	p.Files = some(d, 5, func() profile.File {
		template := oneOf(d, profile.ExactTemplate([]byte(d.path())), profile.ShapedTemplate([]byte(d.path())), "/*", "/tmp/*",
			"/srv/<n>/*", "/var/lib/x/**", "/var/**", "/data/in/**", "/**", "/tmp/sub/**")
		return profile.File{Path: template, Access: profile.Access(d.IntN(15) + 1), Seen: d.seen()}
	})
	p.Egress = some(d, 5, d.egress)
	p.Listen = some(d, 2, func() profile.Port {
		return profile.Port{Protocol: oneOf(d, "tcp", "udp"), Port: oneOf[uint16](d, 0, 80), Seen: d.seen()}
	})
	p.Sockets = some(d, 2, func() profile.Socket {
		return profile.Socket{Family: oneOf(d, "netlink", "packet", "inet"), Kind: oneOf(d, "raw", "dgram"), Seen: d.seen()}
	})
	return p
}

func (d dice) egress() profile.Egress {
	e := profile.Egress{Protocol: oneOf(d, "tcp", "udp", "any"), Seen: d.seen()}
	if e.Protocol != "any" {
		e.Port = oneOf[uint16](d, 0, 53, 443)
	}
	switch d.IntN(3) {
	case 0:
		e.Name = oneOf(d, "x.example", "y.x.example", "z.example", "a.z.example", "*.z.example", "*.y.z.example")
	case 1:
		e.Service = oneOf(d, "n/db", "n/web")
	default:
		e.CIDR = oneOf(d, "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "::/0", "fd00::/8", "fd00::1/128", "169.254.169.254/32")
	}
	return e
}

// services resolves the services of the profiles that dice make.
var services = cluster{"n/db": {netip.MustParsePrefix("10.9.0.1/32")}, "n/web": {netip.MustParsePrefix("fd00::9/128")}}

// deed is one of any kind that the entries decide.
func (d dice) deed() profile.Deed {
	deed := profile.Deed{
		Kind: oneOf(d, profile.DoExec, profile.DoExec, profile.DoMap, profile.DoFile, profile.DoFile, profile.DoFile,
			profile.DoContact, profile.DoContact, profile.DoAsk, profile.DoListen, profile.DoSocket),
		Executable: oneOf(d, d.exe(), "/unknown"), Parent: oneOf(d, d.exe(), profile.Runtime, "/unknown"),
		Source:    oneOf(d, profile.FromImage, profile.FromUpper, profile.FromMemory, profile.FromVolume),
		Arguments: profile.ShapeArguments(append([]byte("a\x00"), d.argv()...)[2*d.IntN(2):]), Path: d.path(), Access: profile.Access(d.IntN(15) + 1), Protected: d.IntN(2) == 0,
		Protocol: oneOf(d, "tcp", "udp"), Port: oneOf[uint16](d, 0, 53, 80, 443), Family: oneOf(d, "netlink", "packet"), SocketKind: oneOf(d, "raw", "dgram"),
	}
	deed.Address = netip.MustParseAddr(oneOf(d, "10.1.2.3", "10.1.9.9", "10.2.0.1", "10.9.0.1", "8.8.8.8", "fd00::1", "fd00::9", "2001::1", "169.254.169.254", "::ffff:10.1.2.3"))
	for name, prefixes := range services {
		if prefixes[0].Contains(deed.Address.Unmap()) {
			deed.Services = []string{name}
		}
	}
	deed.Names = []string{oneOf(d, "x.example", "y.x.example", "z.example", "a.z.example", "b.y.z.example", "Y.Z.example.")}
	return deed
}

// judge answers for a deed as the kernel programs do. No arguments at all are never listed.
func (j judge) judge(d profile.Deed) bool {
	protocol, err := profile.ProtocolNumber(d.Protocol)
	if err != nil {
		return false
	}
	switch d.Kind {
	case profile.DoExec:
		raw, err := profile.ArgumentBytes(d.Arguments)
		listed := j.entry(wire.AllowArguments, d.Executable, [2]uint64{})|j.entry(wire.AllowArguments, d.Executable, j.h.Hash(raw)) != 0
		listed = listed && (len(raw) > 0 || j.entry(wire.AllowArguments, d.Executable, [2]uint64{}) != 0)
		return err == nil && listed && j.exec(d.Parent, d.Executable, wire.Source(d.Source.Bit()))
	case profile.DoMap:
		return d.Source == profile.FromImage || j.entry(wire.AllowLibrary, d.Executable, j.h.HashString(d.Path))&uint16(d.Source.Bit()) != 0
	case profile.DoFile:
		want := d.Access
		if !d.Protected {
			want &^= profile.Read
		}
		return j.file(d.Executable, d.Path)&want == want
	case profile.DoContact:
		address := d.Address.String()
		if address == "169.254.169.254" {
			return j.contact(d.Executable, address, protocol, d.Port, wire.MayContactOne)&uint16(wire.MayContactOne) != 0
		}
		if j.contact(d.Executable, address, protocol, d.Port, wire.MayContact)&uint16(wire.MayContact) != 0 {
			return true
		}
		for _, name := range j.listed(d.Names[0]) {
			if j.nameContact(d.Executable, name, protocol, d.Port) {
				return true
			}
		}
		return false
	case profile.DoAsk:
		return len(j.listed(d.Names[0])) > 0
	case profile.DoListen:
		return j.entry(wire.AllowListen, d.Executable, [2]uint64{transport(protocol, d.Port)}) != 0
	default:
		family, _ := profile.FamilyNumber(d.Family)
		kind, _ := profile.SocketKindNumber(d.SocketKind)
		return j.entry(wire.AllowSocket, d.Executable, [2]uint64{uint64(family)<<16 | uint64(kind)}) != 0
	}
}

// listed are the names that a name is listed under: itself, and the domains that it is below.
func (j judge) listed(name string) []string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	var under []string
	if j.entry(wire.AllowName, profile.Any, j.h.HashString(name)) != 0 {
		under = append(under, name)
	}
	for _, domain, ok := strings.Cut(name, "."); ok; _, domain, ok = strings.Cut(domain, ".") {
		if j.entry(wire.AllowNameBelow, profile.Any, j.h.HashString(domain)) != 0 {
			under = append(under, "*."+domain)
		}
	}
	return under
}

// TestEntriesAgreeWithProfiles: what a profile says of a deed, its entries say.
func TestEntriesAgreeWithProfiles(t *testing.T) {
	allowed, refused := map[profile.DeedKind]int{}, map[profile.DeedKind]int{}
	for seed := range uint64(400) {
		d := dice{rand.New(rand.NewPCG(seed, 17))}
		observed := &profile.Profile{Processes: some(d, 6, d.process)}
		observed.Normalise()
		p, err := profile.Effective(observed, nil)
		if err != nil {
			t.Fatal(err)
		}
		matcher, err := profile.NewMatcher(p)
		if err != nil {
			t.Fatal(err)
		}
		h := testHasher()
		set, err := Compile(p, Options{Hasher: h, Cluster: services})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		bare, err := Compile(p, Options{Hasher: h})
		if err != nil || bare.Len() > p.Compiled() {
			t.Fatalf("seed %d: %d entries, %d are said to be the most: %v", seed, bare.Len(), p.Compiled(), err)
		}
		j := judge{set, h}
		for range 200 {
			deed := d.deed()
			if deed.Kind == profile.DoExec && len(deed.Arguments) == 0 {
				continue
			}
			verdict := matcher.Judge(deed)
			if got := j.judge(deed); got != verdict.Allowed {
				t.Fatalf("seed %d: %+v\nthe profile says %v (%s), its entries %v\n%s", seed, deed, verdict.Allowed, verdict.Why, got, profile.Encode(p))
			}
			if verdict.Allowed {
				allowed[deed.Kind]++
			} else {
				refused[deed.Kind]++
			}
		}
	}
	for _, kind := range []profile.DeedKind{
		profile.DoExec, profile.DoMap, profile.DoFile, profile.DoContact, profile.DoAsk, profile.DoListen, profile.DoSocket,
	} {
		if allowed[kind] < 100 || refused[kind] < 100 {
			t.Errorf("%s: %d allowed, %d refused: too few of a kind to tell", kind, allowed[kind], refused[kind])
		}
	}
}
