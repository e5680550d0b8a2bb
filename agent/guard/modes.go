// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/replace"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// modesFile keeps what brakes and promotions did.
const modesFile = "modes.json"

// SetModes takes the settings of the collector. What is wrong with single ones is in the error, and the others hold.
func (g *Guard) SetModes(settings []mode.Setting) error {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	switches, err := g.modes.SetCollector(settings, g.now())
	g.due = g.modes.Next(g.now())
	g.mu.Unlock()
	return errors.Join(err, g.switched(switches))
}

// Blocked has Run take note that a deed of a container was blocked; the brakes may take workloads out of enforcement then.
func (g *Guard) Blocked(cgroup uint64, signal profile.Signal) {
	g.tell(func() error {
		g.compiling.Lock()
		defer g.compiling.Unlock()
		g.mu.Lock()
		switches := g.modes.Blocked(cgroup, signal, g.now())
		if m := g.members[cgroup]; m != nil {
			m.workload.blocked = g.now()
		}
		g.mu.Unlock()
		return g.switched(switches)
	})
}

// WouldBlock takes note that a deed of a container would have been blocked.
func (g *Guard) WouldBlock(cgroup uint64, signal profile.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.modes.WouldBlock(cgroup, signal, g.now())
}

// tickModes does what is due.
func (g *Guard) tickModes() {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	now := g.now()
	if g.due.IsZero() || now.Before(g.due) {
		g.mu.Unlock()
		return
	}
	switches := g.modes.Tick(now)
	g.due = g.modes.Next(now)
	g.mu.Unlock()
	g.report(g.switched(switches))
}

// follow tells the modes how far learning is, where that has changed. mu is held.
func (g *Guard) follow(w *workload) []mode.Switch {
	observed, ok := g.learner.Profile(w.key)
	if !ok {
		return nil
	}
	var switches []mode.Switch
	for signal, l := range observed.Signals {
		if w.states[signal] == l.State {
			continue
		}
		if w.states == nil {
			w.states = map[profile.Signal]profile.State{}
		}
		w.states[signal] = l.State
		switches = append(switches, g.modes.Learned(w.key, signal, l.State, g.now())...)
	}
	return switches
}

// switched puts modes that have changed in force. compiling is held.
func (g *Guard) switched(switches []mode.Switch) error {
	if len(switches) == 0 {
		return nil
	}
	g.noteSwitches(switches)
	var errs []error
	done := map[uint64]bool{}
	for _, s := range switches {
		g.log.Info("mode switched", "workload", s.Key.String(), "cgroup", s.Cgroup, "signal", s.Signal, "from", s.From, "to", s.To,
			"author", s.Author, "reason", s.Reason)
		if !done[s.Cgroup] {
			done[s.Cgroup] = true
			errs = append(errs, g.assignMember(s.Cgroup))
		}
	}
	for cgroup := range done {
		errs = append(errs, g.judgeLate(cgroup))
	}
	return errors.Join(errs...)
}

func (g *Guard) report(err error) {
	if err != nil {
		g.log.Error("modes not set, those before hold", "error", err)
	}
}

// restoreModes makes the controller with what was kept. Nobody else has g yet.
func (g *Guard) restoreModes() error {
	path := filepath.Join(g.cfg.Dir, modesFile)
	var state mode.State
	text, err := read(path)
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Without it, more is enforced, not less.
		g.log.Error("what brakes and promotions did is not known", "file", path, "error", err)
		state = mode.State{}
	}
	g.saved = text
	if g.modes, err = mode.New(mode.Config{Defaults: g.cfg.Defaults, Brakes: g.cfg.Brakes, State: state}); err != nil {
		return fmt.Errorf("modes: %w", err)
	}
	return nil
}

// saveModes writes down what brakes and promotions did, if that has changed.
func (g *Guard) saveModes() {
	g.mu.Lock()
	text, err := json.Marshal(g.modes.Snapshot(g.now()))
	same := bytes.Equal(text, g.saved)
	g.mu.Unlock()
	if err == nil && same {
		return
	}
	if err == nil {
		err = replace.File(filepath.Join(g.cfg.Dir, modesFile), text)
	}
	if err != nil {
		g.log.Error("what brakes and promotions did was not written down, trying again", "error", err)
		return
	}
	g.mu.Lock()
	g.saved = text
	g.mu.Unlock()
}
