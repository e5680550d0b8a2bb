// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// fileNumber orders the files of a lane: the day as YYYYMMDD times 1000, and the part of the day, from 1.
type fileNumber int64

// maxPart is the last part of a day; it takes whatever the day still brings.
const maxPart = 999

func numberOf(day time.Time, part int) fileNumber {
	y, m, d := day.UTC().Date()
	return fileNumber(((y*100+int(m))*100+d)*1000 + part)
}

func (n fileNumber) part() int { return int(n % 1000) }

func (n fileNumber) day() time.Time {
	d := int(n / 1000)
	return time.Date(d/10000, time.Month(d/100%100), d%100, 0, 0, 0, 0, time.UTC)
}

// name is the name of the file of a lane.
func (n fileNumber) name(kind string) string {
	part := ""
	if n.part() > 1 {
		part = "." + strconv.Itoa(n.part())
	}
	return kind + "-" + n.day().Format(time.DateOnly) + part + ".db"
}

// parseName is the reverse of name; ok is false for a file that is none of the lane's.
func parseName(kind, name string) (n fileNumber, ok bool) {
	m := regexp.MustCompile(`^` + kind + `-(\d{4}-\d{2}-\d{2})(?:\.(\d{1,3}))?\.db$`).FindStringSubmatch(name)
	if m == nil {
		return 0, false
	}
	day, err := time.Parse(time.DateOnly, m[1])
	if err != nil {
		return 0, false
	}
	part := 1
	if m[2] != "" {
		if part, err = strconv.Atoi(m[2]); err != nil {
			return 0, false
		}
	}
	n = numberOf(day, part)
	return n, n.name(kind) == name
}

// file is one file of a lane as its readers see it.
type file struct {
	number fileNumber
	path   string
	db     *sql.DB

	// Written by the lane's appender, under the lane's mu.
	measures
	bytes int64

	mu      sync.Mutex
	readers int
	dropped bool
}

// measures say what rows a file holds: the last id, and the times of the earliest and the latest event.
type measures struct {
	last             int64
	earliest, latest int64
}

// grow adds rows.
func (m *measures) grow(rows, earliest, latest int64) {
	if rows == 0 {
		return
	}
	if m.last == 0 {
		m.earliest, m.latest = earliest, latest
	}
	m.last += rows
	m.earliest, m.latest = min(m.earliest, earliest), max(m.latest, latest)
}

func measure(ctx context.Context, db *sql.DB) (m measures, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT max(id) FROM entries), 0),
		coalesce((SELECT time FROM entries ORDER BY time, id LIMIT 1), 0),
		coalesce((SELECT time FROM entries ORDER BY time DESC, id DESC LIMIT 1), 0)`).Scan(&m.last, &m.earliest, &m.latest)
	return m, err
}

// openFile opens a file of the lane for reading and takes its measure.
func openFile(ctx context.Context, path string, number fileNumber) (_ *file, err error) {
	db, err := open(path, readOnly, 4)
	if err != nil {
		return nil, err
	}
	f := &file{number: number, path: path, db: db}
	if f.measures, err = measure(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("measure %s: %w", path, err), db.Close())
	}
	f.bytes = diskBytes(path)
	return f, nil
}

// acquire keeps the file from being removed until release; it is false when the file was dropped.
func (f *file) acquire() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped {
		return false
	}
	f.readers++
	return true
}

// release ends an acquire. The last reader of a dropped file removes it.
func (f *file) release() error {
	f.mu.Lock()
	f.readers--
	remove := f.dropped && f.readers == 0
	f.mu.Unlock()
	if remove {
		return f.remove()
	}
	return nil
}

// drop removes the file, now or when its last reader is done.
func (f *file) drop() error {
	f.mu.Lock()
	f.dropped = true
	remove := f.readers == 0
	f.mu.Unlock()
	if remove {
		return f.remove()
	}
	return nil
}

func (f *file) remove() error {
	return errors.Join(f.db.Close(), removeDatabase(f.path))
}

// companions are the endings of the files that SQLite keeps beside a database.
var companions = [...]string{"", "-wal", "-shm"}

// removeDatabase removes a database and what SQLite keeps beside it.
func removeDatabase(path string) error {
	var errs []error
	for _, ending := range companions {
		if err := os.Remove(path + ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove an old file: %w", err))
		}
	}
	return errors.Join(append(errs, syncDir(filepath.Dir(path)))...)
}

// diskBytes is what a database takes, its log included.
func diskBytes(path string) int64 {
	var n int64
	for _, ending := range companions[:2] {
		if info, err := os.Stat(path + ending); err == nil {
			n += info.Size()
		}
	}
	return n
}

// syncDir makes created, renamed and removed names durable.
func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the store's directory: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync the store's directory: %w", err)
	}
	return nil
}
