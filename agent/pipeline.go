// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/kube"
	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/record"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// pipeline takes records in the order of the kernel's clock and leads each to its end: the process table, the container
// registry, the rules, the spools, those who watch. All of it runs on the sensor's goroutine; what it counts is read by
// others through atomics.
type pipeline struct {
	log      *slog.Logger
	registry *container.Registry
	book     *container.AddressBook
	// cluster is nil where Kubernetes is not used.
	cluster *kube.Source
	table   *proc.Table
	engine  *detect.Engine
	policy  *record.Policy
	guard   *guard.Guard
	tails   *tail.Hub
	alerts  *spool.Spool
	records *spool.Spool
	// cmdline reads the arguments of a living process, running what the kernel side knows of it, executable the path of an
	// executable that the policy of a container lists, by the kernel's name for it; a guess is tried first.
	cmdline    func(pid uint32, start uint64) string
	running    func(pid uint32) (wire.Process, bool)
	executable func(cgroup, subject uint64, guess string) (string, bool)
	// since is from when on the kernel side follows processes, boot clock.
	since uint64

	event    event.Event
	messages event.DNSMessages
	parked   parking
	late     lateQueue
	anew     relearning
	// found are findings in what is sent, to be told with who it was; awaiting those that wait for records as young as they
	// are: reached is the time of the youngest that came, boot clock. exfil finds what containers do with data, exceptions
	// are what they may send all the same.
	found      chan content.Found
	awaiting   []foundAt
	reached    uint64
	exfil      *exfil.Joiner
	inspection *inspection
	exceptions []dlp.Exception
	acceptors  acceptors
	resolved   chan uint64
	// releaseAll is set when a message did not fit into resolved.
	releaseAll atomic.Bool
	// offset turns the boot clock into the wall clock, nanoseconds; taken anew at each Settle.
	offset int64
	// reading is when the first batch had been read, boot clock: what waited while the programs were attached tells
	// nothing about delays.
	reading uint64
	buffer  []byte
	lag     lag
	counts  pipelineCounts
	told    told
}

// lagSample is one in how many records has its delay measured: reading the clock is a system call.
const lagSample = 16

// pipelineCounts are what the pipeline counts, for metrics and health.
type pipelineCounts struct {
	events       [wire.TypeLimit]atomic.Uint64
	malformed    atomic.Uint64
	alerts       atomic.Uint64
	recorded     atomic.Uint64
	parkedOver   atomic.Uint64
	processes    atomic.Int64
	stubs        atomic.Uint64
	owners       atomic.Uint64
	tableFull    atomic.Uint64
	folded       atomic.Uint64
	dnsLost      atomic.Uint64
	findings     atomic.Uint64
	findingsLost atomic.Uint64
	excepted     atomic.Uint64
}

// Record implements sensor.Handler.
func (p *pipeline) Record(raw []byte) {
	ev := &p.event
	if err := ev.Decode(raw); err != nil {
		p.counts.malformed.Add(1)
		p.log.Error("record refused", "error", err)
		return
	}
	p.counts.events[ev.Type].Add(1)
	p.reached = max(p.reached, ev.Head.Time)
	if ev.Head.Seq%lagSample == 0 && ev.Head.Time > p.reading {
		p.lag.add(bootNow(), ev.Head.Time)
	}
	if ev.Type == wire.TypeFlow && p.inspection != nil {
		p.inspection.ended(ev.Net())
	}
	// Of DNS over TCP, whole messages go on.
	if (ev.Type == wire.TypeDns || ev.Type == wire.TypeFlow) && p.messages.Piece(ev, p.message) {
		return
	}
	p.take(ev)
}

// message takes a record that was put together from several.
func (p *pipeline) message(raw []byte) {
	if err := p.event.Decode(raw); err != nil {
		p.counts.malformed.Add(1)
		p.log.Error("record refused", "error", err)
		return
	}
	p.take(&p.event)
}

func (p *pipeline) take(ev *event.Event) {
	ev.Time = int64(ev.Head.Time) + p.offset
	p.follow(ev)
	if ev.Type == wire.TypeTask && ev.Process.Origin == 0 {
		return
	}
	if p.identify(ev) {
		p.finish(ev)
	}
}

