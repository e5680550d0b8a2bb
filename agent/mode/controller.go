// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Config is what a Controller is made of.
type Config struct {
	// Defaults hold where nobody says anything. A signal that is missing is off.
	Defaults profile.Modes
	Brakes   Brakes
	// State is what a Snapshot gave before, so that brakes and promotions outlive the agent.
	State State
}

// Switch is a change of the mode of a signal of a container that runs.
type Switch struct {
	Time   time.Time
	Key    profile.Key
	Cgroup uint64
	Signal profile.Signal
	From   profile.Mode
	To     profile.Mode
	// Author is who set the mode that holds now, or holdfast for brakes and promotions; Reason why, in words.
	Author string
	Reason string
}

// Self is the author of what brakes and promotions do.
const Self = "holdfast"

// Controller knows the containers and keeps their modes. What has an effect on modes returns the switches, in a fixed order;
// the caller puts Modes in force for the containers that they name, logs them and tells the collector.
type Controller struct {
	cfg   Config
	rules rules
	// local are the settings of this node, remote those of the collector.
	local, remote []compiled
	containers    map[uint64]*running
	tracks        map[track]*tracked
	// blocked is when deeds of a workload were last blocked.
	blocked map[profile.Key]time.Time
	stopped map[pod]time.Time
}

// running is a container that runs, with the modes that hold for it.
type running struct {
	subject
	modes profile.Modes
	// decided is what decided each.
	decided map[profile.Signal]Decision
	started time.Time
}

// New makes a controller without containers. The error says what of the configuration or the state is impossible.
func New(cfg Config) (*Controller, error) {
	cfg.Brakes = cfg.Brakes.withDefaults()
	for signal, m := range cfg.Defaults {
		if _, err := profile.ParseSignal(string(signal)); err != nil {
			return nil, fmt.Errorf("default modes: %w", err)
		}
		if _, err := profile.ParseMode(string(m)); err != nil {
			return nil, fmt.Errorf("default modes: %s: %w", signal, err)
		}
	}
	c := &Controller{
		cfg: cfg, rules: rules{defaults: cfg.Defaults}, containers: map[uint64]*running{},
		tracks: map[track]*tracked{}, blocked: map[profile.Key]time.Time{}, stopped: map[pod]time.Time{},
	}
	return c, c.restore(cfg.State)
}

// SetCollector replaces the settings of the collector, SetLocal those of this node. What is wrong with single ones is in
// the error, and the others hold; when there are more than MaxSettings, those before stay.
func (c *Controller) SetCollector(settings []Setting, now time.Time) ([]Switch, error) {
	return c.set(&c.remote, settings, false, now)
}

// SetLocal replaces the settings of this node.
func (c *Controller) SetLocal(settings []Setting, now time.Time) ([]Switch, error) {
	return c.set(&c.local, settings, true, now)
}

func (c *Controller) set(of *[]compiled, settings []Setting, local bool, now time.Time) ([]Switch, error) {
	if len(settings) > MaxSettings {
		return nil, fmt.Errorf("%d mode settings, at most %d are taken: those before stay", len(settings), MaxSettings)
	}
	settings = slices.Clone(settings)
	for i := range settings {
		settings[i].Local = local
	}
	list, err := compile(settings)
	*of = list
	c.rules.settings = slices.SortedStableFunc(slices.Values(slices.Concat(c.local, c.remote)), func(a, b compiled) int {
		return a.rank().Compare(b.rank())
	})
	for _, r := range c.containers {
		r.subject = c.rules.subject(r.Container, r.annotated)
	}
	return c.update(now, everyone), err
}

// SetFile replaces the modes of the policy file, by what they are of.
func (c *Controller) SetFile(modes map[profile.Key]profile.Modes, now time.Time) []Switch {
	c.rules.file = maps.Clone(modes)
	return c.update(now, everyone)
}

// MaxContainers is how many containers are known at one time.
const MaxContainers = 16384

// Start takes up a container, whose modes are decided then, or takes note of what became known of it later. Annotations
// that mean nothing are in the error; it is taken up all the same, unless there are too many. Switches are of others: they
// may be kept from enforcing when one restarts.
func (c *Controller) Start(one Container, now time.Time) ([]Switch, error) {
	annotated, err := annotations(one)
	r, known := c.containers[one.Cgroup]
	if !known && len(c.containers) == MaxContainers {
		return nil, errors.Join(err, fmt.Errorf("container %s has no modes: %d containers are known, no more are taken", one.Key, MaxContainers))
	}
	if known {
		r.subject = c.rules.subject(one, annotated)
		return c.update(now, only(one.Key)), err
	}
	c.restarted(one, now)
	c.containers[one.Cgroup] = &running{subject: c.rules.subject(one, annotated), started: now}
	return c.update(now, only(one.Key)), err
}

