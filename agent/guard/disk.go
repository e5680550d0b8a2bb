// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-project/holdfast/agent/replace"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	// extension is that of the files that hold observed profiles, one each, named by a hash of the key.
	extension = ".yaml"
	// refused is added to the name of a file that could not be read.
	refused = ".refused"
	// maxFile bounds what is read of one file: MaxEntries entries, generously.
	maxFile = 64 << 20
	// firstLine is the first line of a file; a comment for whoever reads the rest.
	firstLine = "# observed by this node, version %d\n"
)

// restore reads what was observed before. Nobody else has g yet.
func (g *Guard) restore() error {
	if err := os.MkdirAll(g.cfg.Dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(g.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(g.cfg.Dir, e.Name())
		if !strings.HasSuffix(path, extension) {
			continue
		}
		if err := g.restoreFile(path); err != nil {
			g.log.Error("an observed profile is set aside: the workload is learned anew", "file", path, "error", err)
			if err := os.Rename(path, path+refused); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Guard) restoreFile(path string) error {
	text, err := read(path)
	if err != nil {
		return err
	}
	var version uint64
	if _, err := fmt.Fscanf(bytes.NewReader(text), firstLine, &version); err != nil {
		return fmt.Errorf("first line: %w", err)
	}
	p, err := profile.DecodeOne(path, text)
	if err != nil {
		return err
	}
	if err := g.learner.Restore(p); err != nil {
		return err
	}
	w := g.workloadOf(p.Key)
	w.version = version
	// What the collector has heard of it is not known until it says so; it is taken to have heard all.
	w.base, _ = g.learner.Profile(p.Key)
	return nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	return text, errors.Join(err, file.Close())
}

// save writes down what has changed. What cannot be written is tried again the next time.
func (g *Guard) save() {
	g.saveModes()
	g.saveSwitches()
	g.saveCluster()
	g.mu.Lock()
	// Where nothing is left of what was observed, the text is nil.
	texts := map[profile.Key][]byte{}
	for key, w := range g.workloads {
		if !w.unsaved {
			continue
		}
		texts[key] = nil
		if observed, ok := g.learner.Profile(key); ok {
			texts[key] = append(fmt.Appendf(nil, firstLine, w.version), profile.Encode(observed)...)
		}
		w.unsaved = false
	}
	heeded := maps.Clone(g.removals.heeded)
	g.mu.Unlock()
	for key, text := range texts {
		if err := write(filepath.Join(g.cfg.Dir, fileName(key)), text); err != nil {
			g.log.Error("what was observed was not written down, trying again", "workload", key.String(), "error", err)
			g.mu.Lock()
			g.workloadOf(key).unsaved = true
			g.mu.Unlock()
			// What was to be forgotten may be there still, and must not count as learned since.
			delete(heeded, key)
		}
	}
	g.saveRemovals(heeded)
}

// write replaces a file, or removes it where there is no text.
func write(path string, text []byte) error {
	if text != nil {
		return replace.File(path, text)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func fileName(key profile.Key) string {
	sum := sha256.Sum256([]byte(key.String()))
	return hex.EncodeToString(sum[:16]) + extension
}
