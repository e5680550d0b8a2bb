// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// pins is the folder of a BPF file system where programs and maps outlive the agent; docs/decisions/0005-pinned.md says
// why it is so:
//
//	v2-1/maps/NAME                    the maps of an era: of one wire version, and of definitions that fit
//	v2-1/p3-DIGEST/OBJECT-PROGRAM-TAG the links of the third generation of programs, of the objects with the digest
//
// In force is the generation that the era's map agent_state names. What else lies there is left over from an agent that
// ended while it replaced another, and goes with the next settle.
type pins struct {
	root string
	lock *os.File
	log  *slog.Logger
	// era has the maps, programs the links of this agent; fresh says of each that this agent has made it.
	era, programs           string
	freshEra, freshPrograms bool
	generation              uint32
	// before is the era in force when this agent came, if that is another.
	before string
	// links are those that are there already, by program.
	links map[string]string
	// leftBy are the links of other generations, by program.
	leftBy map[string]string
	// stale is what settle removes.
	stale []string
	// settled is set when this agent's generation is in force and what was before is gone.
	settled bool
}

// errNoPins is why nothing is kept: the sensor works without.
type errNoPins struct{ reason error }

func (e *errNoPins) Error() string { return e.reason.Error() }
func (e *errNoPins) Unwrap() error { return e.reason }

// CanPin says why nothing can be kept in the folder, which need not be there yet. nil: it can.
func CanPin(dir string) error {
	at := filepath.Clean(dir)
	var fs unix.Statfs_t
	for {
		err := unix.Statfs(at, &fs)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || at == filepath.Dir(at) {
			return fmt.Errorf("look at %s: %w", at, err)
		}
		at = filepath.Dir(at)
	}
	if fs.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not on a BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf), or name a folder of one", dir)
	}
	if err := unix.Access(at, unix.W_OK); err != nil {
		return fmt.Errorf("write into %s: %w", at, err)
	}
	return nil
}

// openPins takes hold of the folder, and makes it if need be. One agent has it at a time.
func openPins(root string, log *slog.Logger) (*pins, error) {
	if err := CanPin(root); err != nil {
		return nil, &errNoPins{err}
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, &errNoPins{fmt.Errorf("make the folder of pins: %w", err)}
	}
	lock, err := lockFolder(root)
	if err != nil {
		return nil, err
	}
	p := &pins{root: root, lock: lock, log: log, links: map[string]string{}, leftBy: map[string]string{}}
	if err := p.try(); err != nil {
		return nil, &errNoPins{errors.Join(fmt.Errorf("pin in %s: %w", root, err), lock.Close())}
	}
	return p, nil
}

// lockFolder keeps other agents out until the file is closed or the process ends.
func lockFolder(root string) (*os.File, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("open the folder of pins: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another agent has it")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the folder of pins %s: %w", root, err), f.Close())
	}
	return f, nil
}

// try pins a map and takes it away again, to know whether that is allowed.
func (p *pins) try() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	path := filepath.Join(p.root, "try")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, m.Close())
	}
	if err := m.Pin(path); err != nil {
		return errors.Join(err, m.Close())
	}
	return errors.Join(m.Unpin(), m.Close())
}

// era is a folder of maps and of the generations of programs that use them.
type era struct {
	path         string
	wire, number uint32
	// inForce is the generation that its agent_state names; 0 when that is none that is there.
	inForce  uint32
	programs []generation
}

// generation is a folder of links.
type generation struct {
	path   string
	number uint32
	digest string
}

// eras lists what is in the folder, newest first. What is not an era is left over.
func (p *pins) eras() ([]era, error) {
	entries, err := os.ReadDir(p.root)
	if err != nil {
		return nil, fmt.Errorf("read the folder of pins: %w", err)
	}
	var list []era
	for _, entry := range entries {
		e := era{path: filepath.Join(p.root, entry.Name())}
		if n, err := fmt.Sscanf(entry.Name(), "v%d-%d", &e.wire, &e.number); err != nil || n != 2 {
			p.stale = append(p.stale, e.path)
			continue
		}
		if err := e.read(); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b era) int { return int(b.number) - int(a.number) })
	return list, nil
}

func (e *era) read() error {
	entries, err := os.ReadDir(e.path)
	if err != nil {
		return fmt.Errorf("read the folder of pins: %w", err)
	}
	now, err := e.generation()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		g := generation{path: filepath.Join(e.path, entry.Name())}
		if n, err := fmt.Sscanf(entry.Name(), "p%d-%s", &g.number, &g.digest); err != nil || n != 2 {
			continue
		}
		if g.number == now {
			e.inForce = now
		}
		e.programs = append(e.programs, g)
	}
	return nil
}

// generation reads agent_state, of which the first four bytes are the generation in every wire version.
func (e *era) generation() (uint32, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(e.path, "maps", agentState), nil)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the pinned map %s: %w", agentState, err)
	}
	defer m.Close()
	value, err := stateBytes(m)
	if err != nil {
		return 0, err
	}
	return nativeUint32(value), nil
}