// Stop forgets a container. Another replica of its workload may take its part as the canary.
func (c *Controller) Stop(cgroup uint64, now time.Time) []Switch {
	r, ok := c.containers[cgroup]
	if !ok {
		return nil
	}
	delete(c.containers, cgroup)
	c.noteStop(r, now)
	return c.update(now, only(r.Key))
}

// Modes are the modes that hold for a container; nil for one that is not known.
func (c *Controller) Modes(cgroup uint64) profile.Modes {
	if r, ok := c.containers[cgroup]; ok {
		return maps.Clone(r.modes)
	}
	return nil
}

// Explain says which mode of a signal holds for a container, and why. False: the container is not known.
func (c *Controller) Explain(cgroup uint64, signal profile.Signal, now time.Time) (Explanation, bool) {
	r, ok := c.containers[cgroup]
	if !ok {
		return Explanation{}, false
	}
	all := c.rules.all(&r.subject, signal, now)
	d := c.decide(r, signal, now)
	if d.Source == FromBrake || d.Source == FromPromotion {
		return Explanation{d, all}, true
	}
	return Explanation{d, all[1:]}, true
}

// Tick does what is due: settings end, canaries have stood, stable workloads are promoted.
func (c *Controller) Tick(now time.Time) []Switch {
	c.prune(now)
	return c.update(now, everyone)
}

// Next is when Tick has something to do, if nothing happens before; zero for never.
func (c *Controller) Next(now time.Time) time.Time {
	next := c.rules.next(now)
	for _, t := range c.tracks {
		next = earlier(next, t.next(&c.cfg.Brakes, now))
	}
	return next
}

// everyone is every workload, only is one.
func everyone(profile.Key) bool { return true }

func only(key profile.Key) func(profile.Key) bool {
	return func(k profile.Key) bool { return k == key }
}

// update decides anew for the containers of some workloads, and returns what switched.
func (c *Controller) update(now time.Time, concerned func(profile.Key) bool) []Switch {
	workloads := map[profile.Key][]*running{}
	for _, r := range c.containers {
		if concerned(r.Key) {
			workloads[r.Key] = append(workloads[r.Key], r)
		}
	}
	var switches []Switch
	for key, replicas := range workloads {
		slices.SortFunc(replicas, func(a, b *running) int {
			return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.Cgroup, b.Cgroup))
		})
		c.follow(key, replicas, now)
		for _, r := range replicas {
			switches = append(switches, c.switches(r, now)...)
		}
	}
	slices.SortStableFunc(switches, func(a, b Switch) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	return switches
}

// switches brings the modes of a container up to date. Its first modes are no switch.
func (c *Controller) switches(r *running, now time.Time) []Switch {
	first := r.modes == nil
	if first {
		r.modes, r.decided = profile.Modes{}, map[profile.Signal]Decision{}
	}
	var switches []Switch
	for _, signal := range profile.Signals() {
		d := c.decide(r, signal, now)
		if !first && d.Mode != r.modes[signal] {
			author, reason := r.because(d, r.decided[signal], now)
			switches = append(switches, Switch{
				Time: now, Key: r.Key, Cgroup: r.Cgroup, Signal: signal, From: r.modes[signal], To: d.Mode, Author: author, Reason: reason,
			})
		}
		r.modes[signal], r.decided[signal] = d.Mode, d
	}
	return switches
}

// because says who switched to a decision from the one before, and why: where a setting ended or was taken away, that.
func (r *running) because(d, before Decision, now time.Time) (author, reason string) {
	switch before.Source {
	case FromBreakGlass, FromSetting, FromPattern:
	default:
		return d.Author, cmp.Or(d.Reason, d.what)
	}
	ended := !before.Until.IsZero() && !now.Before(before.Until)
	stays := slices.ContainsFunc(r.settings, func(s *compiled) bool { return s.String() == before.what })
	switch {
	case d.Source == FromBrake, d.Source == FromPromotion, stays && !ended, d.Set.After(before.Set):
		return d.Author, cmp.Or(d.Reason, d.what)
	case ended:
		return Self, fmt.Sprintf("%s has ended; now %s", before.what, d)
	default:
		return d.Author, fmt.Sprintf("%s was taken away; now %s", before.what, d)
	}
}
