// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// buildGuard makes what keeps containers to their profiles. The sensor must be there.
func (a *Agent) buildGuard() error {
	written, err := readPolicies(a.cfg.PolicyFile)
	if err != nil {
		return err
	}
	if a.enforcer, err = enforce.New(enforce.Config{Maps: a.sensor.Policies(), Logger: a.log.With("part", "enforcer")}); err != nil {
		return fmt.Errorf("make ready to enforce: %w", err)
	}
	defaults := profile.Modes{
		profile.SignalProtect: profile.Mode(a.cfg.ProtectMode),
		profile.SignalDLP:     profile.Mode(a.cfg.DLPMode), profile.SignalWAF: profile.Mode(a.cfg.WAFMode),
	}
	for _, signal := range profile.LearnedSignals() {
		defaults[signal] = profile.Mode(a.cfg.Mode)
	}
	cfg := guard.Config{
		Node: a.cfg.Node, Dir: filepath.Join(a.cfg.DataDir, "observed"), Enforcer: a.enforcer, Defaults: defaults,
		Brakes:  mode.Brakes{Workloads: a.cfg.BrakeWorkloads, Canary: a.cfg.BrakeCanary, Promote: a.cfg.Promote},
		Written: written, OnLate: a.pipeline.late.put, OnAnew: a.pipeline.anew.put, OnModes: a.inspection.modes, Logger: a.log.With("part", "guard"),
	}
	if a.cluster != nil {
		cfg.InitPID = func(cgroup uint64) uint32 {
			if c, _ := a.registry.Lookup(cgroup); c != nil {
				return c.InitPID
			}
			return 0
		}
		cfg.Services, cfg.Learn.Owner = a.cluster, a.cluster.Owner
	}
	if a.guard, err = guard.New(cfg); err != nil {
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
	if c != nil && c.State == container.StateResolved {
		a.guard.Container(c)
	}
}

// setModes takes the modes that people have set on the collector.
func (a *Agent) setModes(settings *apiv1.ModeSettings) {
	list := make([]mode.Setting, 0, len(settings.GetSettings()))
	for _, s := range settings.GetSettings() {
		one := mode.Setting{
			ID: s.GetId(), Workload: s.GetWorkload(), Mode: profile.Mode(s.GetMode()), Author: s.GetAuthor(), Reason: s.GetReason(),
			Set: time.Unix(0, s.GetSetNs()),
		}
		for _, signal := range s.GetSignals() {
			one.Signals = append(one.Signals, profile.Signal(signal))
		}
		if s.GetUntilNs() != 0 {
			one.Until = time.Unix(0, s.GetUntilNs())
		}
		list = append(list, one)
	}
	if err := a.guard.SetModes(list); err != nil {
		a.log.Warn("modes of the collector", "error", err)
	}
}

// kept describes the workloads that are kept to profiles, for health.
func (a *Agent) kept() []*apiv1.WorkloadState {
	states := a.guard.States()
	list := make([]*apiv1.WorkloadState, 0, len(states))
	for _, s := range states {
		w := &apiv1.WorkloadState{
			Key: keyMessage(s.Key), ProfileVersion: s.Version, Containers: uint32(s.Containers),
			Known: sum(s.Tally.Known), Learned: sum(s.Tally.Learned), WouldBlock: sum(s.Tally.WouldBlock), Blocked: sum(s.Tally.Blocked),
		}
		if !s.Blocked.IsZero() {
			w.LastBlockNs = s.Blocked.UnixNano()
		}
		for _, signal := range s.Signals {
			w.Signals = append(w.Signals, &apiv1.SignalState{
				Signal: string(signal.Signal), Mode: string(signal.Mode), Source: signal.Source, State: string(signal.Learning),
			})
		}
		list = append(list, w)
	}
	return list
}

func sum(counts [wire.Signals]uint64) uint64 {
	var n uint64
	for _, c := range counts {
		n += c
	}
	return n
}

// switches describes the last changes of modes, for health.
func (a *Agent) switches() []*apiv1.ModeSwitch {
	switches := a.guard.Switches()
	list := make([]*apiv1.ModeSwitch, 0, len(switches))
	for _, s := range switches {
		list = append(list, &apiv1.ModeSwitch{
			TimeNs: s.Time.UnixNano(), Key: keyMessage(s.Key), Signal: string(s.Signal), From: string(s.From), To: string(s.To),
			Author: s.Author, Reason: s.Reason,
		})
	}
	return list
}

func keyMessage(k profile.Key) *apiv1.ProfileKey {
	return &apiv1.ProfileKey{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Container: k.Container}
}

// learns reports whether an event may teach something: what a policy does not list, and what names stand for addresses.
func learns(ev *event.Event) bool {
	return ev.Has(wire.FlagLearn) || ev.Type == wire.TypeDns
}
