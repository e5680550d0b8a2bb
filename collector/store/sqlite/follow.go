// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// followChunk is how many rows a follower reads at once. It holds no file open between chunks.
const followChunk = 256

// Follow is store.Reader.Follow.
func (s *Store) Follow(ctx context.Context, which apiv1.Lane, f store.Filter, after store.Cursor, emit func(store.Row) error) error {
	l, err := s.lane(which)
	if err != nil {
		return err
	}
	t := tail{lane: l, emit: emit, filter: f}
	if t.matcher, err = store.Compile(f); err != nil {
		return err
	}
	if t.at, err = l.begin(f, after); err != nil {
		return err
	}
	for {
		changed, err := t.catchUp(ctx)
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("follow %s: %w", l.kind, context.Cause(ctx))
		case <-s.closed:
			return fmt.Errorf("follow %s: %w", l.kind, os.ErrClosed)
		}
	}
}

// begin is the place behind which a follower starts.
func (l *lane) begin(f store.Filter, after store.Cursor) (place, error) {
	spans, _ := l.snapshot()
	var end place
	if len(spans) > 0 {
		newest := spans[len(spans)-1]
		end = place{file: newest.number, id: newest.last}
	}
	if after == "" {
		if f.Since.IsZero() {
			return end, nil
		}
		return place{}, nil
	}
	p, err := parseCursor(after)
	if err != nil {
		return place{}, err
	}
	if p.file > end.file || p.file == end.file && p.id > end.id {
		return place{}, fmt.Errorf("cursor %q is ahead of what is stored: %w", string(after), store.ErrCursor)
	}
	return p, nil
}

// tail is a follower.
type tail struct {
	lane    *lane
	filter  store.Filter
	matcher *store.Matcher
	emit    func(store.Row) error
	// at is the row behind which to go on, in the order of storing.
	at place
}

// catchUp gives everything that is stored, and returns a channel that is closed when there is more.
func (t *tail) catchUp(ctx context.Context) (<-chan struct{}, error) {
	spans, changed := t.lane.snapshot()
	for _, s := range spans {
		switch {
		case s.number < t.at.file:
			continue
		case s.number > t.at.file:
			t.at = place{file: s.number}
		}
		if !t.filter.Since.IsZero() && s.latest < t.filter.Since.UnixNano() {
			t.at.id = s.last
		}
		for t.at.id < s.last {
			if err := t.chunk(ctx, s); err != nil {
				return nil, err
			}
		}
	}
	return changed, nil
}

// chunk gives the next rows of one file. The rows are collected first: emit may take its time.
func (t *tail) chunk(ctx context.Context, s span) error {
	if !s.acquire() {
		t.at.id = s.last
		return nil
	}
	rows, last, err := t.read(ctx, s)
	if err = errors.Join(err, s.release()); err != nil {
		return err
	}
	for _, row := range rows {
		if err := t.emit(row); err != nil {
			return err
		}
	}
	t.at.id = last
	return nil
}

// read returns the rows that match among the next ids, and the last id that was looked at.
func (t *tail) read(ctx context.Context, s span) (_ []store.Row, last int64, err error) {
	last = min(t.at.id+followChunk, s.last)
	w := narrow(t.filter)
	w.add("id > ? AND id <= ?", t.at.id, last)
	var found *sql.Rows
	found, err = s.db.QueryContext(ctx, `SELECT `+rowColumns+` FROM entries NOT INDEXED`+w.where()+` ORDER BY id`, w.args...)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", s.path, err)
	}
	src := source{file: s.file, rows: found}
	defer func() { err = errors.Join(err, found.Close()) }()
	var rows []store.Row
	for {
		ok, err := src.next(t.matcher)
		if !ok || err != nil {
			return rows, last, err
		}
		rows = append(rows, src.row)
	}
}
