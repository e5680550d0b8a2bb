// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"errors"
	"fmt"
)

// Validate returns an error that names every entry which means nothing, up to MaxProblems of them, and every limit that is
// exceeded. A profile that Decode returns is valid, and so is what this package makes of valid ones.
func (p *Profile) Validate() error {
	var r reader
	if err := p.Key.Validate(); err != nil {
		r.refuse(0, "metadata: %v", err)
	}
	if n := p.Len(); n > MaxEntries {
		r.refuse(0, "%d entries, at most %d", n, MaxEntries)
	}
	if len(p.Images) > MaxImages {
		r.refuse(0, "%d images, at most %d", len(p.Images), MaxImages)
	}
	for _, image := range p.Images {
		r.refuseError(0, "image "+quoted(image.Digest), image.check())
	}
	for signal, l := range p.Signals {
		_, err := ParseSignal(string(signal))
		r.refuseError(0, "signals", errors.Join(err, l.check()))
	}
	seen := make(map[string]bool, len(p.Processes))
	for i := range p.Processes {
		q := &p.Processes[i]
		what := "process " + quoted(q.Path)
		if seen[q.identity()] {
			r.refuse(0, "%s stands twice", what)
		}
		seen[q.identity()] = true
		r.refuseError(0, what, errors.Join(q.check(), q.Seen.check()))
		checkItems(&r, what, q.Parents)
		checkItems(&r, what, q.Arguments)
		checkItems(&r, what, q.Libraries)
		checkItems(&r, what, q.Files)
		checkItems(&r, what, q.Egress)
		checkItems(&r, what, q.Listen)
		checkItems(&r, what, q.Sockets)
		checkItems(&r, what, q.Capabilities)
	}
	return r.err()
}

// checkItems refuses what is wrong with a list of entries.
func checkItems[T item[T]](r *reader, what string, items []T) {
	seen := make(map[string]bool, len(items))
	for _, x := range items {
		if seen[x.identity()] {
			r.refuse(0, "%s: %s stands twice", what, quoted(x.words()))
		}
		seen[x.identity()] = true
		r.refuseError(0, what+": "+quoted(x.words()), errors.Join(x.check(), x.provenance().check()))
	}
}

// check returns an error for a process that means nothing, whatever it lists.
func (p *Process) check() error {
	if p.Path == Any {
		if p.Seen.Origin == Removed {
			return errors.New("what is removed from every process is listed below it, each entry with remove: true")
		}
		if len(p.Sources)+len(p.Parents)+len(p.Arguments) > 0 || p.AnyArguments {
			return errors.New("the process * stands for every executable: it has no sources, parents or arguments")
		}
		return nil
	}
	if err := checkPath(p.Path); err != nil {
		return err
	}
	for _, s := range p.Sources {
		if s.Bit() == 0 {
			return fmt.Errorf("unknown source %q: image, upper, memory or volume", s)
		}
	}
	switch {
	case p.AnyArguments && len(p.Arguments) > 0:
		return errors.New("anyArguments allows what arguments lists")
	case p.Seen.Origin == Removed && (p.len() > 1 || p.AnyArguments):
		return errors.New("a process that is removed lists nothing but sources")
	case p.Seen.Origin == Context && len(p.Sources) > 0:
		return errors.New("a process that is there for what it lists has no sources")
	}
	return nil
}

// check returns an error for an image that cannot be told from others.
func (i Image) check() error {
	if i.Digest == "" {
		return errors.New("digest is missing")
	}
	return errors.Join(checkText(i.Digest, maxName), checkText(i.Reference, maxName))
}

// check returns an error for a learning state that nobody has.
func (l Learning) check() error {
	switch l.State {
	case "", StateLearning, StateStabilising, StateStable, StatePartial:
	default:
		return fmt.Errorf("unknown state %q: learning, stabilising, stable or partial", l.State)
	}
	if len(l.Nodes) > MaxNodes {
		return fmt.Errorf("more than %d nodes", MaxNodes)
	}
	for node := range l.Nodes {
		if err := checkText(node, maxName); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	return nil
}
