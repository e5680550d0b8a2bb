// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// List is store.Reader.List: a merge of the files that can hold rows of the time asked for, each read in order of time
// through an index, and opened only when its turn comes.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	l, err := s.lane(q.Lane)
	if err != nil {
		return store.Page{}, err
	}
	switch {
	case q.Limit == 0:
		q.Limit = store.DefaultLimit
	case q.Limit < 0 || q.Limit > store.MaxLimit:
		return store.Page{}, fmt.Errorf("limit %d is not between 1 and %d: %w", q.Limit, store.MaxLimit, store.ErrFilter)
	}
	matcher, err := store.Compile(q.Filter)
	if err != nil {
		return store.Page{}, err
	}
	m := merge{matcher: matcher, query: q}
	if q.After != "" {
		after, err := parseCursor(q.After)
		if err != nil {
			return store.Page{}, err
		}
		m.after = &after
	}
	page, err := m.page(ctx, l)
	if err = errors.Join(err, m.close()); err != nil {
		return store.Page{}, fmt.Errorf("list %s: %w", l.kind, err)
	}
	return page, nil
}

// merge reads several files in the order of time.
type merge struct {
	query   store.Query
	matcher *store.Matcher
	after   *place
	// closed are files that may hold rows, the one whose turn comes first in front; open are being read, and have a head.
	closed []span
	open   []*source
}

func (m *merge) page(ctx context.Context, l *lane) (store.Page, error) {
	m.plan(l)
	var page store.Page
	for {
		head, err := m.head(ctx)
		if head == nil || err != nil {
			return page, err
		}
		if len(page.Rows) == m.query.Limit {
			page.Next = page.Rows[len(page.Rows)-1].Cursor
			return page, nil
		}
		page.Rows = append(page.Rows, head.row)
		if err := m.advance(head); err != nil {
			return page, err
		}
	}
}

// plan picks the files that can hold rows of the time asked for, in the order of their turn.
func (m *merge) plan(l *lane) {
	spans, _ := l.snapshot()
	q, newest := &m.query, m.query.Newest
	for _, s := range spans {
		switch {
		case s.last == 0,
			!q.Since.IsZero() && s.latest < q.Since.UnixNano(),
			!q.Until.IsZero() && s.earliest >= q.Until.UnixNano(),
			m.after != nil && newest && s.earliest > m.after.time,
			m.after != nil && !newest && s.latest < m.after.time:
			continue
		}
		m.closed = append(m.closed, s)
	}
	slices.SortFunc(m.closed, func(a, b span) int {
		if newest {
			return cmp.Compare(b.latest, a.latest)
		}
		return cmp.Compare(a.earliest, b.earliest)
	})
}

// head is the source whose row comes next, nil at the end. It opens the files that can hold a row before that.
func (m *merge) head(ctx context.Context) (*source, error) {
	for {
		var best *source
		for _, s := range m.open {
			if best == nil || m.first(s.place, best.place) {
				best = s
			}
		}
		if len(m.closed) == 0 || best != nil && !m.due(m.closed[0], best.place) {
			return best, nil
		}
		next := m.closed[0]
		m.closed = m.closed[1:]
		s, err := m.start(ctx, next)
		if err != nil {
			return nil, err
		}
		if s != nil {
			m.open = append(m.open, s)
			if err := m.advance(s); err != nil {
				return nil, err
			}
		}
	}
}

// first says whether p is given before q.
func (m *merge) first(p, q place) bool {
	if m.query.Newest {
		return q.before(p)
	}
	return p.before(q)
}

// due says whether a file can hold a row that is given before one at p.
func (m *merge) due(s span, p place) bool {
	if m.query.Newest {
		return s.latest >= p.time
	}
	return s.earliest <= p.time
}

// advance moves a source to its next row, or closes it at its end.
func (m *merge) advance(s *source) error {
	ok, err := s.next(m.matcher)
	if ok && err == nil {
		return nil
	}
	m.open = slices.DeleteFunc(m.open, func(o *source) bool { return o == s })
	return errors.Join(err, s.close())
}

