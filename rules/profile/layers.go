// SPDX-License-Identifier: Apache-2.0

package profile

import "fmt"

// Effective returns what is allowed: what was observed, less what the overlay removes, and what the overlay adds. Either may
// be nil. Candidates of both are left out. What an overlay removes is every entry that stands for nothing beyond what the
// removal stands for; what it removes for the process Any is removed from every process.
//
// In the outcome every process that may run has a parent, Any if no layer named one, and arguments or AnyArguments. A
// process whose parents or arguments were all removed, or are all candidates, may not run: it stays as context for what
// else it lists, as long as that is anything. ErrLimit says that there would be more than MaxEntries entries when it is written
// out for the kernel, as Compiled counts.
func Effective(observed, overlay *Profile) (*Profile, error) {
	if observed == nil && overlay == nil {
		return &Profile{}, nil
	}
	if observed == nil {
		observed = &Profile{Key: overlay.Key}
	}
	if overlay == nil {
		overlay = &Profile{Key: observed.Key}
	}
	masks := masksOf(overlay)
	below := &Profile{Key: observed.Key, Images: observed.Images, Signals: observed.Signals}
	stated := make(map[string]statement)
	for i := range observed.Processes {
		p := &observed.Processes[i]
		if left, keep := masks.left(p); keep {
			stated[p.Path] = stated[p.Path].or(p)
			below.Processes = append(below.Processes, left)
		}
	}
	above := &Profile{Key: observed.Key, Images: overlay.Images}
	for i := range overlay.Processes {
		p := &overlay.Processes[i]
		if class(p.Seen) == "" {
			stated[p.Path] = stated[p.Path].or(additions(p))
			above.Processes = append(above.Processes, *additions(p))
		}
	}
	effective, err := Merge(below, above)
	if err != nil {
		return nil, err
	}
	kept := effective.Processes[:0]
	for i := range effective.Processes {
		p := &effective.Processes[i]
		p.settle(stated[p.Path])
		if p.Executable() || p.len() > 1 {
			kept = append(kept, *p)
		}
	}
	effective.Processes = kept
	if n := effective.Compiled(); n > MaxEntries {
		return nil, fmt.Errorf("what is allowed of %s: %w: %d, at most %d", effective.Key, ErrLimit, n, MaxEntries)
	}
	return effective, nil
}

// statement is whether a layer said anything of who may start a process and with which arguments, even if it then was
// taken back.
type statement struct {
	parents, arguments bool
}

func (s statement) or(p *Process) statement {
	return statement{
		parents:   s.parents || len(p.Parents) > 0,
		arguments: s.arguments || len(p.Arguments) > 0 || p.AnyArguments,
	}
}

// settle writes out what is allowed where nothing was said, and lets a process for which nothing is left not run.
func (p *Process) settle(said statement) {
	if !p.Executable() {
		p.lists()
		return
	}
	if said.parents && len(p.Parents) == 0 || said.arguments && len(p.Arguments) == 0 && !p.AnyArguments {
		p.Seen = Provenance{Origin: Context}
		p.lists()
		return
	}
	if len(p.Parents) == 0 {
		p.Parents = []Parent{{Path: Any, Seen: p.Seen}}
	}
	if len(p.Arguments) == 0 {
		p.AnyArguments = true
	}
}

// lists leaves of a process that may not run what it may do while it runs.
func (p *Process) lists() {
	p.Sources, p.Parents, p.Arguments, p.AnyArguments = nil, nil, nil, false
}

// masks are the removals of an overlay: by path of the process, and what is removed from all of them.
type masks struct {
	all    Process
	byPath map[string]*Process
	// gone are the processes that are removed, or removed as far as they come from some sources.
	gone map[string]*Process
}

func masksOf(overlay *Profile) masks {
	m := masks{byPath: make(map[string]*Process), gone: make(map[string]*Process)}
	for i := range overlay.Processes {
		p := &overlay.Processes[i]
		switch {
		case p.Seen.Origin == Removed:
			m.gone[p.Path] = p
		case p.Path == Any:
			m.all = removals(p)
		default:
			own := removals(p)
			m.byPath[p.Path] = &own
		}
	}
	return m
}

// removals are what a process of an overlay takes away.
func removals(p *Process) Process {
	return Process{
		Parents:      removed(p.Parents),
		Arguments:    removed(p.Arguments),
		Libraries:    removed(p.Libraries),
		Files:        removed(p.Files),
		Egress:       removed(p.Egress),
		Listen:       removed(p.Listen),
		Sockets:      removed(p.Sockets),
		Capabilities: removed(p.Capabilities),
	}
}

// left is what is left of a process, less candidates, and whether that is anything.
func (m masks) left(p *Process) (Process, bool) {
	if class(p.Seen) != "" {
		return Process{}, false
	}
	var bits uint8
	if p.Executable() {
		bits = sourceBits(p.Sources)
	}
	if gone := m.gone[p.Path]; gone != nil {
		if len(gone.Sources) == 0 || bits != 0 && bits&^sourceBits(gone.Sources) == 0 {
			return Process{}, false
		}
		bits &^= sourceBits(gone.Sources)
	}
	own := m.byPath[p.Path]
	if own == nil {
		own = &Process{}
	}
	return Process{
		Path:         p.Path,
		Sources:      sourcesOf(bits),
		Parents:      allowed(p.Parents, own.Parents),
		Arguments:    allowed(p.Arguments, own.Arguments),
		AnyArguments: p.AnyArguments,
		Libraries:    allowed(p.Libraries, own.Libraries, m.all.Libraries),
		Files:        allowed(p.Files, own.Files, m.all.Files),
		Egress:       allowed(p.Egress, own.Egress, m.all.Egress),
		Listen:       allowed(p.Listen, own.Listen, m.all.Listen),
		Sockets:      allowed(p.Sockets, own.Sockets, m.all.Sockets),
		Capabilities: allowed(p.Capabilities, own.Capabilities, m.all.Capabilities),
		Seen:         p.Seen,
	}, true
}

// additions are what a process of an overlay allows.
func additions(p *Process) *Process {
	q := *p
	q.Parents = allowed(p.Parents)
	q.Arguments = allowed(p.Arguments)
	q.Libraries = allowed(p.Libraries)
	q.Files = allowed(p.Files)
	q.Egress = allowed(p.Egress)
	q.Listen = allowed(p.Listen)
	q.Sockets = allowed(p.Sockets)
	q.Capabilities = allowed(p.Capabilities)
	return &q
}
