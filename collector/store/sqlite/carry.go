// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
)

// carry is what goes from file to file of a lane: the newest one holds all of it. It also serves to say what a commit
// changes; removed is used for that alone.
type carry struct {
	positions map[lineKey]position
	removed   map[lineKey]struct{}
	losses    map[lossKey]uint64
	// shed is the rows of dropped files. File 0 stands for those whose names can not come back.
	shed map[fileNumber]uint64
}

type lineKey struct {
	node  string
	epoch uint64
}

// position is how far a line is stored, and when it was written last.
type position struct {
	seq     uint64
	written int64
}

type lossKey struct{ node, cause string }

func newCarry() carry {
	return carry{
		positions: map[lineKey]position{}, removed: map[lineKey]struct{}{},
		losses: map[lossKey]uint64{}, shed: map[fileNumber]uint64{},
	}
}

// keptShed is how many dropped files are remembered one by one. A reader can keep a file a little longer than it is
// counted; if a crash then leaves it, it must still be known as dropped.
const keptShed = 64

// compact is the same with one number for all that was shed long ago.
func (c carry) compact() carry {
	numbers := slices.Sorted(maps.Keys(c.shed))
	shed := map[fileNumber]uint64{}
	for i, n := range numbers {
		if i < len(numbers)-keptShed {
			shed[0] += c.shed[n]
		} else {
			shed[n] += c.shed[n]
		}
	}
	c.shed = shed
	return c
}

func (c carry) shedRows() uint64 {
	var total uint64
	for _, rows := range c.shed {
		total += rows
	}
	return total
}

// epochs returns the epochs of a node, the one written last first.
func (c carry) epochs(node string) []lineKey {
	var keys []lineKey
	for key := range c.positions {
		if key.node == node {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b lineKey) int {
		return cmp.Or(cmp.Compare(c.positions[b].written, c.positions[a].written), cmp.Compare(b.epoch, a.epoch))
	})
	return keys
}

// write puts all of it into a file.
func (c carry) write(ctx context.Context, tx *sql.Tx) error {
	for key := range c.removed {
		if _, err := tx.ExecContext(ctx, `DELETE FROM positions WHERE node = ? AND epoch = ?`, key.node, int64(key.epoch)); err != nil {
			return fmt.Errorf("forget an epoch: %w", err)
		}
	}
	for key, p := range c.positions {
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO positions (node, epoch, seq, written) VALUES (?, ?, ?, ?)`,
			key.node, int64(key.epoch), int64(p.seq), p.written); err != nil {
			return fmt.Errorf("write a position: %w", err)
		}
	}
	for key, count := range c.losses {
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO losses (node, cause, count) VALUES (?, ?, ?)`,
			key.node, key.cause, int64(count)); err != nil {
			return fmt.Errorf("write a loss: %w", err)
		}
	}
	for number, rows := range c.shed {
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO shed (file, rows) VALUES (?, ?)`, int64(number), int64(rows)); err != nil {
			return fmt.Errorf("write what was shed: %w", err)
		}
	}
	return nil
}

// readCarry reads what a file holds of it.
func readCarry(ctx context.Context, db *sql.DB) (carry, error) {
	c := newCarry()
	err := scan(ctx, db, `SELECT node, epoch, seq, written FROM positions`, func(rows *sql.Rows) error {
		var node string
		var epoch, seq, written int64
		err := rows.Scan(&node, &epoch, &seq, &written)
		c.positions[lineKey{node, uint64(epoch)}] = position{uint64(seq), written}
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read positions: %w", err)
	}
	err = scan(ctx, db, `SELECT node, cause, count FROM losses`, func(rows *sql.Rows) error {
		var key lossKey
		var count int64
		err := rows.Scan(&key.node, &key.cause, &count)
		c.losses[key] = uint64(count)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read losses: %w", err)
	}
	err = scan(ctx, db, `SELECT file, rows FROM shed`, func(rows *sql.Rows) error {
		var number, count int64
		err := rows.Scan(&number, &count)
		c.shed[fileNumber(number)] = uint64(count)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read what was shed: %w", err)
	}
	return c, nil
}

// scan calls each for every row of a query.
func scan(ctx context.Context, db *sql.DB, query string, each func(*sql.Rows) error, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
