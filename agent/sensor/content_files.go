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
	"github.com/cilium/ebpf/link"
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

// probed is a file with probes.
type probed struct {
	links []link.Link
	// places is how many there are.
	places int
	// users are the containers that were seen to have it.
	users map[uint64]bool
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

	mu sync.Mutex
	// programs is nil while no container is inspected.
	programs map[string]*ebpf.Program
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

// use gives the programs to probe with, their way, and why it cannot be gone, if so; nil takes all probes out.
func (f *files) use(programs map[string]*ebpf.Program, uprobes probe.Uprobes, noProbes string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs, f.uprobes, f.noProbes = programs, uprobes, noProbes
	var errs []error
	for _, p := range f.at {
		errs = append(errs, p.close())
	}
	f.clear()
	clear(f.opaque)
	return errors.Join(errs...)
}

// release takes out the probes that no other container needs.
func (f *files) release(container uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	delete(f.searched, container)
	for key, p := range f.at {
		delete(p.users, container)
		if len(p.users) == 0 {
			errs = append(errs, p.close())
			delete(f.at, key)
		}
	}
	maps.DeleteFunc(f.opaque, func(_ uint32, o Opaque) bool { return o.Container == container })
	return errors.Join(errs...)
}

func (p *probed) close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func (f *files) size() (files, probes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.at {
		probes += p.places
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

// see looks at one process, or at all processes of a container.
func (f *files) see(l look) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.programs == nil {
		return
	}
	if l.pid != 0 {
		f.process(l)
		return
	}
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
	p, err := f.probe(file, list)
	if err != nil {
		f.refuse(file, err)
		f.none[key] = err.Error()
		return false
	}
	p.users = map[uint64]bool{container: true}
	f.at[key] = p
	return true
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

// probe attaches everything that the libraries of a file want, or nothing.
func (f *files) probe(file *os.File, list []tlslib.Library) (*probed, error) {
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return nil, err
	}
	p := &probed{}
	for _, put := range placements(list) {
		links, err := f.uprobes.Attach(executable, f.programs[put.program], put.places)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("program %s: attach: %w", put.program, err), p.close())
		}
		p.links = append(p.links, links...)
		p.places += len(put.places.Offsets)
	}
	return p, nil
}

// placement is a program and where it goes in a file.
type placement struct {
	program string
	places  probe.Places
}

// placements gives what goes into a file. What sees the returns of functions comes first, so that no call is noted whose end is not
// seen.
func placements(list []tlslib.Library) []placement {
	entries, exits := map[string][]uint64{}, map[string][]uint64{}
	for _, library := range list {
		for _, at := range library.Probes {
			names := programsOf(at.Function)
			entries[names.entry] = append(entries[names.entry], at.Offset)
			if names.exit != "" {
				exits[names.exit] = append(exits[names.exit], at.Offset)
			}
		}
	}
	return append(placed(exits, true), placed(entries, false)...)
}

// placed brings offsets by program into an order, each once: functions with several names, and libraries with the same program.
func placed(offsets map[string][]uint64, returns bool) []placement {
	var all []placement
	for _, program := range slices.Sorted(maps.Keys(offsets)) {
		list := slices.Sorted(slices.Values(offsets[program]))
		all = append(all, placement{program, probe.Places{Offsets: slices.Compact(list), Return: returns}})
	}
	return all
}

// tlsPrograms are those of a function, at its begin and, if any, at its return.
type tlsPrograms struct{ entry, exit string }

// programsOf gives those of bpf/tls.bpf.c.
func programsOf(function tlslib.Function) tlsPrograms {
	const ends = "on_tls_return"
	switch function {
	case tlslib.OpenSSLWrite:
		return tlsPrograms{"on_openssl_write", ends}
	case tlslib.OpenSSLWriteEx:
		return tlsPrograms{"on_openssl_write_ex", ends}
	case tlslib.OpenSSLWriteEx2:
		return tlsPrograms{"on_openssl_write_ex2", ends}
	case tlslib.OpenSSLRead:
		return tlsPrograms{"on_openssl_read", ends}
	case tlslib.OpenSSLReadEx:
		return tlsPrograms{"on_openssl_read_ex", ends}
	case tlslib.GnuTLSSend:
		return tlsPrograms{"on_gnutls_send", ends}
	case tlslib.GnuTLSReceive:
		return tlsPrograms{"on_gnutls_receive", ends}
	case tlslib.NSSWrite:
		return tlsPrograms{"on_nss_write", ends}
	case tlslib.NSSRead:
		return tlsPrograms{"on_nss_read", ends}
	case tlslib.Handshake:
		return tlsPrograms{"on_tls_handshake", "on_tls_handshake_return"}
	case tlslib.Socket:
		return tlsPrograms{entry: "on_tls_socket"}
	case tlslib.SocketThird:
		return tlsPrograms{entry: "on_tls_socket_third"}
	case tlslib.Free:
		return tlsPrograms{entry: "on_tls_free"}
	case tlslib.GoHandshake:
		return tlsPrograms{entry: "on_go_handshake"}
	case tlslib.GoWrite:
		return tlsPrograms{entry: "on_go_write"}
	case tlslib.GoRead:
		return tlsPrograms{entry: "on_go_read"}
	default:
		return tlsPrograms{entry: "on_go_read_end"}
	}
}
