// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// readPositions has, for the reader alone, what it has handed out: the next sequence number by (cpu, slot, ring).
const readPositions = "read_positions"

// keptOver are the maps whose entries mean the same in every wire version: who is who.
var keptOver = []string{"container_by_cgroup", "process_by_tgid"}

// usePins chooses between the maps that are pinned and new ones, and opens the former.
func (l *loader) usePins(p *pins) error {
	digest := l.digest()
	if err := p.choose(digest, l.fits); err != nil {
		return err
	}
	l.pins = p
	if p.freshEra {
		return l.carryOver()
	}
	return l.openMaps()
}

// digest names the build of the objects and the family of hooks that they are loaded for.
func (l *loader) digest() string {
	return fmt.Sprintf("%s%d", l.build.digest, l.family)
}

// fits says what of the pinned maps cannot be used by the objects of this build.
func (l *loader) fits(dir string) error {
	return l.eachMap(func(name string, spec *ebpf.MapSpec) error {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		defer m.Close()
		spec = spec.Copy()
		spec.MaxEntries = m.MaxEntries()
		return spec.Compatible(m)
	})
}

// openMaps takes the pinned maps. Their sizes stay: to change them is to begin anew, which unload is for.
func (l *loader) openMaps() error {
	return l.eachMap(func(name string, spec *ebpf.MapSpec) error {
		m, err := ebpf.LoadPinnedMap(filepath.Join(l.pins.era, "maps", name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("map %s: open: %w", name, err)
		}
		l.maps[name] = m
		if spec.MaxEntries != 0 && m.MaxEntries() != spec.MaxEntries {
			l.cfg.Logger.Warn("a pinned map keeps its size until holdfast-agent unload", "map", name,
				"entries", m.MaxEntries(), "configured", spec.MaxEntries)
		}
		return nil
	})
}

// carryOver copies from the maps of before what can be used: everything whose definition is the same, or, from another
// wire version, who is who.
func (l *loader) carryOver() error {
	if l.pins.before == "" {
		return nil
	}
	all := strings.HasPrefix(filepath.Base(l.pins.before), fmt.Sprintf("v%d-", wire.Version))
	return l.eachMap(func(name string, spec *ebpf.MapSpec) error {
		if name == agentState || name == readPositions || !all && !slices.Contains(keptOver, name) {
			return nil
		}
		if spec.Type != ebpf.Hash && spec.Type != ebpf.LPMTrie && spec.Type != ebpf.Array {
			return nil
		}
		old, err := ebpf.LoadPinnedMap(filepath.Join(l.pins.before, "maps", name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("map %s: open: %w", name, err)
		}
		defer old.Close()
		if old.Type() != spec.Type || old.KeySize() != spec.KeySize || old.ValueSize() != spec.ValueSize {
			l.cfg.Logger.Warn("a map begins anew: its entries are of another kind than before", "map", name)
			return nil
		}
		m, err := l.make(name, spec)
		if err != nil {
			return err
		}
		return copyEntries(name, m, old)
	})
}

// copyEntries leaves out what is gone before it is read.
func copyEntries(name string, to, from *ebpf.Map) error {
	var key, value []byte
	entries := from.Iterate()
	for entries.Next(&key, &value) {
		if err := to.Put(key, value); err != nil {
			return fmt.Errorf("map %s: copy an entry: %w", name, err)
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("map %s: read the entries of before: %w", name, err)
	}
	return nil
}

// eachMap calls do for every map of every object, once, and for the reader's own.
func (l *loader) eachMap(do func(name string, spec *ebpf.MapSpec) error) error {
	seen := map[string]bool{}
	for object := range l.build.loaders {
		whole, err := l.object(object)
		if err != nil {
			return err
		}
		for name, spec := range whole.Maps {
			if seen[name] || strings.HasPrefix(name, ".") {
				continue
			}
			seen[name] = true
			if err := do(name, spec); err != nil {
				return err
			}
		}
	}
	spec, err := positionsSpec()
	if err != nil {
		return err
	}
	return do(readPositions, spec)
}

// positionsSpec is the map that the reader keeps its positions in, shared memory that outlives it.
func positionsSpec() (*ebpf.MapSpec, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	return &ebpf.MapSpec{
		Name: readPositions, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: uint32(cpus) * slots * 2,
		Flags: unix.BPF_F_MMAPABLE,
	}, nil
}

// make creates a map and keeps it.
func (l *loader) make(name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	if m, ok := l.maps[name]; ok {
		return m, nil
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("map %s: create: %w", name, l.kernel.Explain(err, probe.BPF))
	}
	return m, l.keep(name, m)
}

// keep makes a map one of the loader's, and pins it where maps are to outlive the agent.
func (l *loader) keep(name string, m *ebpf.Map) error {
	l.maps[name] = m
	if l.pins == nil {
		return nil
	}
	return l.pins.keepMap(name, m)
}
