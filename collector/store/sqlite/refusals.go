// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/holdfast-project/holdfast/collector/store"
)

// AddRefusals is store.Refusals.AddRefusals.
func (s *Store) AddRefusals(ctx context.Context, refusals ...store.Refusal) error {
	tx, err := s.state.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store refusals: %w", full(err))
	}
	if err := addRefusals(ctx, tx, refusals); err != nil {
		return errors.Join(fmt.Errorf("store refusals: %w", full(err)), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store refusals: %w", full(err))
	}
	return nil
}

func addRefusals(ctx context.Context, tx *sql.Tx, refusals []store.Refusal) error {
	for _, r := range refusals {
		_, err := tx.ExecContext(ctx, `INSERT INTO refusals (node, host, credential, cause, reason, count, first, last)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node, host, credential, cause) DO UPDATE SET
			reason = excluded.reason, count = count + excluded.count, last = max(last, excluded.last)`,
			r.Node, r.Host, r.Credential, r.Cause, r.Reason, int64(r.Count), nanos(r.First), nanos(r.Last))
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM refusals WHERE (node, host, credential, cause) IN (
		SELECT node, host, credential, cause FROM refusals ORDER BY last DESC LIMIT -1 OFFSET ?)`, store.MaxRefusals)
	return err
}

// ListRefusals is store.Refusals.ListRefusals.
func (s *Store) ListRefusals(ctx context.Context) ([]store.Refusal, error) {
	var all []store.Refusal
	err := scan(ctx, s.state, `SELECT node, host, credential, cause, reason, count, first, last FROM refusals
		ORDER BY last DESC, node, host, credential, cause`, func(rows *sql.Rows) error {
		var r store.Refusal
		var count, first, last int64
		err := rows.Scan(&r.Node, &r.Host, &r.Credential, &r.Cause, &r.Reason, &count, &first, &last)
		r.Count, r.First, r.Last = uint64(count), moment(first), moment(last)
		all = append(all, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list refusals: %w", err)
	}
	return all, nil
}
