// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	RunHolder()
	if dir := os.Getenv(childEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// start brings up a lab for one test, which fails if anything of it stays.
func start(t *testing.T, cfg Config) *Lab {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Start(t.Context())
	if errors.Is(err, ErrNotRoot) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd:\n%s", l.ContainerdLog(40))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// within bounds what a test does in a lab.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// busyboxPod starts a pod with one container that sleeps.
func busyboxPod(t *testing.T, ctx context.Context, l *Lab) (*Pod, *Container) {
	t.Helper()
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	pod, err := l.RunPod(ctx, PodConfig{Namespace: "shop", Name: "web", Labels: map[string]string{"app": "web"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := pod.Run(ctx, ContainerConfig{Name: "main", Image: BusyboxImage, Command: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	return pod, c
}

func TestPod(t *testing.T) {
	l := start(t, Config{})
	ctx := within(t, time.Minute)
	pod, c := busyboxPod(t, ctx, l)

	t.Run("exec", func(t *testing.T) {
		got, err := c.Exec(ctx, "sh", "-c", "hostname; echo oops >&2; exit 3")
		if err != nil {
			t.Fatal(err)
		}
		if want := (ExecResult{"web\n", "oops\n", 3}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("cgroup id is the inode", func(t *testing.T) { checkCgroupID(t, ctx, l, c) })
	t.Run("image digest", func(t *testing.T) {
		image, err := Busybox()
		if err != nil {
			t.Fatal(err)
		}
		built, err := image.Build()
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.ImageDigest() != built.Digest || !strings.HasPrefix(s.ImageRef, "docker.io/library/busybox@") {
			t.Errorf("image is %s, want digest %s", s.ImageRef, built.Digest)
		}
	})
	t.Run("addresses are reached from the lab", func(t *testing.T) { checkReachable(t, ctx, l, pod, c) })
	t.Run("gateway is reached from the pod", func(t *testing.T) { checkGateway(t, ctx, l, c) })
	t.Run("stop", func(t *testing.T) {
		if err := c.Stop(ctx, 0); err != nil {
			t.Fatal(err)
		}
		s, err := c.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Exited || s.ExitCode != 137 || s.PID != 0 {
			t.Errorf("status is %+v, want a container killed by signal 9", s)
		}
	})
}

// checkCgroupID compares the cgroup id with the file handle that the kernel
// itself makes of the id for a process of the container.
func checkCgroupID(t *testing.T, ctx context.Context, l *Lab, c *Container) {
	s, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	var path string
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = filepath.Join(l.CgroupRoot(), rest)
		}
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want uint64
	for i, b := range handle.Bytes() {
		want |= uint64(b) << (8 * i)
	}
	got, err := c.CgroupID()
	if err != nil {
		t.Fatal(err)
	}
	if got != want || path != c.CgroupDir() {
		t.Errorf("cgroup id is %d of %s, want %d of %s", got, c.CgroupDir(), want, path)
	}
}

// checkReachable serves in the container and connects from the lab.
func checkReachable(t *testing.T, ctx context.Context, l *Lab, pod *Pod, c *Container) {
	if len(pod.IPs) == 0 || !l.cfg.Subnet.Contains(pod.IP) {
		t.Fatalf("pod has addresses %v", pod.IPs)
	}
	_, err := c.Exec(ctx, "sh", "-c", "nc -ll -p 8080 -e echo pong >/dev/null 2>&1 &")
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range pod.IPs {
		addr := net.JoinHostPort(ip.String(), "8080")
		var conn net.Conn
		for {
			if conn, err = l.DialContext(ctx, "tcp", addr); err == nil {
				break
			}
			if pause(ctx, 10*time.Millisecond) != nil {
				t.Fatalf("connect to %s: %v", addr, err)
			}
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || string(got) != "pong\n" {
			t.Errorf("%s said %q, %v", addr, got, err)
		}
	}
}

// checkGateway serves in the lab, at the gateway and at an address that is
// not the lab's own, and connects from the container.
func checkGateway(t *testing.T, ctx context.Context, l *Lab, c *Container) {
	elsewhere := netip.MustParseAddr("169.254.169.254")
	if err := l.AddAddress(elsewhere); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.Addr{l.Gateway(), elsewhere} {
		listener, err := l.Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "hello")
		})}
		done := make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		got, err := c.Exec(ctx, "wget", "-q", "-O-", "http://"+listener.Addr().String()+"/")
		if err != nil || got.Stdout != "hello" {
			t.Errorf("from %s the pod got %+v, %v", addr, got, err)
		}
		server.Close()
		<-done
	}
}

func TestCommandRunsInTheLab(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	for _, kind := range []string{"net", "mnt"} {
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", l.HolderPID(), kind))
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Command(ctx, "readlink", "/proc/self/ns/"+kind).Output()
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("process is in %s, %v; want %s", got, err, want)
		}
		own, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil || own == want {
			t.Errorf("the lab has the namespace %s of the test (%v)", own, err)
		}
	}
	got, err := l.Command(ctx, "cat", "/proc/self/cgroup").Output()
	if want := "0::/" + l.Name() + "/system\n"; err != nil || !strings.HasSuffix(string(got), want) {
		t.Errorf("process is in cgroup %q, %v; want %q", got, err, want)
	}
	if _, err := l.Command(ctx, "ls", "/nowhere").Output(); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a command that fails says %v", err)
	}
	if _, err := l.DialContext(ctx, "tcp", "localhost:1"); err == nil || !strings.Contains(err.Error(), "want an IP address") {
		t.Errorf("dialling a name says %v", err)
	}
	checkThreads(t, ctx, l)
}

// checkThreads waits until no thread of the test is in the lab's namespaces:
// what the test does next would happen there.
func checkThreads(t *testing.T, ctx context.Context, l *Lab) {
	t.Helper()
	for {
		threads, err := filepath.Glob("/proc/self/task/*/ns/*")
		if err != nil || len(threads) == 0 {
			t.Fatal("no threads", err)
		}
		inside := 0
		for _, thread := range threads {
			// A thread that has ended meanwhile is not inside.
			if id, err := os.Readlink(thread); err == nil && slices.Contains(l.nsIDs, id) {
				inside++
			}
		}
		if inside == 0 {
			return
		}
		if pause(ctx, 5*time.Millisecond) != nil {
			t.Fatalf("%d threads are still in the lab", inside)
		}
	}
}

func TestForward(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx, cancel := context.WithCancel(t.Context())
	inside, err := l.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- Forward(ctx, outside, func(ctx context.Context) (net.Conn, error) {
			return l.DialContext(ctx, "tcp", inside.Addr().String())
		})
	}()
	go func() {
		conn, err := inside.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	conn, err := net.Dial("tcp", outside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := bytes.Repeat([]byte("forward "), 1000)
	if _, err := conn.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(want))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