// choose settles which era and which generation this agent goes on with. fits says what of an era's maps this build
// cannot use.
func (p *pins) choose(digest string, fits func(maps string) error) error {
	list, err := p.eras()
	if err != nil {
		return err
	}
	var newest uint32
	var now *era
	for i := range list {
		newest = max(newest, list[i].number)
		if list[i].inForce != 0 && now == nil {
			now = &list[i]
		}
	}
	reason := error(nil)
	switch {
	case now == nil:
	case now.wire != wire.Version:
		reason = fmt.Errorf("they are of wire version %d", now.wire)
	default:
		reason = fits(filepath.Join(now.path, "maps"))
	}
	if now != nil && reason == nil {
		p.era = now.path
		p.chooseGeneration(now, digest)
	} else {
		if now != nil {
			p.before = now.path
			p.log.Warn("the pinned maps cannot be used: beginning with new ones", "folder", now.path, "reason", reason)
		}
		p.era, p.freshEra = filepath.Join(p.root, fmt.Sprintf("v%d-%d", wire.Version, newest+1)), true
		p.begin(1, digest)
	}
	for _, e := range list {
		if e.path == p.era {
			continue
		}
		p.stale = append(p.stale, e.path)
		for _, g := range e.programs {
			p.note(g.path, p.leftBy)
		}
	}
	return p.makeFolders()
}

// chooseGeneration goes on with the one in force if it is of this build.
func (p *pins) chooseGeneration(e *era, digest string) {
	var newest uint32
	for _, g := range e.programs {
		newest = max(newest, g.number)
		if g.number == e.inForce && g.digest == digest {
			p.programs, p.generation = g.path, g.number
		}
	}
	if p.programs == "" {
		p.begin(newest+1, digest)
	}
	for _, g := range e.programs {
		if g.path == p.programs {
			p.note(g.path, p.links)
			continue
		}
		p.stale = append(p.stale, g.path)
		p.note(g.path, p.leftBy)
	}
}

func (p *pins) begin(number uint32, digest string) {
	p.generation, p.freshPrograms = number, true
	p.programs = filepath.Join(p.era, fmt.Sprintf("p%d-%s", number, digest))
}

func (p *pins) makeFolders() error {
	for _, dir := range []string{filepath.Join(p.era, "maps"), p.programs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folder of pins: %w", err)
		}
	}
	return nil
}

// note enters the links of a folder by program.
func (p *pins) note(dir string, into map[string]string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.log.Error("pinned links not listed", "folder", dir, "error", err)
	}
	for _, entry := range entries {
		if name, _, ok := programOf(entry.Name()); ok {
			into[name] = filepath.Join(dir, entry.Name())
		}
	}
}

// programOf takes the name of a pinned link apart.
func programOf(file string) (program, tag string, ok bool) {
	object, rest, ok := strings.Cut(file, "-")
	if !ok {
		return "", "", false
	}
	name, tag, ok := strings.Cut(rest, "-")
	return object + "/" + name, tag, ok
}

// resumed reports whether this agent goes on with programs that were in force without it.
func (p *pins) resumed() bool { return p != nil && !p.freshPrograms }

// replaces reports whether this agent's programs take the place of others.
func (p *pins) replaces() bool { return p != nil && p.freshPrograms && len(p.leftBy) > 0 }

// has reports whether a link of the program is there to go on with.
func (p *pins) has(program string) bool {
	if p == nil {
		return false
	}
	_, ok := p.links[program]
	return ok
}

// keepMap pins a map of the era.
func (p *pins) keepMap(name string, m *ebpf.Map) error {
	if err := m.Pin(filepath.Join(p.era, "maps", name)); err != nil {
		return fmt.Errorf("map %s: pin: %w", name, err)
	}
	return nil
}

// keepLink pins the link of a program, which takes along one that is pinned elsewhere.
func (p *pins) keepLink(program string, l link.Link) error {
	tag, err := tagOf(l)
	if err != nil {
		return fmt.Errorf("program %s: %w", program, err)
	}
	path := filepath.Join(p.programs, strings.Replace(program, "/", "-", 1)+"-"+tag)
	if old, ok := p.links[program]; ok {
		if err := os.Remove(old); err != nil {
			return fmt.Errorf("program %s: unpin the link of before: %w", program, err)
		}
	}
	if err := l.Pin(path); err != nil {
		return fmt.Errorf("program %s: pin: %w", program, err)
	}
	p.links[program] = path
	return nil
}

// tagOf gives the tag of a link's program, the kernel's hash of its instructions.
func tagOf(l link.Link) (string, error) {
	file, ok := l.(interface{ FD() int })
	if !ok {
		return "", fmt.Errorf("link %T has no descriptor", l)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", file.FD()))
	if err != nil {
		return "", fmt.Errorf("read the tag of the program: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if tag, ok := strings.CutPrefix(line, "prog_tag:"); ok {
			return strings.TrimSpace(tag), nil
		}
	}
	return "", errors.New("the kernel tells no tag of the program")
}

// take opens the link that is there for a program; nil when there is none, or none that holds any more.
func (p *pins) take(program string, holds func(link.Link) bool) (link.Link, error) {
	path, ok := p.links[program]
	if !ok {
		return nil, nil
	}
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return nil, fmt.Errorf("program %s: open its pinned link: %w", program, err)
	}
	tag, err := tagOf(l)
	if _, want, _ := programOf(filepath.Base(path)); err == nil && tag == want && holds(l) {
		return l, nil
	}
	p.log.Warn("a pinned link does not hold: attaching anew", "program", program, "tag", tag, "error", err)
	return nil, l.Close()
}

// drop removes the pins of this agent that are not needed: all that it has made, when it ends before it has settled.
func (p *pins) drop() error {
	switch {
	case p.settled:
		return nil
	case p.freshEra:
		return os.RemoveAll(p.era)
	case p.freshPrograms:
		return os.RemoveAll(p.programs)
	}
	return nil
}
