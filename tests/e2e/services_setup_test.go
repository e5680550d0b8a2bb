// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/holdfast-project/holdfast/tests/certificate"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// domain is where the services find each other by name.
const domain = "field.svc.cluster.local"

//go:embed testdata/services
var serviceFiles embed.FS

// service is one of the six that are kept to what they normally do, what it is made of and what a kubelet probes it with.
type service struct {
	name  string
	port  uint16
	probe []string
	image func(*field) (lab.Image, error)
	args  func(*field) []string
	// volumes are folders of the node, by where they are in the container; they belong to who runs the service.
	volumes map[string]string
}

// services are in the order in which they can start: each needs only those before it.
var services = []service{
	{name: "redis", port: lab.RedisPort, probe: []string{"redis-cli", "ping"}, image: imageOf(lab.Redis), args: func(*field) []string {
		return []string{"--protected-mode", "no", "--enable-protected-configs", "yes", "--bind", "*", "--dir", "/var/lib/redis", "--logfile", "/var/lib/redis/redis.log",
			"--save", "3 5", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "20", "--auto-aof-rewrite-min-size", "32kb"}
	}},
	{name: "postgres", port: lab.PostgresPort, probe: []string{"pg_isready", "-h", "127.0.0.1", "-t", "60"}, image: imageOf(lab.Postgres), args: func(*field) []string {
		return []string{"-c", "autovacuum_naptime=1s", "-c", "autovacuum_vacuum_threshold=50", "-c", "autovacuum_analyze_threshold=50",
			"-c", "checkpoint_timeout=30s", "-c", "min_wal_size=32MB", "-c", "max_wal_size=32MB", "-c", "work_mem=64kB", "-c", "shared_buffers=16MB",
			"-c", "logging_collector=on", "-c", "log_rotation_age=1min", "-c", "log_rotation_size=64kB", "-c", "log_checkpoints=on",
			"-c", "log_min_duration_statement=20ms"}
	}},
	{name: "app", port: lab.GunicornPort, probe: []string{"wget", "-qO", "/dev/null", "http://127.0.0.1:8000/health"}, image: appImage, args: func(*field) []string {
		// What happens now and then happens while it is learned, in a short run too: workers are replaced.
		requests := 200
		if !long() {
			requests = 20
		}
		return []string{"--bind", "0.0.0.0:8000", "--workers", "2", "--max-requests", fmt.Sprint(requests), "--max-requests-jitter", fmt.Sprint(requests / 4),
			"--timeout", "180", "--access-logfile", "/var/log/app/access.log", "app:app"}
	}},
	{name: "java", port: lab.TomcatPort, probe: []string{"wget", "-qO", "/dev/null", "http://127.0.0.1:8080/examples/"}, image: javaImage},
	{name: "edge", port: lab.NginxPort, probe: []string{"wget", "-qO", "/dev/null", "http://127.0.0.1/health"}, image: edgeImage,
		volumes: map[string]string{"/var/log/nginx": "edge-logs"}},
	{name: "metrics", port: lab.PrometheusPort, probe: []string{"wget", "-qO", "/dev/null", "--no-check-certificate", "https://127.0.0.1:9090/-/healthy"},
		image: metricsImage, args: func(*field) []string {
			block := lasting(4*time.Second, 20*time.Second)
			return []string{"--config.file=/etc/prometheus/prometheus.yml", "--web.config.file=/etc/prometheus/web.yml",
				"--storage.tsdb.path=/var/lib/prometheus/metrics2", "--storage.tsdb.retention.time=" + (12 * block).String(),
				"--storage.tsdb.min-block-duration=" + block.String(), "--storage.tsdb.max-block-duration=" + (3 * block).String(), "--log.level=info"}
		}, volumes: map[string]string{"/etc/targets": "targets"}},
}

// field is the six services, running.
type field struct {
	r       *rig.Rig
	names   *lab.Names
	running map[string]*lab.Container
}

