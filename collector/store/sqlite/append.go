// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Bounds of what a node can make the store keep beside rows.
const (
	// maxEpochs is how many epochs of a line are remembered.
	maxEpochs = 16
	// maxCauses is how many causes of loss a node has; further ones count as other.
	maxCauses = 32
	// maxCause is the longest cause, in bytes.
	maxCause = 64
	// maxRaw is how much of a refused record is kept, in bytes.
	maxRaw = 4096
)

const otherCauses = "other"

// Append is store.Lines.Append.
func (s *Store) Append(ctx context.Context, which apiv1.Lane, batches []store.Batch) ([]store.Outcome, error) {
	l, err := s.lane(which)
	if err != nil {
		return nil, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	outcomes, err := l.append(ctx, batches)
	if err != nil {
		// What is wrong with a connection must not outlive the commit. A commit whose outcome is not known may have been
		// made, so what is stored is looked up again.
		l.stale = true
		return nil, errors.Join(fmt.Errorf("store %s: %w", l.kind, full(err)), l.closeWriter())
	}
	return outcomes, nil
}

func (l *lane) append(ctx context.Context, batches []store.Batch) ([]store.Outcome, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	c := commit{lane: l, change: newCarry(), now: l.now().UnixNano(), earliest: math.MaxInt64, latest: math.MinInt64}
	outcomes := make([]store.Outcome, len(batches))
	for i := range batches {
		var err error
		if outcomes[i], err = c.take(&batches[i]); err != nil {
			return nil, err
		}
	}
	if len(c.change.positions) == 0 {
		return outcomes, nil
	}
	maps.Copy(c.change.shed, l.unwritten)
	tx, err := l.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	if err := c.write(ctx, tx); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	clear(l.unwritten)
	l.stored(c.change, int64(len(c.rows)), c.earliest, c.latest)
	return outcomes, nil
}

// commit gathers what one transaction writes.
type commit struct {
	lane             *lane
	now              int64
	change           carry
	rows             []entry
	refused          []refusal
	earliest, latest int64
}

// entry is a row of entries, the id aside.
type entry struct {
	node            string
	epoch, seq      uint64
	time, received  int64
	priority        apiv1.Priority
	rule, kind, sub string
	body            []byte
}

// refusal is a row of quarantine.
type refusal struct {
	node       string
	epoch, seq uint64
	received   int64
	reason     string
	raw        []byte
}

// take sorts a batch into rows, refusals, losses and what is stored already. Losses and entries are taken together in
// the order of their sequences.
func (c *commit) take(b *store.Batch) (store.Outcome, error) {
	key := lineKey{b.Node, b.Epoch}
	p, known := c.position(key)
	before := p.seq
	var out store.Outcome
	losses := slices.SortedFunc(slices.Values(b.Losses), func(x, y store.Loss) int {
		if x.First < y.First {
			return -1
		}
		return 1
	})
	for _, e := range b.Entries {
		for len(losses) > 0 && losses[0].First <= e.Sequence {
			c.lose(b, losses[0], &p, &out)
			losses = losses[1:]
		}
		if e.Sequence <= p.seq {
			out.Duplicate++
			continue
		}
		c.gap(b, e.Sequence, &p, &out)
		p.seq = e.Sequence
		if err := c.add(b, e, &out); err != nil {
			return out, err
		}
	}
	for _, loss := range losses {
		c.lose(b, loss, &p, &out)
	}
	out.Position = p.seq
	if p.seq > before {
		p.written = c.now
		c.change.positions[key] = p
		if !known {
			c.forget(key)
		}
	}
	return out, nil
}

// position is how far a line will be stored with what the commit has taken so far.
func (c *commit) position(key lineKey) (position, bool) {
	if p, ok := c.change.positions[key]; ok {
		return p, true
	}
	p, ok := c.lane.carry.positions[key]
	return p, ok
}

// forget drops the oldest epoch of a node that has begun one too many.
func (c *commit) forget(begun lineKey) {
	if keys := c.lane.carry.epochs(begun.node); len(keys) >= maxEpochs {
		c.change.removed[keys[len(keys)-1]] = struct{}{}
	}
}

// gap counts the sequences between the position and the next record that nothing was said of.
func (c *commit) gap(b *store.Batch, next uint64, p *position, out *store.Outcome) {
	if missing := next - p.seq - 1; missing > 0 {
		out.Gap += missing
		c.count(b.Node, store.CauseGap, missing)
	}
}

// lose counts what of a loss is news and moves the position behind it.
func (c *commit) lose(b *store.Batch, loss store.Loss, p *position, out *store.Outcome) {
	if loss.Last <= p.seq || loss.Last < loss.First {
		return
	}
	first := max(loss.First, p.seq+1)
	c.gap(b, first, p, out)
	out.Lost += loss.Last - first + 1
	c.count(b.Node, loss.Cause, loss.Last-first+1)
	p.seq = loss.Last
}

// count adds to the losses of a node. Agents name causes, so their number and length are bounded.
func (c *commit) count(node, cause string, n uint64) {
	if len(cause) > maxCause {
		cause = cause[:maxCause]
	}
	key := lossKey{node, strings.ToValidUTF8(cause, "\uFFFD")}
	if total, ok := c.lost(key); ok || c.causes(node) < maxCauses {
		c.change.losses[key] = total + n
		return
	}
	key.cause = otherCauses
	total, _ := c.lost(key)
	c.change.losses[key] = total + n
}

func (c *commit) lost(key lossKey) (uint64, bool) {
	if n, ok := c.change.losses[key]; ok {
		return n, true
	}
	n, ok := c.lane.carry.losses[key]
	return n, ok
}

// causes is how many causes of loss a node has.
func (c *commit) causes(node string) int {
	n := 0
	for key := range c.lane.carry.losses {
		if key.node == node {
			n++
		}
	}
	for key := range c.change.losses {
		if _, known := c.lane.carry.losses[key]; key.node == node && !known {
			n++
		}
	}
	return n
}

// add takes a record as a row, or as a refusal.
func (c *commit) add(b *store.Batch, e store.Entry, out *store.Outcome) error {
	if e.Refused != "" {
		out.Quarantined++
		c.refused = append(c.refused, refusal{
			node: b.Node, epoch: b.Epoch, seq: e.Sequence, received: nanos(b.Received),
			reason: e.Refused, raw: e.Raw[:min(len(e.Raw), maxRaw)],
		})
		return nil
	}
	body := e.Raw
	if body == nil {
		var err error
		if body, err = proto.Marshal(e.Record); err != nil {
			return fmt.Errorf("encode record %s: %w", store.FormatID(b.Node, b.Epoch, e.Sequence), err)
		}
	}
	event, alert := store.EventOf(e.Record), e.Record.GetAlert()
	at := store.TimeOf(e.Record, b.Received).UnixNano()
	c.earliest, c.latest = min(c.earliest, at), max(c.latest, at)
	c.rows = append(c.rows, entry{
		node: b.Node, epoch: b.Epoch, seq: e.Sequence, time: at, received: nanos(b.Received),
		priority: alert.GetPriority(), rule: alert.GetRule(), kind: event.GetType(),
		sub: store.Subject(event.GetContainer()), body: body,
	})
	out.Stored++
	return nil
}

// write writes all of it in one transaction. Ids are given here, and not by SQLite, so that they follow on without a hole.
func (c *commit) write(ctx context.Context, tx *sql.Tx) error {
	id := c.lane.newest().last
	for rows := range slices.Chunk(c.rows, rowsPerInsert) {
		if err := insertRows(ctx, tx, id, rows); err != nil {
			return fmt.Errorf("insert rows: %w", err)
		}
		id += int64(len(rows))
	}
	for _, r := range c.refused {
		if _, err := tx.ExecContext(ctx, `INSERT INTO quarantine (node, epoch, seq, received, reason, raw) VALUES (?, ?, ?, ?, ?, ?)`,
			r.node, int64(r.epoch), int64(r.seq), r.received, r.reason, notNil(r.raw)); err != nil {
			return fmt.Errorf("insert a refused record: %w", err)
		}
	}
	return c.change.write(ctx, tx)
}

// rowsPerInsert is how many rows a statement inserts; parsing and binding are then a small part of the work.
const rowsPerInsert = 32

func insertRows(ctx context.Context, tx *sql.Tx, last int64, rows []entry) error {
	const columns = 11
	tuple := "(" + placeholders(columns) + "),"
	query := `INSERT INTO entries (id, node, epoch, seq, time, received, priority, rule, type, subject, body) VALUES ` +
		strings.TrimSuffix(strings.Repeat(tuple, len(rows)), ",") +
		// Only the record of an epoch that was forgotten can be there already.
		` ON CONFLICT (node, epoch, seq) DO NOTHING`
	args := make([]any, 0, columns*len(rows))
	for _, r := range rows {
		last++
		args = append(args, last, r.node, int64(r.epoch), int64(r.seq), r.time, r.received, int64(r.priority), r.rule, r.kind, r.sub, notNil(r.body))
	}
	_, err := tx.ExecContext(ctx, query, args...)
	return err
}

// notNil is b as a blob even when it is empty, which the driver would bind as NULL if it were nil.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
