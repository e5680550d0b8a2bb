// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/demo"
	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	// demoInterval is how often the collector is asked how far something is, demoPatience for how long.
	demoInterval = 500 * time.Millisecond
	demoPatience = 90 * time.Second
	// quietFor is how long nothing more must come until all of a step was told; alertPatience how long the first may take.
	quietFor      = 2 * time.Second
	alertPatience = 20 * time.Second
	// orderInterval is how often customers order, and ordinaryOrders how often between learning and the attack.
	orderInterval  = 500 * time.Millisecond
	ordinaryOrders = 10
	// demoModeFor ends the demo's modes where it could not; demoModeKept with --keep.
	demoModeFor, demoModeKept = "1h", "24h"
	demoReason                = "holdfast demo"
)

// deedSeen is a step of the attack, and what was told of it.
type deedSeen struct {
	What    string            `json:"what"`
	Command string            `json:"command"`
	Answer  string            `json:"answer"`
	Alerts  []json.RawMessage `json:"alerts"`
}

// until asks again and again until a condition holds, and gives its last error if it does not for long.
func (d *showing) until(ctx context.Context, patience time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(demoInterval)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// setMode sets the mode of the demo's workload, in place of the one before. It has an end, so that it goes before what others
// have set for more than this, and goes away if nobody takes it away.
func (d *showing) setMode(ctx context.Context, mode profile.Mode) error {
	request := view.ModeRequest{Workload: d.pattern(), Mode: string(mode), Reason: demoReason, For: demoModeFor}
	if d.flags.keep {
		request.For = demoModeKept
	}
	var change view.ModeChange
	if err := d.call(ctx, http.MethodPost, modesPath, url.Values{}, request, &change); err != nil {
		return err
	}
	d.modes = []uint64{change.Setting.ID}
	return nil
}

// state is what the node says of the shop's container.
func (d *showing) state(ctx context.Context) (view.WorkloadState, error) {
	var answer struct {
		Workloads []view.WorkloadState `json:"workloads"`
	}
	query := url.Values{"workload": {d.pattern() + "/" + demo.Workload}}
	if err := d.get(ctx, workloadsPath, query, &answer); err != nil {
		return view.WorkloadState{}, err
	}
	for _, w := range answer.Workloads {
		if w.Connected {
			return w, nil
		}
	}
	return view.WorkloadState{}, fmt.Errorf("the agent on %s does not tell of %s", d.shop.Node(), d.pattern())
}

// awaitMode waits until the node knows the shop and has it in a mode.
func (d *showing) awaitMode(ctx context.Context, mode profile.Mode) error {
	d.progress("waiting until the agent on %s has it in mode %s", d.shop.Node(), mode)
	return d.until(ctx, demoPatience, func() error {
		w, err := d.state(ctx)
		if err != nil {
			return err
		}
		for _, signal := range w.Signals {
			if signal.Mode != string(mode) && !profile.Signal(signal.Signal).Content() {
				return fmt.Errorf("%s of %s is in mode %s on %s: %s decides", signal.Signal, w.Workload, signal.Mode, w.Node, signal.Source)
			}
		}
		if len(w.Signals) == 0 {
			return fmt.Errorf("the agent on %s names no signals of %s", w.Node, w.Workload)
		}
		return nil
	})
}

// order has a customer order something.
func (d *showing) order(ctx context.Context) error {
	d.customer++
	_, err := d.shop.Order(ctx, "pencil")
	return err
}

// learn has customers order until the time for learning is over.
func (d *showing) learn(ctx context.Context) error {
	d.progress("learning for %s, while customers order", d.flags.learn)
	over := time.NewTimer(d.flags.learn)
	defer over.Stop()
	tick := time.NewTicker(orderInterval)
	defer tick.Stop()
	said := d.env.Now()
	for {
		if err := d.order(ctx); err != nil {
			return err
		}
		if d.env.Now().Sub(said) > 10*time.Second {
			said = d.env.Now()
			d.progress("%d orders", d.customer)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			continue
		case <-over.C:
		}
		return d.learned(ctx)
	}
}

// learned waits until the collector has what was learned, and says how much it is.
func (d *showing) learned(ctx context.Context) error {
	return d.until(ctx, demoPatience, func() error {
		objects, err := d.profiles(ctx, d.pattern()+"/"+demo.Workload)
		if err != nil {
			return err
		}
		for _, object := range objects {
			var p view.Profile
			if err := json.Unmarshal(object, &p); err != nil {
				return d.strange(fmt.Errorf("profile: %w", err))
			}
			if p.Entries > 0 {
				d.progress("%d orders made a profile of %d entries", d.customer, p.Entries)
				return nil
			}
		}
		return errors.New("the collector has no profile of it yet")
	})
}

// ordinary has customers order on, of which nothing is to be told.
func (d *showing) ordinary(ctx context.Context) error {
	before, err := d.news(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(orderInterval)
	defer tick.Stop()
	for range ordinaryOrders {
		if err := d.order(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	after, err := d.news(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(after) > 0:
		d.progress("%d more orders: %d alerts, so more was to be learned than there was time for (see --learn)", ordinaryOrders, len(after))
	case len(before) > 0:
		d.progress("%d more orders: no alert (%d before, while the mode changed)", ordinaryOrders, len(before))
	default:
		d.progress("%d more orders: no alert", ordinaryOrders)
	}
	return nil
}

// news are the alerts of the demo that were not there before, the oldest first.
func (d *showing) news(ctx context.Context) ([]json.RawMessage, error) {
	var found []json.RawMessage
	err := d.list(ctx, alertsPath, url.Values{"workload": {d.pattern()}, "order": {"oldest"}}, 0, func(object json.RawMessage) error {
		var alert view.Alert
		if err := json.Unmarshal(object, &alert); err != nil {
			return d.strange(fmt.Errorf("alert: %w", err))
		}
		if !d.told[alert.ID] {
			d.told[alert.ID] = true
			found = append(found, object)
		}
		return nil
	})
	return found, err
}

// attack takes the steps of the attack, one after another, and collects what is told of each.
func (d *showing) attack(ctx context.Context) ([]deedSeen, error) {
	var seen []deedSeen
	for _, step := range demo.Steps() {
		d.progress("attack: %s", step.What)
		answer, err := d.shop.Attack(ctx, step)
		if err != nil {
			return nil, err
		}
		alerts, err := d.toldOf(ctx)
		if err != nil {
			return nil, err
		}
		seen = append(seen, deedSeen{What: step.What, Command: step.Command, Answer: answer, Alerts: alerts})
	}
	return seen, nil
}

// toldOf waits until nothing more is told.
func (d *showing) toldOf(ctx context.Context) ([]json.RawMessage, error) {
	alerts := []json.RawMessage{}
	last := d.env.Now()
	begin := last
	tick := time.NewTicker(demoInterval)
	defer tick.Stop()
	for {
		more, err := d.news(ctx)
		if err != nil {
			return nil, err
		}
		now := d.env.Now()
		if len(more) > 0 {
			alerts, last = append(alerts, more...), now
		}
		if len(alerts) > 0 && now.Sub(last) > quietFor || now.Sub(begin) > alertPatience {
			return alerts, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// show prints what was seen of each step.
func (d *showing) show(seen []deedSeen) error {
	if d.format == formatJSON {
		for _, s := range seen {
			if err := d.writeValue(s); err != nil {
				return err
			}
		}
		return nil
	}
	p := d.paper()
	p.line(term.Plain, "")
	p.line(term.Bold, "What was seen of the attack on %s, pod %s on node %s", d.pattern(), d.shop.Pod(), d.shop.Node())
	columns := []term.Column{{Title: "STEP"}, {Title: "RULE"}, {Title: "PROCESS", Max: 40}, {Title: "WORKLOAD", Max: 48}, {Title: "ACTION"}, {Title: "ALERT"}}
	if d.format == formatWide {
		columns = append(columns, term.Column{Title: "COMMAND"}, term.Column{Title: "THE ATTACKER GOT"}, term.Column{Title: "OUTPUT"})
	}
	table := d.table(columns...)
	// The one that is explained has to be about what a profile allows.
	var explained string
	for _, s := range seen {
		rows, example, err := d.rows(s)
		if err != nil {
			return err
		}
		if explained == "" {
			explained = example
		}
		for _, row := range rows {
			if err := table.Row(row...); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(p.err, table.Flush()); err != nil {
		return err
	}
	p.line(term.Plain, "")
	if explained != "" {
		p.line(term.Plain, "holdfast explain %s    # who did what, why it is not allowed, what would allow it", shellWord(explained))
	}
	p.line(term.Plain, "holdfast alerts --workload %s    # all of them, in words", shellWord(d.flags.namespace))
	return p.err
}

// rows are the rows of a step, and an alert that can be explained.
func (d *showing) rows(s deedSeen) ([][]term.Cell, string, error) {
	if len(s.Alerts) == 0 {
		return [][]term.Cell{{{Text: s.What}, {Text: "nothing was seen", Style: term.Red}}}, "", nil
	}
	var rows [][]term.Cell
	var example string
	for i, object := range s.Alerts {
		var alert view.Alert
		if err := json.Unmarshal(object, &alert); err != nil {
			return nil, "", d.strange(fmt.Errorf("alert: %w", err))
		}
		var what, process, command, answer term.Cell
		if i == 0 {
			answer.Text, _, _ = strings.Cut(s.Answer, "\n")
			what.Text, command.Text = s.What, s.Command
		}
		if alert.Process != nil {
			process.Text = alert.Process.Cmdline
		}
		if example == "" && alert.Violation != nil {
			example = alert.ID
		}
		action := term.Cell{Text: strings.ReplaceAll(alert.Action, "_", " "), Style: term.Yellow}
		if alert.Action == "blocked" || alert.Action == "killed" {
			action.Style = term.Green
		}
		row := []term.Cell{what, {Text: alert.Rule}, process, {Text: alert.Workload.String()}, action, {Text: alert.ID, Style: term.Dim}}
		if d.format == formatWide {
			row = append(row, command, answer, term.Cell{Text: alert.Output})
		}
		rows = append(rows, row)
	}
	return rows, example, nil
}

// stay waits for Ctrl-C.
func (d *showing) stay(ctx context.Context) {
	p := &paper{out: d.env.Stderr, colour: d.colour}
	p.section("It stays until Ctrl-C. In another terminal")
	p.line(term.Plain, "holdfast profile show %s/%s", d.pattern(), demo.Workload)
	p.line(term.Plain, "holdfast mode show %s", d.pattern())
	p.line(term.Plain, "holdfast alerts --workload %s --follow", d.flags.namespace)
	p.line(term.Plain, "kubectl -n %s exec deployment/%s -- /bin/id", d.flags.namespace, demo.Workload)
	<-ctx.Done()
}

// remove takes everything away that the demo has made.
func (d *showing) remove(ctx context.Context) error {
	var problems []error
	if d.shop != nil {
		problems = append(problems, d.shop.Close(ctx))
	}
	for _, id := range d.modes {
		query := url.Values{"reason": {demoReason}}
		problems = append(problems, d.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%d", modesPath, id), query, nil, nil))
	}
	if len(d.modes) > 0 && errors.Join(problems...) == nil {
		problems = append(problems, d.forget(ctx))
	}
	return errors.Join(problems...)
}

// forget removes the profiles, each when its node has noticed that the workload is gone.
func (d *showing) forget(ctx context.Context) error {
	return d.until(ctx, demoPatience, func() error {
		objects, err := d.profiles(ctx, d.flags.namespace)
		if err != nil {
			return err
		}
		var left []error
		for _, object := range objects {
			var p view.Profile
			if err := json.Unmarshal(object, &p); err != nil {
				return d.strange(fmt.Errorf("profile: %w", err))
			}
			path, err := keyPath(keyOf(p.Workload))
			if err == nil {
				err = d.call(ctx, http.MethodDelete, path, url.Values{"reason": {demoReason}}, nil, nil)
			}
			if err != nil {
				left = append(left, fmt.Errorf("profile %s: %w", keyOf(p.Workload), err))
			}
		}
		return errors.Join(left...)
	})
}
