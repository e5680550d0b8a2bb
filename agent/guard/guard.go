// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/learn"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Config makes a Guard. All fields but those that say so are needed.
type Config struct {
	Node string
	// Dir is where observed profiles and the state of modes are kept.
	Dir string
	// Enforcer is used until Run has returned; the caller closes it and runs it.
	Enforcer *enforce.Enforcer
	// Defaults are the modes of what nothing else says, Brakes what keeps enforcement from doing harm.
	Defaults profile.Modes
	Brakes   mode.Brakes
	// Written are the profiles of the policy file with their modes; may be empty.
	Written []profile.Document
	// Services names addresses for egress entries that name services or workloads. It may be nil.
	Services Cluster
	// InitPID gives the first process of a container by its cgroup, 0 while there is none. It may be nil: then the commands
	// of a pod's specification are learned when they run.
	InitPID func(cgroup uint64) uint32
	// Learn sets the bounds of learning.
	Learn learn.Config
	// OnLate is told of processes that ran before the policy of their container came into force and that it does not let
	// run, by Run's goroutines; it must not wait. It may be nil.
	OnLate func(Late)
	// OnModes is told the modes that hold for a container, when they may have changed, and none when it is gone; by Run's
	// goroutines; it must not wait. It may be nil.
	OnModes func(cgroup uint64, modes profile.Modes)
	// OnAnew is told of containers that run and whose learning has begun anew, so that Existing is called for what runs in
	// them; it must not wait. It may be nil.
	OnAnew func(cgroup uint64)
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Guard keeps containers to their profiles. Use New.
type Guard struct {
	cfg Config
	log *slog.Logger
	now func() time.Time
	// boot is the boot clock, nanoseconds.
	boot func() uint64
	// changed holds a token when there is something for the uplink.
	changed chan struct{}
	// news are what Run has yet to take in, in order; ended is closed when it takes in no more.
	news  chan func() error
	ended chan struct{}
	// compiling is held while what a workload is allowed is worked out and put in force; it is taken before mu.
	compiling sync.Mutex

	mu        sync.Mutex
	learner   *learn.Learner
	modes     *mode.Controller
	workloads map[profile.Key]*workload
	members   map[uint64]*member
	// cluster answers for names of the cluster; nil where nobody can.
	cluster *remember
	// foreseen are the containers whose commands are looked for.
	foreseen map[uint64]foreseeing
	// expected are the names of containers that were announced, and until when they are waited for.
	expected map[string]time.Time
	// removals are those of profiles that were heeded.
	removals removals
	// switches are the last changes of modes, for the collector.
	switches        []mode.Switch
	switchesUnsaved bool
	// due is when the modes are to be looked at again; zero for not before something happens.
	due time.Time
	// saved is the state of modes that is on disk.
	saved []byte
	// births is when cgroups were made for which nothing holds yet, windows how long that took for others.
	births  map[uint64]uint64
	windows Windows
	// watching says that what runs is known.
	watching bool
}

// workload is what is known of a key beside what the learner knows.
type workload struct {
	key profile.Key
	// policy is the enforcer's id, 0 before the first container.
	policy uint32
	// written is of the policy file, effective of the collector; each may be nil.
	written, effective *profile.Profile
	// version counts what was observed, base is the part of it that effective knows, taken what the uplink has and has no
	// answer to.
	version uint64
	base    *profile.Profile
	taken   *profile.Profile
	// effectiveVersion is the collector's, states what was last told of learning.
	effectiveVersion uint64
	states           map[profile.Signal]profile.State
	// unsent says that the uplink is to take it, unsaved that the disk does not have it, stale that the policy does not.
	unsent, unsaved, stale bool
	// withheld says that its profile was removed and it is enforced here, so that what was learned is neither dropped nor told.
	withheld bool
	// failed says that what is allowed could not be put in force; it is tried again now and then.
	failed     bool
	containers int
	// resolvers are the DNS servers of its containers, in order.
	resolvers []netip.Addr
	// hits is what the kernel had counted when it was last asked, late what it has not: verdicts on what ran before.
	hits enforce.Hits
	late wire.Tally
	// blocked is when a deed was last blocked.
	blocked time.Time
	// matcher holds deeds against what the policy allows; nil until it is asked for.
	matcher *profile.Matcher
	// executables are the paths of what is in force, subjects the same by what the kernel programs know them by; nil until it
	// is asked for.
	executables []string
	subjects    map[uint64]string
	// names is a sum of the names that may be contacted, cluster those of them that are of the cluster, in order.
	names   uint64
	cluster []string
}

// member is a container that a policy holds for.
type member struct {
	container *container.Container
	workload  *workload
	// since is when its policy came into force, boot clock, nanoseconds; 0 when one held from the start. judged is how
	// strictly what ran before was judged, as lateStrength has it.
	since  uint64
	judged int
}

// New makes a Guard with what is kept in Dir. It starts nothing. A file there that cannot be read is reported and set
// aside: the workload is learned anew.
func New(cfg Config) (*Guard, error) {
	g := &Guard{
		cfg: cfg, log: cfg.Logger, now: cfg.Now, boot: bootClock, births: map[uint64]uint64{}, changed: make(chan struct{}, 1), news: make(chan func() error, maxNews), ended: make(chan struct{}),
		workloads: map[profile.Key]*workload{}, members: map[uint64]*member{}, expected: map[string]time.Time{}, foreseen: map[uint64]foreseeing{},
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	cfg.Learn.Node = cfg.Node
	g.learner = learn.New(cfg.Learn)
	if len(cfg.Written) > profile.MaxProfiles {
		return nil, fmt.Errorf("%d written profiles: at most %d are held", len(cfg.Written), profile.MaxProfiles)
	}
	written := map[profile.Key]profile.Modes{}
	for _, d := range cfg.Written {
		g.workloadOf(d.Profile.Key).written = d.Profile
		written[d.Profile.Key] = d.Modes
	}
	if err := g.restore(); err != nil {
		return nil, fmt.Errorf("read what was observed before: %w", err)
	}
	if err := g.restoreModes(); err != nil {
		return nil, err
	}
	g.restoreSwitches()
	g.restoreRemovals()
	if cfg.Services != nil {
		g.cluster = newRemember(cfg.Services, cfg.Dir, g.log)
	}
	g.modes.SetFile(written, g.now())
	return g, nil
}

// tick is how often what was learned is put in force, saveEvery how often it is written down.
const (
	tick      = 250 * time.Millisecond
	saveEvery = 10 * time.Second
)

// maxNews is how much may wait for Run before those who tell it have to wait.
const maxNews = 16384

// tell leaves something for Run to take in: to change what is in force may take tens of milliseconds, which nobody else
// should wait for. What has been told when Run ends is not taken in any more.
func (g *Guard) tell(news func() error) {
	select {
	case g.news <- news:
	case <-g.ended:
	}
}

// Run takes in which containers come and go, puts in force and keeps what is learned, until the context ends; then it
// writes down the rest. It returns nil.
func (g *Guard) Run(ctx context.Context) error {
	defer close(g.ended)
	var listening sync.WaitGroup
	listening.Go(func() { g.listen(ctx) })
	listening.Go(func() { g.lookForCommands(ctx) })
	defer listening.Wait()
	return g.keep(ctx)
}

// listen takes in what is told.
func (g *Guard) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case news := <-g.news:
			if err := news(); err != nil {
				g.log.Error("what holds for a container was not changed", "error", err)
			}
		}
	}
}

