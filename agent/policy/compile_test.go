// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// judge answers as the kernel programs do, from a set.
type judge struct {
	*Set
	h *Hasher
}

func (j judge) subject(exe string) uint64 {
	switch exe {
	case profile.Any:
		return AnyExe
	case profile.Runtime:
		return RuntimeExe
	}
	return j.h.Exe(exe)
}

// entry looks one object up, for the subject and for everybody.
func (j judge) entry(class wire.AllowClass, exe string, object [2]uint64) uint16 {
	return j.Allow[Key{class, j.subject(exe), object}] | j.Allow[Key{class, AnyExe, object}]
}

func (j judge) exec(parent, exe string, source wire.Source) bool {
	return j.entry(wire.AllowExec, parent, j.h.HashString(exe))&uint16(source) != 0
}

func (j judge) arguments(exe string, argv ...string) bool {
	raw := profile.Shape([]byte(strings.Join(argv, "\x00") + "\x00"))
	return j.Allow[Key{wire.AllowArguments, j.subject(exe), [2]uint64{}}]|
		j.Allow[Key{wire.AllowArguments, j.subject(exe), j.h.Hash(raw)}] != 0
}

// file gives every access to a path.
func (j judge) file(exe, name string) profile.Access {
	shape := func(s string) [2]uint64 { return j.h.Hash(profile.Shape([]byte(s))) }
	folder := path.Dir(name)
	bits := j.entry(wire.AllowFile, exe, j.h.HashString(name)) | j.entry(wire.AllowFileShape, exe, shape(name)) |
		j.entry(wire.AllowFolder, exe, j.h.HashString(folder)) | j.entry(wire.AllowFolderShape, exe, shape(folder))
	for _, subject := range []uint64{j.subject(exe), AnyExe} {
		longest := -1
		var found uint16
		for t, b := range j.Tree {
			if t.Subject == subject && strings.HasPrefix(name, t.Folder) && len(t.Folder) > longest {
				longest, found = len(t.Folder), b
			}
		}
		bits |= found
	}
	return profile.Access(bits)
}

// contact gives what is listed for an address; the widest look-ups are made only as far as one of the bits is wanted.
func (j judge) contact(exe, address string, protocol uint8, port uint16, want wire.EgressBit) uint16 {
	addr := netip.AddrFrom16(netip.MustParseAddr(address).As16())
	var bits uint16
	for _, subject := range []uint64{j.subject(exe), AnyExe} {
		for _, at := range []Contact{{Port: port, Protocol: protocol}, {Protocol: protocol}, {}} {
			longest := -1
			var found uint16
			for c, b := range j.Egress {
				match := c.Subject == subject && c.Port == at.Port && c.Protocol == at.Protocol
				if match && c.Prefix.Bits() > longest && netip.PrefixFrom(addr, c.Prefix.Bits()).Masked() == c.Prefix {
					longest, found = c.Prefix.Bits(), b
				}
			}
			bits |= found
			if bits&uint16(want) != 0 {
				return bits
			}
		}
	}
	return bits
}

// nameContact takes a name that is listed: for those below a domain, *. and the domain.
func (j judge) nameContact(exe, listed string, protocol uint8, port uint16) bool {
	domain, below := strings.CutPrefix(listed, "*.")
	name := j.h.HashString(domain)[0]
	if below {
		name = ^name
	}
	for _, to := range []uint64{transport(protocol, port), transport(protocol, 0), 0} {
		if j.entry(wire.AllowNameContact, exe, [2]uint64{name, to}) != 0 {
			return true
		}
	}
	return false
}

// cluster is a Resolver over a map.
type cluster map[string][]netip.Prefix

func (c cluster) Service(namespace, name string, _ uint8, port uint16) []Target {
	var list []Target
	for _, prefix := range c[namespace+"/"+name] {
		list = append(list, Target{Prefix: prefix, Port: port})
	}
	return list
}

