// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// output gathers what a process writes while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// labsOf lists the directories and cgroups of labs on this machine.
func labsOf(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{
		filepath.Join(os.TempDir(), "holdfast-lab-*"), "/sys/fs/cgroup/holdfast-lab-*", "/sys/fs/cgroup/*/holdfast-lab-*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestDemo runs the demo as make demo ARGS=--keep does, until it says that it stays, and then presses Ctrl-C.
func TestDemo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip(lab.ErrNotRoot)
	}
	dir := programs(t)
	before := labsOf(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "demo", "demo"), "--bin", dir, "--keep")
	// It ends by itself, so that it can clear up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shown := wait.For(ctx, time.Minute, func() error {
		if !strings.Contains(out.String(), "Break in yourself") {
			return errors.New("the demo has not come to its end")
		}
		return nil
	})
	took := time.Since(began)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := errors.Join(shown, cmd.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"$ holdfast alerts", "shop/stage/webshop", "stage-7f9c8d6b5-q4k8m", "/etc/shadow was opened", "token was opened",
		"metadata service 169.254.169.254", "/tmp/.x was run, which is not from the image", "in no file", "/usr/bin/dbus-helper was created",
		"packet socket was opened", "shell was started with a network connection", "node-1  connected", "export HOLDFAST_ADDRESS=",
		"shop/web/webshop", "'echo On its way: <n>'", "Killed for running /usr/bin/busybox", "Killed for creating /tmp/.x",
		"Killed for running /srv/uploads/x", "Killed for running /usr/lib64/ld-linux", "Killed for running /memfd",
		"Blocked contacting 203.0.113.66 port 80", "Killed for opening /run/secrets/kubernetes.io/serviceaccount/token",
		"and every one was answered", "What would allow it",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q", want)
		}
	}
	left := slices.DeleteFunc(labsOf(t), func(path string) bool { return slices.Contains(before, path) })
	if len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
	if t.Failed() {
		t.Log(out.String())
	}
	t.Logf("all was shown after %s; nothing was left %s after Ctrl-C", took.Round(100*time.Millisecond),
		(time.Since(began) - took).Round(100*time.Millisecond))
}
