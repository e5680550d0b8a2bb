// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// judge says whether the deed was done in the ordinary way, and so where it is written down.
func (d *deed) judge() {
	d.tree, d.origin = d.w.ordinary, profile.Learned
	p := d.ev.Process
	probe := p.Session == proc.SessionExec && d.r.probe(p)
	switch {
	case p.Session == proc.SessionExec && !probe:
		d.suspect = profile.BySession
	case d.drifted():
		d.suspect = profile.FromDrift
	case d.ev.Time < d.r.incident:
		d.suspect = profile.InIncident
	case probe:
		d.origin = profile.Probe
	}
	if d.suspect != "" {
		d.tree, d.origin = d.w.suspect, profile.Candidate
	}
}

// drifted reports whether what runs, what is mapped, or what led to it is not the image's: written since, in memory, or
// deleted. A file on a volume is no drift: somebody gave it to the container.
func (d *deed) drifted() bool {
	if d.ev.Type == wire.TypeMmapExec && strange(&d.ev.File().File) {
		return true
	}
	for p := d.ev.Process; p != nil && p.Origin == d.ev.Process.Origin; p = p.Parent {
		// Until its first exec in the container's own mounts a process is the runtime's, which copies itself into memory.
		if p.Execs == 0 {
			return false
		}
		if strange(&p.Image.File) || p.Execs > 1 && p.Before != nil && strange(&p.Before.File) {
			return true
		}
	}
	return false
}

func strange(f *wire.File) bool {
	return wire.FileFlag(f.Flags)&(wire.FileUpper|wire.FileMemfd|wire.FileDeleted) != 0
}

// probe reports whether the session that a process belongs to is one of the commands that see how the container does: the
// runtime started that very command, or did before it ran another program in its place.
func (r *replica) probe(p *proc.Process) bool {
	if len(r.probes) == 0 {
		return false
	}
	if r.command(p.Root) {
		return true
	}
	for ; p != nil && p.Root != nil && p.Origin == p.Root.Origin; p = p.Parent {
		if p.PID == p.Root.PID && p.Start == p.Root.Start && r.command(p) {
			return true
		}
	}
	return false
}

// command reports whether the runtime started a process with the arguments of a probe.
func (r *replica) command(p *proc.Process) bool {
	switch {
	case p == nil:
		return false
	case p.Execs == 1:
		return slices.Contains(r.probes, p.Image.Argv)
	default:
		return p.Execs == 2 && p.Before != nil && slices.Contains(r.probes, p.Before.Argv)
	}
}

// maxProbes bounds the commands of a container.
const maxProbes = 16

// addProbes adds commands that are not known yet.
func (r *replica) addProbes(commands [][]string) {
	for _, argv := range commands {
		if len(argv) == 0 || len(r.probes) == maxProbes {
			continue
		}
		vector := strings.Join(argv, "\x00") + "\x00"
		if !slices.Contains(r.probes, vector) {
			r.probes = append(r.probes, vector)
		}
	}
}

// Annotations that name probes.
const (
	// ProbesAnnotation holds commands as a JSON list of argument vectors, beside those of the pod's specification.
	ProbesAnnotation = "holdfast.dev/probes"
	// appliedAnnotation is what kubectl apply leaves: the object as it was applied, which for a bare pod has its probes.
	appliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"
)

// annotated gives the commands that the annotations of a container's pod name, as far as they can be read.
func annotated(c *container.Container) ([][]string, error) {
	var commands [][]string
	var errs []error
	if text := c.Annotations[ProbesAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &commands); err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", ProbesAnnotation, err))
		}
	}
	if text := c.Annotations[appliedAnnotation]; text != "" {
		var applied pod
		if err := json.Unmarshal([]byte(text), &applied); err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", appliedAnnotation, err))
		}
		commands = append(commands, applied.commands(c.Name)...)
	}
	return commands, errors.Join(errs...)
}

// pod is what of a pod's specification names commands (Kubernetes API, core/v1).
type pod struct {
	Kind string `json:"kind"`
	Spec struct {
		Containers     []podContainer `json:"containers"`
		InitContainers []podContainer `json:"initContainers"`
	} `json:"spec"`
}

type podContainer struct {
	Name      string  `json:"name"`
	Liveness  handler `json:"livenessProbe"`
	Readiness handler `json:"readinessProbe"`
	Startup   handler `json:"startupProbe"`
	Lifecycle struct {
		PostStart handler `json:"postStart"`
		PreStop   handler `json:"preStop"`
	} `json:"lifecycle"`
}

type handler struct {
	Exec struct {
		Command []string `json:"command"`
	} `json:"exec"`
}

func (p *pod) commands(name string) [][]string {
	var commands [][]string
	if p.Kind != "Pod" {
		return nil
	}
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		if c.Name == name {
			for _, h := range []handler{c.Liveness, c.Readiness, c.Startup, c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
				commands = append(commands, h.Exec.Command)
			}
		}
	}
	return commands
}