func (g *Guard) keep(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	saved := g.now()
	for {
		select {
		case <-ctx.Done():
			g.gather()
			g.save()
			return nil
		case <-ticker.C:
		}
		g.gather()
		g.refresh()
		g.tickModes()
		if now := g.now(); now.Sub(saved) >= saveEvery {
			g.count()
			g.save()
			g.forgetExpected()
			g.retry()
			saved = now
		}
	}
}

// gather notes which profiles have changed since it was last called.
func (g *Guard) gather() {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	dirty := g.learner.Dirty(g.now())
	var switches []mode.Switch
	for _, key := range dirty {
		w := g.workloadOf(key)
		// A time, so that it also grows over a restart whose end was not written down.
		w.version = max(w.version+1, uint64(g.now().UnixNano()))
		w.unsent, w.unsaved, w.stale = true, true, true
		switches = append(switches, g.follow(w)...)
	}
	if len(dirty) > 0 {
		g.due = g.modes.Next(g.now())
		g.signal()
	}
	g.mu.Unlock()
	g.report(g.switched(switches))
}

// signal tells the uplink. mu is held.
func (g *Guard) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// refresh puts in force what has changed.
func (g *Guard) refresh() {
	g.mu.Lock()
	var stale []*workload
	for _, w := range g.workloads {
		if w.stale && w.policy != 0 {
			stale = append(stale, w)
		}
	}
	g.mu.Unlock()
	for _, w := range stale {
		g.compiling.Lock()
		if err := g.apply(w); err != nil {
			g.log.Error("policy not renewed, the one before holds", "workload", w.key.String(), "error", err)
		}
		g.compiling.Unlock()
	}
}

