// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Profiles is what the agent has to do with profiles: it learns them, and holds workloads to them. The uplink calls it from
// goroutines of Run; the methods may block for as long as it takes to copy memory.
type Profiles interface {
	// Changed gives a token when Keys or Take may have something new. The channel stays the same, and holds one token.
	Changed() <-chan struct{}
	// Keys returns the keys of which the node runs containers, at most profile.MaxProfiles.
	Keys() []profile.Key
	// Hold is called at the beginning of each stream: it says which version of what this node has observed the collector
	// has. Every profile that has another version is to be given out by Take, whether or not it was before.
	Hold(held map[profile.Key]uint64)
	// Take returns what was observed of a key that has changed since it was taken last; ok is false when nothing has. The
	// caller keeps the text.
	Take() (o Observed, ok bool)
	// Answer says what became of what was taken: it is stored, or refused for a reason. Until then the stream may end and
	// Hold may ask for it again.
	Answer(key profile.Key, version uint64, refused string)
	// Apply takes effective profiles: those kept on disk, when Run begins; and what the collector sends. What comes behind
	// them waits until it returns.
	Apply(effective []Effective)
	// Forget takes removals of profiles, some of which may have been told before. Of each that was not heeded, what was
	// learned before and what Apply took goes; learning begins anew, and what Take gives from then on says that it was heeded.
	// dropped are the keys of which something went; later are removals that must not be heeded now, for Forget to be given
	// again: until then Take gives nothing of their keys.
	Forget(removals []Removal) (dropped []profile.Key, later []Removal)
}

// Observed is what this node has observed of a key, as profile.Encode gives it.
type Observed struct {
	Key profile.Key
	// Version is a counter of the node's: the same version must mean the same text, also after a restart.
	Version uint64
	// Removed is the newest removal of the key that was heeded, 0 for none.
	Removed uint64
	Text    []byte
	States  map[profile.Signal]profile.State
}

// Effective is what a workload is allowed, for profile.Decode.
type Effective struct {
	Key profile.Key
	// Version is the collector's; 0 says that it has no profile of the key any more.
	Version uint64
	// Text is nil for version 0.
	Text []byte
}

// maxUnanswered is how many observed profiles may be sent and not answered.
const maxUnanswered = 8

// observer sends what the node observes over one stream.
type observer struct {
	uplink *Uplink
	// out is where messages wait for the sender.
	out chan *apiv1.AgentMessage
	// held is what the collector has, from its welcome; nil when it keeps no profiles.
	held *apiv1.ObservedHeld

	mu sync.Mutex
	// unanswered is what was sent, by key.
	unanswered map[profile.Key]uint64
	// later are removals that are to be heeded later.
	later []Removal
	// answered holds a token after an answer, dropped after something was forgotten.
	answered, dropped chan struct{}
	// announced is what the collector was told last, nil before that.
	announced []profile.Key
}

func newObserver(u *Uplink) *observer {
	return &observer{
		uplink: u, out: make(chan *apiv1.AgentMessage), unanswered: map[profile.Key]uint64{},
		answered: make(chan struct{}, 1), dropped: make(chan struct{}, 1),
	}
}