func (c cluster) Workload(namespace, kind, name string) []netip.Prefix {
	return c[namespace+"/"+kind+"/"+name]
}

const shop = `
apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Deployment, name: web, container: nginx}
processes:
  - path: /usr/sbin/nginx
    parents: [{path: (runtime)}, {path: /usr/sbin/nginx}]
    arguments: [{argv: [nginx, -g, daemon off;]}, {argv: [nginx, -w, "<n>"]}]
    libraries: [{path: /plugins/a.so}]
    files:
      - {path: /var/log/nginx/*, access: [create, write]}
      - {path: /var/log/<n>/*, access: [delete]}
      - {path: /data/**, access: [read]}
      - {path: /data/in/**, access: [write]}
      - {path: /run/nginx.pid, access: [write, create, delete]}
      - {path: "/run/worker<n>", access: [write]}
      - {path: /*, access: [delete]}
    egress:
      - {name: api.example.com, protocol: tcp, port: 443}
      - {name: "*.cdn.example.com", protocol: tcp, port: any}
      - {service: shop/db, protocol: tcp, port: 5432}
      - {service: shop/gone, protocol: tcp, port: 1}
      - {workload: shop/StatefulSet/cache, protocol: tcp, port: 6379}
      - {cidr: 10.2.3.4, protocol: udp, port: 53}
      - {cidr: 10.2.3.5, protocol: udp, port: 54}
      - {cidr: 10.7.0.0/16, protocol: tcp, port: 80}
      - {cidr: "fd00::/8", protocol: any}
    listen: [{protocol: tcp, port: 80}]
    sockets: [{family: netlink, kind: raw}]
  - path: "*"
    files:
      - {path: /tmp/**, access: [read, write]}
  - path: /opt/tool
    sources: [upper]
    anyArguments: true
  - path: /opt/loose
    seen: {origin: candidate, suspect: exec session}
    arguments: [{argv: [loose], seen: {origin: candidate, suspect: exec session}}]
    files:
      - {path: /loose, access: [write], seen: {origin: candidate, suspect: exec session}}
  - path: /opt/orphan
    parents: [{path: /opt/loose, seen: {origin: candidate, suspect: exec session}}]
`