// retry makes what could not be put in force due again.
func (g *Guard) retry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workloads {
		w.stale = w.stale || w.failed
	}
}

// apply works out what a workload is allowed and puts it in force. compiling is held.
func (g *Guard) apply(w *workload) error {
	err := g.tryApply(w)
	g.mu.Lock()
	w.failed = err != nil
	g.mu.Unlock()
	if err == nil {
		g.report(g.judgeLateOf(w))
	}
	return err
}

func (g *Guard) tryApply(w *workload) error {
	g.mu.Lock()
	id := w.policy
	w.stale, w.matcher = false, nil
	allowed, err := g.allowed(w)
	options := g.options(w)
	if err == nil {
		w.lists(allowed)
		// Before their addresses are asked for, so that no change of them is missed.
		g.refer(w, clusterNames(allowed))
	}
	g.mu.Unlock()
	if err != nil {
		return fmt.Errorf("what is allowed: %w", err)
	}
	set, err := policy.Compile(allowed, options)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if err := g.cfg.Enforcer.Apply(id, set); err != nil {
		return err
	}
	g.mu.Lock()
	same := w.names == names(allowed)
	w.names = names(allowed)
	g.mu.Unlock()
	if same {
		return nil
	}
	return g.admitAll(w)
}

// allowed joins the layers of a workload. mu is held.
func (g *Guard) allowed(w *workload) (*profile.Profile, error) {
	observed, ok := g.learner.Profile(w.key)
	if !ok {
		observed = &profile.Profile{Key: w.key}
	}
	if w.effective != nil {
		var err error
		if observed, err = profile.Merge(w.effective, observed.Without(w.base)); err != nil && !errors.Is(err, profile.ErrLimit) {
			return nil, err
		}
	}
	return profile.Effective(observed, w.written)
}

// workloadOf finds a workload or enters it. mu is held, or nobody else has g yet.
func (g *Guard) workloadOf(key profile.Key) *workload {
	w := g.workloads[key]
	if w == nil {
		w = &workload{key: key}
		g.workloads[key] = w
	}
	return w
}

// Observe learns from an enriched event and reports whether the observed profile of its workload has a new entry. Events
// that say nothing new cost a look-up.
func (g *Guard) Observe(ev *event.Event) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.learner.Observe(ev)
}

// Existing learns of a process that was there before the agent, or before learning began anew, if its container learns.
func (g *Guard) Existing(ev *event.Event) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ev.Container == nil {
		return false
	}
	e, ok := g.modes.Explain(ev.Container.Cgroup, profile.SignalProcess, g.now())
	return ok && e.Mode == profile.ModeLearn && g.learner.Existing(ev)
}

// Lost says that something was lost for a cause as docs/metrics.md has them: what is being learned may be partial.
func (g *Guard) Lost(cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.learner.Lost(cause, g.now())
}

// Stats is what the learner holds and could not take.
func (g *Guard) Stats() learn.Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.learner.Stats()
}
