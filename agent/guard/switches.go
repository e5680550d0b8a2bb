// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/replace"
)

// switchesFile keeps the last changes of modes, so that who changed what, when and why is known after a restart.
const switchesFile = "switches.json"

// maxSwitches is how many changes of modes are kept for the collector.
const maxSwitches = 1024

// noteSwitches adds to the last changes of modes.
func (g *Guard) noteSwitches(switches []mode.Switch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.switches = append(g.switches, switches...)
	if over := len(g.switches) - maxSwitches; over > 0 {
		g.switches = slices.Clone(g.switches[over:])
	}
	g.switchesUnsaved = true
}

// Switches gives the last changes of modes, oldest first.
func (g *Guard) Switches() []mode.Switch {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.switches)
}

// restoreSwitches reads the last changes of modes under agents before. Nobody else has g yet.
func (g *Guard) restoreSwitches() {
	path := filepath.Join(g.cfg.Dir, switchesFile)
	var switches []mode.Switch
	text, err := read(path)
	if err == nil {
		err = json.Unmarshal(text, &switches)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Error("earlier changes of modes are not known", "file", path, "error", err)
		return
	}
	g.switches = switches[max(0, len(switches)-maxSwitches):]
}

// saveSwitches writes down the last changes of modes, if there are new ones.
func (g *Guard) saveSwitches() {
	g.mu.Lock()
	switches, unsaved := slices.Clone(g.switches), g.switchesUnsaved
	g.switchesUnsaved = false
	g.mu.Unlock()
	if !unsaved {
		return
	}
	text, err := json.Marshal(switches)
	if err == nil {
		err = replace.File(filepath.Join(g.cfg.Dir, switchesFile), text)
	}
	if err != nil {
		g.log.Error("changes of modes were not written down, trying again", "error", err)
		g.mu.Lock()
		g.switchesUnsaved = true
		g.mu.Unlock()
	}
}