func compileText(t *testing.T, text string, o Options) judge {
	t.Helper()
	p, err := profile.DecodeOne("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = profile.Effective(p, nil); err != nil {
		t.Fatal(err)
	}
	o.Hasher = testHasher()
	set, err := Compile(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return judge{set, o.Hasher}
}

func compileShop(t *testing.T) judge {
	t.Helper()
	return compileText(t, shop, Options{
		Cluster: cluster{
			"shop/db":                {netip.MustParsePrefix("10.96.0.5/32")},
			"shop/StatefulSet/cache": {netip.MustParsePrefix("10.244.1.7/32"), netip.MustParsePrefix("fd10::7/128")},
		},
		Resolvers: []netip.Addr{netip.MustParseAddr("169.254.20.10")},
	})
}

func TestCompileProcesses(t *testing.T) {
	j := compileShop(t)
	const nginx, image = "/usr/sbin/nginx", wire.SourceImage
	for what, got := range map[string]bool{
		"the runtime starts nginx":                      j.exec(profile.Runtime, nginx, image),
		"nginx starts nginx":                            j.exec(nginx, nginx, image),
		"anybody starts the tool from the upper layer":  j.exec("/bin/sh", "/opt/tool", wire.SourceUpper),
		"arguments as listed":                           j.arguments(nginx, "nginx", "-g", "daemon off;"),
		"arguments of a listed shape":                   j.arguments(nginx, "nginx", "-w", "1234567"),
		"any arguments":                                 j.arguments("/opt/tool", "x", "y"),
		"that arguments are listed":                     j.entry(wire.AllowArguments, nginx, someArguments()) != 0,
		"no such word beside any arguments":             j.entry(wire.AllowArguments, "/opt/tool", someArguments()) == 0,
		"nor of what waits for a person":                j.entry(wire.AllowArguments, "/opt/loose", someArguments()) == 0,
		"a library by its path":                         j.entry(wire.AllowLibrary, nginx, j.h.HashString("/plugins/a.so")) != 0,
		"listening":                                     j.entry(wire.AllowListen, nginx, [2]uint64{transport(6, 80)}) != 0,
		"a netlink socket":                              j.entry(wire.AllowSocket, nginx, [2]uint64{16<<16 | 3}) != 0,
		"not: a shell starts nginx":                     !j.exec("/bin/sh", nginx, image),
		"not: nginx from the upper layer":               !j.exec(nginx, nginx, wire.SourceUpper),
		"not: the tool from the image":                  !j.exec("/bin/sh", "/opt/tool", image),
		"not: other arguments":                          !j.arguments(nginx, "nginx", "-g", "daemon on;"),
		"not: fewer arguments":                          !j.arguments(nginx, "nginx", "-g"),
		"not: a candidate":                              !j.exec(profile.Runtime, "/opt/loose", image),
		"not: arguments of a candidate":                 !j.arguments("/opt/loose", "loose"),
		"not: a file of a candidate":                    j.file("/opt/loose", "/loose") == 0,
		"not: one whose only parent is a candidate":     !j.exec("/opt/loose", "/opt/orphan", image),
		"not: one whose only parent is not: by another": !j.exec(profile.Runtime, "/opt/orphan", image),
		"not: another's library":                        j.entry(wire.AllowLibrary, "/opt/tool", j.h.HashString("/plugins/a.so")) == 0,
		"not: listening elsewhere":                      j.entry(wire.AllowListen, nginx, [2]uint64{transport(6, 81)}) == 0,
	} {
		if !got {
			t.Error(what)
		}
	}
}

func TestCompileFiles(t *testing.T) {
	j := compileShop(t)
	const nginx = "/usr/sbin/nginx"
	for _, c := range []struct {
		exe, path string
		want      profile.Access
	}{
		{nginx, "/var/log/nginx/access.log", profile.Create | profile.Write},
		{nginx, "/var/log/nginx/old/access.log", 0},
		{nginx, "/var/log/20240101/a", profile.Delete},
		{nginx, "/run/nginx.pid", profile.Write | profile.Create | profile.Delete},
		{nginx, "/run/worker17", profile.Write},
		{nginx, "/run/workers", 0},
		{nginx, "/data/x/y", profile.Read},
		{nginx, "/data/in/x", profile.Read | profile.Write},
		{nginx, "/datax", profile.Delete},
		{nginx, "/datax/y", 0},
		{"/bin/sh", "/data/x", 0},
		{"/bin/sh", "/tmp/x", profile.Read | profile.Write},
		{nginx, "/tmp/x/y", profile.Read | profile.Write},
		{nginx, "/etc/passwd", 0},
	} {
		if got := j.file(c.exe, c.path); got != c.want {
			t.Errorf("%s on %s: %v, want %v", c.exe, c.path, got, c.want)
		}
	}
}

func TestCompileEgress(t *testing.T) {
	j := compileShop(t)
	const nginx, contact, one = "/usr/sbin/nginx", uint16(wire.MayContact), uint16(wire.MayContact | wire.MayContactOne)
	for _, c := range []struct {
		exe, address string
		protocol     uint8
		port         uint16
		want         uint16
	}{
		{nginx, "10.96.0.5", 6, 5432, contact},
		{nginx, "10.244.1.7", 6, 6379, contact},
		{nginx, "fd10::7", 6, 6379, contact},
		{nginx, "10.2.3.4", 17, 53, one},
		{nginx, "10.2.3.5", 17, 54, one},
		{nginx, "10.7.200.1", 6, 80, contact},
		{nginx, "fdaa::1", 17, 9999, contact},
		{"/bin/sh", "169.254.20.10", 17, 53, one},
		{"/bin/sh", "169.254.20.10", 6, 53, one},
		{"/bin/sh", "169.254.20.10", 6, 80, 0},
		{"/bin/sh", "10.96.0.5", 6, 5432, 0},
		{nginx, "10.96.0.5", 17, 5432, 0},
		{nginx, "10.96.0.5", 6, 5433, 0},
		{nginx, "10.8.0.1", 6, 80, 0},
		{nginx, "10.2.3.4", 6, 53, 0},
	} {
		if got := j.contact(c.exe, c.address, c.protocol, c.port, wire.MayContact); got != c.want {
			t.Errorf("%s to %s protocol %d port %d: bits %d, want %d", c.exe, c.address, c.protocol, c.port, got, c.want)
		}
	}
	for what, got := range map[string]bool{
		"a listed name":                     j.entry(wire.AllowName, "/bin/sh", j.h.HashString("api.example.com")) != 0,
		"names below":                       j.entry(wire.AllowNameBelow, "/bin/sh", j.h.HashString("cdn.example.com")) != 0,
		"contact by name":                   j.nameContact(nginx, "api.example.com", 6, 443),
		"contact below, any port":           j.nameContact(nginx, "*.cdn.example.com", 6, 8080),
		"resolver of the profile":           j.resolver("10.2.3.4"),
		"resolver of the container":         j.resolver("169.254.20.10"),
		"not: the domain itself":            j.entry(wire.AllowName, "/bin/sh", j.h.HashString("cdn.example.com")) == 0,
		"not: contact with the domain":      !j.nameContact(nginx, "cdn.example.com", 6, 8080),
		"not: by name to another port":      !j.nameContact(nginx, "api.example.com", 6, 80),
		"not: by name for others":           !j.nameContact("/bin/sh", "api.example.com", 6, 443),
		"not: a resolver at another port":   !j.resolver("10.2.3.5"),
		"not: a prefix is no resolver":      !j.resolver("10.7.0.0"),
		"unresolved names are told":         fmt.Sprint(j.Unresolved) == "[service shop/gone]",
		"not: contact below, other process": !j.nameContact("/bin/sh", "*.cdn.example.com", 6, 8080),
	} {
		if !got {
			t.Error(what)
		}
	}
}

func (j judge) resolver(address string) bool {
	return j.entry(wire.AllowResolver, profile.Any, addressObject(netip.MustParseAddr(address))) != 0
}

func TestCompileIsDeterministic(t *testing.T) {
	a, b := compileShop(t), compileShop(t)
	if !maps.Equal(a.Allow, b.Allow) || !maps.Equal(a.Tree, b.Tree) || !maps.Equal(a.Egress, b.Egress) {
		t.Error("two sets of one profile differ")
	}
	if changes := Diff(a.Set, b.Set); changes.Len() != 0 {
		t.Errorf("%d changes between equal sets", changes.Len())
	}
}

// TestResolversWithoutNames: who may contact no name has no need of a resolver.
func TestResolversWithoutNames(t *testing.T) {
	j := compileText(t, `
apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {kind: Pod, name: a, container: c}
processes: [{path: /bin/a}]
`, Options{Resolvers: []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
	if len(j.Egress) != 0 {
		t.Errorf("contacts %v", j.Egress)
	}
}

func TestCompileRefuses(t *testing.T) {
	long := "/" + strings.Repeat("x", len(wire.TreeKey{}.Path))
	process := func(p profile.Process) profile.Process {
		p.Path = "/bin/a"
		return p
	}
	for want, p := range map[string]profile.Process{
		"process a: not an absolute path":                                             {Path: "a"},
		"process /bin/a: source \"net\" is not known":                                 process(profile.Process{Sources: []profile.Source{"net"}}),
		"process /bin/a: parent \"b\": not an absolute path":                          process(profile.Process{Parents: []profile.Parent{{Path: "b"}}}),
		"process /bin/a: file \"/a\": no access is given":                             process(profile.Process{Files: []profile.File{{Path: "/a"}}}),
		"process /bin/a: file \"" + long + "/**\": a folder before ** has at most":    process(profile.Process{Files: []profile.File{{Path: long + "/**", Access: 1}}}),
		"process /bin/a: egress 10.0.0.0/33 tcp/1: parse the prefix":                  process(profile.Process{Egress: []profile.Egress{{CIDR: "10.0.0.0/33", Protocol: "tcp", Port: 1}}}),
		"process /bin/a: egress A.example tcp/1: a name has":                          process(profile.Process{Egress: []profile.Egress{{Name: "A.example", Protocol: "tcp", Port: 1}}}),
		"process /bin/a: egress x.example any/1: a port is of one protocol":           process(profile.Process{Egress: []profile.Egress{{Name: "x.example", Protocol: "any", Port: 1}}}),
		"process /bin/a: egress db tcp/1: a service is written NAMESPACE/NAME":        process(profile.Process{Egress: []profile.Egress{{Service: "db", Protocol: "tcp", Port: 1}}}),
		"process /bin/a: egress a/b tcp/1: a workload is written":                     process(profile.Process{Egress: []profile.Egress{{Workload: "a/b", Protocol: "tcp", Port: 1}}}),
		"process /bin/a: egress  tcp/1: nobody is named":                              process(profile.Process{Egress: []profile.Egress{{Protocol: "tcp", Port: 1}}}),
		"process /bin/a: egress x.example carrier/1: unknown protocol \"carrier\"":    process(profile.Process{Egress: []profile.Egress{{Name: "x.example", Protocol: "carrier", Port: 1}}}),
		"process /bin/a: listen any/1: a port is of one protocol":                     process(profile.Process{Listen: []profile.Port{{Protocol: "any", Port: 1}}}),
		"process /bin/a: socket pigeon/raw: unknown socket family \"pigeon\"":         process(profile.Process{Sockets: []profile.Socket{{Family: "pigeon", Kind: "raw"}}}),
		"process /bin/a: argument 0: \"a123\"":                                        process(profile.Process{Arguments: []profile.Argument{{Shape: []string{"a123"}}}}),
		"process /bin/a: library \"\": a path has 1 to 4096 bytes":                    process(profile.Process{Libraries: []profile.Library{{}}}),
		"process " + "/" + strings.Repeat("x", 4096) + ": a path of 4097 bytes, at m": {Path: "/" + strings.Repeat("x", 4096)},
	} {
		set, err := Compile(&profile.Profile{Processes: []profile.Process{p}}, Options{Hasher: testHasher()})
		if err == nil || !strings.Contains(err.Error(), want) || set != nil {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestCompileTellsEveryErrorUpToTwenty(t *testing.T) {
	p := &profile.Profile{}
	for i := range 25 {
		p.Processes = append(p.Processes, profile.Process{Path: fmt.Sprintf("rel%d", i)})
	}
	_, err := Compile(p, Options{Hasher: testHasher()})
	if err == nil || strings.Count(err.Error(), "\n") != 20 || !strings.HasSuffix(err.Error(), "and 5 more") {
		t.Errorf("got %v", err)
	}
}

func TestCompileLimit(t *testing.T) {
	p := &profile.Profile{}
	for i := range profile.MaxEntries + 1 {
		p.Processes = append(p.Processes, profile.Process{Path: fmt.Sprintf("/bin/%d", i), Parents: []profile.Parent{{Path: profile.Any}}})
	}
	_, err := Compile(p, Options{Hasher: testHasher()})
	if err == nil || !strings.Contains(err.Error(), "65537 entries, at most 65536") {
		t.Errorf("got %v", err)
	}
	p.Processes = p.Processes[1:]
	if _, err := Compile(p, Options{Hasher: testHasher()}); err != nil {
		t.Error(err)
	}
}

func TestWireKeys(t *testing.T) {
	tree := Tree{7, "/data/in/"}
	k := tree.Wire(3)
	if k.Bits != 96+9*8 || k.Policy != 3 || !bytes.HasPrefix(k.Path[:], []byte("/data/in/\x00")) {
		t.Errorf("tree key %+v", k)
	}
	if back, err := TreeOf(&k); err != nil || back != tree {
		t.Errorf("back: %v, %v", back, err)
	}
	contact := Contact{7, 443, 6, mapped(netip.MustParsePrefix("10.1.2.3/8"))}
	c := contact.Wire(3)
	if c.Bits != 128+96+8 || c.Addr != [16]byte{10: 0xff, 11: 0xff, 12: 10} || c.Port != 443 {
		t.Errorf("egress key %+v", c)
	}
	if back, err := ContactOf(&c); err != nil || back != contact {
		t.Errorf("back: %v, %v", back, err)
	}
	key := Key{wire.AllowFile, 7, [2]uint64{1, 2}}
	w := key.Wire(3)
	if KeyOf(&w) != key || w.Policy != 3 {
		t.Errorf("key %+v", w)
	}
	for _, bits := range []uint32{0, 96, 97, 96 + 8*113} {
		if _, err := TreeOf(&wire.TreeKey{Bits: bits}); err == nil {
			t.Errorf("a tree key of %d bits was taken", bits)
		}
	}
	for _, bits := range []uint32{0, 127, 257} {
		if _, err := ContactOf(&wire.EgressKey{Bits: bits}); err == nil {
			t.Errorf("an egress key of %d bits was taken", bits)
		}
	}
}

func TestDiff(t *testing.T) {
	exec := func(object uint64) Key { return Key{Class: wire.AllowExec, Object: [2]uint64{object}} }
	old, fresh := NewSet(), NewSet()
	old.Allow = map[Key]uint16{exec(1): 1, exec(2): 1, exec(3): 1}
	fresh.Allow = map[Key]uint16{exec(1): 1, exec(2): 3, exec(4): 1}
	old.Tree = map[Tree]uint16{{0, "/"}: 1, {0, "/a/b/"}: 3}
	fresh.Tree = map[Tree]uint16{{0, "/"}: 1, {0, "/a/"}: 5}
	changes := Diff(old, fresh)
	want := "[{{1 0 [2 0]} 1 3 true true} {{1 0 [3 0]} 1 0 true false} {{1 0 [4 0]} 0 1 false true}]" +
		"[{{0 /a/} 1 5 false true} {{0 /a/b/} 3 5 true false}]"
	if got := fmt.Sprint(changes.Allow, changes.Tree); strings.ReplaceAll(got, "] [{{0", "][{{0") != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if changes.Widens() {
		t.Error("what takes entries away is said to widen")
	}
	more := Diff(old, &Set{Allow: map[Key]uint16{exec(1): 3, exec(2): 1, exec(3): 1, exec(4): 1}, Tree: old.Tree})
	if !more.Widens() || more.Len() != 2 {
		t.Errorf("what only adds is said not to: %+v", more)
	}
	if all := Diff(nil, fresh); all.Len() != fresh.Len() || !all.Widens() {
		t.Errorf("from nothing: %d changes, want %d", all.Len(), fresh.Len())
	}
	if all := Diff(fresh, nil); all.Len() != fresh.Len() || all.Widens() {
		t.Errorf("to nothing: %d changes, want %d", all.Len(), fresh.Len())
	}
}

// TestClusterNames checks that names of the cluster stand for what is behind them at its own port, that a move adds before
// it takes away, and that what finds no room is said.
func TestClusterNames(t *testing.T) {
	p := &profile.Profile{Processes: []profile.Process{{Path: "/bin/a", AnyArguments: true, Egress: []profile.Egress{
		{Service: "shop/cart", Protocol: "tcp", Port: 80}, {Workload: "shop/Job/once", Protocol: "tcp", Port: 9},
	}}}}
	at := func(addresses ...string) moving {
		m := moving{}
		for _, text := range addresses {
			m = append(m, Target{netip.PrefixFrom(netip.MustParseAddr(text), 32), 8080})
		}
		return m
	}
	h := testHasher()
	compile := func(m moving) *Set {
		set, err := Compile(p, Options{Hasher: h, Cluster: m})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	before, both, after := compile(at("10.1.0.1")), compile(at("10.1.0.1", "10.1.0.2")), compile(at("10.1.0.2"))
	if added, taken := Diff(before, both), Diff(both, after); len(added.Egress) != 1 || !added.Widens() || len(taken.Egress) != 1 || taken.Widens() ||
		added.Len() != 1 || taken.Egress[0].Key.Port != 8080 {
		t.Errorf("a pod moves: %+v, then %+v", added, taken)
	}
	if want := []string{"workload shop/Job/once"}; !slices.Equal(before.Unresolved, want) {
		t.Errorf("without addresses: %q", before.Unresolved)
	}
	var many moving
	for i := range profile.MaxEntries + 10 {
		many = append(many, Target{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), 8080})
	}
	full := compile(many)
	if n := len(full.Egress); n >= len(many) || n < profile.MaxEntries-10 {
		t.Errorf("%d of %d addresses, at most %d entries", n, len(many), profile.MaxEntries)
	}
	if !slices.ContainsFunc(full.Unresolved, func(text string) bool { return strings.HasPrefix(text, "service shop/cart, ") }) || len(full.Unresolved) != 2 {
		t.Errorf("what found no room is not said once: %q", full.Unresolved)
	}
}

// moving is a Resolver of one service.
type moving []Target

func (m moving) Service(string, string, uint8, uint16) []Target { return m }

func (m moving) Workload(string, string, string) []netip.Prefix { return nil }

func BenchmarkCompile(b *testing.B) {
	p := &profile.Profile{}
	for i := range 100 {
		q := profile.Process{Path: fmt.Sprintf("/usr/bin/p%d", i), AnyArguments: true}
		for j := range 98 {
			q.Files = append(q.Files, profile.File{Path: fmt.Sprintf("/var/lib/p%d/%c%c", i, 'g'+j/26, 'a'+j%26), Access: profile.Write})
		}
		p.Processes = append(p.Processes, q)
	}
	o := Options{Hasher: testHasher()}
	b.ReportAllocs()
	for b.Loop() {
		if set, err := Compile(p, o); err != nil || set.Len() != 10000 {
			b.Fatal(set.Len(), err)
		}
	}
}

func TestListed(t *testing.T) {
	h, deep := testHasher(), strings.Repeat("x.", maxDomains-1)+"example.com"
	p := &profile.Profile{Processes: []profile.Process{{Path: "/bin/a", Egress: []profile.Egress{
		{Name: "*." + deep, Protocol: "tcp", Port: 443}, {Name: "api.example.com", Protocol: "tcp", Port: 443}, {Name: "*.example.com", Protocol: "tcp", Port: 443},
		{Name: "*.com", Protocol: "tcp", Port: 443}, {Name: "*.a.api.example.com", Protocol: "tcp", Port: 443},
	}}}}
	set, err := Compile(p, Options{Hasher: h})
	if err != nil {
		t.Fatal(err)
	}
	below := func(domain string) uint64 { return ^h.HashString(domain)[0] }
	for name, want := range map[string][]uint64{
		"api.example.com":     {h.HashString("api.example.com")[0], below("example.com"), below("com")},
		"example.com":         {below("com")},
		"com":                 nil,
		"example.org":         nil,
		"b.a.api.example.com": {below("a.api.example.com"), below("example.com"), below("com")},
		// The domains with the most labels are not looked for.
		"y." + deep: {below("example.com"), below("com")},
	} {
		if got := set.Listed(h, name); !slices.Equal(got, want) {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
}
