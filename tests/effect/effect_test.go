// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// least is how many deeds every kernel must be able to do.
const least = 40

// row is what came of a deed.
type row struct {
	class, name              string
	monitor, enforce, effect string
}

// TestEffects does every deed in every mode, in a container of its own each time. Beside them runs a service that does what
// it may, under enforcement.
func TestEffects(t *testing.T) {
	onlyHere(t)
	r := newRig(t)
	end := besides(t, r)
	var rows []row
	all, tried := 0, 0
	for _, c := range classes() {
		for _, d := range c.deeds {
			all++
			t.Run(d.name, func(t *testing.T) {
				tried++
				if done, ok := r.try(t, c, d); ok {
					rows = append(rows, done)
				}
			})
		}
	}
	rounds := end()
	// Unless somebody asked for some of them only.
	if tried == all && len(rows) < least {
		t.Errorf("%d deeds can be done here, want at least %d", len(rows), least)
	}
	r.compare(t, rows)
	show(rows, r.family, rounds)
}

// What is written about a deed in enforce.
const (
	wasBlocked  = "blocked"
	wasKilled   = "killed"
	wasReported = "reported"
	wasUnseen   = "not seen"
)

// try does a deed without a mode, in monitor and in enforce. It gives no row where the kernel lacks what the deed is about.
func (r *rig) try(t *testing.T, c class, d deed) (row, bool) {
	// What the agent says beforehand.
	can, ok := r.can[d.by]
	if !ok || can.See != probe.Yes {
		t.Fatalf("nobody sees %s: %+v", d.by, can)
	}
	effect, events := r.do(t, c, d, profile.ModeOff, true)
	if effect == "" {
		t.Fatal("the deed has no effect where nothing holds")
	}
	if len(events) > 0 {
		t.Errorf("told where no mode is on:%s", lines(events))
	}
	effect, events = r.do(t, c, d, profile.ModeMonitor, true)
	if effect == "" {
		t.Error("the deed has no effect in monitor")
	}
	unseen := d.unseen != "" && strings.Contains(can.Reason, d.unseen)
	if !unseen {
		check(t, c, d, events, wire.FlagWouldBlock)
	}
	done := row{class: c.name, name: d.name, monitor: "would block: " + report.ReasonName(d.why[0])}
	blocks := can.Block == probe.Yes && !unseen
	effect, events = r.do(t, c, d, profile.ModeEnforce, !blocks)
	done.effect = effect
	switch {
	case unseen:
		done.monitor, done.enforce = "not seen", wasUnseen
		if effect == "" || len(events) > 0 {
			t.Errorf("the agent says that it does not see it; effect %q, told:%s", effect, lines(events))
		}
	case !blocks:
		if effect == "" {
			t.Errorf("the deed has no effect, although the agent says of %s (%s) that it cannot block", d.by, can.Mechanism)
		}
		// The process may be killed for it, after the effect.
		check(t, c, d, events, wire.FlagWouldBlock|wire.FlagKilled)
		done.enforce = wasReported
	case effect != "":
		t.Errorf("the deed has an effect in enforce: %s", effect)
	default:
		check(t, c, d, events, wire.FlagBlocked|wire.FlagKilled)
		done.enforce = wasBlocked
		if slices.ContainsFunc(events, func(e *event.Event) bool { return e.Has(wire.FlagKilled) }) {
			done.enforce = wasKilled
		}
	}
	return done, !t.Failed()
}

// do does a deed in a new container, and gives its effect and what was told of it.
func (r *rig) do(t *testing.T, c class, d deed, mode profile.Mode, wait bool) (string, []*event.Event) {
	t.Helper()
	b := newBox(t, r, newWorld(t), mode, c.signals...)
	var files []*os.File
	if d.files != nil {
		files = d.files(t, b)
	}
	var p *running
	if d.script != "" {
		p = b.sh(t, d.script)
	} else {
		p = b.act(t, d.act, files...)
	}
	b.wait(t, p)
	effect := d.effect(t, b, wait)
	p.stop()
	if text := p.out.String(); strings.Contains(text, "unsupported: ") {
		_, feature, _ := strings.Cut(text, "unsupported: ")
		line, _, _ := strings.Cut(feature, "\n")
		t.Skip("unsupported: " + line)
	}
	events := r.told(t, b.id)
	if wait == (effect == "") {
		t.Logf("mode %s: effect %q, told:%s\nsaid: %s", mode, effect, lines(events), p.out)
	}
	return effect, events
}

