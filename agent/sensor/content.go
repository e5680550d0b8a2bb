// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/sensor/objects"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// ContentConfig sizes the taking of content. The zero value of each field means its default.
type ContentConfig struct {
	// Ring is the size of the ring of content in bytes, a power of two and a multiple of the page size. Default 8 MiB. It is there
	// only while a container is inspected.
	Ring uint32
	// MaxFiles is how many executables and libraries may have probes at once. Default 256.
	MaxFiles int
	// Poll is the pause between two looks at the ring. Default 10 ms.
	Poll time.Duration
}

func (c ContentConfig) withDefaults() ContentConfig {
	if c.Ring == 0 {
		c.Ring = 8 << 20
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = 256
	}
	if c.Poll == 0 {
		c.Poll = 10 * time.Millisecond
	}
	return c
}

// Budget bounds what is taken of a container, in bytes: a second over time, and at once. Each packet or call costs 256 beside its
// text. Defaults 4 MiB and 8 MiB; a burst is at least 1 MiB, so that the largest packet fits.
type Budget struct {
	Rate, Burst uint64
}

func (b Budget) withDefaults() Budget {
	if b.Rate == 0 {
		b.Rate = 4 << 20
	}
	if b.Burst == 0 {
		b.Burst = 2 * b.Rate
	}
	b.Burst = max(b.Burst, 1<<20)
	return b
}

// Content takes what inspected containers send and get: from packets, and inside TLS from probes in the processes. Its programs
// are attached, and its maps are there, while a container is inspected; nothing of it is pinned. Programs and maps of the sensor
// are used, and none of them is changed.
//
// What must not leave (Block) is refused where the mode is enforce, and the connection is reset.
//
// A container is inspected when Inspect was called for it and the mode of its policy is not off: of SignalDlp for what leaves, of
// SignalWaf for the requests that it serves.
type Content struct {
	cfg    ContentConfig
	log    *slog.Logger
	kernel *probe.Kernel
	cgroup string
	// shared are the maps of the sensor.
	shared map[string]*ebpf.Map
	files  *files
	// changed wakes Run when taking begins.
	changed chan struct{}

	// asking is held by Inspect, Release and Close, one at a time; before reading.
	asking sync.Mutex
	// mu guards asked, taking and automaton, which is nil until Block. It is held for moments: who writes taking holds reading too, so
	// that what takes long, loading and attaching, is done with that alone.
	mu        sync.Mutex
	asked     map[uint64]Budget
	taking    *taking
	automaton *automaton
	// reading is held while the ring is read, and while it is brought or taken away; before mu.
	reading sync.Mutex
	// counts are those of readers that are gone.
	counts contentCounts
	// resets are connections that were ended, unreset those that could not be.
	resets, unreset atomic.Uint64
}

// taking is what is there while containers are inspected.
type taking struct {
	collections []*ebpf.Collection
	maps        map[string]*ebpf.Map
	programs    map[string]*ebpf.Program
	links       []link.Link
	reader      *contentReader
	// uprobes is the way by which programs go into functions, and noProbes why none does.
	uprobes  probe.Uprobes
	noProbes string
}

// NewContent prepares the taking of content. It is called after Start, and closed before the sensor is. Nothing is loaded before
// the first Inspect.
func (s *Sensor) NewContent(cfg ContentConfig) *Content {
	cfg = cfg.withDefaults()
	c := &Content{
		cfg: cfg, log: s.cfg.Logger, kernel: s.loader.kernel, cgroup: s.cfg.CgroupRoot, shared: maps.Clone(s.loader.maps),
		changed: make(chan struct{}, 1), asked: map[uint64]Budget{},
	}
	c.files = newFiles(cfg.MaxFiles, c.log, s.policies.Processes)
	return c
}

// Inspect begins to take content of a container, by its cgroup2 id, or changes what is wanted of it or its budget. What is taken, the modes of
// the policy say; what is wanted, which functions of TLS libraries have probes, since each call of one that has costs time. The first
// container brings the programs in, which takes some seconds, most of them in the kernel's verifier; an error says what the kernel refuses, and nothing is taken then.
func (c *Content) Inspect(container uint64, wants Directions, budget Budget) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	if err := c.ask(container, budget.withDefaults()); err != nil {
		return err
	}
	// Where less is wanted it waits for files that are looked at, and meanwhile others are read.
	return c.files.want(container, wants)
}

// ask has the programs take content of a container, and brings them in if it is the first.
func (c *Content) ask(container uint64, budget Budget) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.taking == nil {
		t, err := c.begin()
		if err != nil {
			return fmt.Errorf("take content: %w", c.kernel.Explain(err, probe.BPF, probe.Perfmon, probe.NetAdmin))
		}
		if err := c.files.use(t.programs, t.maps["tls_calls"], t.uprobes, t.noProbes); err != nil {
			return errors.Join(err, t.close())
		}
		c.mu.Lock()
		c.taking = t
		c.mu.Unlock()
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	err := c.taking.ask(container, budget)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if len(c.asked) == 0 {
			err = errors.Join(err, c.end())
		}
		return err
	}
	c.asked[container] = budget
	return nil
}

// ask writes the maps: what is spent first, since without it nothing may be.
func (t *taking) ask(container uint64, budget Budget) error {
	err := t.maps["content_spent"].Update(container, wire.ContentSpent{Tokens: budget.Burst, Last: bootNow()}, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("map content_spent: container %d: %w", container, err)
	}
	if err := t.maps["content_asked"].Put(container, wire.ContentAsked{Rate: budget.Rate, Burst: budget.Burst}); err != nil {
		return fmt.Errorf("map content_asked: container %d: %w", container, err)
	}
	return nil
}

