// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// openPins finds what an earlier sensor left in the folder of pins, if there is to be one.
func (s *Sensor) openPins() error {
	if s.cfg.PinDir == "" {
		s.notPinned(errors.New("no folder for pins is set"))
		return nil
	}
	p, err := openPins(s.cfg.PinDir, s.cfg.Logger)
	var none *errNoPins
	if errors.As(err, &none) {
		s.cfg.Logger.Warn("programs and maps go with the agent", "reason", none)
		s.notPinned(none)
		return nil
	}
	if err != nil {
		return err
	}
	s.pins = p
	if err := s.loader.usePins(p); err != nil {
		return fmt.Errorf("folder of pins %s: %w", s.cfg.PinDir, err)
	}
	s.capabilities = append(s.capabilities, pinnable(s.cfg.PinDir, nil))
	return nil
}

func (s *Sensor) notPinned(reason error) {
	s.capabilities = append(s.capabilities, pinnable("", reason))
}

// Pinnable is the first of the capabilities: whether events and verdicts would outlive an agent that has the folder.
func Pinnable(dir string) probe.Capability { return pinnable(dir, CanPin(dir)) }

func pinnable(dir string, reason error) probe.Capability {
	if reason != nil {
		return probe.Capability{
			Signal: "pinned", See: probe.No, Block: probe.No, Reason: "events and verdicts end with the agent: " + reason.Error(),
		}
	}
	return probe.Capability{Signal: "pinned", See: probe.Yes, Block: probe.Yes, Mechanism: "pins in " + dir}
}

// hookAll attaches the programs, all or none.
func (s *Sensor) hookAll(programs []*loaded) error {
	links := make([]link.Link, 0, len(programs))
	fresh := make([]link.Link, 0, len(programs))
	undo := func(err error) error {
		for _, l := range fresh {
			// What is not pinned has nothing to unpin.
			_ = l.Unpin()
		}
		for _, l := range links {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	later := len(s.later)
	for _, p := range programs {
		l, taken, err := s.hook(p)
		if err != nil {
			s.later = s.later[:later]
			return undo(fmt.Errorf("program %s: attach: %w", p.name, err))
		}
		if l == nil {
			continue
		}
		links = append(links, l)
		if taken {
			continue
		}
		fresh = append(fresh, l)
		if s.pins == nil {
			continue
		}
		if err := s.pins.keepLink(p.name, l); err != nil {
			s.later = s.later[:later]
			return undo(err)
		}
	}
	for _, p := range programs {
		s.loader.attached[p.name] = true
	}
	for _, l := range links {
		s.links = append(s.links, l)
	}
	return nil
}

// hook attaches a program. taken: it was attached already, without this sensor. No link: it takes the place of another
// program when it is this sensor's turn.
func (s *Sensor) hook(p *loaded) (l link.Link, taken bool, err error) {
	if s.pins.has(p.name) {
		l, err := s.pins.take(p.name, s.holds)
		if l != nil || err != nil {
			return l, true, err
		}
		if p = s.loader.load(p.name); p.err != nil {
			return nil, false, p.err
		}
	}
	if s.pins != nil && !isGated(p.spec) {
		if path, ok := s.pins.leftBy[p.name]; ok {
			s.later = append(s.later, func() error { return s.replace(p, path) })
			return nil, false, nil
		}
	}
	l, err = s.attach(p)
	return l, false, err
}

// holds reports whether a pinned link still has its place. That of a cgroup ends with the cgroup.
func (s *Sensor) holds(l link.Link) bool {
	info, err := l.Info()
	if err != nil {
		return false
	}
	at := info.Cgroup()
	if at == nil {
		return true
	}
	var st unix.Stat_t
	return unix.Stat(s.cfg.CgroupRoot, &st) == nil && st.Ino == at.CgroupId
}

// replace puts the program in the place of the one that a pinned link has, at once. Where the link does not hold any more,
// the program is attached for itself.
func (s *Sensor) replace(p *loaded, path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if err == nil && s.holds(l) {
		err = l.Update(p.program)
	} else if l != nil {
		err = errors.Join(err, l.Close())
		l = nil
	}
	if err != nil {
		s.cfg.Logger.Warn("a pinned link cannot be changed: attaching anew", "program", p.name, "reason", err)
	}
	if l == nil || err != nil {
		if l != nil {
			s.links = append(s.links, l)
		}
		if l, err = s.attach(p); err != nil {
			return fmt.Errorf("program %s: attach: %w", p.name, err)
		}
	}
	s.links = append(s.links, l)
	return s.pins.keepLink(p.name, l)
}

// settle makes this sensor's programs those in force, and removes what was before: when each is attached in its place,
// not earlier.
func (s *Sensor) settle() error {
	if s.pins == nil {
		return nil
	}
	if err := s.prove(); err != nil {
		return err
	}
	if err := s.dropUnasked(); err != nil {
		return err
	}
	if err := s.self.pass(s.pins.generation); err != nil {
		return err
	}
	s.pins.settled = true
	if s.pins.before != "" {
		if err := closeEra(s.pins.before); err != nil {
			return err
		}
	}
	for _, replace := range s.later {
		if err := replace(); err != nil {
			return err
		}
	}
	s.later = nil
	return s.removeStale()
}

// prove looks at every link once more before others are given up for them.
func (s *Sensor) prove() error {
	for _, l := range s.links {
		l, ok := l.(link.Link)
		if !ok {
			continue
		}
		if !s.holds(l) {
			return fmt.Errorf("a program was attached, but its link %T does not hold", l)
		}
	}
	for name := range s.pins.leftBy {
		if !s.loader.attached[name] {
			s.cfg.Logger.Warn("a program has no successor in this version", "program", name)
		}
	}
	return nil
}

// removeStale removes what is left over of other generations and eras, and links of programs that are not in use.
func (s *Sensor) removeStale() error {
	var errs []error
	for name, path := range s.pins.links {
		if !s.loader.attached[name] {
			errs = append(errs, os.Remove(path))
		}
	}
	for _, path := range s.pins.stale {
		errs = append(errs, os.RemoveAll(path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the pins of before: %w", err)
	}
	if len(s.pins.stale) > 0 {
		s.cfg.Logger.Info("took over from another version", "generation", s.pins.generation)
	}
	return nil
}

// leave ends this sensor's part in what is pinned: the programs go on, unless this sensor has not come as far as that.
func (s *Sensor) leave() error {
	var errs []error
	if s.pins.settled {
		errs = append(errs, s.self.set(func(a *wire.Agent) { a.Tgid = 0 }))
	}
	return errors.Join(append(errs, s.pins.drop(), s.pins.lock.Close())...)
}

// reportTasks has the kernel report the processes that are there. Where programs have gone on without an agent, the rings
// may be full of what they have reported.
func (s *Sensor) reportTasks() error {
	if s.pins.resumed() || s.pins.replaces() {
		s.reader.makeRoom()
	}
	return s.iterate(taskIterator, "")
}

// newReader opens the rings where the last reader stopped.
func (s *Sensor) newReader() (*reader, error) {
	r, err := newReader(s.cfg, s.loader.maps)
	if err != nil || s.pins == nil {
		return r, err
	}
	spec, err := positionsSpec()
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	m, err := s.loader.make(readPositions, spec)
	if err == nil {
		err = r.resume(m)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}
