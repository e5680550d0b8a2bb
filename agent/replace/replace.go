// SPDX-License-Identifier: Apache-2.0

// Package replace writes small files so that after a crash each is the old or the new one, whole. It owns no goroutines.
package replace

import (
	"errors"
	"os"
	"path/filepath"
)

// File writes a file aside, with mode 0600, and renames it. One call at a time may write the same path.
func File(path string, text []byte) error {
	aside := path + ".new"
	// One that a crash left behind may have another mode.
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	if err := os.Rename(aside, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
