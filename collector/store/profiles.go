// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Errors of profiles and modes that callers branch on.
var (
	// ErrChanged says that what was to be changed is not what the caller has seen any more.
	ErrChanged = errors.New("changed meanwhile")
	// ErrTooMany says that as many are kept as may be.
	ErrTooMany = errors.New("too many")
)

// Bounds of what is kept of profiles and modes.
const (
	// MaxOverlays is how many keys may have an overlay.
	MaxOverlays = 10000
	// MaxOverlayVersions is how many versions of an overlay are kept; the oldest go first.
	MaxOverlayVersions = 100
	// MaxRemovals is how many keys are known to have been removed.
	MaxRemovals = 1000
	// MaxModes is how many mode settings may hold at once, MaxModeHistory how many are kept that have ended.
	MaxModes       = 10000
	MaxModeHistory = 10000
)

// Profiles keeps what nodes have observed, what people have written over it, and what both come to. Texts are in the file
// format of rules/profile; the store does not look into them.
type Profiles interface {
	// PutObserved replaces what nodes have observed of keys, all or none. When Refused is set, the text that was there stays
	// and the refusal is kept beside it. ErrTooMany says that a node has profile.MaxProfiles other keys.
	PutObserved(ctx context.Context, observed ...Observed) error
	// Observed returns what every node has observed of a key, by node, with texts.
	Observed(ctx context.Context, key profile.Key) ([]Observed, error)
	// ListObserved returns everything observed, by key and node, without texts. A node that is given selects its own.
	ListObserved(ctx context.Context, node string) ([]Observed, error)
	// TouchObserved notes that a node still runs these keys.
	TouchObserved(ctx context.Context, node string, keys []profile.Key, at time.Time) error
	// RemoveObserved forgets what nodes have observed of a key, and keeps that it was removed, and when: at, or one nanosecond
	// after the newest removal of any key, if that is later, as it is when the clock was set back. So the order of times is that
	// of removals, here and for agents. It returns that time. The oldest removals beyond MaxRemovals are forgotten.
	RemoveObserved(ctx context.Context, key profile.Key, at time.Time) (time.Time, error)
	// Removals returns when each key was removed last, by key.
	Removals(ctx context.Context) ([]Removal, error)
	// TrimObserved forgets what was observed by nodes that have not run the key since before, and returns the keys of
	// which it forgot something.
	TrimObserved(ctx context.Context, before time.Time) ([]profile.Key, error)

	// PutEffective stores the effective text of a key and returns its version: the one it has if the digest is the same,
	// else the next. A nil text says that the key has none any more; it has version 0 then, and when it gets one again its
	// version is higher than any before.
	PutEffective(ctx context.Context, e Effective) (uint64, error)
	// Effective returns the effective text of a key; ErrNotFound when it has none.
	Effective(ctx context.Context, key profile.Key) (Effective, error)
	// ListEffective returns every key that has an effective text, by key, without the text.
	ListEffective(ctx context.Context) ([]Effective, error)

	// PutOverlays appends a version to the overlay of each key, all or none, and returns their numbers. ErrChanged says that
	// a base is not the newest version; ErrTooMany that MaxOverlays keys have an overlay. The oldest versions beyond
	// MaxOverlayVersions are forgotten.
	PutOverlays(ctx context.Context, overlays ...Overlay) ([]uint64, error)
	// Overlay returns a version of a key's overlay, the newest one for version 0; ErrNotFound when there is none.
	Overlay(ctx context.Context, key profile.Key, version uint64) (Overlay, error)
	// ListOverlays returns the newest version of every overlay, by key, without texts.
	ListOverlays(ctx context.Context) ([]Overlay, error)
	// OverlayHistory returns every version of a key's overlay that is kept, the newest first, without texts.
	OverlayHistory(ctx context.Context, key profile.Key) ([]Overlay, error)
}

// Observed is what a node has observed of a key.
type Observed struct {
	Node string
	Key  profile.Key
	// Version is the agent's: of the text, or of the one that was refused after it.
	Version uint64
	// Received is when it came, Seen when the node last ran the key.
	Received, Seen time.Time
	Entries        int
	States         map[profile.Signal]profile.State
	// Text is nil where nothing was ever accepted, and in lists.
	Text []byte
	// Refused says why the newest version was refused, empty if it was not; Raw is the beginning of it.
	Refused string
	Raw     []byte
}

// Removal says that a person has removed the profile of a key. What nodes learned before counts no more.
type Removal struct {
	Key profile.Key
	At  time.Time
}

// Effective is what agents are told of a key.
type Effective struct {
	Key     profile.Key
	Version uint64
	// Changed is when the version came to be.
	Changed time.Time
	Entries int
	// Digest is SHA-256 of the text.
	Digest [32]byte
	Text   []byte
}

// Overlay is one version of what people have written for a key.
type Overlay struct {
	Key     profile.Key
	Version uint64
	// Base is the version that it was made from, 0 for none. It is looked at when the version is written, and not kept.
	Base    uint64
	Written time.Time
	Author  string
	Reason  string
	// Action is what was done: edit, approve, reject, allow, import, remove, or object for what a Kubernetes object says.
	Action  string
	Entries int
	// Text is empty where the overlay was removed, and in lists.
	Text []byte
}

// Modes keeps the modes that people set.
type Modes interface {
	// Modes returns the settings that have not been ended, by ID, and the version, which every change raises. Settings
	// whose time is over are among them until the next change ends them.
	Modes(ctx context.Context) ([]ModeSetting, uint64, error)
	// ChangeModes adds settings and ends others, all in one step. It returns the new version and the IDs of what was added.
	// An ID to end that does not hold is ErrNotFound; ErrTooMany says that more than MaxModes would hold.
	ChangeModes(ctx context.Context, c ModeChange) (version uint64, ids []uint64, err error)
	// ModeHistory returns the newest settings, ended or not, the newest first, at most limit.
	ModeHistory(ctx context.Context, limit int) ([]ModeSetting, error)
}

// ModeSetting is a mode that somebody set.
type ModeSetting struct {
	// ID is unique and grows.
	ID uint64
	// Workload is a shell pattern over namespace/workload/container; empty means every one.
	Workload string
	// Signals are those that it is for; none means all that are about deeds.
	Signals []profile.Signal
	Mode    profile.Mode
	Author  string
	Reason  string
	Set     time.Time
	// Until is when it ends by itself, zero for never.
	Until time.Time
	// Ended is when somebody ended it, zero while it holds; EndedBy and EndReason are by whom and why.
	Ended     time.Time
	EndedBy   string
	EndReason string
}

// ModeChange is one change of the modes.
type ModeChange struct {
	// Add are the new settings, whose IDs are not set yet.
	Add []ModeSetting
	// End are the IDs of settings that end; At, Author and Reason say when, by whom and why.
	End    []uint64
	At     time.Time
	Author string
	Reason string
}