// check wants a deed to be told with one of the flags, for the reasons that are expected and no others, as something that
// an alert is made of.
func check(t *testing.T, c class, d deed, events []*event.Event, flags wire.Flag) {
	t.Helper()
	found := false
	for _, e := range events {
		reason, signal := wire.Reason(e.Head.Reason), report.SignalOf(wire.Signal(e.Head.Signal))
		if !slices.Contains(d.why, reason) || !slices.Contains(c.signals, signal) {
			t.Errorf("told for another reason:%s", lines([]*event.Event{e}))
			continue
		}
		found = found || wire.Flag(e.Head.Flags)&flags != 0 && reason == d.why[0]
		alert := alertOf(t, e)
		begin := map[wire.Flag]string{
			wire.FlagWouldBlock: "Would have blocked ", wire.FlagBlocked: "Blocked ", wire.FlagKilled: "Killed for ",
		}[wire.Flag(e.Head.Flags)&report.VerdictFlags]
		if !strings.HasPrefix(alert.Output, begin) || alert.Violation.GetReason() != report.ReasonName(reason) {
			t.Errorf("the alert of%s\nis %q for %s", lines([]*event.Event{e}), alert.Output, alert.Violation.GetReason())
		}
	}
	if !found {
		t.Errorf("not told with flags %#x for %s:%s", flags, report.ReasonName(d.why[0]), lines(events))
	}
}

// besides starts the service. What it gives ends it, checks that nothing was refused to it, and says how often it has done
// all that it does.
func besides(t *testing.T, r *rig) func() int {
	t.Helper()
	w := newWorld(t)
	b := newBox(t, r, w, profile.ModeEnforce, profile.SignalProcess, profile.SignalFile, profile.SignalEgress, profile.SignalProtect)
	read, write, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { write.Close() })
	p := b.act(t, "serve", read)
	must(t, read.Close())
	stop, answered := make(chan bool), make(chan int)
	go w.serve(stop, answered)
	return func() int {
		must(t, write.Close())
		// It may be waiting for an answer.
		var served error
		select {
		case served = <-p.end:
		case <-time.After(patience):
			served = fmt.Errorf("it did not end")
		}
		close(stop)
		bytes := <-answered
		rounds := 0
		at := strings.Index(p.out.String(), "rounds ")
		if at >= 0 {
			_, _ = fmt.Sscanf(p.out.String()[at:], "rounds %d", &rounds)
		}
		p.end <- nil
		if served != nil || rounds == 0 || bytes == 0 {
			t.Errorf("the service did %d rounds, %d bytes of which arrived, and ended with %v: %s", rounds, bytes, served, p.out)
		}
		if events := r.told(t, b.id); len(events) > 0 {
			t.Errorf("told of the service:%s", lines(events))
		}
		return rounds
	}
}

// serve answers what comes to the world, until it is stopped, and says how much came.
func (w *world) serve(stop chan bool, answered chan int) {
	for {
		select {
		case <-stop:
			answered <- w.sum
			return
		case <-time.After(time.Millisecond):
		}
		var ready []unix.PollFd
		for fd := range w.sinks {
			ready = append(ready, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		if n, err := unix.Poll(ready, 50); n > 0 && err == nil {
			w.count()
		}
		w.hangUp()
	}
}

// show prints the table and the totals.
func show(rows []row, family probe.Family, rounds int) {
	count := map[string]int{}
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "DEED\tIN MONITOR\tIN ENFORCE\tEFFECT IN ENFORCE")
	for _, r := range rows {
		count[r.enforce]++
		if r.effect == "" {
			r.effect = "none"
		}
		fmt.Fprintf(table, "%s: %s\t%s\t%s\t%s\n", r.class, r.name, r.monitor, r.enforce, r.effect)
	}
	must0(table.Flush())
	fmt.Print(text.String())
	total := fmt.Sprintf("%d of %d blocked without effect, %d reported as not enforceable here, %d not seen here; "+
		"beside them the service did its %d rounds", count[wasBlocked]+count[wasKilled], len(rows), count[wasReported], count[wasUnseen], rounds)
	fmt.Printf("hooks %s: %s\n", family, total)
	fmt.Printf("HFTABLE effects\t%s: %s\n", family, total)
}
