// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/tlslib"
	"github.com/holdfast-project/holdfast/agent/wire"
)

const (
	// looksMost bounds what waits to be looked at.
	looksMost = 1024
	// knownMost bounds the files that are remembered as bringing nothing, and opaqueMost the processes whose TLS is not seen.
	knownMost  = 8192
	opaqueMost = 512
	// mapsAfter is when a program that has begun is looked at again: its loader has mapped its libraries by then.
	mapsAfter = 50 * time.Millisecond
	// mapsEvery is how long the libraries that an executable maps are taken to be the same, so that a loop that runs programs
	// costs little.
	mapsEvery = 30 * time.Second
)

// look is something to look at: the process of a container, or, where pid is 0, all that it has.
type look struct {
	pid       uint32
	start     uint64
	container uint64
	// opaque: TLS was seen to begin that no probe sees.
	opaque bool
	// again: it was looked at when it began.
	again bool
}

// Opaque is a process whose TLS is not seen.
type Opaque struct {
	Pid       uint32
	Start     uint64
	Container uint64
	// Reason says why not.
	Reason string
}

// fileKey tells files apart. Files of a layer are the same file in every container that has the layer, and the kernel puts probes
// into that one; but each overlay counts as a device of its own, so that of those the device does not matter.
type fileKey struct {
	device, inode, size   uint64
	changed, changedNanos int64
}

// ranKey is an executable in a container.
type ranKey struct {
	file      fileKey
	container uint64
}

// files puts probes into what inspected containers run.
type files struct {
	most      int
	log       *slog.Logger
	processes *ebpf.Map
	looks     chan look

	refused, unlooked atomic.Uint64
	// unseen is the number of processes in opaque.
	unseen atomic.Int64

	// wants has a lock of its own, so that who asks does not wait for files that are looked at.
	wants wants

	mu sync.Mutex
	// programs is nil while no container is inspected; calls are those that go on.
	programs map[string]*ebpf.Program
	calls    *ebpf.Map
	// uprobes is the way that the programs take. Where there is none, noProbes says why not, and no file is looked at.
	uprobes  probe.Uprobes
	noProbes string
	at       map[fileKey]*probed
	// none are the files that bring nothing, or cannot be probed, with the reason.
	none map[fileKey]string
	// ran has when the libraries of an executable were last looked at.
	ran map[ranKey]time.Time
	// searched are the containers whose usual folders were looked through.
	searched map[uint64]bool
	opaque   map[uint32]Opaque
}

func newFiles(most int, log *slog.Logger, processes *ebpf.Map) *files {
	f := &files{most: most, log: log, processes: processes, looks: make(chan look, looksMost), opaque: map[uint32]Opaque{}}
	f.clear()
	return f
}

func (f *files) clear() {
	f.at, f.none, f.searched = map[fileKey]*probed{}, map[fileKey]string{}, map[uint64]bool{}
	f.ran = map[ranKey]time.Time{}
}

// look has something looked at soon, from any goroutine.
func (f *files) look(l look) {
	select {
	case f.looks <- l:
	default:
		f.unlooked.Add(1)
	}
}

// use gives the programs to probe with, the map of calls, the programs' way, and why it cannot be gone, if so; nil takes all probes out.
func (f *files) use(programs map[string]*ebpf.Program, calls *ebpf.Map, uprobes probe.Uprobes, noProbes string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs, f.calls, f.uprobes, f.noProbes = programs, calls, uprobes, noProbes
	var errs []error
	for _, p := range f.at {
		errs = append(errs, p.keep(0))
	}
	f.clear()
	clear(f.opaque)
	f.wants.clear()
	return errors.Join(errs...)
}

// want sets what is wanted of a container. What it has is looked at anew, soon, if that is more than before; probes that nobody needs
// any more are taken out.
func (f *files) want(container uint64, wants Directions) error {
	before, known := f.wants.set(container, wants)
	if !known || wants&^before != 0 {
		f.look(look{container: container})
	}
	if before&^wants == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sweep()
}

// release takes out the probes that no other container needs.
func (f *files) release(container uint64) error {
	f.wants.remove(container)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.searched, container)
	for _, p := range f.at {
		delete(p.users, container)
	}
	maps.DeleteFunc(f.opaque, func(_ uint32, o Opaque) bool { return o.Container == container })
	return f.sweep()
}

// sweep takes out the probes that no container needs, and forgets the calls whose end is seen no more.
func (f *files) sweep() error {
	var errs []error
	var out bool
	for key, p := range f.at {
		wants := f.wanted(p)
		out = out || p.has&^wants != 0
		errs = append(errs, p.keep(wants))
		if len(p.users) == 0 {
			delete(f.at, key)
		}
	}
	if out {
		errs = append(errs, f.forgetCalls())
	}
	return errors.Join(errs...)
}

// wanted is what the containers want that have a file.
func (f *files) wanted(p *probed) (all Directions) {
	for container := range p.users {
		wants, _ := f.wants.of(container)
		all |= wants
	}
	return all
}

func (f *files) size() (files, probes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.at {
		for _, part := range p.parts {
			probes += part.places
		}
	}
	return len(f.at), probes
}

// seen takes a process off the list of those whose TLS is not seen: there is text of it.
func (f *files) seen(pid uint32) {
	// While files are looked at, it may wait: there will be more text.
	if f.unseen.Load() == 0 || !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	delete(f.opaque, pid)
	f.unseen.Store(int64(len(f.opaque)))
}

// Opaque lists living processes of inspected containers whose TLS is not seen, at most 512. Safe from any goroutine.
func (c *Content) Opaque() []Opaque {
	c.files.mu.Lock()
	defer c.files.mu.Unlock()
	c.files.forgetDead()
	return slices.Collect(maps.Values(c.files.opaque))
}

