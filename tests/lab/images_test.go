// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestServers starts the servers of the machine's Debian packages and uses
// each as a client would. A server whose package is missing is skipped.
func TestServers(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, 2*time.Minute)
	for _, server := range []struct {
		needs string
		make  func() (Image, error)
		check func(*testing.T, context.Context, *Container)
	}{
		{"nginx", Nginx, checkNginx},
		{"redis-server", Redis, checkRedis},
		{"psql", Postgres, checkPostgres},
		{"python3", Python, nil},
	} {
		t.Run(server.needs, func(t *testing.T) {
			if _, err := exec.LookPath(server.needs); err != nil {
				t.Skip(err)
			}
			image, err := server.make()
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Import(ctx, image); err != nil {
				t.Fatal(err)
			}
			pod, err := l.RunPod(ctx, PodConfig{Name: server.needs})
			if err != nil {
				t.Fatal(err)
			}
			cfg := ContainerConfig{Name: "main", Image: image.Name, RuntimeDefaultSeccomp: true}
			if server.check == nil {
				cfg.Args = []string{"-c", "import json, ssl, sqlite3; print(json.dumps({'a': 1}))"}
			}
			c, err := pod.Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if server.check == nil {
				checkPython(t, ctx, c)
				return
			}
			server.check(t, ctx, c)
			if t.Failed() {
				logs, err := c.Logs()
				t.Logf("it logged, %v:\n%s", err, logs)
			}
		})
	}
}

func checkNginx(t *testing.T, ctx context.Context, c *Container) {
	if err := c.Pod.AwaitPort(ctx, NginxPort); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: c.Pod.lab.DialContext, DisableKeepAlives: true}}
	for _, ip := range c.Pod.IPs {
		answer, err := client.Get("http://" + net.JoinHostPort(ip.String(), strconv.Itoa(NginxPort)) + "/")
		if err != nil {
			t.Error(err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !strings.Contains(string(body), "It works.") {
			t.Errorf("%s: %s, %v", answer.Status, body, err)
		}
	}
}

func checkRedis(t *testing.T, ctx context.Context, c *Container) {
	wait.Until(t, time.Minute, func() error { return execWants(ctx, c, "PONG", "redis-cli", "-h", c.Pod.IP.String(), "ping") })
	if err := execWants(ctx, c, "redis", "sh", "-c", "stat -c %U /proc/1/."); err != nil {
		t.Error(err)
	}
}

func checkPostgres(t *testing.T, ctx context.Context, c *Container) {
	wait.Until(t, time.Minute, func() error {
		return execWants(ctx, c, "42", "psql", "-h", c.Pod.IP.String(), "-U", "postgres", "-Atc", "select 6*7")
	})
}

func checkPython(t *testing.T, ctx context.Context, c *Container) {
	s, err := c.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := c.Logs()
	if err != nil || s.ExitCode != 0 || logs != "{\"a\": 1}\n" {
		t.Errorf("python ended with %d and said %q, %v", s.ExitCode, logs, err)
	}
}

// execWants runs a program in the container and compares its output.
func execWants(ctx context.Context, c *Container, want string, argv ...string) error {
	got, err := c.Exec(ctx, argv...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(got.Stdout) != want {
		return fmt.Errorf("%q gave %+v, want %q", argv, got, want)
	}
	return nil
}

func TestBuildIsRepeatable(t *testing.T) {
	image := Image{Name: "example/a:1", Layers: []Layer{{Files: []File{
		{Path: "/usr/bin/a", Mode: 0o755, Content: []byte("one")},
		{Path: "/etc/b", Mode: 0o644, Content: []byte("two")},
	}}}}
	first, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	files := image.Layers[0].Files
	files[0], files[1] = files[1], files[0]
	second, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest != second.Digest {
		t.Errorf("digests are %s and %s", first.Digest, second.Digest)
	}
	files[0].Content = []byte("three")
	third, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if third.Digest == first.Digest {
		t.Error("another content has the same digest")
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		image Image
		want  string
	}{
		{"no name", Image{Layers: []Layer{{}}}, "needs a name"},
		{"relative path", imageOf(File{Path: "a"}), "want an absolute, clean path"},
		{"unclean path", imageOf(File{Path: "/a/../b"}), "want an absolute, clean path"},
		{"file below a link", imageOf(
			File{Path: "/bin", Mode: fs.ModeSymlink, Link: "usr/bin"}, File{Path: "/bin/a"}), "its parent /bin is not a directory"},
		{"missing source", imageOf(File{Path: "/a", Source: "/nowhere/a"}), "no such file"},
		{"source is a directory", imageOf(File{Path: "/a", Source: "/usr"}), "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.image.Build()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func imageOf(files ...File) Image {
	return Image{Name: "example/a:1", Layers: []Layer{{Files: files}}}
}

func TestHostBinaries(t *testing.T) {
	files, err := HostBinaries("/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	all := strings.Join(paths, "\n") + "\n"
	for _, want := range []string{"/usr/bin/ls\n", "/libc.so.6\n", "/ld-linux"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing from\n%s", want, all)
		}
	}
	if _, err := HostBinaries("/nowhere/a"); err == nil {
		t.Error("a program that is not there was collected")
	}
}

func TestHostPackage(t *testing.T) {
	files, err := HostPackage("busybox-static")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range files {
		found = found || f.Path == "/usr/bin/busybox" && f.Source != "" && f.Mode.Perm() == 0o755
	}
	if !found {
		t.Errorf("busybox is not among the files of its package: %+v", files)
	}
	if _, err := HostPackage("no-such-package"); err == nil {
		t.Error("a package that is not installed was collected")
	}
}
