// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

func TestRefusalsAreFoldedAndKept(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := newRefusals(s, slog.New(slog.DiscardHandler))
	first := time.Unix(1000, 0)
	r.note("n1", "10.0.0.1", credentialAccount, "other_node", "one", first)
	r.note("n1", "10.0.0.1", credentialAccount, "other_node", "two", first.Add(time.Second))
	r.note("n1", "10.0.0.1", credentialJoinToken, "other_node", "two", first.Add(2*time.Second))
	long := strings.Repeat("ä", maxNodeText)
	r.note(long, "10.0.0.2", credentialAccount, "rate", strings.Repeat("ö", maxReason), first)
	for i := range 2 * store.MaxRefusals {
		r.note(fmt.Sprint("flood-", i), "10.0.0.3", credentialJoinToken, "unknown_token", "", first.Add(-time.Hour))
	}
	if len(r.pending) != store.MaxRefusals || r.dropped != store.MaxRefusals+3 {
		t.Errorf("%d kept, %d dropped", len(r.pending), r.dropped)
	}
	// A context that has ended: what was noted is written down all the same.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	all, err := s.ListRefusals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != store.MaxRefusals || all[0].Credential != credentialJoinToken || all[1].Count != 2 || all[1].Reason != "two" ||
		!all[1].First.Equal(first) || !all[1].Last.Equal(first.Add(time.Second)) {
		t.Errorf("%d: %+v %+v", len(all), all[0], all[1])
	}
	cut := all[2]
	if !utf8.ValidString(cut.Node) || len(cut.Node) > maxNodeText || !utf8.ValidString(cut.Reason) || len(cut.Reason) > maxReason {
		t.Errorf("a name of %d bytes and a reason of %d", len(cut.Node), len(cut.Reason))
	}
	if len(r.pending) != 0 {
		t.Errorf("%d are still to be written", len(r.pending))
	}
	r.putBack(all[:2])
	r.note("n1", "10.0.0.1", credentialAccount, "other_node", "three", first.Add(time.Minute))
	r.putBack(all[1:2])
	if got := r.pending[refused{"n1", "10.0.0.1", credentialAccount, "other_node"}]; got.Count != 5 || got.Reason != "three" {
		t.Errorf("put back: %+v", got)
	}
}
