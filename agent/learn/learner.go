// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Config sets the bounds of a Learner. Zero values stand for the defaults.
type Config struct {
	// Node is the name of the node, under which replicas are counted.
	Node string
	// MaxProfiles bounds the workloads; default and most profile.MaxProfiles.
	MaxProfiles int
	// MaxEntries bounds the entries of one profile; default and most profile.MaxEntries.
	MaxEntries int
	// MaxTotal bounds the entries of all profiles together; default 256 Ki.
	MaxTotal int
	// Refresh is how often a profile is given as dirty of which nothing but counts and times has changed; default five
	// minutes.
	Refresh time.Duration
	// Criteria say when what was learned is believed to be all; the defaults are profile's.
	Criteria profile.Criteria
	// Owner names the workload that a pod's address belongs to. Without it, or where it does not know, pods are learned by
	// address; where it has asked, the contact waits a moment for the answer. It is given an EndpointPod and must not block.
	Owner func(pod container.Endpoint) (container.Owner, container.OwnerAnswer)
}

// Stats counts what a Learner holds and what it could not take.
type Stats struct {
	Profiles, Entries int
	// Learned counts entries that were new, of them Candidates those that wait for a person.
	Learned, Candidates uint64
	// Refused counts what did not fit, Unknown what was done by a process or in a container that is not known, Unlearnable
	// what a profile has no entry for. All of them make the signal partial where it is known whose it is.
	Refused, Unknown, Unlearnable uint64
	// Repeated counts deeds that were told although all of them had been learned some time ago: something that is learned
	// is not what the kernel programs compare, or was not put in force.
	Repeated uint64
	// Secrets counts executables that take any arguments because theirs hold secrets.
	Secrets uint64
	// Answers counts DNS answers that were forgotten for want of room.
	Answers uint64
	// Annotations counts those about probes that could not be read.
	Annotations uint64
}

// Learner holds the observed profiles of a node. Not safe for concurrent use.
type Learner struct {
	cfg       Config
	workloads map[profile.Key]*workload
	// replicas are the living containers that have been seen, by cgroup.
	replicas map[uint64]*replica
	stats    Stats
	asked    asked
	waiting  waiting
	// shape holds the shape of what is looked up.
	shape []byte
}

// replica is a living container.
type replica struct {
	workload *workload
	// bit stands for it in the marks of entries.
	bit uint64
	// incident is until when it is in one, wall clock, nanoseconds.
	incident int64
	// probes are the commands that the kubelet runs in it, each argument ended by NUL.
	probes   []string
	answers  *answers
	identity *container.Container
}

// New makes a Learner without profiles.
func New(cfg Config) *Learner {
	bound := func(n *int, most int) {
		if *n <= 0 || *n > most {
			*n = most
		}
	}
	bound(&cfg.MaxProfiles, profile.MaxProfiles)
	bound(&cfg.MaxEntries, profile.MaxEntries)
	if cfg.MaxTotal <= 0 {
		cfg.MaxTotal = 256 << 10
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = 5 * time.Minute
	}
	return &Learner{
		cfg: cfg, workloads: map[profile.Key]*workload{}, replicas: map[uint64]*replica{},
		shape: make([]byte, 0, profile.MaxText),
	}
}

// Began takes in a container that learns, once it has its name: its image is known to the profile before anything is
// learned, and its DNS answers are heard from the first on. A digest that the profile does not know inherits what was
// learned from others. Observe does the same with the first deed that it is to learn.
func (l *Learner) Began(c *container.Container, at time.Time) {
	l.replica(c, at.UnixNano())
}

// Ended forgets a container. What was learned from it stays.
func (l *Learner) Ended(cgroup uint64) { delete(l.replicas, cgroup) }

// Incident makes candidates of all that a container shows until some time. An earlier end does not shorten it.
func (l *Learner) Incident(cgroup uint64, until time.Time) {
	if r := l.replicas[cgroup]; r != nil {
		r.incident = max(r.incident, until.UnixNano())
	}
}

