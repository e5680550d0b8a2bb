// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/replace"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/wire"
	detectors "github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// maxFindings bounds the findings that wait for the pipeline.
const maxFindings = 1024

// inspection reads what containers send and get, those whose modes ask for it. Until there is one, nothing of it is loaded, in
// the kernel or here.
type inspection struct {
	agent   *Agent
	changed chan struct{}

	// mu guards what follows.
	mu sync.Mutex
	// asked is what the modes of containers ask for, where that is anything; news are those of which it has changed.
	asked map[uint64]asked
	news  map[uint64]bool
	// any says that asked has something; it is read without the lock.
	any    atomic.Bool
	taking *sensor.Content

	// reader is there from when the first container is to be read.
	reader atomic.Pointer[content.Reader]
	heads  heads
}

// asked is what is asked for of a container: that what it sends is looked through, and the requests that it serves.
type asked struct{ dlp, waf bool }

func newInspection(a *Agent) *inspection {
	return &inspection{agent: a, changed: make(chan struct{}, 1), asked: map[uint64]asked{}, news: map[uint64]bool{}, heads: newHeads()}
}

// modes takes the modes that hold for a container, none for one that is gone.
func (i *inspection) modes(cgroup uint64, modes profile.Modes) {
	reads := func(s profile.Signal) bool { return modes[s] != profile.ModeOff && modes[s] != "" }
	to := asked{reads(profile.SignalDLP), reads(profile.SignalWAF)}
	i.mu.Lock()
	before := i.asked[cgroup]
	if to != before {
		i.asked[cgroup], i.news[cgroup] = to, true
		if to == (asked{}) {
			delete(i.asked, cgroup)
		}
		i.any.Store(len(i.asked) > 0)
	}
	i.mu.Unlock()
	if to != before {
		i.agent.refocus(cgroup)
	}
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

// inspect keeps what is inspected in step with the modes, and reads it, until the context ends.
func (a *Agent) inspect(ctx context.Context) error {
	select {
	case <-a.attached:
	case <-ctx.Done():
		return nil
	}
	i := a.inspection
	taking := a.sensor.NewContent(sensor.ContentConfig{})
	i.mu.Lock()
	i.taking = taking
	i.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return taking.Run(ctx, i) })
	group.Go(func() error { return i.readHeads(ctx) })
	group.Go(func() error {
		for {
			i.follow()
			select {
			case <-ctx.Done():
				return nil
			case <-i.changed:
			}
		}
	})
	return group.Wait()
}

// follow begins and ends what the modes ask for.
func (i *inspection) follow() {
	i.mu.Lock()
	reads := map[uint64]asked{}
	for cgroup := range i.news {
		reads[cgroup] = i.asked[cgroup]
	}
	clear(i.news)
	i.mu.Unlock()
	log := i.agent.log.With("part", "inspection")
	for cgroup, to := range reads {
		if err := i.read(cgroup, to); err != nil {
			log.Error("what a container sends is not read", "cgroup", cgroup, "error", err)
		}
	}
}

// read begins to read what is asked for of a container, or ends it.
func (i *inspection) read(cgroup uint64, to asked) error {
	if to == (asked{}) {
		return i.taking.Release(cgroup)
	}
	if err := i.prepare(); err != nil {
		return err
	}
	var wants sensor.Directions
	if to.dlp {
		wants |= sensor.Leaving
	}
	if to.waf {
		wants |= sensor.Entering
	}
	return i.taking.Inspect(cgroup, wants, sensor.Budget{Rate: i.agent.cfg.ContentRate})
}

// prepare makes the reader when the first container is to be read. What asks for modes meanwhile does not wait for it.
func (i *inspection) prepare() error {
	if i.reader.Load() != nil {
		return nil
	}
	key, err := contentKey(filepath.Join(i.agent.cfg.DataDir, "content.key"))
	if err != nil {
		return err
	}
	set, err := detectors.Builtin()
	if err != nil {
		return fmt.Errorf("detectors: %w", err)
	}
	matcher, err := set.Compile(detectors.CompileConfig{Key: key})
	if err != nil {
		return fmt.Errorf("detectors: %w", err)
	}
	inline, err := matcher.Inline()
	if err != nil {
		return fmt.Errorf("detectors: %w", err)
	}
	if err := i.taking.Block(&inline, matcher.Detectors()); err != nil {
		return fmt.Errorf("detectors: %w", err)
	}
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		return err
	}
	reader, err := content.New(content.Config{
		Matcher: matcher, Filter: filter, Internal: i.Internal, Modes: i.Asked, Found: i.found, Failed: i.failed,
		Requests: i.agent.requests(), PrintKey: binary.NativeEndian.Uint64(key[:]), Exceptions: i.agent.labels.Exceptions(),
	})
	if err != nil {
		return err
	}
	if err := i.agent.watchLabels(); err != nil {
		return err
	}
	i.reader.Store(reader)
	return nil
}

