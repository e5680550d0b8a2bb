// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// maxRefusedText is how much of a refused profile is kept, in bytes.
const maxRefusedText = 64 << 10

// ofKey selects a key; its columns are the parameters 1 to 4.
const (
	keyColumns = `namespace, kind, name, container`
	ofKey      = ` WHERE namespace = ?1 AND kind = ?2 AND name = ?3 AND container = ?4`
)

// within runs do in a transaction of the state, whose error says what was being done.
func (s *Store) within(ctx context.Context, doing string, do func(*sql.Tx) error) error {
	tx, err := s.state.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, full(err))
	}
	if err := do(tx); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", doing, full(err)), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", doing, full(err))
	}
	return nil
}

// PutObserved is store.Profiles.PutObserved.
func (s *Store) PutObserved(ctx context.Context, observed ...store.Observed) error {
	return s.within(ctx, "store what nodes have observed", func(tx *sql.Tx) error {
		for _, o := range observed {
			if err := putObserved(ctx, tx, o); err != nil {
				return fmt.Errorf("%v of node %q: %w", o.Key, o.Node, err)
			}
		}
		return nil
	})
}

func putObserved(ctx context.Context, tx *sql.Tx, o store.Observed) error {
	states, err := json.Marshal(o.States)
	if err != nil {
		return fmt.Errorf("encode the learning states: %w", err)
	}
	text, err := pack(o.Text)
	if err != nil {
		return err
	}
	k := o.Key
	var others int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM observed WHERE node = ?5
		AND NOT (namespace = ?1 AND kind = ?2 AND name = ?3 AND container = ?4)`,
		k.Namespace, k.Kind, k.Name, k.Container, o.Node).Scan(&others); err != nil {
		return err
	}
	if others >= profile.MaxProfiles {
		return fmt.Errorf("%d other profiles: %w", others, store.ErrTooMany)
	}
	keep := `entries = excluded.entries, states = excluded.states, text = excluded.text, `
	if o.Refused != "" {
		keep = ""
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO observed (`+keyColumns+`, node, version, received, seen, entries, states, refused, raw, text)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO UPDATE SET `+keep+`
		version = excluded.version, received = excluded.received, seen = excluded.seen, refused = excluded.refused, raw = excluded.raw`,
		k.Namespace, k.Kind, k.Name, k.Container, o.Node, int64(o.Version), nanos(o.Received), nanos(o.Seen), o.Entries,
		string(states), o.Refused, o.Raw[:min(len(o.Raw), maxRefusedText)], text)
	return err
}

const observedQuery = `SELECT ` + keyColumns + `, node, version, received, seen, entries, states, refused`

func scanObserved(rows *sql.Rows, more ...any) (o store.Observed, err error) {
	var version, received, seen int64
	var states string
	to := []any{&o.Key.Namespace, &o.Key.Kind, &o.Key.Name, &o.Key.Container, &o.Node, &version, &received, &seen, &o.Entries, &states, &o.Refused}
	if err := rows.Scan(append(to, more...)...); err != nil {
		return o, err
	}
	o.Version, o.Received, o.Seen = uint64(version), moment(received), moment(seen)
	return o, json.Unmarshal([]byte(states), &o.States)
}

// Observed is store.Profiles.Observed.
func (s *Store) Observed(ctx context.Context, key profile.Key) ([]store.Observed, error) {
	var all []store.Observed
	err := scan(ctx, s.state, observedQuery+`, raw, text FROM observed`+ofKey+` ORDER BY node`, func(rows *sql.Rows) error {
		var raw, text []byte
		o, err := scanObserved(rows, &raw, &text)
		if err != nil {
			return err
		}
		o.Raw = raw
		if o.Text, err = unpack(text); err != nil {
			return err
		}
		all = append(all, o)
		return nil
	}, key.Namespace, key.Kind, key.Name, key.Container)
	if err != nil {
		return nil, fmt.Errorf("read what was observed of %v: %w", key, err)
	}
	return all, nil
}

// ListObserved is store.Profiles.ListObserved.
func (s *Store) ListObserved(ctx context.Context, node string) ([]store.Observed, error) {
	var all []store.Observed
	err := scan(ctx, s.state, observedQuery+` FROM observed WHERE ?1 IN ('', node) ORDER BY `+keyColumns+`, node`, func(rows *sql.Rows) error {
		o, err := scanObserved(rows)
		all = append(all, o)
		return err
	}, node)
	if err != nil {
		return nil, fmt.Errorf("list what was observed: %w", err)
	}
	return all, nil
}