// Probes names the commands, each an argument vector, that are run in a container to see how it does. The sessions in
// which they run are no person's: what they do is learned. They add to those that annotations name.
func (l *Learner) Probes(cgroup uint64, commands [][]string) {
	if r := l.replicas[cgroup]; r != nil {
		r.addProbes(commands)
	}
}

// Observe learns from an enriched event: of deeds whose head says LEARN, and of DNS answers of containers that are known,
// the names. It reports whether an observed profile has a new entry.
func (l *Learner) Observe(ev *event.Event) bool {
	if ev.Type == wire.TypeDns && ev.DNS().Outbound == 0 {
		if ev.Container != nil && l.replicas[ev.Container.Cgroup] != nil {
			l.answer(l.replicas[ev.Container.Cgroup], ev)
		}
		return false
	}
	if !ev.Has(wire.FlagLearn) || ev.Process == nil {
		return false
	}
	r := l.replicaOf(ev)
	return r != nil && l.deed(r, ev)
}

// Existing learns the executable of a process that was there before the agent, of a container that learns: its exec was
// not seen, and will not be until the container starts anew. The event is the one of the process (hf_task), enriched. It
// reports whether the observed profile has a new entry.
func (l *Learner) Existing(ev *event.Event) bool {
	if ev.Exec() == nil || ev.Process == nil {
		return false
	}
	r := l.replicaOf(ev)
	return r != nil && l.deed(r, ev)
}

// replicaOf finds the container of an event; nil for the host's, and for those of which too little is known, which is
// counted.
func (l *Learner) replicaOf(ev *event.Event) *replica {
	r := l.replica(ev.Container, ev.Time)
	if r == nil && (ev.Head.Origin != 0 || ev.Process.Origin != 0) {
		l.stats.Unknown++
	}
	return r
}

// replica finds the container, or enters it; nil when it has no profile.
func (l *Learner) replica(c *container.Container, at int64) *replica {
	if c == nil {
		return nil
	}
	r := l.replicas[c.Cgroup]
	if r != nil && r.identity == c {
		return r
	}
	key, ok := report.Key(c)
	if !ok || c.State != container.StateResolved || key.Validate() != nil {
		return nil
	}
	if r == nil || r.workload.key != key {
		w := l.workload(key)
		if w == nil {
			return nil
		}
		known := r
		r = &replica{workload: w, bit: w.nextReplica(), answers: newAnswers()}
		if known != nil {
			r.answers, r.incident = known.answers, known.incident
		}
		l.replicas[c.Cgroup] = r
	}
	r.identity = c
	r.workload.image(c, at)
	commands, err := annotated(c)
	if err != nil {
		l.stats.Annotations++
	}
	r.addProbes(commands)
	r.addProbes(c.Commands)
	return r
}

// workload finds the state of a key, or makes it; nil when there is no room.
func (l *Learner) workload(key profile.Key) *workload {
	if w := l.workloads[key]; w != nil {
		return w
	}
	if len(l.workloads) >= l.cfg.MaxProfiles {
		l.stats.Refused++
		return nil
	}
	w := newWorkload(key)
	l.workloads[key] = w
	return w
}

// Lost says that something was lost for a cause as docs/metrics.md has them. What living containers showed at that time may
// be missing, so the signals that the cause touches are partial.
func (l *Learner) Lost(cause string, at time.Time) {
	for _, signal := range touched(cause) {
		for _, r := range l.replicas {
			r.workload.lost(signal, at.UnixNano())
		}
	}
}

// touched are the signals of which events are missing after a loss. An event that came without one of its texts is no loss
// here: what cannot be learned of it is noted with the container that it belongs to.
func touched(cause string) []profile.Signal {
	switch cause {
	case "ring_urgent_gap", "ring_bulk_gap", "kernel_scratch_busy", "record_malformed",
		"kernel_process_map_full", "process_table_full", "kernel_cgroup_map_full", "cgroup_dropped":
		return profile.LearnedSignals()
	case "kernel_socket_map_full", "kernel_flow_map_full", "kernel_packet_read", "dns_stream_incomplete":
		return []profile.Signal{profile.SignalEgress}
	default:
		return nil
	}
}

