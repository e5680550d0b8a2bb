// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/tlslib"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Directions says what is wanted of a container.
type Directions uint8

const (
	// Leaving is what the container sends.
	Leaving Directions = 1 << iota
	// Entering is what its servers are asked.
	Entering

	eitherWay = Leaving | Entering
)

// wants is what is wanted of each container that is inspected. Safe from any goroutine.
type wants struct {
	mu  sync.Mutex
	all map[uint64]Directions
}

// set gives what was wanted before, if the container was inspected.
func (w *wants) set(container uint64, to Directions) (before Directions, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known = w.all[container]
	if w.all == nil {
		w.all = map[uint64]Directions{}
	}
	w.all[container] = to
	return before, known
}

func (w *wants) of(container uint64) (wants Directions, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wants, known = w.all[container]
	return wants, known
}

func (w *wants) remove(container uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, container)
}

func (w *wants) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.all)
}

// probed is a file with probes.
type probed struct {
	list []tlslib.Library
	// parts are its probes by what needs them; each part is there as a whole, or not.
	parts map[Directions]part
	// has is what the parts are there for, and failed what some could not be put for.
	has, failed Directions
	// users are the containers that were seen to have it.
	users map[uint64]bool
}

// part is some probes of a file.
type part struct {
	links []link.Link
	// places is how many there are.
	places int
}

// close takes the probes out, those at the begins of calls first.
func (p part) close() error {
	var errs []error
	for _, l := range slices.Backward(p.links) {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// keep takes out the parts that are for something else alone.
func (p *probed) keep(wants Directions) error {
	var errs []error
	for needs, part := range p.parts {
		if needs&wants == 0 {
			errs = append(errs, part.close())
			delete(p.parts, needs)
		}
	}
	p.has &= wants
	p.failed &= wants
	return errors.Join(errs...)
}

// put attaches the parts of a file's probes that are needed and not there, or nothing.
func (f *files) put(p *probed, file *os.File, wants Directions) error {
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return err
	}
	fresh := map[Directions]part{}
	// What is for both is first: it has the sockets.
	for _, needs := range []Directions{eitherWay, Leaving, Entering} {
		if _, there := p.parts[needs]; there || needs&wants == 0 {
			continue
		}
		fresh[needs], err = f.attach(executable, placements(p.list, needs))
		if err != nil {
			for _, part := range fresh {
				err = errors.Join(err, part.close())
			}
			return err
		}
	}
	maps.Copy(p.parts, fresh)
	p.has |= wants
	return nil
}

// attach puts programs at their places. What was put before an error is given with it.
func (f *files) attach(executable *link.Executable, list []placement) (part, error) {
	var p part
	for _, put := range list {
		links, err := f.uprobes.Attach(executable, f.programs[put.program], put.places)
		if err != nil {
			return p, fmt.Errorf("program %s: attach: %w", put.program, err)
		}
		p.links = append(p.links, links...)
		p.places += len(put.places.Offsets)
	}
	return p, nil
}

// forgetCalls takes the calls off the map of which a container wants nothing, since their end may not be seen: the thread's next packets
// would be taken for those of the call. What begins or ends meanwhile may make it miss some.
func (f *files) forgetCalls() error {
	var caller wire.TlsCaller
	var call wire.TlsCall
	var gone []wire.TlsCaller
	entries := f.calls.Iterate()
	for entries.Next(&caller, &call) {
		if wants, _ := f.wants.of(f.containerOf(&caller)); wants&directionOf(&call) == 0 {
			gone = append(gone, caller)
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("map tls_calls: %w", err)
	}
	for i := range gone {
		if err := f.calls.Delete(&gone[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map tls_calls: %w", err)
		}
	}
	return nil
}

// containerOf gives the container of who is in a call; 0 for a process that is no more.
func (f *files) containerOf(caller *wire.TlsCaller) uint64 {
	// A thread's ids have the process above; with a goroutine, the process is alone.
	pid := uint32(caller.Ids >> 32)
	if pid == 0 {
		pid = uint32(caller.Ids)
	}
	var p wire.Process
	if err := f.processes.Lookup(pid, &p); err != nil {
		return 0
	}
	return p.Origin
}

// directionOf gives what a call is for. A handshake has no text.
func directionOf(call *wire.TlsCall) Directions {
	switch {
	case call.Out != 0:
		return Leaving
	case call.Buffer != 0:
		return Entering
	default:
		return eitherWay
	}
}

// placement is a program and where it goes in a file.
type placement struct {
	program string
	places  probe.Places
}

// placements gives what goes into a file for just these directions. What sees the returns of functions comes first, so that no call is
// noted whose end is not seen.
func placements(list []tlslib.Library, needs Directions) []placement {
	entries, exits := map[string][]uint64{}, map[string][]uint64{}
	for _, library := range list {
		for _, at := range library.Probes {
			if neededBy(at.Function) != needs {
				continue
			}
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

// neededBy says what a function is probed for. Without the functions that begin and end connections no text has its socket. For
// NSS that takes its writes, in which it sends what it has to before it reads.
func neededBy(function tlslib.Function) Directions {
	switch function {
	case tlslib.OpenSSLWrite, tlslib.OpenSSLWriteEx, tlslib.OpenSSLWriteEx2, tlslib.GnuTLSSend, tlslib.GoWrite:
		return Leaving
	case tlslib.OpenSSLRead, tlslib.OpenSSLReadEx, tlslib.GnuTLSReceive, tlslib.NSSRead, tlslib.GoRead, tlslib.GoReadEnd:
		return Entering
	default:
		return eitherWay
	}
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