// startField runs the services in pods of namespace field, where each is known by its name, and waits until all answer.
func startField(t *testing.T, r *rig.Rig) *field {
	t.Helper()
	// As long as cluster DNS lets them be kept.
	names, err := r.Lab.ServeNames(t.Context(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	f := &field{r: r, names: names, running: map[string]*lab.Container{}}
	for _, s := range services {
		f.start(t, &s)
	}
	// Whoever asks first waits until pages are compiled.
	for _, c := range f.clients() {
		if err := c.round(t.Context(), 0); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	return f
}

// start runs one service.
func (f *field) start(t *testing.T, s *service) {
	t.Helper()
	image, err := s.image(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.r.Lab.Import(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	probe, err := json.Marshal([][]string{s.probe})
	if err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, f.r, lab.PodConfig{
		Namespace: "field", Name: s.name, Annotations: map[string]string{"holdfast.dev/probes": string(probe)},
		Searches: []string{domain},
	})
	cfg := lab.ContainerConfig{Name: s.name, Image: image.Name}
	if s.args != nil {
		cfg.Args = s.args(f)
	}
	for at, name := range s.volumes {
		cfg.Mounts = append(cfg.Mounts, lab.Mount{HostPath: f.volume(t, name), ContainerPath: at})
	}
	f.running[s.name] = run(t, pod, cfg)
	f.names.Set(s.name+"."+domain, pod.IP)
	if err := pod.AwaitPort(t.Context(), s.port); err != nil {
		t.Fatal(err)
	}
}

// volume is a folder of the node.
func (f *field) volume(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(f.r.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// address is where a service answers.
func (f *field) address(name string) string {
	for _, s := range services {
		if s.name == name {
			return netip.AddrPortFrom(f.running[name].Pod.IP, s.port).String()
		}
	}
	return ""
}

// asset is a file of testdata/services as one of an image.
func asset(path, name string) (lab.File, error) {
	content, err := fs.ReadFile(serviceFiles, "testdata/services/"+name)
	return lab.File{Path: path, Mode: 0o644, Content: content}, err
}

// dressed is an image with files of testdata/services, by their paths in the image, and others.
func dressed(build func() (lab.Image, error), name string, assets map[string]string, more ...lab.File) (lab.Image, error) {
	image, err := build()
	if err != nil {
		return lab.Image{}, err
	}
	for path, name := range assets {
		file, err := asset(path, name)
		if err != nil {
			return lab.Image{}, err
		}
		more = append(more, file)
	}
	return image.With("docker.io/field/"+name+":1", more...), nil
}

func imageOf(build func() (lab.Image, error)) func(*field) (lab.Image, error) {
	return func(*field) (lab.Image, error) { return build() }
}

func appImage(*field) (lab.Image, error) {
	return dressed(lab.Gunicorn, "app", map[string]string{"/srv/app/app.py": "app.py", "/srv/app/gunicorn.conf.py": "gunicorn.conf.py"})
}

// www is the id of the user www-data in the lab's images.
const www = 33

func javaImage(*field) (lab.Image, error) {
	const base = "/var/lib/tomcat10/"
	examples := lab.File{Path: base + "conf/Catalina/localhost/examples.xml", Mode: 0o644, Source: "/etc/tomcat10/Catalina/localhost/examples.xml"}
	return dressed(lab.Tomcat, "java", map[string]string{
		base + "conf/server.xml": "server.xml", base + "conf/web.xml": "web.xml", base + "conf/logging.properties": "logging.properties",
		base + "webapps/ROOT/pack.jsp": "pack.jsp", base + "webapps/ROOT/relay.jsp": "relay.jsp", base + "bin/setenv.sh": "setenv.sh",
	}, examples)
}

func edgeImage(f *field) (lab.Image, error) {
	text, err := template.ParseFS(serviceFiles, "testdata/services/nginx.conf")
	if err != nil {
		return lab.Image{}, err
	}
	var conf bytes.Buffer
	if err := text.Execute(&conf, map[string]string{"Resolver": f.r.Lab.Gateway().String(), "Domain": domain}); err != nil {
		return lab.Image{}, err
	}
	return dressed(lab.Nginx, "edge", nil,
		lab.File{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: conf.Bytes()},
		lab.File{Path: "/var/cache/nginx", Mode: fs.ModeDir | 0o755, UID: www, GID: www},
		lab.File{Path: "/var/www/html/large.txt", Mode: 0o644, Content: []byte(strings.Repeat("It works.\n", 20000))})
}

func metricsImage(*field) (lab.Image, error) {
	cert, key, err := certificate.SelfSigned("metrics", "localhost")
	if err != nil {
		return lab.Image{}, err
	}
	return dressed(lab.Prometheus, "metrics", map[string]string{
		"/etc/prometheus/prometheus.yml": "prometheus.yml", "/etc/prometheus/rules.yml": "rules.yml", "/etc/prometheus/web.yml": "web.yml",
	}, lab.File{Path: "/etc/prometheus/tls.pem", Mode: 0o644, Content: cert}, lab.File{Path: "/etc/prometheus/tls-key.pem", Mode: 0o644, Content: key})
}