// assessEvery is how often it is looked at how far learning is.
const assessEvery = 10 * time.Second

// Dirty gives the keys of the profiles that have changed since they were last given: at once where entries have or where
// learning has come to another state, and every Refresh where only counts and times have. In order of the keys.
func (l *Learner) Dirty(now time.Time) []profile.Key {
	l.retry(now)
	running := make(map[*workload]uint32, len(l.workloads))
	for _, r := range l.replicas {
		running[r.workload]++
	}
	var keys []profile.Key
	for key, w := range l.workloads {
		assessed := now.Sub(w.assessed) >= assessEvery && l.assess(w, now, running[w])
		if w.changed || assessed || w.counted && now.Sub(w.given) >= l.cfg.Refresh {
			w.changed, w.counted, w.given = false, false, now
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, profile.Key.Compare)
	return keys
}

// Profile gives the observed profile of a key as it is now, in canonical order; false when there is none. It is given to
// others too and must not be changed, here it never is.
func (l *Learner) Profile(key profile.Key) (*profile.Profile, bool) {
	w := l.workloads[key]
	if w == nil {
		return nil, false
	}
	return l.snapshot(w), true
}

// Keys lists the workloads that there are profiles of, in order.
func (l *Learner) Keys() []profile.Key {
	keys := make([]profile.Key, 0, len(l.workloads))
	for key := range l.workloads {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, profile.Key.Compare)
	return keys
}

// Errors of Restore.
var (
	// ErrKnown says that something has been learned of the workload already.
	ErrKnown = errors.New("there is a profile already")
	// ErrFull says that the profile does not fit.
	ErrFull = errors.New("no room")
)

// Restore takes back an observed profile from before the agent started. It must come before the first event of the
// workload; nothing of the profile is shared.
func (l *Learner) Restore(p *profile.Profile) error {
	if err := p.Key.Validate(); err != nil {
		return fmt.Errorf("restore a profile: key: %w", err)
	}
	if l.workloads[p.Key] != nil {
		return fmt.Errorf("restore the profile of %s: %w", p.Key, ErrKnown)
	}
	n := p.Len()
	if len(l.workloads) >= l.cfg.MaxProfiles || n > l.cfg.MaxEntries || l.stats.Entries+n > l.cfg.MaxTotal {
		return fmt.Errorf("restore the profile of %s with %d entries: %w", p.Key, n, ErrFull)
	}
	w := newWorkload(p.Key)
	if err := w.load(p, l.cfg.Node); err != nil {
		return fmt.Errorf("restore the profile of %s: %w", p.Key, err)
	}
	l.workloads[p.Key] = w
	l.stats.Entries += w.entries
	return nil
}

// Anew forgets what was learned of a key: its containers go on, and learn from the next event on. Contacts that wait for the
// names of their peers are forgotten too; DNS answers stay. False when there is no profile.
func (l *Learner) Anew(key profile.Key) bool {
	w := l.workloads[key]
	if w == nil {
		return false
	}
	l.stats.Entries -= w.entries
	delete(l.workloads, key)
	l.waiting.drop(func(ev *event.Event) bool {
		r := l.replicas[ev.Container.Cgroup]
		return r != nil && r.workload == w
	})
	fresh := newWorkload(key)
	for _, r := range l.replicas {
		if r.workload == w {
			// Without an identity, the image is noted with the next event.
			r.workload, r.bit, r.identity = fresh, fresh.nextReplica(), nil
			l.workloads[key] = fresh
		}
	}
	return true
}

// Drop forgets the profile of a key and its containers, which begin anew with the next event; false when there is none.
func (l *Learner) Drop(key profile.Key) bool {
	w := l.workloads[key]
	if w == nil {
		return false
	}
	for cgroup, r := range l.replicas {
		if r.workload == w {
			delete(l.replicas, cgroup)
		}
	}
	l.stats.Entries -= w.entries
	delete(l.workloads, key)
	return true
}

// Stats gives the counts so far.
func (l *Learner) Stats() Stats {
	s := l.stats
	s.Profiles = len(l.workloads)
	return s
}
