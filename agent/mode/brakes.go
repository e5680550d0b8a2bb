// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Brakes are the settings of what takes workloads out of enforcement, and of what promotes them.
type Brakes struct {
	// Workloads is how many distinct workloads may have deeds blocked within a minute before those of them that are newly
	// promoted fall back to monitor. 0: any number.
	Workloads int
	// Canary is how long one replica on the node enforces before the others follow. 0: all at once.
	Canary time.Duration
	// Fresh is how long a workload counts as newly promoted: as long, a block and a restart, or blocks in many workloads at
	// once, take it out of enforcement. Default 24 hours.
	Fresh time.Duration
	// Promote lets signals that nobody set a mode for rise from learn to monitor when they are stable, and to enforce after
	// Quiet without anything that would have been blocked.
	Promote bool
	// Quiet defaults to 24 hours.
	Quiet time.Duration
}

const (
	// blastWindow is within what time workloads are counted together.
	blastWindow = time.Minute
	// restartWindow is how soon after a block a failure is put down to it.
	restartWindow = time.Minute
	// backOff is how long a container may be down and still be restarted rather than started: more than the kubelet waits.
	backOff = 10 * time.Minute
)

func (b Brakes) withDefaults() Brakes {
	b.Fresh = cmp.Or(b.Fresh, 24*time.Hour)
	b.Quiet = cmp.Or(b.Quiet, 24*time.Hour)
	return b
}

// track names a signal of a workload.
type track struct {
	key    profile.Key
	signal profile.Signal
}

// tracked is what brakes and promotion know of it.
type tracked struct {
	// enforced is when it was first to be enforced; zero while it is not.
	enforced time.Time
	// canary is the container that enforces alone, 0 for none, until the time.
	canary      uint64
	canaryUntil time.Time
	// held is when a brake took it out of enforcement; zero for not. why says what for.
	held time.Time
	why  string
	// promoted is the mode that it rose to, since when.
	promoted profile.Mode
	rose     time.Time
	// stable is since when learning is; zero for not. unusual is when something would last have been blocked.
	stable, unusual time.Time
	// blocked is when something was last blocked.
	blocked time.Time
}

// pod is a container of a pod, over its restarts.
type pod struct {
	uid string
	key profile.Key
}

func (c *Controller) track(key profile.Key, signal profile.Signal) *tracked {
	at := track{key, signal}
	t, ok := c.tracks[at]
	if !ok {
		t = &tracked{}
		c.tracks[at] = t
	}
	return t
}

// decide gives the mode of a container's signal as it is now: what the strongest source says, as promotion and brakes
// change it.
func (c *Controller) decide(r *running, signal profile.Signal, now time.Time) Decision {
	d := c.wanted(&r.subject, signal, now)
	t := c.tracks[track{r.Key, signal}]
	if t == nil || d.Mode != profile.ModeEnforce {
		return d
	}
	switch {
	case !t.held.IsZero():
		why := fmt.Sprintf("%s; until a person releases it or sets its mode anew", t.why)
		return Decision{Mode: profile.ModeMonitor, Source: FromBrake, Author: Self, Reason: why, Set: t.held, what: "brake: " + why}
	case t.canary != 0 && t.canary != r.Cgroup:
		why := fmt.Sprintf("another replica enforces alone until %s", t.canaryUntil.UTC().Format(time.RFC3339))
		return Decision{Mode: profile.ModeMonitor, Source: FromBrake, Author: Self, Reason: why, Until: t.canaryUntil, what: "brake: " + why}
	}
	return d
}

// wanted is what the strongest source says, as promotion changes it: that of a signal that nobody set a mode for.
func (c *Controller) wanted(s *subject, signal profile.Signal, now time.Time) Decision {
	d := c.rules.all(s, signal, now)[0]
	t := c.tracks[track{s.Key, signal}]
	if t == nil || !c.cfg.Brakes.Promote || d.Source != FromDefault || strength(t.promoted) <= strength(d.Mode) {
		return d
	}
	why := "its learning is stable"
	if t.promoted == profile.ModeEnforce {
		why = fmt.Sprintf("its learning is stable and nothing would have been blocked for %s", c.cfg.Brakes.Quiet)
	}
	return Decision{Mode: t.promoted, Source: FromPromotion, Author: Self, Reason: why, Set: t.rose, what: "promotion: " + why}
}

