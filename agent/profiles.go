// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/holdfast-project/holdfast/agent/config"
	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// modes decides by the settings alone: what the policy file says of a workload, else what holds for all.
type modes struct {
	all     profile.Modes
	written map[profile.Key]profile.Modes
}

func newModes(cfg config.Config, written []profile.Document) *modes {
	m := &modes{all: profile.Modes{profile.SignalProtect: profile.Mode(cfg.ProtectMode)}, written: map[profile.Key]profile.Modes{}}
	for _, signal := range []profile.Signal{profile.SignalProcess, profile.SignalFile, profile.SignalEgress} {
		m.all[signal] = profile.Mode(cfg.Mode)
	}
	for _, d := range written {
		m.written[d.Profile.Key] = d.Modes
	}
	return m
}

// For implements guard.Modes.
func (m *modes) For(_ *container.Container, key profile.Key) profile.Modes {
	all := maps.Clone(m.all)
	maps.Copy(all, m.written[key])
	return all
}

// buildGuard makes what keeps containers to their profiles. The sensor must be there.
func (a *Agent) buildGuard() error {
	written, err := readPolicies(a.cfg.PolicyFile)
	if err != nil {
		return err
	}
	if a.enforcer, err = enforce.New(enforce.Config{Maps: a.sensor.Policies(), Logger: a.log.With("part", "enforcer")}); err != nil {
		return fmt.Errorf("make ready to enforce: %w", err)
	}
	a.modes = newModes(a.cfg, written)
	profiles := make([]*profile.Profile, len(written))
	for i, d := range written {
		profiles[i] = d.Profile
	}
	a.guard, err = guard.New(guard.Config{
		Node: a.cfg.Node, Dir: filepath.Join(a.cfg.DataDir, "observed"), Enforcer: a.enforcer, Modes: a.modes,
		Written: profiles, Logger: a.log.With("part", "guard"),
	})
	if err != nil {
		return fmt.Errorf("make ready to learn: %w", err)
	}
	a.pipeline.guard = a.guard
	return nil
}

// readPolicies reads the policy file, if there is to be one.
func readPolicies(path string) ([]profile.Document, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the policy file: %w", err)
	}
	written, err := profile.Decode(path, text)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return written, nil
}

// keep gives a container that has its name the policy of its workload.
func (a *Agent) keep(c *container.Container) {
	if c == nil || c.State != container.StateResolved {
		return
	}
	if err := a.guard.Container(c); err != nil {
		a.log.Error("container without its policy", "container", c.ID, "error", err)
	}
}

// expect does so for a container that has been announced.
func (a *Agent) expect(c *container.Container) {
	if err := a.guard.Expect(c); err != nil {
		a.log.Error("announced container without its policy", "container", c.ID, "error", err)
	}
}

// learns reports whether an event may teach something: what a policy does not list, and what names stand for addresses.
func learns(ev *event.Event) bool {
	return ev.Has(wire.FlagLearn) || ev.Type == wire.TypeDns
}
