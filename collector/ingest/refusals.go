// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
)

// What a node presents to be taken for itself.
const (
	credentialJoinToken   = "join_token"
	credentialAccount     = "service_account"
	credentialCertificate = "certificate"
)

// Causes of refusals that are not the authority's.
const (
	causeRate        = "rate"
	causeUnavailable = "unavailable"
)

const (
	// refusalsEvery is how often refusals are written down.
	refusalsEvery = 2 * time.Second
	// maxName and maxReason bound what is kept of a text, in bytes.
	maxNodeText, maxReason = 256, 512
)

// Refusals keeps who was refused, in the store: like ones are gathered for a while and counted. Run owns its goroutine.
type Refusals struct {
	store store.Refusals
	log   *slog.Logger

	mu      sync.Mutex
	pending map[refused]store.Refusal
	// dropped counts those that found no room; they are in the log and the metrics all the same.
	dropped uint64
}

// refused is what makes refusals alike.
type refused struct{ node, host, credential, cause string }

func newRefusals(s store.Refusals, log *slog.Logger) *Refusals {
	return &Refusals{store: s, log: log, pending: map[refused]store.Refusal{}}
}

// note takes a refusal.
func (r *Refusals) note(node, host, credential, cause, reason string, at time.Time) {
	key := refused{text(node, maxNodeText), host, credential, cause}
	r.mu.Lock()
	defer r.mu.Unlock()
	got, known := r.pending[key]
	if !known && len(r.pending) >= store.MaxRefusals {
		r.dropped++
		return
	}
	if !known {
		got = store.Refusal{Node: key.node, Host: host, Credential: credential, Cause: cause, First: at}
	}
	got.Reason, got.Last = text(reason, maxReason), at
	got.Count++
	r.pending[key] = got
}

// text is the beginning of a client's text, as the store takes it.
func text(s string, most int) string {
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// Run writes down what was refused until ctx ends, and then the rest.
func (r *Refusals) Run(ctx context.Context) error {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.save(ctx)
		case <-ctx.Done():
			r.save(context.WithoutCancel(ctx))
			return ctx.Err()
		}
	}
}

// save writes down what is pending. What cannot be written is tried again the next time.
func (r *Refusals) save(ctx context.Context) {
	list, dropped := r.take()
	if dropped > 0 {
		r.log.Warn("more was refused than is kept", "refusals", dropped)
	}
	if len(list) == 0 {
		return
	}
	if err := r.store.AddRefusals(ctx, list...); err != nil {
		r.log.Error("who was refused was not written down, trying again", "refusals", len(list), "error", err)
		r.putBack(list)
	}
}

func (r *Refusals) take() (list []store.Refusal, dropped uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list = make([]store.Refusal, 0, len(r.pending))
	for _, refusal := range r.pending {
		list = append(list, refusal)
	}
	clear(r.pending)
	dropped, r.dropped = r.dropped, 0
	return list, dropped
}

// putBack has refusals written down the next time, as far as there is room beside those that came meanwhile.
func (r *Refusals) putBack(list []store.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range list {
		key := refused{old.Node, old.Host, old.Credential, old.Cause}
		newer, known := r.pending[key]
		if !known && len(r.pending) >= store.MaxRefusals {
			r.dropped++
			continue
		}
		if known {
			old.Count += newer.Count
			old.Last, old.Reason = newer.Last, newer.Reason
		}
		r.pending[key] = old
	}
}
