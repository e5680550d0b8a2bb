// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	DefaultDeadline   = 3 * time.Second
	DefaultGrace      = 10 * time.Minute
	DefaultMaxCgroups = 65536
	DefaultMaxRecords = 16384
)

// Fixed bounds that keep one container from using up what all share.
const (
	// maxNested is how many cgroups inside one container are remembered one by one.
	maxNested = 1024
	// maxUnknown is how many cgroups without a known place are remembered.
	maxUnknown = 1024
	// maxRetired is how many containers and records are kept after their end.
	maxRetired = 4096
	// maxRetiredMinor is the same for cgroups that are not containers.
	maxRetiredMinor = 1024
	// maxLevels ends a walk up the tree, should garbage have made a circle of it.
	maxLevels = 256
)

// Config is what a Registry needs. Zero values of the numbers mean the defaults.
type Config struct {
	// Node names the host's workload. Required.
	Node string
	// Deadline is how long a container may stay pending.
	Deadline time.Duration
	// Grace is how long a container is kept after its cgroup is gone, for late events and for processes that outlived
	// it elsewhere.
	Grace time.Duration
	// MaxCgroups and MaxRecords bound what is known at a time.
	MaxCgroups int
	MaxRecords int
	// Walk lists all cgroups, parents before children. With an error it may return what it has. Required by Scan and by
	// the re-walks that Run does after losses.
	Walk func(ctx context.Context) ([]Birth, error)
	// OnResolved is called for every container's cgroup when its identity is known, be it at birth, and for every cgroup
	// that was reported pending, when that ended; each time after the identity was published; and again when its pod's DNS
	// servers, owner, labels or annotations become known or change after that. It is called on any goroutine without locks held and must not block. It can come for a cgroup that nobody asked about.
	OnResolved func(cgroup uint64, c *Container)
	// OnPlaced is called for every cgroup found to be a container's or to lie inside one, on the same terms.
	OnPlaced func(cgroup, container uint64)
	// OnExpected is called, on the same terms, when a runtime has announced a container whose cgroup is not there yet, with
	// what is known of it by then; its Cgroup is 0. It can come several times for one container.
	OnExpected func(c *Container)
	// Now is the clock, time.Now by default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Registry knows the containers of a node. All methods are safe for concurrent use.
type Registry struct {
	cfg  Config
	log  *slog.Logger
	host *entry
	// table holds the entry of every known cgroup, the host's included, for Lookup.
	table *table
	wake  chan struct{}

	mu         sync.Mutex
	nodes      map[uint64]*node
	entries    map[uint64]*entry
	open       map[uint64]*entry
	records    map[Key]*record
	byID       map[string][]*record
	byLeaf     map[string][]*record
	held       int
	pods       map[string]*pod
	namespaces map[string]struct{}
	feeds      []*Feed
	retired    retirement
	minor      retirement
	unknown    int
	strings    interner
	stats      Stats
	notes      []note
	seq        uint64
	scan       scan
	// awaitOwners says that containers of pods wait for their owners.
	awaitOwners bool
}

// node is one cgroup directory.
type node struct {
	id, parent uint64
	name       string
	at         time.Time
	seq        uint64
	place      PlaceKind
	entry      *entry
	gone       bool
}

// entry is one container's cgroup, or the host, or a cgroup whose place is unknown.
type entry struct {
	current  atomic.Pointer[Container]
	cgroup   uint64
	path     string
	hint     hint
	at       time.Time
	rec      *record
	members  map[uint64]struct{}
	deadline time.Time
	absent   uint64
	// late says that its deadline has passed.
	late bool
}

func (e *entry) state() State { return e.current.Load().State }

// hint is what the path says of a container.
type hint struct {
	Layout
	namespace string
}

// note is a callback that is due once the lock is released.
type note struct {
	resolved *Container
	expected *Container
	cgroup   uint64
	placed   uint64
}

// New makes a registry that knows nothing but the host. It starts nothing.
func New(cfg Config) (*Registry, error) {
	if cfg.Node == "" {
		return nil, errors.New("container registry: node name is empty")
	}
	if cfg.Deadline < 0 || cfg.Grace < 0 || cfg.MaxCgroups < 0 || cfg.MaxRecords < 0 {
		return nil, fmt.Errorf("container registry: negative limit in deadline %s, grace %s, cgroups %d, records %d",
			cfg.Deadline, cfg.Grace, cfg.MaxCgroups, cfg.MaxRecords)
	}
	setDefaults(&cfg)
	r := &Registry{
		cfg:        cfg,
		log:        cfg.Logger,
		host:       &entry{},
		table:      newTable(),
		wake:       make(chan struct{}, 1),
		nodes:      make(map[uint64]*node),
		entries:    make(map[uint64]*entry),
		open:       make(map[uint64]*entry),
		records:    make(map[Key]*record),
		byID:       make(map[string][]*record),
		byLeaf:     make(map[string][]*record),
		pods:       make(map[string]*pod),
		namespaces: make(map[string]struct{}),
		retired:    retirement{limit: maxRetired},
		minor:      retirement{limit: maxRetiredMinor},
	}
	r.host.current.Store(&Container{
		State: StateResolved, Kind: KindHost, Name: cfg.Node, Node: cfg.Node,
		WorkloadKind: OwnerHost, Workload: cfg.Node, Created: cfg.Now(),
	})
	r.table.set(0, r.host)
	return r, nil
}

func setDefaults(cfg *Config) {
	if cfg.Deadline == 0 {
		cfg.Deadline = DefaultDeadline
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.MaxCgroups == 0 {
		cfg.MaxCgroups = DefaultMaxCgroups
	}
	if cfg.MaxRecords == 0 {
		cfg.MaxRecords = DefaultMaxRecords
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// Lookup returns the identity behind a cgroup id and how much of it is known. Id 0 is the host. The pointer is nil with
// StateUnknown only. It allocates nothing.
func (r *Registry) Lookup(cgroup uint64) (*Container, State) {
	e := r.table.get(cgroup)
	if e == nil {
		return nil, StateUnknown
	}
	c := e.current.Load()
	return c, c.State
}

// Host returns the identity of the node.
func (r *Registry) Host() *Container { return r.host.current.Load() }

// Born takes the birth of a cgroup and says where it stands. A birth that is known already changes nothing.
func (r *Registry) Born(b Birth) Placement {
	r.mu.Lock()
	r.stats.Born++
	p := r.insert(b)
	r.unlock()
	return p
}

// Gone takes the end of a cgroup. Its identity is kept for the time of grace.
func (r *Registry) Gone(cgroup uint64) {
	r.mu.Lock()
	r.stats.Gone++
	if r.scan.running {
		r.scan.gone[cgroup] = struct{}{}
	}
	if n := r.nodes[cgroup]; n != nil {
		r.retireNode(n)
	}
	r.unlock()
}

// Missing reports that an event named a cgroup that Lookup does not know. The cgroup becomes pending, and Run walks the
// tree for it.
func (r *Registry) Missing(cgroup uint64) {
	r.mu.Lock()
	defer r.unlock()
	if cgroup == 0 || r.nodes[cgroup] != nil {
		return
	}
	r.stats.Missing++
	if n := r.addNode(Birth{Cgroup: cgroup, At: r.cfg.Now()}); n != nil {
		r.lost(n)
	}
}

// Path returns the path of a cgroup below the cgroup2 mount, empty if it is not known.
func (r *Registry) Path(cgroup uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[cgroup]
	if n == nil || n.place == PlaceUnknown {
		return ""
	}
	return r.path(n)
}

// SetOwner sets the workload of a pod, as Kubernetes reports it, in place of the one derived from labels. The zero Owner
// takes it back.
func (r *Registry) SetOwner(podUID string, o Owner) {
	r.mu.Lock()
	defer r.unlock()
	p := r.podOf(podUID)
	if p == nil {
		return
	}
	o = Owner{Kind: r.strings.string(o.Kind), Name: r.strings.string(o.Name)}
	if p.owner != o {
		p.owner = o
		r.republish(p)
	}
	r.releasePod(podUID, p)
}

// unlock releases the lock and then makes the callbacks that have come due under it.
func (r *Registry) unlock() {
	notes := r.notes
	r.notes = nil
	r.mu.Unlock()
	for _, n := range notes {
		switch {
		case n.expected != nil:
			if r.cfg.OnExpected != nil {
				r.cfg.OnExpected(n.expected)
			}
		case n.resolved != nil:
			if r.cfg.OnResolved != nil {
				r.cfg.OnResolved(n.cgroup, n.resolved)
			}
		case r.cfg.OnPlaced != nil:
			r.cfg.OnPlaced(n.cgroup, n.placed)
		}
	}
}

// poke makes Run look again at what is due.
func (r *Registry) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
