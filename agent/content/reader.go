// SPDX-License-Identifier: Apache-2.0

package content

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	detectors "github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// Config makes a Reader.
type Config struct {
	// Inspect are the bounds of what is put together.
	Inspect inspect.Config
	// Matcher looks through what goes out, Filter through the requests that are served.
	Matcher *detectors.Matcher
	Filter  *waf.Filter
	// Internal says that an address belongs to the cluster, where sensitive data has more reason to go; nil: none does.
	Internal func(netip.Addr) bool
	// Modes tells what is asked for of a container, by its cgroup: sensitive data in what it sends, attacks in what it serves.
	Modes func(cgroup uint64) (dlp, waf bool)
	// Found takes what was found. It must not wait.
	Found func(Found)
	// Failed is told of the first failures of a parser, with where it was; nil: nobody is.
	Failed func(failure any, stack []byte)
	// PrintKey is that of the hashes by which labelled files are found again; it should be random and stay secret.
	PrintKey uint64
	// Requests asks for whole requests that containers serve; by default for none.
	Requests RequestsConfig
	// Exceptions are what may be sent all the same; those that name an executable are for who knows it.
	Exceptions []dlp.Exception
}

// Found is a finding, the piece that completed it, without its text, and the request that it is about.
type Found struct {
	dlp.Finding
	Piece wire.Content
	// Method and Host are of the request, Name of its header or field.
	Method, Host, Name string
}

// advanceEvery is how often time passes for what waits.
const advanceEvery = int64(100 * time.Millisecond)

// Reader takes pieces. Use New.
type Reader struct {
	cfg       Config
	inspector *inspect.Inspector
	sink      *dlp.Sink
	counter   *dlp.Counter
	attacks   *dlp.Attacks
	tunnels   *dlp.Tunnels
	prints    *dlp.Prints
	files     chan labelled
	ended     ended
	people    people
	requests  requests
	piece     inspect.Piece
	now, next int64
	// nobody counts findings of connections that were forgotten.
	nobody uint64
	// failures of parsers, and what had been given up by those that were replaced.
	failures uint64
	before   [passing]uint64
	counts   counts
}

// New makes a reader. An error names the bound that is not one.
func New(cfg Config) (*Reader, error) {
	if cfg.Matcher == nil || cfg.Filter == nil || cfg.Modes == nil || cfg.Found == nil {
		return nil, errors.New("content: a matcher, a filter, modes and a taker of findings are needed")
	}
	r := &Reader{
		cfg: cfg, people: newPeople(), attacks: dlp.NewAttacks(dlp.AttacksConfig{}), tunnels: dlp.NewTunnels(dlp.TunnelConfig{}),
		prints: dlp.NewPrints(dlp.PrintsConfig{}, cfg.PrintKey), files: make(chan labelled, maxFiles),
		counter: dlp.NewCounter(dlp.CounterConfig{Detectors: dlp.Detectors(cfg.Matcher), Exceptions: anybody(cfg.Exceptions)}),
	}
	if err := r.renew(); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return r, nil
}

// renew begins anew to put together what comes.
func (r *Reader) renew() error {
	inspector, err := inspect.New(r.cfg.Inspect, r)
	if err != nil {
		return err
	}
	r.inspector = inspector
	r.prints.ForgetAll()
	r.requests = requests{cfg: r.cfg.Requests, open: map[uint64]*Request{}}
	r.sink = dlp.NewSink(dlp.SinkConfig{
		World: r, Streams: dlp.Matching(r.cfg.Matcher), Counter: r.counter, Prints: r.prints, Tunnels: r.tunnels, Attacks: r.attacks,
		Filter: r.cfg.Filter, Findings: r.found,
		Struck: func(message uint64) { r.requests.struck(message, &r.counts) },
	})
	return nil
}

// maxFailures is how many failures are told of; all are counted.
const maxFailures = 8

// guard keeps what somebody sends from ending the agent, should a parser fail over it: all that was followed is given up.
func (r *Reader) guard() {
	failure := recover()
	if failure == nil {
		return
	}
	if r.failures++; r.failures <= maxFailures && r.cfg.Failed != nil {
		r.cfg.Failed(failure, debug.Stack())
	}
	total := r.total()
	copy(r.before[:], total[:])
	// The bounds are those that were good when the reader was made.
	_ = r.renew()
}

// anybody are the exceptions that hold for every executable: which one sends is not known here.
func anybody(all []dlp.Exception) []dlp.Exception {
	return slices.DeleteFunc(slices.Clone(all), func(e dlp.Exception) bool { return e.Executable != "" })
}