// follow keeps up with whether the signals of a workload are to be enforced, who of its replicas, oldest first, is the
// canary, and what is due.
func (c *Controller) follow(key profile.Key, replicas []*running, now time.Time) {
	for _, signal := range profile.Signals() {
		c.promote(key, signal, now)
		c.followSignal(key, signal, replicas, now)
	}
}

func (c *Controller) followSignal(key profile.Key, signal profile.Signal, replicas []*running, now time.Time) {
	var enforcing []*running
	var set time.Time
	turned := false
	for _, r := range replicas {
		if d := c.wanted(&r.subject, signal, now); d.Mode == profile.ModeEnforce {
			enforcing = append(enforcing, r)
			set = later(set, d.Set)
			// One that runs in a weaker mode is turned; one that just started is not.
			turned = turned || r.modes != nil && r.modes[signal] != profile.ModeEnforce
		}
	}
	if len(enforcing) == 0 {
		if t := c.tracks[track{key, signal}]; t != nil {
			t.enforced, t.canary = time.Time{}, 0
		}
		return
	}
	t := c.track(key, signal)
	if !t.held.IsZero() && set.After(t.held) {
		t.release()
	}
	if t.enforced.IsZero() {
		t.enforced = now
		if turned && c.cfg.Brakes.Canary > 0 && signal.Learned() {
			t.canary, t.canaryUntil = enforcing[0].Cgroup, now.Add(c.cfg.Brakes.Canary)
		}
	}
	switch {
	case t.canary == 0:
	case !now.Before(t.canaryUntil):
		t.canary = 0
	case !slices.ContainsFunc(enforcing, func(r *running) bool { return r.Cgroup == t.canary }):
		t.canary = enforcing[0].Cgroup
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// release ends what a brake holds. To be enforced begins anew.
func (t *tracked) release() {
	t.held, t.why, t.enforced, t.blocked = time.Time{}, "", time.Time{}, time.Time{}
}

// hold takes a signal of a workload out of enforcement.
func (t *tracked) hold(now time.Time, format string, args ...any) {
	t.held, t.why = now, fmt.Sprintf(format, args...)
}

// fresh reports whether it is enforced since not long ago.
func (t *tracked) fresh(b *Brakes, now time.Time) bool {
	return !t.enforced.IsZero() && now.Sub(t.enforced) < b.Fresh
}

// Blocked takes note that a deed of a container was blocked or killed. When that happens in too many workloads within a
// minute, those of them that are newly promoted fall back.
func (c *Controller) Blocked(cgroup uint64, signal profile.Signal, now time.Time) []Switch {
	r, ok := c.containers[cgroup]
	if !ok || r.modes[signal] != profile.ModeEnforce {
		return nil
	}
	c.track(r.Key, signal).blocked = now
	c.blocked[r.Key] = now
	c.prune(now)
	most := c.cfg.Brakes.Workloads
	if most == 0 || len(c.blocked) <= most {
		return nil
	}
	fell := map[profile.Key]bool{}
	for at, t := range c.tracks {
		recent := !t.blocked.IsZero() && now.Sub(t.blocked) < blastWindow
		if recent && t.held.IsZero() && t.fresh(&c.cfg.Brakes, now) {
			t.hold(now, "deeds of %d workloads were blocked within %s, more than %d", len(c.blocked), blastWindow, most)
			fell[at.key] = true
		}
	}
	return c.update(now, func(key profile.Key) bool { return fell[key] })
}

// WouldBlock takes note that a deed of a container would have been blocked. It puts promotion off.
func (c *Controller) WouldBlock(cgroup uint64, signal profile.Signal, now time.Time) {
	if r, ok := c.containers[cgroup]; ok {
		c.track(r.Key, signal).unusual = now
	}
}

// Failed takes note that a workload failed: what says how, such as "a probe failed". What was blocked within the last minute
// and is newly promoted falls back, where it was learned: else whoever can make a container fail could turn off the rules
// that protect. Restarts within a pod are noticed without it.
func (c *Controller) Failed(key profile.Key, what string, now time.Time) []Switch {
	c.failed(key, what, now)
	return c.update(now, only(key))
}

func (c *Controller) failed(key profile.Key, what string, now time.Time) {
	for _, signal := range profile.LearnedSignals() {
		t := c.tracks[track{key, signal}]
		if t == nil || t.blocked.IsZero() || now.Sub(t.blocked) > restartWindow {
			continue
		}
		if t.held.IsZero() && t.fresh(&c.cfg.Brakes, now) {
			t.hold(now, "%s %s after a deed was blocked", what, now.Sub(t.blocked).Round(time.Second))
		}
	}
}

// noteStop remembers when a container of a pod stopped.
func (c *Controller) noteStop(r *running, now time.Time) {
	if r.PodUID != "" && len(c.stopped) < MaxContainers {
		c.stopped[pod{r.PodUID, r.Key}] = now
	}
}

// restarted holds against a workload that one of its containers was stopped soon after a block, and is there again.
func (c *Controller) restarted(one Container, now time.Time) {
	at := pod{one.PodUID, one.Key}
	stop, ok := c.stopped[at]
	if !ok || one.PodUID == "" {
		return
	}
	delete(c.stopped, at)
	if now.Sub(stop) < backOff {
		c.failed(one.Key, "a container was restarted: it had stopped", stop)
	}
}

// Release ends what a brake holds of a workload's signal, since a person says so. The workload is newly promoted then, and
// one replica goes before the others.
func (c *Controller) Release(key profile.Key, signal profile.Signal, now time.Time) []Switch {
	t, ok := c.tracks[track{key, signal}]
	if !ok || t.held.IsZero() {
		return nil
	}
	t.release()
	return c.update(now, only(key))
}

// Learned takes note of how far the learning of a signal is.
func (c *Controller) Learned(key profile.Key, signal profile.Signal, state profile.State, now time.Time) []Switch {
	t := c.track(key, signal)
	switch {
	case state != profile.StateStable:
		t.stable = time.Time{}
	case t.stable.IsZero():
		t.stable = now
	}
	return c.update(now, only(key))
}

// Forget takes back what a workload was promoted to: what was learned of it is forgotten. What a brake holds stays held.
func (c *Controller) Forget(key profile.Key, now time.Time) []Switch {
	for _, signal := range profile.LearnedSignals() {
		if t := c.tracks[track{key, signal}]; t != nil {
			t.promoted, t.rose, t.stable, t.unusual = "", time.Time{}, time.Time{}, time.Time{}
		}
	}
	return c.update(now, only(key))
}

// promote raises a signal that is stable by one step, if that is due. What rose does not sink again by itself.
func (c *Controller) promote(key profile.Key, signal profile.Signal, now time.Time) {
	t := c.tracks[track{key, signal}]
	if t == nil || !c.cfg.Brakes.Promote || t.stable.IsZero() {
		return
	}
	if t.promoted == "" && c.rules.defaults[signal] == profile.ModeLearn {
		t.promoted, t.rose = profile.ModeMonitor, now
	}
	if due := t.promotion(&c.cfg.Brakes); c.base(t, signal) == profile.ModeMonitor && !now.Before(due) {
		t.promoted, t.rose = profile.ModeEnforce, now
	}
}

// base is the mode that a signal has by default and promotion.
func (c *Controller) base(t *tracked, signal profile.Signal) profile.Mode {
	if t.promoted != "" {
		return t.promoted
	}
	return c.rules.defaults[signal]
}

// promotion is when a stable signal in monitor has been quiet for long enough.
func (t *tracked) promotion(b *Brakes) time.Time {
	return later(later(t.stable, t.rose), t.unusual).Add(b.Quiet)
}

// next is when something is due for it.
func (t *tracked) next(b *Brakes, now time.Time) time.Time {
	var next time.Time
	if t.canary != 0 {
		next = after(t.canaryUntil, now)
	}
	if b.Promote && !t.stable.IsZero() && t.promoted != profile.ModeEnforce {
		next = earlier(next, after(t.promotion(b), now))
	}
	return next
}
