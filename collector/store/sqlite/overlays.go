// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// PutOverlays is store.Profiles.PutOverlays.
func (s *Store) PutOverlays(ctx context.Context, overlays ...store.Overlay) ([]uint64, error) {
	versions := make([]uint64, len(overlays))
	err := s.within(ctx, "store overlays", func(tx *sql.Tx) error {
		for i, o := range overlays {
			if err := putOverlay(ctx, tx, o); err != nil {
				return fmt.Errorf("overlay of %v: %w", o.Key, err)
			}
			versions[i] = o.Base + 1
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM overlays AS o WHERE text IS NOT NULL AND version = (`+newestVersion+`)`).Scan(&n); err != nil {
			return err
		}
		if n > store.MaxOverlays {
			return fmt.Errorf("%d overlays are more than %d: %w", n, store.MaxOverlays, store.ErrTooMany)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return versions, nil
}

// newestVersion is the newest version of the key of row o.
const newestVersion = `SELECT max(version) FROM overlays WHERE (` + keyColumns + `) = (o.namespace, o.kind, o.name, o.container)`

func putOverlay(ctx context.Context, tx *sql.Tx, o store.Overlay) error {
	var text any
	var err error
	if len(o.Text) > 0 {
		if text, err = pack(o.Text); err != nil {
			return err
		}
	}
	k := o.Key
	var newest int64
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM overlays`+ofKey, k.Namespace, k.Kind, k.Name, k.Container).Scan(&newest); err != nil {
		return err
	}
	if uint64(newest) != o.Base {
		return fmt.Errorf("version %d is the newest, not %d: %w", newest, o.Base, store.ErrChanged)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO overlays (`+keyColumns+`, version, written, author, reason, action, entries, text)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.Namespace, k.Kind, k.Name, k.Container, newest+1, nanos(o.Written), o.Author, o.Reason,
		o.Action, o.Entries, text); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM overlays`+ofKey+` AND version <= ?5`, k.Namespace, k.Kind, k.Name, k.Container,
		newest+1-store.MaxOverlayVersions)
	return err
}

const overlayQuery = `SELECT ` + keyColumns + `, version, written, author, reason, action, entries`

func scanOverlay(scan func(...any) error, more ...any) (o store.Overlay, err error) {
	var version, written int64
	to := []any{&o.Key.Namespace, &o.Key.Kind, &o.Key.Name, &o.Key.Container, &version, &written, &o.Author, &o.Reason, &o.Action, &o.Entries}
	if err := scan(append(to, more...)...); err != nil {
		return o, err
	}
	o.Version, o.Written = uint64(version), moment(written)
	return o, nil
}

// Overlay is store.Profiles.Overlay.
func (s *Store) Overlay(ctx context.Context, key profile.Key, version uint64) (store.Overlay, error) {
	var text []byte
	o, err := scanOverlay(s.state.QueryRowContext(ctx, overlayQuery+`, text FROM overlays`+ofKey+` AND ?5 IN (0, version) ORDER BY version DESC LIMIT 1`,
		key.Namespace, key.Kind, key.Name, key.Container, int64(version)).Scan, &text)
	if err == nil {
		o.Text, err = unpack(text)
	}
	if err != nil {
		return o, fmt.Errorf("overlay of %v, version %d: %w", key, version, missing(err))
	}
	return o, nil
}

func (s *Store) overlays(ctx context.Context, query string, args ...any) ([]store.Overlay, error) {
	var all []store.Overlay
	err := scan(ctx, s.state, overlayQuery+query, func(rows *sql.Rows) error {
		o, err := scanOverlay(rows.Scan)
		all = append(all, o)
		return err
	}, args...)
	if err != nil {
		return nil, fmt.Errorf("list overlays: %w", err)
	}
	return all, nil
}

// ListOverlays is store.Profiles.ListOverlays.
func (s *Store) ListOverlays(ctx context.Context) ([]store.Overlay, error) {
	return s.overlays(ctx, ` FROM overlays AS o WHERE version = (`+newestVersion+`) ORDER BY `+keyColumns)
}

// OverlayHistory is store.Profiles.OverlayHistory.
func (s *Store) OverlayHistory(ctx context.Context, key profile.Key) ([]store.Overlay, error) {
	return s.overlays(ctx, ` FROM overlays`+ofKey+` ORDER BY version DESC`, key.Namespace, key.Kind, key.Name, key.Container)
}