// follow keeps the process table and the registry in step.
func (p *pipeline) follow(ev *event.Event) {
	switch ev.Type {
	case wire.TypeCgroupMkdir:
		body := ev.Cgroup()
		// Before the registry, which may have the container arrive at once.
		p.guard.Born(body.Id, ev.Head.Time)
		p.registry.Born(container.Birth{
			Cgroup: body.Id, Parent: body.Parent, Name: string(ev.Text()), At: time.Unix(0, ev.Time),
		})
	case wire.TypeCgroupRmdir:
		p.registry.Gone(ev.Cgroup().Id)
		p.guard.Gone(ev.Cgroup().Id)
		p.table.Forget(ev.Cgroup().Id)
		p.told.forget(ev.Cgroup().Id)
		p.exfil.Forget(ev.Cgroup().Id)
	case wire.TypeAccept:
		p.acceptors.note(ev.Head, ev.Net())
	case wire.TypeFork:
		p.table.Fork(ev.Fork())
	case wire.TypeExec:
		ev.Process = p.table.Exec(ev.Head, p.kin(ev), image(ev))
		return
	case wire.TypeTask:
		ev.Process = p.table.Existing(ev.Head, p.kin(ev), p.introduced(ev))
		return
	}
	ev.Process = p.process(ev.Head)
	if ev.Type == wire.TypeExit {
		p.table.Exit(ev.Head)
	}
}

