// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Limits of what can be watched, in bytes: names are shorter than a key by the NUL that ends them.
const (
	watchNameMax = len(wire.WatchName{}.Name) - 1
	watchPathMax = len(wire.WatchKey{}.Path)
	// watchEnding is a star and the four bytes that are compared, ENDING of bpf/include/watch.h.
	watchEnding = 5
)

// WatchName asks for records of files with the name, or in a folder with the name, where they are opened for reading
// (wire.WatchRead), changed (wire.WatchWrite) or both. With wire.WatchProtect, policies are asked whether they may be
// read. Asking again replaces what was asked before. The name is one
// component of a path, of at most 47 bytes; a star and four bytes stand for names that end with these ("*.key").
func (s *Sensor) WatchName(name string, how wire.Watch) error {
	if name == "" || len(name) > watchNameMax || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("watch name %q: it is not one component of a path of 1 to %d bytes", name, watchNameMax)
	}
	if name[0] == '*' && len(name) != watchEnding {
		return fmt.Errorf("watch name %q: after the star stand the last %d bytes of the names", name, watchEnding-1)
	}
	var key wire.WatchName
	copy(key.Name[:], name)
	s.watching.Lock()
	defer s.watching.Unlock()
	if err := s.fillFilter(key); err != nil {
		return err
	}
	return s.watch("watched_names", name, key, how)
}

// WatchPath asks for records of files whose path begins with the prefix, which is at most 124 bytes. Of several prefixes
// that a path begins with, the longest alone counts. A path is what the file is called in its mount namespace, seen from
// there; see docs/events.md for what the system call family knows of it.
func (s *Sensor) WatchPath(prefix string, how wire.Watch) error {
	if !strings.HasPrefix(prefix, "/") || len(prefix) > watchPathMax || strings.ContainsRune(prefix, 0) {
		return fmt.Errorf("watch path %q: it is not an absolute path of at most %d bytes", prefix, watchPathMax)
	}
	key := wire.WatchKey{Bits: uint32(len(prefix)) * 8}
	copy(key.Path[:], prefix)
	return s.watch("watched_paths", prefix, key, how)
}

func (s *Sensor) watch(name, what string, key any, how wire.Watch) error {
	if how == 0 || how&^(wire.WatchRead|wire.WatchWrite|wire.WatchProtect) != 0 {
		return fmt.Errorf("watch %q: neither for reading nor for writing nor to protect", what)
	}
	m, err := s.loader.mapOf(fileObject, name)
	if err != nil {
		return err
	}
	if err := m.Put(key, uint32(how)); err != nil {
		return fmt.Errorf("map %s: %q: %w", name, what, err)
	}
	s.own.note(name, key, true)
	return nil
}

// UnwatchName ends a WatchName. One that was not asked for is no error.
func (s *Sensor) UnwatchName(name string) error {
	var key wire.WatchName
	copy(key.Name[:watchNameMax], name)
	s.watching.Lock()
	defer s.watching.Unlock()
	return errors.Join(s.unwatch("watched_names", name, key), s.fillFilter())
}

// UnwatchPath ends a WatchPath. One that was not asked for is no error.
func (s *Sensor) UnwatchPath(prefix string) error {
	key := wire.WatchKey{Bits: uint32(min(len(prefix), watchPathMax)) * 8}
	copy(key.Path[:], prefix)
	return s.unwatch("watched_paths", prefix, key)
}

func (s *Sensor) unwatch(name, what string, key any) error {
	m, err := s.loader.mapOf(fileObject, name)
	if err != nil {
		return err
	}
	s.own.note(name, key, false)
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("map %s: %q: %w", name, what, err)
	}
	return nil
}

// mapOf gives a map that programs of the object share, made before the first of them is loaded if need be.
func (l *loader) mapOf(object, name string) (*ebpf.Map, error) {
	if m, ok := l.maps[name]; ok {
		return m, nil
	}
	spec, err := l.object(object)
	if err != nil {
		return nil, err
	}
	return l.make(name, spec.Maps[name])
}
