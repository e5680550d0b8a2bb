// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Bounds of what waits to be stored, for each lane.
const (
	// maxWaiting is how many bytes of batches wait.
	maxWaiting = 64 << 20
	// maxBatches is how many batches wait.
	maxBatches = 8192
	// waitingRecords is how many records all streams together may have in flight.
	waitingRecords = 32768
	// maxCommit is how many records one commit takes, unless a single batch is larger.
	maxCommit = 4000
)

// Bounds of the credit of one stream, in records.
const (
	maxCredit = 4096
	minCredit = 128
)

// Retries of a commit that went wrong.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// errNoRoom says that a lane takes no more for now.
var errNoRoom = errors.New("too much waits to be stored")

// Lines is what a Committer needs of store.Store.
type Lines interface {
	Append(ctx context.Context, lane apiv1.Lane, batches []store.Batch) ([]store.Outcome, error)
	Positions(ctx context.Context, node string) ([]store.Position, error)
}

// job is a batch that waits, and who wants to know what became of it.
type job struct {
	batch store.Batch
	bytes int64
	done  func(store.Outcome)
}

// Committer stores the batches of one lane, those that wait together in one commit.
type Committer struct {
	lane    apiv1.Lane
	lines   Lines
	log     *slog.Logger
	metrics *metrics
	queue   chan job
	room    *semaphore.Weighted

	mu      sync.Mutex
	streams int
	waiting int64
	trouble error
}

func newCommitter(lane apiv1.Lane, cfg Config, m *metrics) *Committer {
	return &Committer{
		lane: lane, lines: cfg.Store, log: cfg.Log.With("lane", laneName(lane)), metrics: m,
		queue: make(chan job, maxBatches), room: semaphore.NewWeighted(maxWaiting),
	}
}

// laneName is what logs and metrics call a lane.
func laneName(lane apiv1.Lane) string {
	switch lane {
	case apiv1.Lane_LANE_ALERTS:
		return "alerts"
	case apiv1.Lane_LANE_RECORDS:
		return "records"
	}
	return "unknown"
}

// Run stores what comes until ctx ends. What waits then was not acknowledged, so the agents will send it again.
func (c *Committer) Run(ctx context.Context) error {
	var late *job
	for {
		var jobs []job
		jobs, late = c.gather(ctx, late)
		if len(jobs) == 0 {
			return ctx.Err()
		}
		if err := c.commit(ctx, jobs); err != nil {
			return err
		}
	}
}

// gather waits for a batch and takes those that wait behind it, up to the size of a commit. One that does not fit any
// more is returned apart.
func (c *Committer) gather(ctx context.Context, late *job) (jobs []job, next *job) {
	if late == nil {
		select {
		case j := <-c.queue:
			late = &j
		case <-ctx.Done():
			return nil, nil
		}
	}
	jobs = []job{*late}
	records := len(late.batch.Entries)
	for {
		select {
		case j := <-c.queue:
			if records += len(j.batch.Entries); records > maxCommit {
				return jobs, &j
			}
			jobs = append(jobs, j)
		default:
			return jobs, nil
		}
	}
}

// commit stores some batches, however often it takes, and tells who sent them.
func (c *Committer) commit(ctx context.Context, jobs []job) error {
	batches := make([]store.Batch, len(jobs))
	for i := range jobs {
		batches[i] = jobs[i].batch
	}
	outcomes, err := c.insist(ctx, batches)
	if err != nil {
		return err
	}
	for i, j := range jobs {
		c.room.Release(j.bytes)
		c.metrics.outcome(c.lane, outcomes[i])
		j.done(outcomes[i])
	}
	c.mu.Lock()
	for _, j := range jobs {
		c.waiting -= j.bytes
	}
	c.mu.Unlock()
	return nil
}

// insist stores some batches in one commit, and tries again until it is done or ctx ends.
func (c *Committer) insist(ctx context.Context, batches []store.Batch) ([]store.Outcome, error) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		begin := time.Now()
		outcomes, err := c.lines.Append(ctx, c.lane, batches)
		if ctx.Err() != nil && err != nil {
			return nil, ctx.Err()
		}
		c.setTrouble(err)
		if err == nil {
			c.metrics.commit(c.lane, len(batches), time.Since(begin))
			return outcomes, nil
		}
		c.metrics.failure(c.lane, err)
		if errors.Is(err, store.ErrFull) {
			err = fmt.Errorf("%w (free some space: acknowledgements are withheld until then, and agents keep what they have)", err)
		}
		c.log.Error("nothing could be stored, trying again", "in", wait.String(), "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

func (c *Committer) setTrouble(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble != nil && err == nil {
		c.log.Info("storing again")
	}
	c.trouble = err
}

// Trouble is why nothing can be stored at the moment, nil if all is well.
func (c *Committer) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// submit queues a batch. The lane of alerts waits for room. The lane of records must not, for alerts come behind it on the
// same stream; it is errNoRoom then.
func (c *Committer) submit(ctx context.Context, j job) error {
	j.bytes = max(1, min(j.bytes, maxWaiting))
	if !c.room.TryAcquire(j.bytes) {
		if c.lane == apiv1.Lane_LANE_RECORDS {
			return errNoRoom
		}
		if err := c.room.Acquire(ctx, j.bytes); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.waiting += j.bytes
	c.mu.Unlock()
	if c.lane == apiv1.Lane_LANE_RECORDS {
		select {
		case c.queue <- j:
			return nil
		default:
			c.drop(j)
			return errNoRoom
		}
	}
	select {
	case c.queue <- j:
		return nil
	case <-ctx.Done():
		c.drop(j)
		return ctx.Err()
	}
}

// drop gives back the room of a batch that was not queued.
func (c *Committer) drop(j job) {
	c.room.Release(j.bytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= j.bytes
}

// join and leave count the streams that share the credit.
func (c *Committer) join()  { c.count(1) }
func (c *Committer) leave() { c.count(-1) }

func (c *Committer) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams += n
}

// credit is how many records a stream may have in flight: its share of what may wait, less when much waits already. The
// lane of records falls to nothing, that of alerts never does.
func (c *Committer) credit() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	share := uint32(min(max(waitingRecords/max(c.streams, 1), minCredit), maxCredit))
	switch {
	case c.waiting < maxWaiting/2:
		return share
	case c.waiting < maxWaiting*3/4:
		return share / 4
	case c.lane == apiv1.Lane_LANE_ALERTS:
		return minCredit / 4
	}
	return 0
}