// TouchObserved is store.Profiles.TouchObserved.
func (s *Store) TouchObserved(ctx context.Context, node string, keys []profile.Key, at time.Time) error {
	return s.within(ctx, fmt.Sprintf("note what node %q runs", node), func(tx *sql.Tx) error {
		for _, k := range keys {
			if _, err := tx.ExecContext(ctx, `UPDATE observed SET seen = max(seen, ?6)`+ofKey+` AND node = ?5`,
				k.Namespace, k.Kind, k.Name, k.Container, node, nanos(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveObserved is store.Profiles.RemoveObserved.
func (s *Store) RemoveObserved(ctx context.Context, key profile.Key, at time.Time) (time.Time, error) {
	var kept int64
	err := s.within(ctx, fmt.Sprintf("remove what was observed of %v", key), func(tx *sql.Tx) error {
		columns := []any{key.Namespace, key.Kind, key.Name, key.Container}
		if _, err := tx.ExecContext(ctx, `DELETE FROM observed`+ofKey, columns...); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO removals (`+keyColumns+`, at)
			VALUES (?1, ?2, ?3, ?4, max(?5, (SELECT coalesce(max(at) + 1, ?5) FROM removals)))
			ON CONFLICT DO UPDATE SET at = excluded.at RETURNING at`, append(columns, nanos(at))...).Scan(&kept); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM removals WHERE (`+keyColumns+`) IN
			(SELECT `+keyColumns+` FROM removals ORDER BY at DESC, `+keyColumns+` LIMIT -1 OFFSET ?)`, store.MaxRemovals)
		return err
	})
	return moment(kept), err
}

// Removals is store.Profiles.Removals.
func (s *Store) Removals(ctx context.Context) ([]store.Removal, error) {
	var all []store.Removal
	err := scan(ctx, s.state, `SELECT `+keyColumns+`, at FROM removals ORDER BY `+keyColumns, func(rows *sql.Rows) error {
		var r store.Removal
		var at int64
		err := rows.Scan(&r.Key.Namespace, &r.Key.Kind, &r.Key.Name, &r.Key.Container, &at)
		r.At = moment(at)
		all = append(all, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list removed profiles: %w", err)
	}
	return all, nil
}

// TrimObserved is store.Profiles.TrimObserved.
func (s *Store) TrimObserved(ctx context.Context, before time.Time) ([]profile.Key, error) {
	var keys []profile.Key
	err := s.within(ctx, "forget what nodes have not run for long", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT `+keyColumns+` FROM observed WHERE seen < ? ORDER BY `+keyColumns, nanos(before))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k profile.Key
			if err := rows.Scan(&k.Namespace, &k.Kind, &k.Name, &k.Container); err != nil {
				return err
			}
			keys = append(keys, k)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM observed WHERE seen < ?`, nanos(before))
		return err
	})
	return keys, err
}

// PutEffective is store.Profiles.PutEffective.
func (s *Store) PutEffective(ctx context.Context, e store.Effective) (version uint64, err error) {
	text, err := pack(e.Text)
	if err != nil {
		return 0, err
	}
	err = s.within(ctx, fmt.Sprintf("store the effective profile of %v", e.Key), func(tx *sql.Tx) error {
		k := e.Key
		var last int64
		var digest []byte
		var has bool
		err := tx.QueryRowContext(ctx, `SELECT version, digest, text IS NOT NULL FROM effective`+ofKey, k.Namespace, k.Kind, k.Name, k.Container).
			Scan(&last, &digest, &has)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		version = uint64(last)
		switch {
		case !has && text == nil:
			version = 0
			return nil
		case has && text != nil && string(digest) == string(e.Digest[:]):
			return nil
		}
		version = uint64(last) + 1
		_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO effective (`+keyColumns+`, version, changed, entries, digest, text)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.Namespace, k.Kind, k.Name, k.Container, int64(version), nanos(e.Changed), e.Entries, e.Digest[:], text)
		if text == nil {
			version = 0
		}
		return err
	})
	return version, err
}

const effectiveQuery = `SELECT ` + keyColumns + `, version, changed, entries, digest`

func scanEffective(scan func(...any) error, more ...any) (e store.Effective, err error) {
	var version, changed int64
	var digest []byte
	to := []any{&e.Key.Namespace, &e.Key.Kind, &e.Key.Name, &e.Key.Container, &version, &changed, &e.Entries, &digest}
	if err := scan(append(to, more...)...); err != nil {
		return e, err
	}
	e.Version, e.Changed = uint64(version), moment(changed)
	copy(e.Digest[:], digest)
	return e, nil
}

// Effective is store.Profiles.Effective.
func (s *Store) Effective(ctx context.Context, key profile.Key) (store.Effective, error) {
	var text []byte
	e, err := scanEffective(s.state.QueryRowContext(ctx, effectiveQuery+`, text FROM effective`+ofKey+` AND text IS NOT NULL`,
		key.Namespace, key.Kind, key.Name, key.Container).Scan, &text)
	if err == nil {
		e.Text, err = unpack(text)
	}
	if err != nil {
		return e, fmt.Errorf("effective profile of %v: %w", key, missing(err))
	}
	return e, nil
}

// ListEffective is store.Profiles.ListEffective.
func (s *Store) ListEffective(ctx context.Context) ([]store.Effective, error) {
	var all []store.Effective
	err := scan(ctx, s.state, effectiveQuery+` FROM effective WHERE text IS NOT NULL ORDER BY `+keyColumns, func(rows *sql.Rows) error {
		e, err := scanEffective(rows.Scan)
		all = append(all, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list effective profiles: %w", err)
	}
	return all, nil
}
