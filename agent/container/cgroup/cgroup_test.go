// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
)

func TestFindMount(t *testing.T) {
	const (
		unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 23 0:27 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro\n" +
			"32 31 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n" +
			"33 31 0:29 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n"
		private = "40 23 0:26 /../../kubepods /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
	)
	for _, tc := range []struct{ name, data, want string }{
		{"unified", unified, "/sys/fs/cgroup"},
		{"hybrid", hybrid, "/sys/fs/cgroup/unified"},
		{"the host's beside the container's own", private + "41 23 0:26 / /host/sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			"/host/sys/fs/cgroup"},
		{"no optional fields", "32 31 0:28 / /cg rw - cgroup2 none rw\n", "/cg"},
		{"escaped", `32 31 0:28 / /my\040cg\134x rw - cgroup2 none rw` + "\n", `/my cg\x`},
		{"garbage before it", "\n- cgroup2\nx - cgroup2 \n" + unified, "/sys/fs/cgroup"},
	} {
		got, err := findMount(strings.NewReader(tc.data))
		if err != nil || got != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	for _, data := range []string{"", "33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"} {
		if _, err := findMount(strings.NewReader(data)); !errors.Is(err, ErrNoCgroup2) {
			t.Errorf("mountinfo %q: %v", data, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	for data, want := range map[string]string{
		"0::/kubepods/x\n":                         "/kubepods/x",
		"4:memory:/a\n0::/b\n":                     "/b",
		"0::/\n":                                   "/",
		"0::/kubepods/x (deleted)\n":               "/kubepods/x",
		"12:cpu,cpuacct:/x\n1:name=systemd:/0::/y": "",
		"": "",
	} {
		got, err := parsePath(data, "file")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", data, got, err, want)
		}
	}
}

// TestWalk walks the machine's own hierarchy.
func TestWalk(t *testing.T) {
	tree, err := Open("")
	if errors.Is(err, ErrNoCgroup2) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	births, err := tree.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b := births[0]; b.Cgroup == 0 || b.Parent != 0 || b.Name != "" {
		t.Errorf("root: %+v", b)
	}
	known := map[uint64]container.Birth{}
	for _, b := range births {
		if _, twice := known[b.Cgroup]; twice {
			t.Errorf("twice: %+v", b)
		}
		if _, ok := known[b.Parent]; !ok && b.Parent != 0 {
			t.Errorf("before its parent: %+v", b)
		}
		known[b.Cgroup] = b
	}
	path, err := PathOf(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := tree.ID(path); err != nil || known[id].Cgroup != id {
		t.Errorf("own cgroup %s: %d, %v", path, id, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if births, err := tree.Walk(ctx); !errors.Is(err, context.Canceled) || len(births) == 0 {
		t.Errorf("cancelled walk: %d cgroups, %v", len(births), err)
	}
}

// TestWalkNew makes cgroups and finds them.
func TestWalkNew(t *testing.T) {
	tree, err := Open("")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and cgroup2")
	}
	dir, err := os.MkdirTemp(tree.Root(), "walk-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.Remove(dir)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(sub)
	id, err := tree.ID("/" + filepath.Base(dir) + "/sub")
	if err != nil {
		t.Fatal(err)
	}
	parent, err := tree.ID(filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	births, err := tree.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range births {
		if b.Cgroup == id {
			if b.Name != "sub" || b.Parent != parent || b.At.IsZero() {
				t.Errorf("found as %+v", b)
			}
			return
		}
	}
	t.Errorf("cgroup %d is not found", id)
}

func TestOpenRefuses(t *testing.T) {
	for _, root := range []string{"/nonexistent", t.TempDir()} {
		if _, err := Open(root); err == nil || !strings.Contains(err.Error(), root) {
			t.Errorf("Open(%s): %v", root, err)
		}
	}
}
