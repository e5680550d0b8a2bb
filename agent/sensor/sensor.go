// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Config sizes the sensor. The zero value of each field means its default.
type Config struct {
	// Sizes of the rings in bytes, powers of two and multiples of the page size. Defaults 1 MiB and 8 MiB. The kernel maps a
	// ring at once: all of it counts in the reader's resident set.
	UrgentRing uint32
	BulkRing   uint32
	// How many processes and cgroups the kernel side can know. Defaults 65536 and 16384.
	MaxProcesses uint32
	MaxCgroups   uint32
	// How many flows of sockets with more than one peer the kernel side can know, beside the first of each. Default
	// 65536.
	MaxFlows uint32
	// How many entries all policies together, how many policies and how many addresses that names stand for the kernel
	// side can hold; a quarter of the entries can be folders with all below them, and another prefixes of addresses. Defaults
	// 262144, 4096 and 65536. Memory is taken as they come.
	MaxAllow    uint32
	MaxPolicies uint32
	MaxAdmitted uint32
	// CgroupRoot is where cgroup2 is mounted.
	CgroupRoot string
	// Family is the strongest family of hooks to use; tests lower it. Default FamilyLSM, that is, no limit.
	Family probe.Family
	// LimitFamily says that Family is meant, also when it is zero.
	LimitFamily bool
	// PollMin and PollMax bound the adaptive pause between two looks at the bulk ring. Defaults 5 ms and 20 ms.
	PollMin, PollMax time.Duration
	// PinDir is a folder of a BPF file system, made if need be, where programs, maps and what the rings hold outlive this
	// sensor: the next one with this folder goes on with them. Empty: all is gone with Close. Where it is not allowed to
	// pin there, the capability "pinned" says why, and all is gone with Close.
	PinDir string
	// WhenDead is what becomes of the modes when no sensor has run for DeadAfter. Default: they stay.
	WhenDead  wire.WhenDead
	DeadAfter time.Duration
	Logger    *slog.Logger

	// build is set by tests; default the objects of this binary.
	build build
}

