// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const shop = `
- path: /usr/sbin/nginx
  parents: [{path: (runtime)}, {path: /usr/sbin/nginx}]
  arguments: [{argv: [nginx, -g, daemon off;]}]
  libraries: [{path: /tmp/module.so}]
  files: [{path: /var/log/nginx/*, access: [write, create]}, {path: /run/nginx.pid, access: [write]}, {path: /tmp/job-<n>/*, access: [create]}, {path: /var/cache/nginx/**, access: [write, delete]}]
  egress: [{name: api.example.com, protocol: tcp, port: 443}, {cidr: 10.1.0.0/16, protocol: tcp, port: 5432}, {service: shop/db, protocol: tcp}, {name: "*.cdn.example.com", protocol: any}, {cidr: 0.0.0.0/0, protocol: tcp, port: 80}]
  listen: [{protocol: tcp, port: 8080}]
  sockets: [{family: netlink, kind: raw}]
  capabilities: [{name: setuid}]
- path: /usr/bin/python3.11
  parents: [{path: /usr/sbin/nginx}]
  arguments: [{argv: [python<n>, /srv/app.py]}]
  egress: [{workload: shop/Deployment/cache, protocol: tcp, port: 6379}, {cidr: 169.254.169.254, protocol: tcp, port: 80}]
- path: /opt/loader
  sources: [upper, memory]
  anyArguments: true
- path: /usr/bin/sh
  seen: {origin: candidate, suspect: exec session}
- path: "*"
  files: [{path: /dev/shm/<n>, access: [create, write]}, {path: /etc/secret, access: [read]}]
  egress: [{cidr: 10.0.0.53, protocol: udp, port: 53}]
`

func TestJudge(t *testing.T) {
	m, err := NewMatcher(layer(t, shop))
	if err != nil {
		t.Fatal(err)
	}
	const nginx, python = "/usr/sbin/nginx", "/usr/bin/python3.11"
	ip := netip.MustParseAddr
	usual := []string{"nginx", "-g", "daemon off;"}
	for _, c := range []struct {
		name string
		deed Deed
		// want is the reason, empty for allowed, with ! before it where the protecting rules forbid the deed too; near is in
		// the nearest entry, missing in the fragment's processes.
		want, near, missing string
	}{
		{"known exec", Deed{Kind: DoExec, Executable: nginx, Parent: Runtime, Arguments: usual}, "", "", ""},
		{"unlisted", Deed{Kind: DoExec, Executable: "/usr/bin/curl", Parent: nginx, Arguments: []string{"curl"}},
			"executable", python, `
- path: /usr/bin/curl
  parents: [{path: /usr/sbin/nginx}]
  arguments: [{argv: [curl]}]`},
		{"candidates count for nothing", Deed{Kind: DoExec, Executable: "/usr/bin/sh", Parent: nginx, Withheld: true},
			"executable", python, `
- path: /usr/bin/sh
  parents: [{path: /usr/sbin/nginx}]
  anyArguments: true`},
		{"another parent", Deed{Kind: DoExec, Executable: python, Parent: Runtime, Arguments: []string{"python<n>", "/srv/app.py"}},
			"parent", nginx, `
- path: /usr/bin/python3.11
  seen: {origin: context}
  parents: [{path: (runtime)}]`},
		{"other arguments", Deed{Kind: DoExec, Executable: nginx, Parent: Runtime, Arguments: []string{"nginx", "-g", "user root;"}},
			"arguments", "nginx -g 'daemon off;'", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  arguments: [{argv: [nginx, -g, user root;]}]`},
		{"overwritten binary", Deed{Kind: DoExec, Executable: nginx, Parent: Runtime, Arguments: usual, Source: FromUpper},
			"!drift", nginx, `
- path: /usr/sbin/nginx
  sources: [upper]`},
		{"fileless", Deed{Kind: DoExec, Executable: "/memfd:x", Parent: nginx, Arguments: []string{"x"}, Source: FromMemory},
			"!fileless", "", `
- path: /memfd:x
  sources: [memory]
  parents: [{path: /usr/sbin/nginx}]
  arguments: [{argv: [x]}]`},
		{"from a volume", Deed{Kind: DoExec, Executable: nginx, Parent: Runtime, Arguments: usual, Source: FromVolume},
			"drift", nginx, `
- path: /usr/sbin/nginx
  sources: [volume]`},
		{"listed drift", Deed{Kind: DoExec, Executable: "/opt/loader", Parent: python, Arguments: []string{"x"}, Source: FromUpper}, "", "", ""},
		{"from the image, listed as drift", Deed{Kind: DoExec, Executable: "/opt/loader", Parent: python}, "drift", "/opt/loader", `
- path: /opt/loader`},
		{"script of the image", Deed{Kind: DoScript, Executable: "/srv/x.sh", Parent: nginx}, "", "", ""},
		{"script of a volume", Deed{Kind: DoScript, Executable: "/srv/x.sh", Parent: nginx, Source: FromVolume}, "", "", ""},
		{"dropped script", Deed{Kind: DoScript, Executable: "/tmp/x.sh", Parent: nginx, Source: FromUpper}, "!drift", "", `
- path: /tmp/x.sh
  sources: [upper]
  parents: [{path: /usr/sbin/nginx}]
  anyArguments: true`},
		{"library of the image", Deed{Kind: DoMap, Executable: nginx, Path: "/usr/lib/x.so"}, "", "", ""},
		{"listed library", Deed{Kind: DoMap, Executable: nginx, Path: "/tmp/module.so", Source: FromUpper}, "", "", ""},
		{"library of another", Deed{Kind: DoMap, Executable: python, Path: "/tmp/module.so", Source: FromUpper}, "library", "/tmp/module.so", `
- path: /usr/bin/python3.11
  seen: {origin: context}
  libraries: [{path: /tmp/module.so}]`},
		{"reading what is not protected", Deed{Kind: DoFile, Executable: python, Path: "/etc/passwd", Access: Read}, "", "", ""},
		{"protected file", Deed{Kind: DoFile, Executable: python, Path: "/etc/shadow", Access: Read, Protected: true}, "!protected_file",
			"/etc/secret", `
- path: /usr/bin/python3.11
  seen: {origin: context}
  files: [{path: /etc/shadow, access: [read]}]`},
		{"listed protected file", Deed{Kind: DoFile, Executable: python, Path: "/etc/secret", Access: Read, Protected: true}, "", "", ""},
		{"folder", Deed{Kind: DoFile, Executable: nginx, Path: "/var/log/nginx/a.log", Access: Read | Write | Create}, "", "", ""},
		{"part of the access", Deed{Kind: DoFile, Executable: nginx, Path: "/var/log/nginx/a.log", Access: Write | Delete}, "file",
			"/var/log/nginx/*", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  files: [{path: /var/log/nginx/a.log, access: [delete]}]`},
		{"folder below", Deed{Kind: DoFile, Executable: nginx, Path: "/var/log/nginx/x/a.log", Access: Write}, "file", "/var/log/nginx/*", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  files: [{path: /var/log/nginx/x/a.log, access: [write]}]`},
		{"folder shape", Deed{Kind: DoFile, Executable: nginx, Path: "/tmp/job-17/x", Access: Create}, "", "", ""},
		{"tree", Deed{Kind: DoFile, Executable: nginx, Path: "/var/cache/nginx/a/b/c", Access: Write | Delete}, "", "", ""},
		{"for every one", Deed{Kind: DoFile, Executable: "/bin/unheard-of", Path: "/dev/shm/sem<17>", Access: Write}, "file", "/dev/shm/", `
- path: /bin/unheard-of
  seen: {origin: context}
  files: [{path: '/dev/shm/sem\<17>', access: [write]}]`},
		{"by nobody known", Deed{Kind: DoFile, Path: "/dev/shm/x", Access: Write}, "file", "/dev/shm/<n>", `
- path: "*"
  files: [{path: /dev/shm/x, access: [write]}]`},
		{"shape for every one", Deed{Kind: DoFile, Executable: "/bin/unheard-of", Path: "/dev/shm/17", Access: Write}, "", "", ""},
		{"loopback", Deed{Kind: DoContact, Executable: python, Address: ip("127.3.0.1"), Protocol: "tcp", Port: 1}, "", "", ""},
		{"prefix", Deed{Kind: DoContact, Executable: nginx, Address: ip("::ffff:10.1.2.3"), Protocol: "tcp", Port: 5432}, "", "", ""},
		{"another port", Deed{Kind: DoContact, Executable: nginx, Address: ip("10.1.2.3"), Protocol: "tcp", Port: 22}, "address",
			"10.1.0.0/16", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  egress: [{cidr: 10.1.2.3, protocol: tcp, port: 22}]`},
		{"another executable", Deed{Kind: DoContact, Executable: python, Address: ip("10.1.2.3"), Protocol: "tcp", Port: 5432}, "address",
			"10.1.0.0/16", `
- path: /usr/bin/python3.11
  seen: {origin: context}
  egress: [{cidr: 10.1.2.3, protocol: tcp, port: 5432}]`},
		{"resolver", Deed{Kind: DoContact, Executable: python, Address: ip("10.0.0.53"), Protocol: "udp", Port: 53}, "", "", ""},
		{"by name", Deed{Kind: DoContact, Executable: nginx, Address: ip("203.0.113.7"), Names: []string{"API.example.com."}, Protocol: "tcp", Port: 443}, "", "", ""},
		{"by name below", Deed{Kind: DoContact, Executable: nginx, Address: ip("203.0.113.7"), Names: []string{"a.b.cdn.example.com"}, Protocol: "udp", Port: 443}, "", "", ""},
		{"the domain itself is not below it", Deed{Kind: DoContact, Executable: nginx, Address: ip("203.0.113.7"), Names: []string{"cdn.example.com"}, Protocol: "udp", Port: 443},
			"address", "*.cdn.example.com", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  egress: [{name: cdn.example.com, protocol: udp, port: 443}]`},
		{"by service", Deed{Kind: DoContact, Executable: nginx, Address: ip("10.96.0.7"), Services: []string{"shop/db"}, Protocol: "tcp", Port: 9}, "", "", ""},
		{"by another service", Deed{Kind: DoContact, Executable: nginx, Address: ip("10.96.0.8"), Services: []string{"shop/x"}, Protocol: "tcp", Port: 9},
			"address", "tcp", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  egress: [{service: shop/x, protocol: tcp, port: 9}]`},
		{"by workload", Deed{Kind: DoContact, Executable: python, Address: ip("10.244.1.7"), Workloads: []string{"shop/Deployment/cache"}, Protocol: "tcp", Port: 6379}, "", "", ""},
		{"metadata", Deed{Kind: DoContact, Executable: python, Address: ip("169.254.169.254"), Protocol: "tcp", Port: 80}, "", "", ""},
		{"metadata within a prefix", Deed{Kind: DoContact, Executable: nginx, Address: ip("169.254.169.254"), Names: []string{"api.example.com"}, Protocol: "tcp", Port: 80},
			"!metadata", "169.254.169.254", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  egress: [{cidr: 169.254.169.254, protocol: tcp, port: 80}]`},
		{"known name", Deed{Kind: DoAsk, Executable: "/bin/x", Names: []string{"api.example.com"}}, "", "", ""},
		{"unknown name", Deed{Kind: DoAsk, Executable: python, Names: []string{"Evil.example.com."}}, "domain", "example.com", `
- path: /usr/bin/python3.11
  seen: {origin: context}
  egress: [{name: evil.example.com, protocol: udp, port: 53}]`},
		{"no name", Deed{Kind: DoAsk}, "domain", "", ""},
		{"listen", Deed{Kind: DoListen, Executable: nginx, Protocol: "tcp", Port: 8080}, "", "", ""},
		{"listen elsewhere", Deed{Kind: DoListen, Executable: nginx, Protocol: "udp", Port: 8080}, "listen", "tcp port 8080", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  listen: [{protocol: udp, port: 8080}]`},
		{"socket of the usual kind", Deed{Kind: DoSocket, Executable: nginx, Family: "inet", SocketKind: "dgram", Protocol: "udp"}, "", "", ""},
		{"socket of another protocol", Deed{Kind: DoSocket, Executable: nginx, Family: "inet", SocketKind: "dgram", Protocol: "icmp"}, "socket", "", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  sockets: [{family: inet, kind: dgram}]`},
		{"listed socket", Deed{Kind: DoSocket, Executable: nginx, Family: "netlink", SocketKind: "raw"}, "", "", ""},
		{"raw socket", Deed{Kind: DoSocket, Executable: python, Family: "inet6", SocketKind: "raw", Protocol: "icmpv6"}, "!raw_socket", "", `
- path: /usr/bin/python3.11
  seen: {origin: context}
  sockets: [{family: inet6, kind: raw}]`},
		{"capability", Deed{Kind: DoCapability, Executable: nginx, Capability: "setuid"}, "", "", ""},
		{"another capability", Deed{Kind: DoCapability, Executable: nginx, Capability: "sys_admin"}, "capability", "", `
- path: /usr/sbin/nginx
  seen: {origin: context}
  capabilities: [{name: sys_admin}]`},
		{"what is no deed", Deed{Kind: "mount"}, "unknown", "", ""},
		{"what no file can hold", Deed{Kind: DoFile, Executable: "/a/../b", Path: "/x", Access: Write}, "file", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := m.Judge(c.deed)
			reason := string(v.Reason)
			if v.Protect {
				reason = "!" + reason
			}
			if v.Allowed != (c.want == "") || reason != c.want || (v.Why == "") != v.Allowed {
				t.Fatalf("verdict %+v, want %q", v, c.want)
			}
			near := ""
			if v.Nearest != nil {
				near = v.Nearest.Process + ": " + v.Nearest.Text
			}
			if c.near != "" && !strings.Contains(near, c.near) {
				t.Errorf("nearest is %q, want %q", near, c.near)
			}
			if v.Missing == nil {
				if c.missing != "" {
					t.Error("nothing is missing")
				}
				return
			}
			if got, want := string(Encode(v.Missing)), string(Encode(layer(t, c.missing))); got != want {
				t.Errorf("missing\n%s\nwant\n%s", got, want)
			}
			allows(t, layer(t, shop), c.deed, v.Missing)
		})
	}
}

// allows checks that a profile allows a deed once what is missing was added to it.
func allows(t *testing.T, observed *Profile, d Deed, missing *Profile) {
	t.Helper()
	effective, err := Effective(observed, missing)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMatcher(effective)
	if err != nil {
		t.Fatal(err)
	}
	if v := m.Judge(d); !v.Allowed {
		t.Errorf("with\n%s%+v is still not allowed: %s", Encode(missing), d, v.Why)
	}
}

func (r random) deed() Deed {
	paths := []string{"/usr/bin/a", "/usr/bin/b", "/opt/ü\xff*<n> 'x'", "/usr/bin/new"}
	return Deed{
		Kind:       pick(r, DoExec, DoScript, DoMap, DoFile, DoContact, DoAsk, DoListen, DoSocket, DoCapability),
		Executable: pick(r, paths...),
		Parent:     pick(r, append(paths, Runtime)...),
		Source:     pick(r, FromImage, FromUpper, FromMemory, FromVolume),
		Arguments:  ShapeArguments([]byte(pick(r, "", "a\x00", "a\x00-p\x0099\x00", "b\x00*<\x00"))),
		Withheld:   r.IntN(4) == 0,
		Path:       pick(r, "/etc/hosts", "/tmp/7", "/tmp/x", "/srv/8/z", "/var/lib/x/y", "/var/lib/z", "/a*\n"),
		Access:     Access(r.IntN(15) + 1), Protected: r.IntN(2) == 0,
		Address:  netip.MustParseAddr(pick(r, "10.2.3.4", "11.2.3.4", "fd00::1", "fd00::2", "169.254.169.254")),
		Names:    []string{pick(r, "example.com", "www.example.com", "example.org")},
		Services: pick(r, nil, []string{"shop/db"}), Workloads: pick(r, nil, []string{"shop/Deployment/db"}),
		Protocol: pick(r, "tcp", "udp"), Port: uint16(pick(r, 0, 1, 53, 443)),
		Family: pick(r, "netlink", "packet", "inet"), SocketKind: "raw", Capability: pick(r, "kill", "net_raw", "bpf"),
	}
}

// TestMissingAllows checks with random layers and deeds that what is said to be missing allows the deed, even over an
// overlay that removed it, and that it allows no more processes than it names.
func TestMissingAllows(t *testing.T) {
	refused := 0
	for seed := range uint64(100) {
		r := newRandom(seed)
		observed, overlay := r.observed("a"), r.overlay()
		effective, err := Effective(observed, overlay)
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMatcher(effective)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			d := r.deed()
			v := m.Judge(d)
			if v.Allowed {
				continue
			}
			refused++
			if v.Missing == nil {
				t.Fatalf("seed %d: nothing allows %+v: %s", seed, d, v.Why)
			}
			if n := len(v.Missing.Processes); n != 1 || v.Missing.Len() > 3 {
				t.Fatalf("seed %d: missing\n%s", seed, Encode(v.Missing))
			}
			amended, err := Amend(overlay, v.Missing)
			if err != nil {
				t.Fatal(err)
			}
			if err := amended.Validate(); err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, Encode(amended))
			}
			now, err := Effective(observed, amended)
			if err != nil {
				t.Fatal(err)
			}
			m2, err := NewMatcher(now)
			if err != nil {
				t.Fatal(err)
			}
			if w := m2.Judge(d); !w.Allowed {
				t.Fatalf("seed %d: %+v\nis not allowed (%s) by\n%s\nwith overlay\n%s\nand missing\n%s", seed, d, w.Why,
					Encode(effective), Encode(overlay), Encode(v.Missing))
			}
			if v.Missing.Processes[0].Seen.Origin == Context {
				sameExecutables(t, effective, now)
			}
		}
	}
	if refused < 500 {
		t.Errorf("only %d deeds were refused", refused)
	}
}

// sameExecutables checks that two profiles let the same executables run.
func sameExecutables(t *testing.T, a, b *Profile) {
	t.Helper()
	list := func(p *Profile) string {
		var paths []string
		for i := range p.Processes {
			if q := &p.Processes[i]; q.Executable() {
				paths = append(paths, fmt.Sprint(q.Path, q.Sources))
			}
		}
		return strings.Join(paths, "\n")
	}
	if list(a) != list(b) {
		t.Fatalf("executables\n%s\nare now\n%s", list(a), list(b))
	}
}

// TestCandidatesOfAnAllowedExecutable lists what an executable of the image did that is not learned, while it is learned
// itself.
func TestCandidatesOfAnAllowedExecutable(t *testing.T) {
	observed := layer(t, `
- path: /bin/app
  parents: [{path: (runtime)}]
  files: [{path: /tmp/before, access: [write]}]
- path: /bin/app
  seen: {origin: candidate, suspect: during an incident}
  parents: [{path: (runtime), seen: {origin: candidate, suspect: during an incident}}, {path: /bin/sh, seen: {origin: candidate, suspect: during an incident}}]
  files: [{path: /tmp/before, access: [write], seen: {origin: candidate, suspect: during an incident}}, {path: /tmp/after, access: [write], seen: {origin: candidate, suspect: during an incident}}]
`)
	text := func(entries []Entry) string {
		var lines []string
		for _, e := range entries {
			lines = append(lines, fmt.Sprintf("%s %s: %s", e.Kind, e.Process, e.Text))
		}
		return strings.Join(lines, "\n")
	}
	candidates, err := Candidates(observed, nil)
	if want := "parent /bin/app: /bin/sh\nfile /bin/app: write /tmp/after"; err != nil || text(candidates) != want {
		t.Fatalf("candidates (%v)\n%s\nwant\n%s", err, text(candidates), want)
	}
	at := newRandom(1).time()
	rejected, err := Reject(nil, observed.Key, candidates[1:], "ann", "never", at)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := Candidates(observed, rejected); err != nil || text(left) != "parent /bin/app: /bin/sh" {
		t.Errorf("left after rejecting (%v):\n%s", err, text(left))
	}
	approved, err := Approve(rejected, observed.Key, candidates[:1], "bob", "fine", at)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := Candidates(observed, approved); err != nil || len(left) != 0 {
		t.Errorf("left after all was decided (%v):\n%s", err, text(left))
	}
	effective, err := Effective(observed, approved)
	if err != nil {
		t.Fatal(err)
	}
	if p := effective.Processes[0]; len(effective.Processes) != 1 || len(p.Parents) != 2 || len(p.Files) != 1 {
		t.Errorf("in force:\n%s", EncodeBare(effective))
	}
}

func TestCandidates(t *testing.T) {
	observed := layer(t, `
- path: /bin/app
  parents: [{path: (runtime)}]
  arguments: [{argv: [app]}, {argv: [app, --debug], seen: {origin: candidate, suspect: exec session}}]
  files: [{path: /etc/x, access: [write], seen: {origin: candidate, suspect: during an incident}}, {path: /tmp/*, access: [write]}, {path: /tmp/y, access: [write], seen: {origin: candidate, suspect: exec session}}]
- path: /bin/app
  sources: [upper]
  seen: {origin: candidate, suspect: not from the image}
  parents: [{path: (runtime), seen: {origin: candidate, suspect: not from the image}}]
  egress: [{cidr: 10.0.0.1, protocol: tcp, port: 1, seen: {origin: candidate, suspect: not from the image}}]
`)
	text := func(entries []Entry) string {
		var lines []string
		for _, e := range entries {
			lines = append(lines, fmt.Sprintf("%s %s: %s", e.Kind, e.Process, e.Text))
		}
		return strings.Join(lines, "\n")
	}
	candidates, err := Candidates(observed, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "argument /bin/app: app --debug\nfile /bin/app: write /etc/x\nprocess /bin/app: /bin/app from upper"
	if text(candidates) != want {
		t.Fatalf("candidates\n%s\nwant\n%s", text(candidates), want)
	}
	at := newRandom(1).time()
	key := observed.Key

	rejected, err := Reject(nil, key, candidates, "ann", "never", at)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := Candidates(observed, rejected); err != nil || len(left) != 0 {
		t.Errorf("left after rejecting (%v):\n%s", err, text(left))
	}
	before, _ := Effective(observed, nil)
	if after, err := Effective(observed, rejected); err != nil || string(EncodeBare(after)) != string(EncodeBare(before)) {
		t.Errorf("rejecting has changed what is allowed (%v):\n%s\nwas\n%s", err, EncodeBare(after), EncodeBare(before))
	}

	approved, err := Approve(rejected, key, candidates, "bob", "all fine", at)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeOne("overlay", Encode(approved))
	if err != nil || string(Encode(again)) != string(Encode(approved)) {
		t.Fatalf("%v", err)
	}
	effective, err := Effective(observed, approved)
	if err != nil {
		t.Fatal(err)
	}
	want = `- path: /bin/app
    sources: [image, upper]
    parents:
      - {path: (runtime)}
    arguments:
      - {argv: [app]}
      - {argv: [app, '--debug'], seen: {origin: written, author: bob, reason: 'all fine'}}
    files:
      - {path: /etc/x, access: [write], seen: {origin: written, author: bob, reason: 'all fine'}}
      - {path: /tmp/*, access: [write]}
    egress:
      - {cidr: 10.0.0.1/32, protocol: tcp, port: 1, seen: {origin: written, author: bob, reason: 'all fine'}}
`
	got := string(EncodeBare(effective))
	got = strings.ReplaceAll(got, "    seen: {origin: written, author: bob, reason: 'all fine'}\n", "")
	got = strings.ReplaceAll(got, "(runtime), seen: {origin: written, author: bob, reason: 'all fine'}", "(runtime)")
	if !strings.HasSuffix(got, want) {
		t.Errorf("effective\n%s\nwant\n%s", got, want)
	}
	if left, err := Candidates(observed, approved); err != nil || len(left) != 0 {
		t.Errorf("left after approving (%v):\n%s", err, text(left))
	}
	if _, ok := Find(candidates, candidates[1].ID()); !ok {
		t.Error("a candidate is not found by its ID")
	}
	if _, ok := Find(candidates, "x"); ok {
		t.Error("something is found by no ID")
	}
}
