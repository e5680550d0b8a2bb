// SPDX-License-Identifier: Apache-2.0

// Package sqlite keeps what the collector stores in SQLite files of one directory: for each lane one file a day, or more
// when a day is long (alerts-2026-11-21.db, alerts-2026-11-21.2.db, …), and state.db with nodes, tokens, policies,
// profiles and modes. docs/storage.md describes the files.
//
// A row goes to the file of the day on which it was stored, together with the position of its line, in one transaction.
// The newest file of a lane carries the positions of every line, so which records are stored is never in question,
// whatever ends the process and whenever. Old days are dropped as whole files.
//
// The package starts no goroutine. One process at a time may append; any number may use the state.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Config says where the store is and what it may take.
type Config struct {
	// Dir holds the files. It is created if it is missing.
	Dir string
	// Alerts and Records bound the lanes.
	Alerts, Records Bounds
	// Now is the clock that names the days; nil means time.Now.
	Now func() time.Time
	// Log is told of dropped files and repaired leftovers; nil means none.
	Log *slog.Logger
}

// Bounds say what a lane may take. Whole files are dropped, the oldest first, and never the one that is being written.
type Bounds struct {
	// Days is for how many days rows are kept; 0 means for ever.
	Days int
	// Bytes is how much disk the lane may take; 0 means any.
	Bytes int64
	// MinFree is how much of the disk must stay free: below it files are dropped as if the lane were over its bytes. 0
	// means that the disk may fill up.
	MinFree int64
}

// Store is a store.Store of SQLite files.
type Store struct {
	state   *sql.DB
	alerts  *lane
	records *lane
	// closed ends followers.
	closed chan struct{}
}

var _ store.Store = (*Store)(nil)

// Open opens the store for serving, and repairs what a crash left. No other process may have it open so.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := OpenState(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, l := range []struct {
		name   string
		bounds Bounds
		to     **lane
	}{{"alerts", cfg.Alerts, &s.alerts}, {"records", cfg.Records, &s.records}} {
		*l.to, err = openLane(ctx, cfg, l.name, l.bounds)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the %s store: %w", l.name, err), s.Close())
		}
	}
	return s, nil
}

// OpenState opens the state alone: nodes, tokens, policies, profiles and modes. Another process may serve the same directory meanwhile.
// Methods of store.Lines and store.Reader must not be called.
func OpenState(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the store's directory: %w", err)
	}
	path := filepath.Join(dir, "state.db")
	if err := migrateLocked(ctx, dir, path); err != nil {
		return nil, err
	}
	state, err := open(path, readWrite, 1)
	if err != nil {
		return nil, err
	}
	return &Store{state: state, closed: make(chan struct{})}, nil
}

// Close closes every file. Followers return.
func (s *Store) Close() error {
	close(s.closed)
	errs := []error{s.state.Close()}
	for _, l := range []*lane{s.alerts, s.records} {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(errs...)
}

// lane returns the files of a lane.
func (s *Store) lane(l apiv1.Lane) (*lane, error) {
	switch l {
	case apiv1.Lane_LANE_ALERTS:
		return s.alerts, nil
	case apiv1.Lane_LANE_RECORDS:
		return s.records, nil
	}
	return nil, fmt.Errorf("there is no lane %d", l)
}