func (c Config) withDefaults() Config {
	set := func(v *uint32, d uint32) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.UrgentRing, 1<<20)
	set(&c.BulkRing, 8<<20)
	set(&c.MaxProcesses, 65536)
	set(&c.MaxCgroups, 16384)
	set(&c.MaxFlows, 65536)
	set(&c.MaxAllow, 262144)
	set(&c.MaxPolicies, 4096)
	set(&c.MaxAdmitted, 65536)
	if !c.LimitFamily {
		c.Family = probe.FamilyLSM
	}
	if c.PollMin == 0 {
		c.PollMin = 5 * time.Millisecond
	}
	if c.PollMax == 0 {
		c.PollMax = 20 * time.Millisecond
	}
	if c.build.loaders == nil {
		c.build = builtin()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// mapSizes gives the entries of the maps that are sized at load.
func (c Config) mapSizes() map[string]uint32 {
	return map[string]uint32{
		"ring_urgent":           c.UrgentRing,
		"ring_bulk":             c.BulkRing,
		"process_by_tgid":       c.MaxProcesses,
		"container_by_cgroup":   c.MaxCgroups,
		"interest_by_container": c.MaxCgroups,
		"flow_by_peer":          c.MaxFlows,
		"policy_by_container":   c.MaxCgroups,
		"policy_by_name":        c.MaxCgroups,
		"root_by_container":     c.MaxCgroups,
		"tally_by_policy":       c.MaxPolicies,
		"allow":                 c.MaxAllow,
		"allow_tree":            c.MaxAllow / 4,
		"allow_egress":          c.MaxAllow / 4,
		"admitted":              c.MaxAdmitted,
	}
}

// Sensor owns the loaded programs, their maps and links.
type Sensor struct {
	cfg          Config
	loader       *loader
	policies     PolicyMaps
	links        []io.Closer
	capabilities []probe.Capability
	reader       *reader
	self         self
	pins         *pins
	// later replaces programs in place, once it is this sensor's turn.
	later []func() error
	// own is what this sensor has asked for in maps that outlive it, by map.
	own asked
	// interests are what is asked for now.
	interests interests
	// watching is held while watched names change, their filter with them.
	watching sync.Mutex
}

// New loads what Start will attach first and creates the maps. It needs CAP_BPF and CAP_PERFMON; without CAP_NET_ADMIN the
// signals of the network that cgroup programs show are off.
func New(cfg Config, kernel *probe.Kernel) (*Sensor, error) {
	cfg = cfg.withDefaults()
	s := &Sensor{cfg: cfg, loader: newLoader(cfg, kernel)}
	if err := s.openPins(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	var err error
	if s.policies, err = s.loader.makePolicies(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := errors.Join(s.readInterests(), s.fillFilter()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, sig := range slices.Concat(lifecycle, signals) {
		for _, name := range sig.ways[0].programs {
			if s.pins.has(name) {
				continue
			}
			if p := s.loader.load(name); p.err != nil {
				return nil, errors.Join(fmt.Errorf("load the programs that identity rests on: %w", p.err), s.Close())
			}
		}
	}
	if err := s.introduce(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.reader, err = s.newReader(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Start attaches the programs. Between the cgroup hooks and the rest it calls seed, which enters the cgroups that are
// there already by PlaceCgroup; between the life of processes and what they do it reports the processes that are there
// already. A signal beyond these that no program can show is not an error: Capabilities says why.
func (s *Sensor) Start(seed func() error) error {
	defer s.loader.forget()
	for _, sig := range lifecycle {
		if err := s.attachSignal(sig); err != nil {
			return err
		}
	}
	if err := seed(); err != nil {
		return fmt.Errorf("enter the cgroups that are there already: %w", err)
	}
	// Who is there already is told before anything that they do.
	for _, sig := range signals {
		if err := s.attachSignal(sig); err != nil {
			return err
		}
	}
	if err := s.reportTasks(); err != nil {
		return err
	}
	for _, sig := range slices.Concat(execSignals, fileSignals, securitySignals, networkSignals) {
		if err := s.attachSignal(sig); err != nil {
			s.cfg.Logger.Warn("signal is off", "signal", sig.name, "reason", err)
		}
	}
	s.capabilities = append(s.capabilities, s.loader.kernel.Content()...)
	// Where it cannot be had, the capability of flows says so.
	if s.loader.load(ownerIterator).err == nil {
		if err := s.iterate(ownerIterator, ""); err != nil {
			return err
		}
	}
	return s.settle()
}

// attachSignal takes the first way that works and notes the capability.
func (s *Sensor) attachSignal(sig signal) error {
	// To attach everything may take longer than an agent may be silent.
	if err := s.self.beat(); err != nil {
		return err
	}
	var reasons []error
	for _, w := range sig.ways {
		err := s.attachWay(w)
		if err == nil {
			s.capabilities = append(s.capabilities, probe.Capability{
				Signal: sig.name, See: probe.Yes, Block: s.blocks(w), Mechanism: s.mechanism(w), Reason: s.unseen(w),
			})
			return nil
		}
		reasons = append(reasons, err)
	}
	err := errors.Join(reasons...)
	s.capabilities = append(s.capabilities, probe.Capability{
		Signal: sig.name, See: probe.No, Block: probe.No, Reason: flatten(reasons),
	})
	return fmt.Errorf("signal %s: %w", sig.name, err)
}

// attachWay attaches all programs of a way or none. One that is attached already serves several signals.
func (s *Sensor) attachWay(w way) error {
	if err := w.lacks(); err != nil {
		return err
	}
	var fresh []*loaded
	for _, name := range w.programs {
		p := s.loader.prepare(name)
		if p.err == nil && !s.loader.attached[name] && !s.pins.has(name) {
			p = s.loader.load(name)
		}
		if p.err != nil {
			return p.err
		}
		if !s.loader.attached[name] && !isIterator(p.spec) {
			fresh = append(fresh, p)
		}
	}
	if err := s.hookAll(fresh); err != nil {
		return err
	}
	if w.calls == 0 {
		return nil
	}
	return s.enableCalls(runtime.GOARCH, w.calls)
}

// lacks is what the kernel lacks for the way, as far as it is known before a load.
func (w *way) lacks() error {
	if w.needs == nil {
		return nil
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's types: %w", err)
	}
	return w.needs(kernel)
}

func (s *Sensor) attach(p *loaded) (link.Link, error) {
	l, err := s.tryAttach(p)
	return l, s.loader.kernel.Explain(err, probe.Needs(p.spec.Type)...)
}

func (s *Sensor) tryAttach(p *loaded) (link.Link, error) {
	switch p.spec.Type {
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p.program})
	case ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: p.program})
	case ebpf.CGroupSKB, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.SockOps:
		return link.AttachCgroup(link.CgroupOptions{
			Path: s.cfg.CgroupRoot, Attach: p.spec.AttachType, Program: p.program,
		})
	default:
		return nil, fmt.Errorf("program type %s: %w", p.spec.Type, errors.ErrUnsupported)
	}
}

// Capabilities says what each signal is seen by, or why it is not, after Start; the first says so of what outlives the
// sensor.
func (s *Sensor) Capabilities() []probe.Capability { return s.capabilities }

// Family is the family of security hooks in use.
func (s *Sensor) Family() probe.Family { return s.loader.family }

// Close detaches and unloads everything that is not pinned. Run must have returned.
func (s *Sensor) Close() error {
	var errs []error
	if s.pins != nil {
		errs = append(errs, s.leave())
	}
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	if s.reader != nil {
		errs = append(errs, s.reader.close())
	}
	errs = append(errs, s.loader.close())
	if err := errors.Join(errs...); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close the sensor: %w", err)
	}
	return nil
}

// mechanism names the hooks as they were attached.
func (s *Sensor) mechanism(w way) string {
	for _, name := range w.programs {
		if spec := s.loader.prepare(name).spec; spec.AttachType == ebpf.AttachModifyReturn {
			return "fmod_ret form of " + w.mechanism
		}
		if spec := s.loader.prepare(name).spec; spec.AttachType == ebpf.AttachTraceFEntry && strings.HasPrefix(spec.AttachTo, "security_") {
			return "fentry form of " + w.mechanism
		}
	}
	return w.mechanism
}

func (s *Sensor) blocks(w way) probe.Support {
	if w.block == probe.Unknown {
		return probe.No
	}
	return w.block
}

// unseen says what the way cannot see, and of what outlived another agent that this one could not attach it anew.
func (s *Sensor) unseen(w way) string {
	reasons := w.unseen
	for _, name := range w.programs {
		if !s.pins.has(name) {
			continue
		}
		rights := s.loader.kernel.Rights
		lacks := rights.Lacks(probe.Needs(s.loader.prepare(name).spec.Type)...)
		if lacks == "" || rights.Has(probe.SysAdmin) {
			continue
		}
		if reasons != "" {
			reasons += "; "
		}
		return reasons + "goes on from an agent before, and cannot be attached anew: " + lacks
	}
	return reasons
}

// flatten puts several reasons on one line, each once.
func flatten(errs []error) string {
	var texts []string
	for _, err := range errs {
		if text := err.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; ")
}
