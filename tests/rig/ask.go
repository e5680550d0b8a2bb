// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
)

// Environment is what the holdfast command needs to ask this rig's collector.
func (r *Rig) Environment() []string {
	return []string{
		"HOLDFAST_ADDRESS=" + HTTPAddress, "HOLDFAST_TOKEN=" + r.token, "HOLDFAST_CA=" + filepath.Join(r.CollectorDir(), "ca.pem"),
	}
}

// Holdfast prepares the holdfast command as an administrator would call it.
func (r *Rig) Holdfast(ctx context.Context, args ...string) *lab.Cmd {
	cmd := r.Lab.Command(ctx, r.Program("holdfast"), args...)
	cmd.Env = append(os.Environ(), r.Environment()...)
	return cmd
}

// Asker asks a collector through the holdfast command.
type Asker struct {
	// Holdfast prepares the command, which knows where the collector is.
	Holdfast func(ctx context.Context, args ...string) *lab.Cmd
}

// Alerts asks for alerts; args are those of holdfast alerts, such as --since and --rule.
func (a Asker) Alerts(ctx context.Context, args ...string) ([]view.Alert, error) {
	var alerts []view.Alert
	err := a.objects(ctx, append([]string{"alerts"}, args...), func(line []byte) error {
		var one view.Alert
		err := json.Unmarshal(line, &one)
		alerts = append(alerts, one)
		return err
	})
	return alerts, err
}

// Events asks for recorded events and gives each to f; args are those of holdfast events.
func (a Asker) Events(ctx context.Context, f func(*view.Event), args ...string) error {
	return a.objects(ctx, append([]string{"events"}, args...), func(line []byte) error {
		var e view.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		f(&e)
		return nil
	})
}

// Workloads asks which modes hold for the workloads that match a pattern, and what was counted of them.
func (a Asker) Workloads(ctx context.Context, pattern string) ([]view.WorkloadState, error) {
	var states []view.WorkloadState
	err := a.objects(ctx, []string{"mode", "show", pattern}, func(line []byte) error {
		var s view.WorkloadState
		err := json.Unmarshal(line, &s)
		states = append(states, s)
		return err
	})
	return states, err
}

// InMode asks whether the nodes have signals of all workloads that match a pattern in a mode. Its error says what is not.
func (a Asker) InMode(ctx context.Context, pattern, mode string, signals ...profile.Signal) error {
	states, err := a.Workloads(ctx, pattern)
	if err != nil {
		return err
	}
	for _, w := range states {
		for _, signal := range signals {
			i := slices.IndexFunc(w.Signals, func(s view.SignalState) bool { return s.Signal == string(signal) })
			if i < 0 {
				return fmt.Errorf("%s/%s has no signal %s", w.Workload.Namespace, w.Workload.Name, signal)
			}
			if s := w.Signals[i]; s.Mode != mode {
				return fmt.Errorf("%s of %s/%s is in mode %s: %s", signal, w.Workload.Namespace, w.Workload.Name, s.Mode, s.Source)
			}
		}
	}
	if len(states) == 0 {
		return fmt.Errorf("no node runs %s", pattern)
	}
	return nil
}

// ErrNoNode is returned by Node before the agent has ever been connected.
var ErrNoNode = errors.New("the collector knows no node")

// Node asks how the agent's node is.
func (a Asker) Node(ctx context.Context) (*view.Node, error) {
	var found *view.Node
	err := a.objects(ctx, []string{"nodes"}, func(line []byte) error {
		n := new(view.Node)
		if err := json.Unmarshal(line, n); err != nil {
			return err
		}
		if n.Node == NodeName {
			found = n
		}
		return nil
	})
	if err == nil && found == nil {
		err = ErrNoNode
	}
	return found, err
}

// Refusals asks who was refused that would have been a node.
func (a Asker) Refusals(ctx context.Context) ([]view.Refusal, error) {
	var refusals []view.Refusal
	err := a.objects(ctx, []string{"nodes", "refused"}, func(line []byte) error {
		var one view.Refusal
		err := json.Unmarshal(line, &one)
		refusals = append(refusals, one)
		return err
	})
	return refusals, err
}

// maxLine is the longest line of JSON that is read, bytes.
const maxLine = 8 << 20

// objects runs a command of holdfast with -o json and gives each line of the answer to f.
func (a Asker) objects(ctx context.Context, args []string, f func(line []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := a.Holdfast(ctx, append(args, "-o", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for err == nil && lines.Scan() {
		if err = f(lines.Bytes()); err != nil {
			err = fmt.Errorf("%w in %q", err, lines.Text())
		}
	}
	if err = errors.Join(err, lines.Err()); err != nil {
		// It would wait for a reader for ever.
		cancel()
	}
	if waitErr := cmd.Wait(); waitErr != nil && err == nil {
		err = fmt.Errorf("%w: %s", waitErr, bytes.TrimSpace(stderr.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("holdfast %s: %w", args[0], err)
	}
	return nil
}