// run announces keys and sends observed profiles until ctx ends. A collector that keeps no profiles is sent nothing.
func (o *observer) run(ctx context.Context) error {
	source := o.uplink.cfg.Profiles
	if source == nil || o.held == nil {
		return nil
	}
	held := map[profile.Key]uint64{}
	for _, h := range o.held.GetHeld() {
		held[keyOf(h.GetKey())] = h.GetVersion()
	}
	source.Hold(held)
	if err := o.announce(ctx, source.Keys()); err != nil {
		return err
	}
	if err := o.sendAll(ctx, source); err != nil {
		return err
	}
	again := time.NewTicker(o.uplink.timing.health)
	defer again.Stop()
	// due is when what has changed meanwhile goes up, together; nil while nothing has.
	var due <-chan time.Time
	for {
		select {
		case <-source.Changed():
			// A container that has just come needs its profile now.
			if err := o.announce(ctx, source.Keys()); err != nil {
				return err
			}
			if due == nil {
				due = time.After(o.uplink.timing.observe)
			}
		case <-o.dropped:
			// Less is held than was announced.
			o.announced = nil
			if err := o.announce(ctx, source.Keys()); err != nil {
				return err
			}
		case <-again.C:
			o.retry()
		case <-due:
			due = nil
			if err := o.sendAll(ctx, source); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// announce tells the collector the keys, with what is held of each, if they have changed.
func (o *observer) announce(ctx context.Context, keys []profile.Key) error {
	keys = append(make([]profile.Key, 0, len(keys)), keys...)
	if len(keys) > profile.MaxProfiles {
		o.uplink.log.Error("more workloads than an agent has profiles for", "workloads", len(keys), "most", profile.MaxProfiles)
		keys = keys[:profile.MaxProfiles]
	}
	slices.SortFunc(keys, profile.Key.Compare)
	if o.announced != nil && slices.Equal(keys, o.announced) {
		return nil
	}
	o.announced = keys
	message := &apiv1.Announce{}
	for _, k := range keys {
		message.Keys = append(message.Keys, keyMessage(k))
		message.Digests = append(message.Digests, o.uplink.effective.digest(k))
	}
	return o.hand(ctx, &apiv1.AgentMessage{Message: &apiv1.AgentMessage_Announce{Announce: message}})
}

// sendAll sends everything that has changed, a few ahead of the answers.
func (o *observer) sendAll(ctx context.Context, source Profiles) error {
	for {
		if err := o.room(ctx); err != nil {
			return err
		}
		taken, ok := source.Take()
		if !ok {
			return nil
		}
		message, err := observedMessage(taken)
		if err != nil {
			o.uplink.log.Error("an observed profile cannot be sent", "profile", taken.Key, "error", err)
			source.Answer(taken.Key, taken.Version, err.Error())
			continue
		}
		o.mu.Lock()
		o.unanswered[taken.Key] = taken.Version
		o.mu.Unlock()
		if err := o.hand(ctx, &apiv1.AgentMessage{Message: &apiv1.AgentMessage_Observed{Observed: message}}); err != nil {
			return err
		}
	}
}

// room waits until another profile may be sent.
func (o *observer) room(ctx context.Context) error {
	for {
		o.mu.Lock()
		n := len(o.unanswered)
		o.mu.Unlock()
		if n < maxUnanswered {
			return nil
		}
		select {
		case <-o.answered:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (o *observer) hand(ctx context.Context, m *apiv1.AgentMessage) error {
	select {
	case o.out <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answer takes the collector's answer to an observed profile.
func (o *observer) answer(a *apiv1.ObservedAck) {
	key := keyOf(a.GetKey())
	o.mu.Lock()
	version, sent := o.unanswered[key]
	mine := sent && version == a.GetVersion()
	if mine {
		delete(o.unanswered, key)
	}
	o.mu.Unlock()
	if !mine {
		return
	}
	select {
	case o.answered <- struct{}{}:
	default:
	}
	if a.GetRefused() != "" {
		o.uplink.log.Error("the collector refuses an observed profile", "profile", key, "version", version, "reason", short(a.GetRefused()))
	}
	o.uplink.cfg.Profiles.Answer(key, version, short(a.GetRefused()))
}

func short(reason string) string {
	if len(reason) > maxReason {
		return reason[:maxReason] + "…"
	}
	return reason
}

func observedMessage(o Observed) (*apiv1.ObservedProfile, error) {
	text, encoding, err := apiv1.PackProfile(o.Text)
	if err != nil {
		return nil, err
	}
	m := &apiv1.ObservedProfile{Key: keyMessage(o.Key), Version: o.Version, Profile: text, Encoding: encoding, Forgotten: proto.Uint64(o.Removed)}
	for _, signal := range profile.LearnedSignals() {
		if state, ok := o.States[signal]; ok {
			m.States = append(m.States, &apiv1.SignalLearning{Signal: string(signal), State: string(state)})
		}
	}
	return m, nil
}

func keyOf(k *apiv1.ProfileKey) profile.Key {
	return profile.Key{Namespace: k.GetNamespace(), Kind: k.GetKind(), Name: k.GetName(), Container: k.GetContainer()}
}

func keyMessage(k profile.Key) *apiv1.ProfileKey {
	return &apiv1.ProfileKey{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Container: k.Container}
}