// Content takes a piece; both are read during the call only.
func (r *Reader) Content(c *wire.Content, data []byte) {
	defer r.guard()
	r.takeFiles()
	flags := wire.ContentFlag(c.ContentFlags)
	if flags&wire.ContentTls != 0 && flags&wire.ContentSeen != 0 {
		// What is inside comes through a probe.
		return
	}
	p := &r.piece
	*p = inspect.Piece{
		Key: inspect.Key{Cookie: c.Cookie}, Dir: inspect.In, Inbound: flags&wire.ContentInbound != 0,
		Sequence: c.Sequence, Sequenced: c.Protocol == inspect.ProtocolTCP, Protocol: uint8(c.Protocol),
		LocalPort: c.LocalPort, RemotePort: c.RemotePort, Remote: report.AddressOf(c.Family, c.Remote), Time: int64(c.Head.Time), Data: data,
	}
	if flags&wire.ContentOut != 0 {
		p.Dir = inspect.Out
	}
	if c.Tls != 0 {
		p.Key, p.Sequenced, p.Protocol = inspect.Key{TLS: c.Tls, Process: c.Head.Tgid}, false, inspect.ProtocolTCP
	}
	var began bool
	if p.Tag, began = r.people.tag(p.Key, p.Dir, c); began {
		// The library's object is that of another connection now.
		r.inspector.Closed(p.Key)
	}
	r.now = max(r.now, p.Time)
	r.counts.pieces.Add(1)
	r.counts.bytes.Add(uint64(len(data)))
	if c.Skipped > 0 {
		r.counts.skipped.Add(uint64(c.Skipped))
		if !p.Sequenced {
			r.inspector.Piece(&inspect.Piece{
				Key: p.Key, Dir: p.Dir, Inbound: p.Inbound, Protocol: p.Protocol, LocalPort: p.LocalPort, RemotePort: p.RemotePort,
				Remote: p.Remote, Time: p.Time, Cut: int(c.Skipped), Tag: p.Tag,
			})
		}
	}
	r.inspector.Piece(p)
}

// Settle lets time pass for what waits, also where no piece comes. All pieces that were taken before now have been given; now
// is of the clock of the pieces.
func (r *Reader) Settle(now int64) {
	r.now = max(r.now, now)
	if r.now < r.next {
		return
	}
	defer r.guard()
	r.next = r.now + advanceEvery
	r.ended.close(r.now, r.inspector)
	r.inspector.Advance(r.now)
	r.counter.Advance(r.now)
	r.attacks.Advance(r.now)
	r.tunnels.Advance(r.now)
	stats := r.inspector.Stats()
	r.counts.flows.Store(uint64(stats.Flows))
	r.counts.memory.Store(uint64(stats.Memory))
	for i, n := range r.total() {
		r.counts.givenUp[i].Store(n)
	}
}

// maxFiles is how many files may wait to be taken note of.
const maxFiles = 64

// labelled is a labelled file that waits for the goroutine of the texts.
type labelled struct {
	read dlp.Read
	head []byte
}

// File takes the beginning of a labelled file that was read, to find it again in what is sent. It may be called from any
// goroutine; one beyond those that wait is not taken, which it reports.
func (r *Reader) File(read dlp.Read, head []byte) bool {
	select {
	case r.files <- labelled{read, head}:
		return true
	default:
		return false
	}
}

// takeFiles takes note of the files that wait.
func (r *Reader) takeFiles() {
	for {
		select {
		case l := <-r.files:
			r.prints.Read(l.read, l.head)
		default:
			return
		}
	}
}

// Stats is what a reader did and gave up.
type Stats struct {
	// Pieces and Bytes were read; Skipped bytes the kernel side did not take: over budget, or for want of room.
	Pieces, Bytes, Skipped uint64
	// Flows are followed now, and take Memory bytes.
	Flows, Memory uint64
	// RequestsStruck were not put together further since the filter has hits in them; RequestsFull for want of room.
	RequestsStruck, RequestsFull uint64
	// Opaque counts what could not be looked into, by reason.
	Opaque map[inspect.Reason]uint64
	// GivenUp counts what had to make room or was not followed, by cause; those that did not occur are missing.
	GivenUp map[string]uint64
}

type counts struct {
	pieces, bytes, skipped, flows, memory, requestsStruck, requestsFull atomic.Uint64
	opaque                                                              [16]atomic.Uint64
	givenUp                                                             [len(causes)]atomic.Uint64
}

// Stats may be called from any goroutine.
func (r *Reader) Stats() Stats {
	c := &r.counts
	s := Stats{
		Pieces: c.pieces.Load(), Bytes: c.bytes.Load(), Skipped: c.skipped.Load(), Flows: c.flows.Load(), Memory: c.memory.Load(),
		RequestsStruck: c.requestsStruck.Load(), RequestsFull: c.requestsFull.Load(),
		Opaque: map[inspect.Reason]uint64{}, GivenUp: map[string]uint64{},
	}
	for i, cause := range causes {
		if n := c.givenUp[i].Load(); n > 0 {
			s.GivenUp[cause] = n
		}
	}
	for reason := range c.opaque {
		if n := c.opaque[reason].Load(); n > 0 {
			s.Opaque[inspect.Reason(reason)] = n
		}
	}
	return s
}
