// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/pin"
)

// Unloaded is something that Unload has removed.
type Unloaded struct {
	// Kind is link, map or program; Path where it was pinned.
	Kind, Path string
}

// Unload removes everything that is pinned in the folder, whatever version of the agent has left it, and the folder: the
// kernel then detaches the programs. A folder that is not there is no error, nor is one that is empty. It refuses while
// an agent has the folder.
func Unload(dir string) ([]Unloaded, error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err := CanPin(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	var gone []Unloaded
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kind, err := kindOf(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		gone = append(gone, Unloaded{kind, path})
		return nil
	})
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return gone, fmt.Errorf("unload %s: %w", dir, err)
	}
	return gone, nil
}

// kindOf says what is pinned at the path.
func kindOf(path string) (string, error) {
	object, err := pin.Load(path, nil)
	if err != nil {
		return "", err
	}
	kind := "link"
	switch object.(type) {
	case *ebpf.Map:
		kind = "map"
	case *ebpf.Program:
		kind = "program"
	case link.Link:
	}
	return kind, object.Close()
}
