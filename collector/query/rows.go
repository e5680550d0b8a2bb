// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
)

// alertPage and eventPage are answers to a list. Next is where the list goes on, and missing at its end.
type alertPage struct {
	Alerts []view.Alert `json:"alerts"`
	Next   store.Cursor `json:"next,omitempty"`
}

type eventPage struct {
	Events []view.Event `json:"events"`
	Next   store.Cursor `json:"next,omitempty"`
}

func (s *server) alerts(w http.ResponseWriter, r *http.Request, p params) error {
	return s.rows(w, r, p, apiv1.Lane_LANE_ALERTS, func(page store.Page) any {
		answer := alertPage{Alerts: make([]view.Alert, 0, len(page.Rows)), Next: page.Next}
		for _, row := range page.Rows {
			answer.Alerts = append(answer.Alerts, view.NewAlert(origin(row), row.Record.GetAlert()))
		}
		return answer
	})
}

func (s *server) events(w http.ResponseWriter, r *http.Request, p params) error {
	return s.rows(w, r, p, apiv1.Lane_LANE_RECORDS, func(page store.Page) any {
		answer := eventPage{Events: make([]view.Event, 0, len(page.Rows)), Next: page.Next}
		for _, row := range page.Rows {
			answer.Events = append(answer.Events, view.NewEvent(origin(row), row.Record.GetEvent()))
		}
		return answer
	})
}

func (s *server) alert(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	row, err := s.Store.Get(ctx, apiv1.Lane_LANE_ALERTS, r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.reply(w, r, view.NewAlert(origin(row), row.Record.GetAlert()))
}

func origin(row store.Row) view.Origin {
	return view.Origin{
		ID: row.ID, Node: row.Node, Epoch: row.Epoch, Sequence: row.Sequence, Received: row.Received,
	}
}

// rows answers with a page of a lane, or with a stream of it.
func (s *server) rows(w http.ResponseWriter, r *http.Request, p params, lane apiv1.Lane, shape func(store.Page) any) error {
	follow, err := p.flag("follow")
	if err != nil {
		return err
	}
	filter, err := p.filter(time.Now())
	if err != nil {
		return err
	}
	if follow {
		return s.followRows(w, r, p, lane, filter)
	}
	if p.text("last") != "" {
		return invalid("last", "only a stream takes it: add follow=true, or use order=newest and limit")
	}
	q := store.Query{Lane: lane, Filter: filter, Newest: true, After: store.Cursor(p.text("cursor"))}
	switch order := p.text("order"); order {
	case "", "newest":
	case "oldest":
		q.Newest = false
	default:
		return invalid("order", "%q is neither newest nor oldest", order)
	}
	if q.Limit, err = p.number("limit", 1, store.MaxLimit); err != nil {
		return err
	}
	page, err := s.list(r.Context(), q)
	if err != nil {
		return err
	}
	return s.reply(w, r, shape(page))
}

// list reads a page when it is its turn.
func (s *server) list(ctx context.Context, q store.Query) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	select {
	case s.queries <- struct{}{}:
		defer func() { <-s.queries }()
	case <-ctx.Done():
		return store.Page{}, fmt.Errorf("wait for %d other lists: %w", s.MaxQueries, ctx.Err())
	}
	return s.Store.List(ctx, q)
}

// followRows streams rows in the order in which they are stored: behind the cursor, or else the last ones and what comes
// after them, or else everything since a time, or else what comes from now on.
func (s *server) followRows(w http.ResponseWriter, r *http.Request, p params, lane apiv1.Lane, filter store.Filter) error {
	for _, name := range []string{"until", "order", "limit"} {
		if p.text(name) != "" {
			return invalid(name, "a stream does not take it")
		}
	}
	last, err := p.number("last", 0, store.MaxLimit)
	if err != nil {
		return err
	}
	after := store.Cursor(p.text("cursor"))
	var backlog []store.Row
	if last > 0 && after == "" {
		if backlog, err = s.backlog(r.Context(), lane, filter, last); err != nil {
			return err
		}
		if len(backlog) > 0 {
			after = backlog[len(backlog)-1].Cursor
		} else if filter.Since.IsZero() {
			// Nothing matches yet, so everything that will is new, also what is stored before Follow has begun.
			filter.Since = time.Unix(0, 1)
		}
	}
	return s.serveStream(w, r, func(ctx context.Context, st *stream) error {
		shown := make(map[string]bool, len(backlog))
		for _, row := range backlog {
			shown[row.ID] = true
			if err := st.line(rowLine(row)); err != nil {
				return err
			}
		}
		return s.Store.Follow(ctx, lane, filter, after, func(row store.Row) error {
			// The backlog is in the order of time: some of it may have been stored after its last row.
			if shown[row.ID] {
				return nil
			}
			return st.line(rowLine(row))
		})
	})
}

// backlog returns the last rows that match, the newest last.
func (s *server) backlog(ctx context.Context, lane apiv1.Lane, filter store.Filter, last int) ([]store.Row, error) {
	page, err := s.list(ctx, store.Query{Lane: lane, Filter: filter, Newest: true, Limit: last})
	if err != nil {
		return nil, err
	}
	slices.Reverse(page.Rows)
	return page.Rows, nil
}

func rowLine(row store.Row) streamLine {
	l := streamLine{Cursor: row.Cursor}
	if a := row.Record.GetAlert(); a != nil {
		alert := view.NewAlert(origin(row), a)
		l.Alert = &alert
	} else {
		event := view.NewEvent(origin(row), row.Record.GetEvent())
		l.Event = &event
	}
	return l
}
