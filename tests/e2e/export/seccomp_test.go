// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/export"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
)

func TestMain(m *testing.M) {
	lab.RunHolder()
	os.Exit(m.Run())
}

// sockets makes a socket of each kind and prints which of them it got, then makes threads, a process and a connection to
// itself, as programs do.
const sockets = `
import errno, os, socket, subprocess, threading
def get(name, family, kind, protocol=0):
    try:
        socket.socket(family, kind, protocol).close()
        return name
    except OSError as e:
        return name + ":" + errno.errorcode[e.errno]
print(get("unix", socket.AF_UNIX, socket.SOCK_SEQPACKET), get("tcp", socket.AF_INET, socket.SOCK_STREAM, 6),
    get("udp6", socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK),
    get("icmp", socket.AF_INET, socket.SOCK_RAW, 1), get("packet", socket.AF_PACKET, socket.SOCK_RAW),
    get("netlink", socket.AF_NETLINK, socket.SOCK_RAW), get("netlink2", socket.AF_NETLINK, socket.SOCK_DGRAM),
    get("udplite", socket.AF_INET, socket.SOCK_DGRAM, 136))
socket.socketpair()
thread = threading.Thread(target=os.getpid)
thread.start()
thread.join()
print(subprocess.run(["/bin/true"]).returncode if os.path.exists("/bin/true") else 0)
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print("done")
`

// written is a file of what Holdfast makes of a profile that lists these sockets.
func written(t *testing.T, o export.Options, listed ...profile.Socket) string {
	t.Helper()
	p := &profile.Profile{
		Key:       profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "main"},
		Processes: []profile.Process{{Path: "/usr/bin/web", Sockets: listed, Seen: profile.Provenance{Origin: profile.Learned}}},
	}
	out, err := export.Seccomp([]*profile.Profile{p}, o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, []byte(out.Text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is a lab with images.
func machine(t *testing.T, makes ...func() (lab.Image, error)) (context.Context, *lab.Lab) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip(lab.ErrNotRoot)
	}
	if missing := lab.Missing(); len(missing) > 0 {
		t.Skipf("a lab needs the packages %v", missing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(lab.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, make := range makes {
		image, err := make()
		if err != nil {
			t.Skip(err)
		}
		if err := l.Import(ctx, image); err != nil {
			t.Fatal(err)
		}
	}
	return ctx, l
}

// run runs a container to its end and returns what it wrote.
func run(t *testing.T, ctx context.Context, pod *lab.Pod, cfg lab.ContainerConfig) string {
	t.Helper()
	c, err := pod.Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx); err != nil {
		t.Error(err)
	}
	return text
}

// TestSeccomp makes sockets in containers: those that the profile lists can be made, other families cannot.
func TestSeccomp(t *testing.T) {
	ctx, l := machine(t, lab.Python)
	pod, err := l.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	const works = "\n0\ndone\n"
	for _, c := range []struct {
		name string
		cfg  lab.ContainerConfig
		want string
	}{
		{"the default", lab.ContainerConfig{RuntimeDefaultSeccomp: true}, "unix tcp udp6 icmp packet netlink netlink2 udplite"},
		{
			"no sockets listed", lab.ContainerConfig{SeccompProfile: written(t, export.Options{})},
			"unix tcp udp6 icmp:EPERM packet:EPERM netlink:EPERM netlink2:EPERM udplite:EPERM",
		},
		{
			"some listed", lab.ContainerConfig{SeccompProfile: written(t, export.Options{}, profile.Socket{Family: "netlink", Kind: "raw"},
				profile.Socket{Family: "inet", Kind: "dgram"}, profile.Socket{Family: "packet", Kind: "raw"})},
			"unix tcp udp6 icmp:EPERM packet netlink netlink2:EPERM udplite",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Name, c.cfg.Image, c.cfg.Args = "main", lab.PythonImage, []string{"-c", sockets}
			if got := run(t, ctx, pod, c.cfg); got != c.want+works {
				t.Errorf("it says\n%s, want\n%s", got, c.want+works)
			}
		})
	}
}

// TestSeccompCapabilities mounts in containers that may: where what the container is given is known, the call is open.
func TestSeccompCapabilities(t *testing.T) {
	ctx, l := machine(t, lab.Busybox)
	pod, err := l.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	var known export.Cluster
	known.AddWorkload("shop", "Deployment", "web", export.Workload{
		Containers: []export.Container{{Name: "main", Add: []string{"sys_admin"}}},
	})
	for _, c := range []struct {
		name    string
		options export.Options
		want    string
	}{
		{"not known to be given", export.Options{}, "refused\n"},
		{"known to be given", export.Options{Cluster: &known}, "mounted\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := run(t, ctx, pod, lab.ContainerConfig{
				Name: "main", Image: lab.BusyboxImage, AddCapabilities: []string{"SYS_ADMIN"}, SeccompProfile: written(t, c.options),
				Command: []string{"sh", "-c", "mkdir -p /m; mount -t tmpfs none /m 2>/dev/null && echo mounted || echo refused"},
			})
			if got != c.want {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}

// TestSeccompServes runs a server under a profile without any socket beyond the ordinary.
func TestSeccompServes(t *testing.T) {
	ctx, l := machine(t, lab.Nginx)
	pod, err := l.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := pod.Run(ctx, lab.ContainerConfig{Name: "main", Image: lab.NginxImage, SeccompProfile: written(t, export.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.AwaitPort(ctx, lab.NginxPort); err != nil {
		logs, _ := c.Logs()
		t.Fatalf("%v; it logged %s", err, logs)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: l.DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + net.JoinHostPort(pod.IP.String(), strconv.Itoa(lab.NginxPort)) + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), "It works.") {
		t.Errorf("%s: %s, %v", answer.Status, body, err)
	}
	if out, err := c.Exec(ctx, "grep", "Seccomp:", "/proc/1/status"); err != nil || !strings.Contains(out.Stdout, "2") {
		t.Errorf("the filter of the server is %q, %v", out.Stdout, err)
	}
}
