// SPDX-License-Identifier: Apache-2.0

package cleanup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-project/holdfast/agent/spool"
)

// RemoveData removes an agent's data directory with everything in it: identity, profiles, and alerts that have not been sent.
// One that is not there is no error, and an empty one is removed. A folder that holds anything but no agent's spools is left
// as it is, and so is one whose agent runs: both are errors. It says whether there was anything to remove.
func RemoveData(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove the data directory: %w", err)
	}
	if len(entries) > 0 {
		// Every agent has these two, and holds them while it runs.
		for _, name := range []string{"alerts", "records"} {
			lock, err := spool.Hold(filepath.Join(dir, name))
			if errors.Is(err, os.ErrNotExist) {
				return false, fmt.Errorf("remove the data directory %s: it has no spool of %s, so it is no agent's", dir, name)
			}
			if err != nil {
				return false, fmt.Errorf("remove the data directory %s: %w", dir, err)
			}
			// Nothing depends on how its file closes: it is removed with the folder.
			defer func() { _ = lock.Close() }()
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("remove the data directory: %w", err)
	}
	return true, nil
}