// Release ends what Inspect began. The last container takes the programs out. One that is not inspected is no error.
func (c *Content) Release(container uint64) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.mu.Lock()
	_, known := c.asked[container]
	delete(c.asked, container)
	left := len(c.asked)
	c.mu.Unlock()
	if !known {
		return nil
	}
	var errs []error
	for _, name := range []string{"content_asked", "content_spent"} {
		if err := c.taking.maps[name].Delete(container); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("map %s: container %d: %w", name, container, err))
		}
	}
	errs = append(errs, c.files.release(container))
	if left == 0 {
		c.reading.Lock()
		defer c.reading.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		errs = append(errs, c.end())
	}
	return errors.Join(errs...)
}

// end takes everything out. Both locks are held.
func (c *Content) end() error {
	if c.taking == nil {
		return nil
	}
	t := c.taking
	c.taking = nil
	err := c.files.use(nil, nil, t.uprobes, "")
	c.counts.add(&t.reader.counts)
	return errors.Join(err, t.close())
}

// Close takes out what is there. Run must have returned.
func (c *Content) Close() error {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.asked)
	return c.end()
}

// Run hands what is taken to the handler until the context ends, and puts probes into what the inspected containers run. It may
// be called once.
func (c *Content) Run(ctx context.Context, handle ContentHandler) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.files.run(ctx) })
	group.Go(func() error { return c.read(ctx, handle) })
	return group.Wait()
}

func (c *Content) read(ctx context.Context, handle ContentHandler) error {
	for ctx.Err() == nil {
		active, told, err := c.cycle(handle)
		if err != nil {
			return err
		}
		handle.Settle(told)
		if active {
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.changed:
		}
	}
	_, told, err := c.cycle(handle)
	handle.Settle(told)
	return err
}

// cycle reads what is there, after a pause, if anything is taken, and tells when everything was handed out that had been taken
// before.
func (c *Content) cycle(handle ContentHandler) (active bool, told int64, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	t := c.taking
	c.mu.Unlock()
	if t == nil {
		return false, int64(bootNow()), nil
	}
	err = t.reader.cycle(c.cfg.Poll, handle, c)
	return true, t.reader.told, err
}

// begin loads and attaches the programs.
func (c *Content) begin() (*taking, error) {
	t := &taking{maps: map[string]*ebpf.Map{}, programs: map[string]*ebpf.Program{}}
	way, found := c.kernel.Uprobes()
	t.uprobes = way
	if found.Support == probe.No {
		t.noProbes = found.Reason
	}
	types := btf.NewCache()
	for _, load := range []func() (*ebpf.CollectionSpec, error){objects.LoadContent, objects.LoadTls} {
		spec, err := load()
		if err == nil {
			err = t.load(spec, c.cfg, c.shared, types)
		}
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	c.mu.Lock()
	automaton := c.automaton
	c.mu.Unlock()
	err := automaton.put(t.maps)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	if t.reader, err = newContentReader(t.maps["ring_content"]); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring: %w", err), t.close())
	}
	if err := t.attach(c.cgroup); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// load loads the programs of an object over the maps that are there, those of the sensor and those of the object before.
func (t *taking) load(spec *ebpf.CollectionSpec, cfg ContentConfig, shared map[string]*ebpf.Map, types *btf.Cache) error {
	if err := checkVersion(spec); err != nil {
		return err
	}
	for _, p := range spec.Programs {
		if p.Type == ebpf.Kprobe {
			p.AttachType = t.uprobes.AttachType()
		}
	}
	replace := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if name == "ring_content" {
			m.MaxEntries = cfg.Ring
		}
		for _, from := range []map[string]*ebpf.Map{shared, t.maps} {
			if there, ok := from[name]; ok && !isConstants(name) {
				replace[name] = there
				m.MaxEntries = there.MaxEntries()
			}
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: types})
	if err != nil {
		if words := lastWords(err); words != nil {
			// The library's begin with the program.
			program, _, _ := strings.Cut(err.Error(), ": load program")
			return fmt.Errorf("%s: %w", program, words)
		}
		return err
	}
	t.collections = append(t.collections, collection)
	maps.Copy(t.programs, collection.Programs)
	for name, m := range collection.Maps {
		if _, there := t.maps[name]; !there && !isConstants(name) {
			t.maps[name] = m
		}
	}
	return nil
}

func isConstants(name string) bool { return name[0] == '.' }

func (t *taking) attach(cgroup string) error {
	for name, at := range map[string]ebpf.AttachType{
		"on_content_socket": ebpf.AttachCGroupInetSockCreate, "on_content_egress": ebpf.AttachCGroupInetEgress,
		"on_content_ingress": ebpf.AttachCGroupInetIngress,
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: at, Program: t.programs[name]})
		if err != nil {
			return fmt.Errorf("program %s: attach: %w", name, err)
		}
		t.links = append(t.links, l)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: t.programs["on_content_exec"]})
	if err != nil {
		return fmt.Errorf("program on_content_exec: attach: %w", err)
	}
	t.links = append(t.links, l)
	return nil
}

func (t *taking) close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	if t.reader != nil {
		errs = append(errs, t.reader.ring.close())
	}
	for _, c := range t.collections {
		c.Close()
	}
	return errors.Join(errs...)
}
