// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const modeQuery = `SELECT id, workload, signals, mode, author, reason, created, until, ended, ended_by, end_reason FROM modes`

func (s *Store) modes(ctx context.Context, query string, args ...any) ([]store.ModeSetting, error) {
	var all []store.ModeSetting
	err := scan(ctx, s.state, modeQuery+query, func(rows *sql.Rows) error {
		var m store.ModeSetting
		var id, set, until, ended int64
		var signals string
		if err := rows.Scan(&id, &m.Workload, &signals, &m.Mode, &m.Author, &m.Reason, &set, &until, &ended, &m.EndedBy, &m.EndReason); err != nil {
			return err
		}
		m.ID, m.Set, m.Until, m.Ended = uint64(id), moment(set), moment(until), moment(ended)
		for name := range strings.SplitSeq(signals, ",") {
			if name != "" {
				m.Signals = append(m.Signals, profile.Signal(name))
			}
		}
		all = append(all, m)
		return nil
	}, args...)
	if err != nil {
		return nil, fmt.Errorf("list mode settings: %w", err)
	}
	return all, nil
}

// Modes is store.Modes.Modes.
func (s *Store) Modes(ctx context.Context) ([]store.ModeSetting, uint64, error) {
	// A change between the two reads only makes the settings newer than the version, which whoever made it corrects.
	var version int64
	if err := s.state.QueryRowContext(ctx, `SELECT version FROM modes_version`).Scan(&version); err != nil {
		return nil, 0, fmt.Errorf("read the version of the modes: %w", err)
	}
	all, err := s.modes(ctx, ` WHERE ended = 0 ORDER BY id`)
	return all, uint64(version), err
}

// ModeHistory is store.Modes.ModeHistory.
func (s *Store) ModeHistory(ctx context.Context, limit int) ([]store.ModeSetting, error) {
	return s.modes(ctx, ` ORDER BY id DESC LIMIT ?`, limit)
}

// ChangeModes is store.Modes.ChangeModes.
func (s *Store) ChangeModes(ctx context.Context, c store.ModeChange) (version uint64, ids []uint64, err error) {
	err = s.within(ctx, "change modes", func(tx *sql.Tx) error {
		for _, end := range c.End {
			done, err := tx.ExecContext(ctx, `UPDATE modes SET ended = ?, ended_by = ?, end_reason = ? WHERE id = ? AND ended = 0`,
				nanos(c.At), c.Author, c.Reason, int64(end))
			if err := changed(done, err, "end mode setting", fmt.Sprint(end), store.ErrNotFound); err != nil {
				return err
			}
		}
		for _, m := range c.Add {
			id, err := addMode(ctx, tx, m)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		if err := trimModes(ctx, tx); err != nil {
			return err
		}
		var v int64
		err := tx.QueryRowContext(ctx, `UPDATE modes_version SET version = version + 1 RETURNING version`).Scan(&v)
		version = uint64(v)
		return err
	})
	return version, ids, err
}

func addMode(ctx context.Context, tx *sql.Tx, m store.ModeSetting) (uint64, error) {
	signals := make([]string, len(m.Signals))
	for i, s := range m.Signals {
		signals[i] = string(s)
	}
	done, err := tx.ExecContext(ctx, `INSERT INTO modes (workload, signals, mode, author, reason, created, until, ended, ended_by, end_reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', '')`, m.Workload, strings.Join(signals, ","), string(m.Mode), m.Author, m.Reason, nanos(m.Set), nanos(m.Until))
	if err != nil {
		return 0, err
	}
	id, err := done.LastInsertId()
	return uint64(id), err
}

// trimModes checks how many settings hold, and forgets the oldest that have ended.
func trimModes(ctx context.Context, tx *sql.Tx) error {
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM modes WHERE ended = 0`).Scan(&n); err != nil {
		return err
	}
	if n > store.MaxModes {
		return fmt.Errorf("%d mode settings are more than %d: %w", n, store.MaxModes, store.ErrTooMany)
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM modes WHERE ended <> 0 AND id <= (
		SELECT id FROM modes WHERE ended <> 0 ORDER BY id DESC LIMIT 1 OFFSET ?)`, store.MaxModeHistory)
	return err
}
