// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// leftovers are what of Holdfast's could stay on a node, each with how often it
// is there: programs and maps in the kernel by their names, mounts.
type leftovers map[string]int

// present looks for what is there now. Programs and maps without a name are
// those of container runtimes.
func (h *holdfast) present() (leftovers, error) {
	found := leftovers{}
	for id, err := ebpf.ProgramID(0), error(nil); ; {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list programs: %w", err)
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look at program %d: %w", id, err)
		}
		info, err := p.Info()
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, fmt.Errorf("look at program %d: %w", id, err)
		}
		if info.Name != "" {
			found["program "+info.Name]++
		}
	}
	for id, err := ebpf.MapID(0), error(nil); ; {
		if id, err = ebpf.MapGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list maps: %w", err)
		}
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look at map %d: %w", id, err)
		}
		info, err := m.Info()
		if err = errors.Join(err, m.Close()); err != nil {
			return nil, fmt.Errorf("look at map %d: %w", id, err)
		}
		if info.Name != "" {
			found["map "+info.Name]++
		}
	}
	return found, h.mounts(found)
}

// mounts adds the node's mounts that are Holdfast's by their names; those of
// the lab are in a folder that has the name in it.
func (h *holdfast) mounts(found leftovers) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", h.Node.HolderPID()))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), h.Node.Dir(), "")) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(fields[3]+fields[4], "holdfast") {
			found["mount "+fields[3]+" "+fields[4]]++
		}
	}
	return nil
}

// beyond is what is there more often than before.
func (l leftovers) beyond(before leftovers) []string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(l)) {
		if n := l[what] - before[what]; n > 0 {
			list = append(list, fmt.Sprintf("%d of %s", n, what))
		}
	}
	return list
}

// awaitClean waits until nothing is there that was not before the release was
// installed. The kernel frees programs some time after the last reference.
func (h *holdfast) awaitClean(t *testing.T) {
	t.Helper()
	h.await(t, "the node is as it was", func(context.Context) error {
		now, err := h.present()
		if err != nil {
			return err
		}
		if left := now.beyond(h.before); len(left) > 0 {
			return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
		return nil
	})
}
