// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/certificate"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/metrics"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// The server's pages and ports.
const (
	smallPage = "small.html"
	largePage = "large.json"
	plainPort = lab.NginxPort
	tlsPort   = 443
)

// metricsAddress is where the agent serves its metrics, in the lab.
const metricsAddress = "127.0.0.1:7490"

const nginxConfig = `daemon off;
user www-data;
worker_processes 1;
error_log /dev/stderr error;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
	access_log off;
	keepalive_requests 100000000;
	types { text/html html; application/json json; }
	server {
		listen 80;
		listen 443 ssl;
		ssl_certificate /etc/nginx/server.pem;
		ssl_certificate_key /etc/nginx/server-key.pem;
		root /var/www/html;
	}
}
`

// server is nginx in a container, and the agent that watches it.
type server struct {
	rig       *rig.Rig
	container *lab.Container
	address   string
}

// start runs a server, a collector and an agent, until the benchmark ends.
func start(b *testing.B, args []string) *server {
	b.Helper()
	if os.Getuid() != 0 {
		b.Skip(lab.ErrNotRoot)
	}
	if missing := lab.Missing(); len(missing) > 0 {
		b.Fatalf("Debian packages are missing: %s", strings.Join(missing, " "))
	}
	ctx := b.Context()
	bin := os.Getenv("HOLDFAST_BIN")
	if bin == "" {
		bin = b.TempDir()
		if err := rig.Build(ctx, bin, rig.Programs()...); err != nil {
			b.Fatal(err)
		}
	}
	r, err := rig.Start(ctx, rig.Config{Bin: bin, Lab: lab.Config{Memory: true}, AgentArgs: append([]string{"--metrics-listen", metricsAddress}, args...)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if b.Failed() {
			b.Logf("agent:\n%s", r.Agent.Log(30))
		}
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	})
	image, err := serverImage()
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Lab.Import(ctx, image); err != nil {
		b.Fatal(err)
	}
	pod, err := r.Lab.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
	if err != nil {
		b.Fatal(err)
	}
	c, err := pod.Run(ctx, lab.ContainerConfig{Name: "nginx", Image: image.Name})
	if err != nil {
		b.Fatal(err)
	}
	if err := pod.AwaitPort(ctx, tlsPort); err != nil {
		b.Fatal(err)
	}
	return &server{rig: r, container: c, address: pod.IP.String()}
}

func serverImage() (lab.Image, error) {
	image, err := lab.Nginx()
	if err != nil {
		return lab.Image{}, err
	}
	cert, key, err := certificate.SelfSigned()
	if err != nil {
		return lab.Image{}, err
	}
	return image.With("docker.io/bench/nginx:1",
		lab.File{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: []byte(nginxConfig)},
		lab.File{Path: "/etc/nginx/server.pem", Mode: 0o644, Content: cert}, lab.File{Path: "/etc/nginx/server-key.pem", Mode: 0o600, Content: key},
		lab.File{Path: "/var/www/html/" + smallPage, Mode: 0o644, Content: traffic.Mixed(1 << 10)},
		lab.File{Path: "/var/www/html/" + largePage, Mode: 0o644, Content: traffic.JSON(64 << 10)}), nil
}

// set has these of the server's signals dlp and waf in monitor and the others off, and waits until what passes is read so.
func (s *server) set(ctx context.Context, on []string) error {
	want := map[profile.Signal]string{profile.SignalDLP: "off", profile.SignalWAF: "off"}
	for _, signal := range on {
		want[profile.Signal(signal)] = "monitor"
	}
	for signal, mode := range want {
		out, err := s.rig.Holdfast(ctx, "mode", "set", "shop/web", mode, "--signal", string(signal), "--reason", "it is measured").CombinedOutput()
		if err != nil {
			return fmt.Errorf("holdfast mode set: %w: %s", err, out)
		}
	}
	return eventually(func() error {
		for signal, mode := range want {
			if err := s.rig.InMode(ctx, "shop/web", mode, signal); err != nil {
				return err
			}
		}
		return s.reads(ctx, slices.Contains(on, "dlp"))
	})
}

// reads checks that of large pages, plain and over TLS, nearly all is read, or nothing.
func (s *server) reads(ctx context.Context, all bool) error {
	for _, l := range []lane{{page: largePage}, {page: largePage, tls: true}} {
		c, err := s.ask(ctx, &l, 1)
		if err != nil {
			return err
		}
		if all != (c.read > 0.9) || !all && c.read > 0 {
			return fmt.Errorf("TLS %t: %.0f%% are read", l.tls, 100*c.read)
		}
	}
	return nil
}

// measure sends a lane's requests, after some that do not count.
func (s *server) measure(ctx context.Context, l *lane) (cost, error) {
	return s.ask(ctx, l, l.requests)
}

func (s *server) ask(ctx context.Context, l *lane, requests int64) (c cost, err error) {
	w, err := l.open(ctx, s.rig.Lab, s.address)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.drive(requests / 8); err != nil {
		return cost{}, err
	}
	before, err := s.spent(ctx)
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	if err := w.drive(requests); err != nil {
		return cost{}, err
	}
	took := time.Since(began)
	after, err := s.spent(ctx)
	each := 1 / float64(requests)
	return cost{
		rate: float64(requests) / took.Seconds(), server: (after.server - before.server) * each, agent: (after.agent - before.agent) * each,
		read: (after.read - before.read) * each / float64(len(w.request)+w.size),
	}, err
}

// spending is what was spent since the start: processor time in microseconds, and the bytes that the agent has read.
type spending struct{ server, agent, read float64 }

// spent waits until the agent has read what there is to read.
func (s *server) spent(ctx context.Context) (spending, error) {
	last := -1.0
	err := eventually(func() error {
		read, err := s.metric(ctx, "holdfast_agent_content_bytes_total")
		if err == nil && read != last {
			last, err = read, errors.New("the agent goes on reading")
		}
		return err
	})
	if err != nil {
		return spending{}, err
	}
	server, err := cgroupTime(s.container.CgroupDir())
	if err != nil {
		return spending{}, err
	}
	agent, err := processTime(s.rig.Agent.PID())
	return spending{server, agent, last}, err
}

// cgroupTime is the processor time of all that is in a cgroup, in microseconds.
func cgroupTime(dir string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s has no usage_usec", dir)
}

// processTime is the processor time of a process's threads, in microseconds.
func processTime(pid int) (float64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(text), " ")
		nanoseconds, err := strconv.ParseFloat(ran, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += nanoseconds / 1e3
	}
	return sum, nil
}

// metric asks the agent for one of its metrics, of which the name with labels is given as it is written; 0 if there is none.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: s.rig.Lab.DialContext, DisableKeepAlives: true}}
	all, err := metrics.Read(ctx, client, "http://"+metricsAddress+"/metrics")
	return all[name], err
}

// lost is how much the agent has lost for a cause.
func (s *server) lost(b *testing.B, cause string) float64 {
	b.Helper()
	n, err := s.metric(b.Context(), fmt.Sprintf("holdfast_agent_losses_total{cause=%q}", cause))
	if err != nil {
		b.Error(err)
	}
	return n
}
