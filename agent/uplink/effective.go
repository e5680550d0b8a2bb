// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/replace"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// effectiveSuffix ends the name of a file that holds an effective profile: an encoded EffectiveProfile.
const effectiveSuffix = ".profile"

// maxBatch is how many bytes of text are handed to the agent at once, unless one profile is larger.
const maxBatch = 4 << 20

// keeper keeps effective profiles on disk, one file each, so that an agent that starts while the collector is away holds
// its workloads to what it knew last. Files are written behind what is received.
type keeper struct {
	dir string
	log *slog.Logger

	mu   sync.Mutex
	held map[profile.Key]*heldProfile
	// pending is what is not written down yet; nil where the file is to go.
	pending map[profile.Key]*apiv1.EffectiveProfile
	clock   uint64
	// wake holds a token when something is pending.
	wake chan struct{}
}

// heldProfile is what is known of a profile that is held.
type heldProfile struct {
	digest []byte
	// at orders profiles by when they came.
	at uint64
}

func newKeeper(dir string, log *slog.Logger) *keeper {
	return &keeper{
		dir: dir, log: log, held: map[profile.Key]*heldProfile{}, pending: map[profile.Key]*apiv1.EffectiveProfile{},
		wake: make(chan struct{}, 1),
	}
}

// load hands every profile that was kept to apply. What cannot be read is left out: the collector has it.
func (k *keeper) load(apply func([]Effective)) {
	paths, err := k.list()
	if err != nil {
		k.log.Warn("the last effective profiles are not known: the collector's are waited for", "error", err)
		return
	}
	var batch []Effective
	size := 0
	for _, path := range paths {
		e, err := loadEffective(path)
		if err != nil {
			k.log.Warn("an effective profile that was kept is left out", "error", err)
			continue
		}
		k.clock++
		k.held[e.Key] = &heldProfile{digest: digestOf(e.Text), at: k.clock}
		if size += len(e.Text); size > maxBatch && len(batch) > 0 {
			apply(batch)
			batch, size = nil, len(e.Text)
		}
		batch = append(batch, e)
	}
	if len(batch) > 0 {
		apply(batch)
	}
}

// list gives the newest files, the oldest of them first, and removes those beyond the bound.
func (k *keeper) list() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the effective profiles that were kept: %w", err)
	}
	times := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Type().IsRegular() && strings.HasSuffix(e.Name(), effectiveSuffix) {
			times[filepath.Join(k.dir, e.Name())] = info.ModTime()
		}
	}
	paths := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		return cmp.Or(times[a].Compare(times[b]), strings.Compare(a, b))
	})
	for len(paths) > profile.MaxProfiles {
		if err := os.Remove(paths[0]); err != nil {
			return nil, fmt.Errorf("remove an old effective profile: %w", err)
		}
		paths = paths[1:]
	}
	return paths, nil
}

func loadEffective(path string) (Effective, error) {
	bytes, err := read(path)
	if err != nil {
		return Effective{}, err
	}
	m := &apiv1.EffectiveProfile{}
	if err := proto.Unmarshal(bytes, m); err != nil {
		return Effective{}, fmt.Errorf("read %s: %w", path, err)
	}
	e, err := effectiveOf(m)
	if err == nil && filepath.Base(path) != fileOf(e.Key) {
		err = fmt.Errorf("it is of %v, which is another file's", e.Key)
	}
	if err != nil {
		return Effective{}, fmt.Errorf("read %s: %w", path, err)
	}
	return e, nil
}

// effectiveOf is what a message says.
func effectiveOf(m *apiv1.EffectiveProfile) (Effective, error) {
	e := Effective{Key: keyOf(m.GetKey()), Version: m.GetVersion()}
	if e.Version == 0 {
		return e, nil
	}
	var err error
	e.Text, err = apiv1.UnpackProfile(m.GetProfile(), m.GetEncoding())
	return e, err
}

// fileOf is the name of the file of a key.
func fileOf(k profile.Key) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", [...]string{k.Namespace, k.Kind, k.Name, k.Container}))
	return hex.EncodeToString(sum[:16]) + effectiveSuffix
}

func digestOf(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:]
}

// digest is what the collector is told of the profile that is held, empty for none.
func (k *keeper) digest(key profile.Key) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[key]; h != nil {
		return h.digest
	}
	return nil
}

// apply hands effective profiles of the collector to the agent, and has them kept. What cannot be read is left out, and
// what was held before goes on.
func (u *Uplink) apply(m *apiv1.Profiles) {
	if u.cfg.Profiles == nil {
		return
	}
	var all []Effective
	for _, p := range m.GetProfiles() {
		e, err := effectiveOf(p)
		if err != nil {
			u.log.Error("an effective profile of the collector cannot be read: the one before holds", "profile", keyOf(p.GetKey()), "error", err)
			continue
		}
		all = append(all, e)
		u.effective.put(e, p, u.cfg.Profiles.Keys)
	}
	if len(all) > 0 {
		u.cfg.Profiles.Apply(all)
	}
}

// put notes a profile, which run writes down. Above the bound one gives way that the node has no use for now, if there
// is one.
func (k *keeper) put(e Effective, m *apiv1.EffectiveProfile, used func() []profile.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock++
	if e.Version == 0 {
		delete(k.held, e.Key)
		k.pending[e.Key] = nil
	} else {
		if k.held[e.Key] == nil && len(k.held) >= profile.MaxProfiles {
			k.evict(used())
		}
		k.held[e.Key] = &heldProfile{digest: digestOf(e.Text), at: k.clock}
		k.pending[e.Key] = m
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// evict forgets the oldest profile that is not used, or the oldest. mu is held.
func (k *keeper) evict(used []profile.Key) {
	oldest := func(but map[profile.Key]bool) (found profile.Key, ok bool) {
		for key, h := range k.held {
			if !but[key] && (!ok || h.at < k.held[found].at) {
				found, ok = key, true
			}
		}
		return found, ok
	}
	but := map[profile.Key]bool{}
	for _, key := range used {
		but[key] = true
	}
	victim, ok := oldest(but)
	if !ok {
		victim, _ = oldest(nil)
	}
	delete(k.held, victim)
	k.pending[victim] = nil
}

// run writes down what is pending until ctx ends, and then the rest.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-k.wake:
			k.write()
		case <-ctx.Done():
			k.write()
			return
		}
	}
}

// write writes down what is pending.
func (k *keeper) write() {
	k.mu.Lock()
	pending := k.pending
	k.pending = map[profile.Key]*apiv1.EffectiveProfile{}
	k.mu.Unlock()
	for key, m := range pending {
		if err := k.writeOne(key, m); err != nil {
			k.log.Warn("an effective profile holds until the agent ends: it was not written down", "profile", key, "error", err)
		}
	}
}

func (k *keeper) writeOne(key profile.Key, m *apiv1.EffectiveProfile) error {
	path := filepath.Join(k.dir, fileOf(key))
	if m == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	bytes, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	return replace.File(path, bytes)
}