// contentKey reads the key of the hashes by which values are told, or makes it.
func contentKey(path string) (key [32]byte, err error) {
	text, err := os.ReadFile(path)
	switch {
	case err == nil && len(text) == len(key):
		return [32]byte(text), nil
	case err == nil:
		return key, fmt.Errorf("read %s: %d bytes, %d expected", path, len(text), len(key))
	case !errors.Is(err, fs.ErrNotExist):
		return key, fmt.Errorf("read the key of hashes: %w", err)
	}
	if _, err := rand.Read(key[:]); err != nil {
		return key, fmt.Errorf("make the key of hashes: %w", err)
	}
	return key, replace.File(path, key[:])
}

// Asked implements exfil.World.
func (i *inspection) Asked(cgroup uint64) (dlp, waf bool) {
	if !i.any.Load() {
		return false, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	to := i.asked[cgroup]
	return to.dlp, to.waf
}

// Holds implements exfil.World.
func (i *inspection) Holds(ev *event.Event, names []string) bool {
	return i.agent.guard.Holds(ev, names)
}

// Settled implements exfil.World.
func (i *inspection) Settled(cgroup uint64, signal profile.Signal) bool {
	return i.agent.guard.Judges(cgroup, signal)
}

// Internal implements exfil.World: whether an address is of the cluster, a pod's or a service's.
func (i *inspection) Internal(a netip.Addr) bool {
	of, known := i.agent.book.Lookup(a)
	if !known && i.agent.cluster != nil {
		of, known = i.agent.cluster.Lookup(a)
	}
	return known && (of.Kind == container.EndpointPod || of.Kind == container.EndpointService)
}

// found hands a finding to the pipeline, which knows who it was.
func (i *inspection) found(f content.Found) {
	select {
	case i.agent.pipeline.found <- f:
	default:
		i.agent.pipeline.counts.findingsLost.Add(1)
	}
}

// foundInWhole hands on a finding in a request as a whole, of which nobody has masked what stands around it.
func (i *inspection) foundInWhole(f content.Found) { i.found(i.reader.Load().Shown(f)) }

// failed tells that what was sent could not be read: a fault of ours, which somebody may have looked for.
func (i *inspection) failed(failure any, stack []byte) {
	i.agent.log.Error("what was sent was not read, and nothing else that was on its way", "part", "inspection", "failure", failure, "at", string(stack))
}

// Content implements sensor.ContentHandler.
func (i *inspection) Content(piece *wire.Content, text []byte) { i.reader.Load().Content(piece, text) }

// Settle implements sensor.ContentHandler.
func (i *inspection) Settle(now int64) {
	if reader := i.reader.Load(); reader != nil {
		reader.Settle(now)
	}
}

// ended takes note that a connection of a container has ended.
func (i *inspection) ended(n *wire.Net) {
	if wire.NetFlag(n.NetFlags)&wire.NetClosed == 0 || !i.any.Load() {
		return
	}
	if reader := i.reader.Load(); reader != nil {
		reader.Ended(n.Cookie, int64(n.Head.Time))
	}
}

// opaque lists processes of inspected containers whose TLS is not seen.
func (i *inspection) opaque() []sensor.Opaque {
	i.mu.Lock()
	taking := i.taking
	i.mu.Unlock()
	if taking == nil {
		return nil
	}
	return taking.Opaque()
}

// inspected is what was taken and what was read of it.
type inspected struct {
	taken sensor.ContentStats
	read  content.Stats
}

func (i *inspection) stats() inspected {
	i.mu.Lock()
	taking := i.taking
	i.mu.Unlock()
	var s inspected
	if taking != nil {
		s.taken = taking.Stats()
	}
	if reader := i.reader.Load(); reader != nil {
		s.read = reader.Stats()
	}
	return s
}

func (i *inspection) close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.taking == nil {
		return nil
	}
	return i.taking.Close()
}