// image copies what an exec record says of the new image.
func image(ev *event.Event) *proc.Image {
	body := ev.Exec()
	im := &proc.Image{
		Exe: string(ev.Exe()), Cwd: string(ev.Cwd()), Argv: string(ev.Argv()),
		ArgvHash: body.ArgvHash, ArgvSize: body.ArgvSize, Truncated: ev.Has(wire.FlagTruncated),
		Comm: cString(body.Comm[:]), TTY: cString(body.Tty[:]),
		Stdio: wire.Stdio(body.Stdio), File: body.File, Cred: body.Cred, Spaces: body.Spaces, ExecTime: body.ExecTime,
	}
	if ev.Type == wire.TypeExec {
		im.ExecTime = ev.Head.Time
	}
	if len(ev.Interpreter()) > 0 {
		im.Script = string(ev.Filename())
	}
	if im.ArgvHash == 0 {
		im.ArgvHash = event.HashArgv(ev.Argv())
	}
	return im
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// identify sets the event's container, or parks the event until its name is known, behind those parked before it.
func (p *pipeline) identify(ev *event.Event) bool {
	cgroup := ev.Head.Origin
	if cgroup == 0 && ev.Process != nil {
		cgroup = ev.Process.Origin
	}
	if p.parked.waits(cgroup) {
		p.park(cgroup, ev)
		return false
	}
	c, state := p.registry.Lookup(cgroup)
	switch state {
	case container.StatePending:
		p.park(cgroup, ev)
		return false
	case container.StateUnknown:
		p.registry.Missing(cgroup)
		p.park(cgroup, ev)
		return false
	}
	ev.Container = c
	return true
}

func (p *pipeline) park(cgroup uint64, ev *event.Event) {
	if p.parked.put(cgroup, ev) {
		return
	}
	// No room: better told without a name than not at all.
	p.counts.parkedOver.Add(1)
	ev.Container, _ = p.registry.Lookup(cgroup)
	p.finish(ev)
}

// Settle implements sensor.Handler: events whose container has got its name go on.
func (p *pipeline) Settle() {
	now := bootNow()
	p.offset = wallNow() - int64(now)
	if p.reading == 0 {
		p.reading = now
	}
	p.tellLate(now)
	p.relearn()
	p.tellFindings(now)
	for {
		select {
		case cgroup := <-p.resolved:
			p.release(cgroup)
		default:
			if p.releaseAll.Swap(false) {
				for _, cgroup := range p.parked.cgroups() {
					p.release(cgroup)
				}
			}
			p.publish()
			return
		}
	}
}

func (p *pipeline) release(cgroup uint64) {
	c, state := p.registry.Lookup(cgroup)
	if state == container.StatePending || state == container.StateUnknown {
		return
	}
	p.parked.take(cgroup, func(ev *event.Event) {
		ev.Container = c
		p.finish(ev)
	})
}

// post tells the pipeline that a container has its name, from any goroutine.
func (p *pipeline) post(cgroup uint64) {
	select {
	case p.resolved <- cgroup:
	default:
		// Full: look at all that is parked instead.
		p.releaseAll.Store(true)
	}
}

func (p *pipeline) publish() {
	stats := p.table.Stats()
	p.counts.processes.Store(int64(stats.Processes))
	p.counts.stubs.Store(stats.Stubs)
	p.counts.owners.Store(stats.Owners)
	p.counts.tableFull.Store(stats.Full)
	p.counts.folded.Store(p.engine.Folded())
	p.counts.dnsLost.Store(p.messages.Lost())
}

// finish runs the rules over an event that has its names, records it where that is asked for, and shows it to those who
// watch.
func (p *pipeline) finish(ev *event.Event) {
	p.told.add(ev)
	if ev.Type == wire.TypeTask && !judged(ev) {
		// What was seen to exec, or to be forked, was judged then.
		if ev.Process.Image.ExecTime == 0 && ev.Head.Start < p.since {
			p.guard.Existing(ev)
		}
		return
	}
	if n := ev.Net(); n != nil {
		ev.Peer = p.peer(report.AddressOf(n.Family, n.Remote))
	}
	// What comes after it knows of the incident that it may be.
	for _, match := range p.engine.Match(ev) {
		p.alert(match, ev)
	}
	for _, f := range p.exfil.Take(ev) {
		p.story(&f, ev)
	}
	p.keep(ev)
	if p.policy.Bits(ev.Container)&(1<<ev.Type) != 0 {
		if p.write(p.records, &apiv1.Record{Record: &apiv1.Record_Event{Event: report.Event(ev)}}) {
			p.counts.recorded.Add(1)
		}
	}
	if p.tails.Active() {
		p.tails.Offer(ev, func() *apiv1.Event {
			described := report.Event(ev)
			report.Valid(described)
			return described
		})
	}
}

// peer says whose an address is: the node's own and its pods' by what the node knows, the others by what Kubernetes says.
func (p *pipeline) peer(a netip.Addr) container.Endpoint {
	of, known := p.book.Lookup(a)
	if p.cluster == nil {
		return of
	}
	if !known {
		of, _ = p.cluster.Lookup(a)
	}
	if of.Kind == container.EndpointPod {
		of.Owner, _ = p.cluster.Owner(of)
	}
	return of
}

// keep tells the guard what an event teaches of profiles and modes.
func (p *pipeline) keep(ev *event.Event) {
	// There was no room to wait until its container is known.
	if ev.Container == nil {
		return
	}
	if learns(ev) {
		p.guard.Observe(ev)
	}
	switch {
	case ev.Head.Flags&uint16(wire.FlagBlocked|wire.FlagKilled) != 0:
		p.guard.Blocked(ev.Container.Cgroup, report.SignalOf(wire.Signal(ev.Head.Signal)))
	case ev.Has(wire.FlagWouldBlock):
		p.guard.WouldBlock(ev.Container.Cgroup, report.SignalOf(wire.Signal(ev.Head.Signal)))
	}
}

func (p *pipeline) alert(match detect.Match, ev *event.Event) {
	alert := detect.Alert(match, ev)
	if alert.Violation != nil {
		p.guard.Complete(alert.Violation, ev)
	}
	p.tell(alert, ev)
}

// tell spools an alert, and takes note of an incident.
func (p *pipeline) tell(alert *apiv1.Alert, ev *event.Event) {
	if alert.Priority >= apiv1.Priority_PRIORITY_CRITICAL && ev.Container != nil && ev.Container.Cgroup != 0 {
		p.guard.Incident(ev.Container.Cgroup, time.Unix(0, ev.Time))
	}
	if p.write(p.alerts, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: alert}}) {
		p.counts.alerts.Add(1)
	}
}

// write puts a record into a spool. The spool counts what it cannot keep and tells the collector of the gap.
func (p *pipeline) write(to *spool.Spool, r *apiv1.Record) bool {
	encoded, err := proto.MarshalOptions{}.MarshalAppend(p.buffer[:0], r)
	if err != nil {
		// Somebody chose bytes that are no text.
		report.Valid(r)
		encoded, err = proto.MarshalOptions{}.MarshalAppend(p.buffer[:0], r)
	}
	p.buffer = encoded
	if err == nil {
		_, err = to.Append(encoded)
	}
	if err != nil {
		if !errors.Is(err, spool.ErrFull) {
			p.log.Error("record not spooled", "error", err)
		}
		return false
	}
	return true
}

func bootNow() uint64 { return clockNow(unix.CLOCK_BOOTTIME) }

func wallNow() int64 { return int64(clockNow(unix.CLOCK_REALTIME)) }

func clockNow(clock int32) uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