// forgetDead takes processes that are no more off the list.
func (f *files) forgetDead() {
	maps.DeleteFunc(f.opaque, func(pid uint32, o Opaque) bool { return !f.runs(pid, o.Start) })
	f.unseen.Store(int64(len(f.opaque)))
}

// run looks at what it is given until the context ends.
func (f *files) run(ctx context.Context) error {
	tick := time.NewTicker(mapsAfter)
	defer tick.Stop()
	// Programs that have begun since the last tick, and before it.
	var fresh, due []look
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-f.looks:
			f.see(l)
			if l.pid != 0 && !l.opaque && len(fresh) < looksMost {
				l.again = true
				fresh = append(fresh, l)
			}
		case <-tick.C:
			for _, l := range due {
				f.see(l)
			}
			due, fresh = fresh, nil
		}
	}
}

// see looks at one process, or at all that a container has, anew.
func (f *files) see(l look) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, inspected := f.wants.of(l.container); f.programs == nil || !inspected {
		return
	}
	if l.pid != 0 {
		f.process(l)
		return
	}
	delete(f.searched, l.container)
	maps.DeleteFunc(f.ran, func(key ranKey, _ time.Time) bool { return key.container == l.container })
	var pid uint32
	var process wire.Process
	for entries := f.processes.Iterate(); entries.Next(&pid, &process); {
		if process.Origin == l.container {
			f.process(look{pid: pid, start: process.Start, container: l.container, again: true})
		}
	}
}

// process looks at the executable of a process and, where it has run for a while, at its libraries.
func (f *files) process(l look) {
	if !f.runs(l.pid, l.start) {
		return
	}
	if f.noProbes != "" {
		f.unsee(l, f.noProbes)
		return
	}
	found, key := f.executable(l)
	reason := "no TLS library that is known was found in it"
	if l.opaque || l.again && f.due(ranKey{key, l.container}) {
		mapped, why := f.mapped(l)
		found = found || mapped
		if why != "" {
			reason = why
		}
	}
	if !f.searched[l.container] {
		f.search(l)
	}
	if found {
		reason = "the connection began before its library was found"
	}
	f.unsee(l, reason)
}

// unsee puts a process on the list of those whose TLS is not seen, if it is one.
func (f *files) unsee(l look, reason string) {
	if !l.opaque {
		return
	}
	if len(f.opaque) >= opaqueMost {
		f.forgetDead()
	}
	if _, known := f.opaque[l.pid]; known || len(f.opaque) < opaqueMost {
		f.opaque[l.pid] = Opaque{Pid: l.pid, Start: l.start, Container: l.container, Reason: reason}
		f.unseen.Store(int64(len(f.opaque)))
	}
}

// runs reports whether the id is still that of the process.
func (f *files) runs(pid uint32, start uint64) bool {
	var p wire.Process
	return f.processes.Lookup(pid, &p) == nil && p.Start == start
}

// executable probes what a process runs, and says whether it brings TLS that is seen, and what it is.
func (f *files) executable(l look) (bool, fileKey) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/exe", l.pid))
	if err != nil {
		return false, fileKey{}
	}
	defer file.Close()
	key, err := keyOf(file)
	if err != nil {
		f.refuse(file, err)
		return false, key
	}
	return f.file(file, key, l.container), key
}

// due reports whether the libraries of an executable are to be looked at, and notes that they are.
func (f *files) due(key ranKey) bool {
	now := time.Now()
	if last, ran := f.ran[key]; ran && now.Sub(last) < mapsEvery {
		return false
	}
	if len(f.ran) >= knownMost {
		clear(f.ran)
	}
	f.ran[key] = now
	return true
}

// file probes what a file brings, and says whether it brings any TLS that is seen.
func (f *files) file(file *os.File, key fileKey, container uint64) bool {
	if p, there := f.at[key]; there {
		p.users[container] = true
		f.complete(p, file)
		return true
	}
	if _, nothing := f.none[key]; nothing {
		return false
	}
	if len(f.none) >= knownMost {
		clear(f.none)
	}
	list, err := tlslib.Read(file)
	if err != nil {
		f.refuse(file, err)
	}
	if len(list) == 0 {
		f.none[key] = ""
		return false
	}
	if len(f.at) >= f.most {
		f.refuse(file, fmt.Errorf("%d files have probes already", len(f.at)))
		return false
	}
	p := &probed{list: list, users: map[uint64]bool{container: true}, parts: map[Directions]part{}}
	if err := f.put(p, file, f.wanted(p)); err != nil {
		f.refuse(file, err)
		f.none[key] = err.Error()
		return false
	}
	f.at[key] = p
	return true
}

// complete puts the probes into a file that has some which its containers need beside them. What is there stays if they cannot be put,
// and it is not tried again.
func (f *files) complete(p *probed, file *os.File) {
	wants := f.wanted(p)
	if wants&^(p.has|p.failed) == 0 {
		return
	}
	if err := f.put(p, file, wants); err != nil {
		p.failed |= wants &^ p.has
		f.refuse(file, err)
	}
}

func (f *files) refuse(file *os.File, err error) {
	f.refused.Add(1)
	f.log.Debug("a file has no probes", "path", file.Name(), "reason", err)
}

func keyOf(file *os.File) (fileKey, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fileKey{}, fmt.Errorf("look at it: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return fileKey{}, fmt.Errorf("look at its file system: %w", err)
	}
	key := fileKey{
		device: st.Dev, inode: st.Ino, size: uint64(st.Size), changed: st.Mtim.Sec, changedNanos: st.Mtim.Nsec,
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		key.device = 0
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return key, errors.New("it is no regular file")
	}
	return key, nil
}
