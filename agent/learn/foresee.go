// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Foresee writes down that the runtime will start an executable of the image with some arguments in a container: a probe
// or a hook of the pod's specification, before it has run. exe is the canonical path in the container's root. What the
// executable does, and what it starts, is learned when it does. A vector in which a secret is recognised is not written
// down. It reports whether the observed profile has a new entry.
func (l *Learner) Foresee(cgroup uint64, exe string, argv []string, at time.Time) bool {
	r := l.replicas[cgroup]
	vector := strings.Join(argv, "\x00") + "\x00"
	if _, clean := report.Shape(vector); r == nil || !clean || len(argv) == 0 || !absolute(exe) || len(vector) > profile.MaxText {
		return false
	}
	ev := event.Event{
		Type: wire.TypeExec, Time: at.UnixNano(), Container: r.identity,
		Process: &proc.Process{Image: &proc.Image{Exe: exe, Argv: vector}},
	}
	d := deed{
		l: l, r: r, w: r.workload, ev: &ev, at: at.Unix(), signal: profile.SignalProcess, tree: r.workload.ordinary,
		origin: profile.Probe, dry: true,
	}
	if d.foreseen(); !d.missing {
		return false
	}
	d.dry = false
	d.foreseen()
	d.w.changed = d.w.changed || d.fresh
	return d.fresh
}

// foreseen enters what will be started, who starts it, and with what arguments.
func (d *deed) foreseen() {
	p := d.tree[d.ev.Process.Image.Exe]
	switch {
	case p == nil:
		p = d.enter(d.ev.Process.Image.Exe, d.origin)
	case p.seen.origin == profile.Context:
		d.missing = true
		d.again(&p.seen)
	}
	if p == nil {
		return
	}
	if bit := profile.FromImage.Bit(); p.sources&bit == 0 {
		d.missing = true
		if !d.dry {
			d.widen()
			p.sources |= bit
		}
	}
	d.startedBy(p, profile.Runtime)
	d.arguments(p)
}
