// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Trim is store.Lines.Trim.
func (s *Store) Trim(ctx context.Context, which apiv1.Lane, now time.Time) (store.Trimmed, error) {
	l, err := s.lane(which)
	if err != nil {
		return store.Trimmed{}, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	var t store.Trimmed
	for {
		f, why, err := l.surplus(now, t.Bytes)
		if f == nil || err != nil {
			return t, err
		}
		l.log.Warn("dropping a stored day", "file", f.path, "rows", f.last, "bytes", f.bytes, "reason", why)
		if err := l.shed(ctx, f); err != nil {
			return t, fmt.Errorf("drop %s: %w", f.path, err)
		}
		t.Files++
		t.Rows += uint64(f.last)
		t.Bytes += f.bytes
	}
}

// surplus is the oldest file if the lane is over its bounds, and which bound that is. freed is what was dropped just now
// and may still be open, thus not free yet.
func (l *lane) surplus(now time.Time, freed int64) (*file, string, error) {
	if len(l.files) < 2 {
		return nil, "", nil
	}
	oldest := l.files[0]
	if days := l.bounds.Days; days > 0 && now.UTC().AddDate(0, 0, -days).After(oldest.number.day().AddDate(0, 0, 1)) {
		return oldest, "older than the days to keep", nil
	}
	var bytes int64
	for _, f := range l.files {
		bytes += f.bytes
	}
	if l.bounds.Bytes > 0 && bytes > l.bounds.Bytes {
		return oldest, "more than the bytes to keep", nil
	}
	if l.bounds.MinFree > 0 {
		var fs unix.Statfs_t
		if err := unix.Statfs(l.dir, &fs); err != nil {
			return nil, "", fmt.Errorf("measure the free space of %s: %w", l.dir, err)
		}
		if int64(fs.Bavail)*fs.Bsize+freed < l.bounds.MinFree {
			return oldest, "too little free space", nil
		}
	}
	return nil, "", nil
}

// shed drops the oldest file. First it is written down that it is dropped, so that its rows are counted once. When the
// disk is too full even for that, the file is dropped all the same, for nothing else would make room.
func (l *lane) shed(ctx context.Context, f *file) error {
	change := newCarry()
	change.shed[f.number] = uint64(f.last)
	if err := l.writeDown(ctx, change); errors.Is(err, store.ErrFull) {
		l.unwritten[f.number] = uint64(f.last)
	} else if err != nil {
		return err
	}
	l.mu.Lock()
	l.files = append([]*file(nil), l.files[1:]...)
	l.carry.shed[f.number] = uint64(f.last)
	l.mu.Unlock()
	return f.drop()
}

// writeDown writes a change of what is carried into the newest file.
func (l *lane) writeDown(ctx context.Context, change carry) (err error) {
	db, err := open(l.newest().path, readWrite, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return full(err)
	}
	if err := change.write(ctx, tx); err != nil {
		return errors.Join(full(err), tx.Rollback())
	}
	return full(tx.Commit())
}

// Positions is store.Lines.Positions.
func (s *Store) Positions(_ context.Context, node string) ([]store.Position, error) {
	var all []store.Position
	for which, l := range map[apiv1.Lane]*lane{apiv1.Lane_LANE_ALERTS: s.alerts, apiv1.Lane_LANE_RECORDS: s.records} {
		l.mu.RLock()
		for _, key := range l.carry.epochs(node) {
			all = append(all, store.Position{Node: node, Lane: which, Epoch: key.epoch, Sequence: l.carry.positions[key].seq})
		}
		l.mu.RUnlock()
	}
	return all, nil
}

// Losses is store.Lines.Losses.
func (s *Store) Losses(_ context.Context, which apiv1.Lane) ([]store.LossCount, error) {
	l, err := s.lane(which)
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]store.LossCount, 0, len(l.carry.losses))
	for key, n := range l.carry.losses {
		all = append(all, store.LossCount{Node: key.node, Cause: key.cause, Count: n})
	}
	return all, nil
}

// Usage is store.Lines.Usage.
func (s *Store) Usage(_ context.Context, which apiv1.Lane) (store.Usage, error) {
	l, err := s.lane(which)
	if err != nil {
		return store.Usage{}, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	u := store.Usage{Shed: l.carry.shedRows()}
	for i, f := range l.files {
		if i == 0 {
			u.Oldest = f.number.day()
		}
		u.Bytes += f.bytes
		u.Rows += uint64(f.last)
	}
	return u, nil
}

// Quarantined is store.Reader.Quarantined.
func (s *Store) Quarantined(ctx context.Context, which apiv1.Lane, limit int) ([]store.Quarantined, error) {
	l, err := s.lane(which)
	if err != nil {
		return nil, err
	}
	spans, _ := l.snapshot()
	var all []store.Quarantined
	for i := len(spans) - 1; i >= 0 && len(all) < limit; i-- {
		f := spans[i]
		if !f.acquire() {
			continue
		}
		err := scan(ctx, f.db, `SELECT node, epoch, seq, received, reason, raw FROM quarantine ORDER BY id DESC LIMIT ?`,
			func(rows *sql.Rows) error {
				var q store.Quarantined
				var epoch, seq, received int64
				err := rows.Scan(&q.Node, &epoch, &seq, &received, &q.Reason, &q.Raw)
				q.Epoch, q.Sequence, q.Received = uint64(epoch), uint64(seq), moment(received)
				all = append(all, q)
				return err
			}, limit-len(all))
		if err = errors.Join(err, f.release()); err != nil {
			return nil, fmt.Errorf("read quarantine of %s: %w", f.path, err)
		}
	}
	return all, nil
}
