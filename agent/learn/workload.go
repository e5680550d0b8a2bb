// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// workload is what has been learned of one key, indexed by what deeds are looked up by.
type workload struct {
	key    profile.Key
	images []profile.Image
	// ordinary is what is allowed, suspect what waits for a person.
	ordinary, suspect tree
	signals           map[profile.Signal]*learning
	entries           int
	// grown says that there are new entries since they were last generalised.
	grown bool
	// next is the number of the next replica.
	next int

	// states are how far learning is, as it was assessed last.
	states   map[profile.Signal]profile.State
	assessed time.Time

	// changed says that there are new entries or that something was lost since the profile was given as dirty, counted that
	// counts have grown.
	changed, counted bool
	given            time.Time
	// last is the profile that was given last, as long as nothing has changed since.
	last *profile.Profile
}

// tree holds processes by path.
type tree map[string]*process

// process is an executable and what it does.
type process struct {
	path         string
	seen         mark
	sources      uint8
	parents      map[string]*mark
	arguments    map[string]*arguments
	anyArguments bool
	libraries    map[string]*mark
	files        files
	egress       map[peer]*mark
	listen       map[port]*mark
	sockets      map[socket]*mark
	capabilities map[string]*mark
}

// arguments is a shape of argument vectors; its key is the shape as the kernel has it.
type arguments struct {
	shape []string
	mark
}

// mark is where an entry comes from, as it is counted here.
type mark struct {
	origin  profile.Origin
	suspect profile.Suspicion
	// first and last are seconds since 1970.
	first, last int64
	count       uint64
	// replicas has a bit for each container, the last one for all that come after it; known is how many there were before
	// the agent started.
	replicas uint64
	known    uint32
	reason   string
}

// peer is somebody to contact: a name, a service, a workload or an address.
type peer struct {
	kind     peerKind
	space    string
	owner    string
	name     string
	prefix   netip.Prefix
	protocol uint8
	port     uint16
}

type peerKind uint8

const (
	peerName peerKind = iota
	peerService
	peerWorkload
	peerPrefix
)

type port struct {
	protocol uint8
	number   uint16
}

type socket struct{ family, kind uint16 }

// learning is how far the learning of a signal is. Times are seconds since 1970.
type learning struct {
	observed         uint64
	replicas         uint64
	known            uint32
	since, new, lost int64
}

// replicaBits is how many containers are told apart.
const replicaBits = 64

func newWorkload(key profile.Key) *workload {
	return &workload{
		key: key, ordinary: tree{}, suspect: tree{}, signals: map[profile.Signal]*learning{},
		states: map[profile.Signal]profile.State{},
	}
}

// nextReplica gives the bit of a new container.
func (w *workload) nextReplica() uint64 {
	bit := uint64(1) << min(w.next, replicaBits-1)
	w.next++
	return bit
}

// image notes the image of a container. What was learned from others is inherited from then on, until it is seen again.
func (w *workload) image(c *container.Container, at int64) {
	digest := c.ImageDigest
	if digest == "" {
		digest = c.ImageID
	}
	if digest == "" {
		return
	}
	for i := range w.images {
		if w.images[i].Digest == digest {
			return
		}
	}
	inherits := len(w.images) > 0
	if len(w.images) == profile.MaxImages {
		w.images = w.images[1:]
	}
	w.images = append(w.images, profile.Image{Digest: digest, Reference: c.Image, FirstSeen: second(at)})
	w.changed = true
	w.touch()
	if !inherits {
		return
	}
	for _, p := range w.ordinary {
		p.marks(func(m *mark) {
			if m.origin == profile.Learned {
				m.origin = profile.Inherited
			}
		})
	}
}

// touch notes that counts, times or more have changed.
func (w *workload) touch() { w.counted, w.last = true, nil }

// signal finds the state of a signal, or begins it.
func (w *workload) signal(s profile.Signal) *learning {
	state := w.signals[s]
	if state == nil {
		state = &learning{}
		w.signals[s] = state
	}
	return state
}

// lost makes a signal partial, if learning has begun.
func (w *workload) lost(s profile.Signal, at int64) {
	if len(w.signals) == 0 {
		return
	}
	if state := w.signal(s); state.lost < seconds(at) {
		state.lost = seconds(at)
		w.changed = w.changed || w.states[s] != profile.StatePartial
		w.states[s] = profile.StatePartial
		w.touch()
	}
}

// news says that a signal is being learned, however quiet it was before.
func (w *workload) news(s profile.Signal) {
	if w.states[s] != profile.StatePartial {
		w.states[s] = profile.StateLearning
	}
}

// marks calls a function for the mark of the process and of all that it does.
func (p *process) marks(f func(*mark)) {
	f(&p.seen)
	for _, m := range p.parents {
		f(m)
	}
	for _, a := range p.arguments {
		f(&a.mark)
	}
	for _, m := range p.libraries {
		f(m)
	}
	p.files.each(func(x *file) { f(&x.mark) })
	for _, m := range p.egress {
		f(m)
	}
	for _, m := range p.listen {
		f(m)
	}
	for _, m := range p.sockets {
		f(m)
	}
	for _, m := range p.capabilities {
		f(m)
	}
}

// seconds cuts nanoseconds.
func seconds(at int64) int64 { return at / int64(time.Second) }

// second is a time as profiles hold it; zero is no time.
func second(at int64) time.Time { return wall(seconds(at)) }

func wall(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// unix is the inverse of wall.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