func (m *merge) close() error {
	var errs []error
	for _, s := range m.open {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// start begins to read a file; it returns nil when the file was dropped meanwhile.
func (m *merge) start(ctx context.Context, f span) (*source, error) {
	if !f.acquire() {
		return nil, nil
	}
	w := narrow(m.query.Filter)
	w.add("id <= ?", f.last)
	order, beyond := "", ">"
	if m.query.Newest {
		order, beyond = " DESC", "<"
	}
	if a := m.after; a != nil {
		switch {
		case f.number == a.file:
			w.add("(time, id) "+beyond+" (?, ?)", a.time, a.id)
		case (f.number > a.file) == m.query.Newest:
			// Rows of the same time in this file were given before.
			w.add("time "+beyond+" ?", a.time)
		default:
			w.add("time "+beyond+"= ?", a.time)
		}
	}
	rows, err := f.db.QueryContext(ctx, `SELECT `+rowColumns+` FROM entries`+w.where()+
		` ORDER BY time`+order+`, id`+order, w.args...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", f.path, err), f.release())
	}
	return &source{file: f.file, rows: rows}, nil
}

// source is a file that is being read.
type source struct {
	file  *file
	rows  *sql.Rows
	row   store.Row
	place place
}

// rowColumns are the columns that source.next reads. What decides most comes before the body, which may lie on pages of
// its own.
const rowColumns = `id, time, node, epoch, seq, received, subject, body`

// next reads up to the next row that matches.
func (s *source) next(m *store.Matcher) (bool, error) {
	for s.rows.Next() {
		var node string
		var id, at, epoch, seq, received int64
		var subject, body sql.RawBytes
		if err := s.rows.Scan(&id, &at, &node, &epoch, &seq, &received, &subject, &body); err != nil {
			return false, fmt.Errorf("read a row of %s: %w", s.file.path, err)
		}
		if !m.Workload(string(subject)) {
			continue
		}
		record := new(apiv1.Record)
		if err := proto.Unmarshal(body, record); err != nil {
			return false, fmt.Errorf("decode row %d of %s: %w", id, s.file.path, err)
		}
		s.place = place{time: at, file: s.file.number, id: id}
		s.row = store.Row{
			ID: store.FormatID(node, uint64(epoch), uint64(seq)), Node: node, Epoch: uint64(epoch), Sequence: uint64(seq),
			Received: moment(received), Cursor: s.place.cursor(), Record: record,
		}
		if m.Match(s.row) {
			return true, nil
		}
	}
	if err := s.rows.Err(); err != nil {
		return false, fmt.Errorf("read %s: %w", s.file.path, err)
	}
	return false, nil
}

func (s *source) close() error {
	return errors.Join(s.rows.Close(), s.file.release())
}

// conditions is a WHERE clause that is being put together.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// narrow says in SQL what can be said of a filter, so that few rows are read for nothing. The matcher has the last word.
func narrow(f store.Filter) conditions {
	var c conditions
	if !f.Since.IsZero() {
		c.add("time >= ?", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		c.add("time < ?", f.Until.UnixNano())
	}
	if f.Node != "" {
		c.add("node = ?", f.Node)
	}
	switch {
	case f.Rule == "":
	case !strings.ContainsAny(f.Rule, `*?[\`):
		c.add("rule = ?", f.Rule)
	case !strings.ContainsAny(f.Rule, `[\`):
		c.add("rule GLOB ?", f.Rule)
	}
	if f.Priority > apiv1.Priority_PRIORITY_UNSPECIFIED {
		c.add("priority >= ?", int64(f.Priority))
	}
	if len(f.Types) > 0 {
		args := make([]any, len(f.Types))
		for i, t := range f.Types {
			args[i] = t
		}
		c.add("type IN ("+placeholders(len(args))+")", args...)
	}
	if f.Workload != "" && !strings.ContainsAny(f.Workload, `[\`) {
		// This * crosses slashes, so the pattern matches more than the matcher's.
		c.add("subject GLOB ?", f.Workload+strings.Repeat("/*", max(0, 2-strings.Count(f.Workload, "/"))))
	}
	if literal, _, _ := strings.Cut(f.Workload, "/"); literal != "" && !strings.ContainsAny(literal, `*?[\`) {
		// The part before the first slash is a namespace by itself; "0" follows "/" in ASCII.
		c.add("subject >= ? AND subject < ?", literal+"/", literal+"0")
	}
	return c
}

// Get is store.Reader.Get.
func (s *Store) Get(ctx context.Context, which apiv1.Lane, id string) (store.Row, error) {
	l, err := s.lane(which)
	if err != nil {
		return store.Row{}, err
	}
	node, epoch, seq, err := store.ParseID(id)
	if err != nil {
		return store.Row{}, err
	}
	everything, err := store.Compile(store.Filter{})
	if err != nil {
		return store.Row{}, err
	}
	spans, _ := l.snapshot()
	for _, f := range slices.Backward(spans) {
		row, ok, err := f.get(ctx, everything, node, epoch, seq)
		if ok || err != nil {
			return row, err
		}
	}
	return store.Row{}, fmt.Errorf("id %q: %w", id, store.ErrNotFound)
}

func (f *file) get(ctx context.Context, m *store.Matcher, node string, epoch, seq uint64) (_ store.Row, ok bool, err error) {
	if !f.acquire() {
		return store.Row{}, false, nil
	}
	rows, err := f.db.QueryContext(ctx, `SELECT `+rowColumns+` FROM entries WHERE node = ? AND epoch = ? AND seq = ?`,
		node, int64(epoch), int64(seq))
	if err != nil {
		return store.Row{}, false, errors.Join(fmt.Errorf("read %s: %w", f.path, err), f.release())
	}
	src := &source{file: f, rows: rows}
	ok, err = src.next(m)
	return src.row, ok, errors.Join(err, src.close())
}
