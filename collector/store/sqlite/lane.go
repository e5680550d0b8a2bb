// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// lane is the files of one lane. Files are only appended to, created and dropped under writing; mu guards what readers
// share with the appender.
type lane struct {
	kind   string
	dir    string
	bounds Bounds
	now    func() time.Time
	log    *slog.Logger

	writing sync.Mutex
	// writer has the newest file open; it is nil until a commit needs it and after one went wrong.
	writer *sql.DB
	// stale says that files and carry may not be what is on disk.
	stale bool
	// unwritten is what was shed when the disk was too full to write it down; the next commit does.
	unwritten map[fileNumber]uint64

	mu    sync.RWMutex
	files []*file
	// changed is closed and replaced when rows were stored.
	changed chan struct{}
	carry   carry
}

// openLane opens the files of a lane, and repairs what a crash left.
func openLane(ctx context.Context, cfg Config, kind string, bounds Bounds) (_ *lane, err error) {
	l := &lane{
		kind: kind, dir: cfg.Dir, bounds: bounds, now: cfg.Now, log: cfg.Log.With("lane", kind),
		changed: make(chan struct{}), carry: newCarry(), unwritten: map[fileNumber]uint64{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	names, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the store's directory: %w", err)
	}
	for _, name := range names {
		path := filepath.Join(cfg.Dir, name.Name())
		if strings.HasPrefix(name.Name(), kind+"-") && strings.HasSuffix(name.Name(), unfinished) {
			l.log.Info("removing a file that a crash left unfinished", "file", path)
			if err := removeDatabase(path); err != nil {
				return nil, err
			}
			continue
		}
		number, ok := parseName(kind, name.Name())
		if !ok {
			continue
		}
		if err := migrate(ctx, path, kind); err != nil {
			return nil, err
		}
		f, err := openFile(ctx, path, number)
		if err != nil {
			return nil, err
		}
		l.files = append(l.files, f)
	}
	slices.SortFunc(l.files, func(a, b *file) int { return cmp.Compare(a.number, b.number) })
	if newest := l.newest(); newest != nil {
		if l.carry, err = readCarry(ctx, newest.db); err != nil {
			return nil, fmt.Errorf("read %s: %w", newest.path, err)
		}
		return l, l.finishDrops()
	}
	return l, nil
}

// newest is the file that is written, nil before the first commit.
func (l *lane) newest() *file {
	if len(l.files) == 0 {
		return nil
	}
	return l.files[len(l.files)-1]
}

// finishDrops drops the files that were written down as dropped and are still there.
func (l *lane) finishDrops() error {
	var errs []error
	l.files = slices.DeleteFunc(l.files, func(f *file) bool {
		_, dropped := l.carry.shed[f.number]
		if dropped {
			l.log.Info("dropping a file that a crash left", "file", f.path)
			errs = append(errs, f.drop())
		}
		return dropped
	})
	return errors.Join(errs...)
}

// snapshot is the files as they are now, oldest first, and a channel that is closed when more rows are stored.
func (l *lane) snapshot() ([]span, <-chan struct{}) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	spans := make([]span, 0, len(l.files))
	for _, f := range l.files {
		spans = append(spans, span{file: f, measures: f.measures})
	}
	return spans, l.changed
}

// span is what of a file was stored at one moment.
type span struct {
	*file
	measures
}

// close closes every file.
func (l *lane) close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	errs := []error{l.closeWriter()}
	for _, f := range l.files {
		errs = append(errs, f.db.Close())
	}
	return errors.Join(errs...)
}

func (l *lane) closeWriter() error {
	if l.writer == nil {
		return nil
	}
	err := l.writer.Close()
	l.writer = nil
	if err != nil {
		return fmt.Errorf("close the newest file: %w", err)
	}
	return nil
}

// ready has the writer open on the file that the next commit goes to. The caller holds writing.
func (l *lane) ready(ctx context.Context) error {
	if err := l.refresh(ctx); err != nil {
		return err
	}
	number, roll := l.next()
	if roll {
		if err := l.closeWriter(); err != nil {
			return err
		}
		if err := l.create(ctx, number); err != nil {
			return fmt.Errorf("begin %s: %w", number.name(l.kind), full(err))
		}
	}
	if l.writer != nil {
		return nil
	}
	var err error
	l.writer, err = open(l.newest().path, readWrite, 1)
	return err
}

// refresh reads the newest file again after a commit went wrong.
func (l *lane) refresh(ctx context.Context) error {
	newest := l.newest()
	if !l.stale || newest == nil {
		return nil
	}
	c, err := readCarry(ctx, newest.db)
	if err != nil {
		return fmt.Errorf("read %s: %w", newest.path, err)
	}
	m, err := measure(ctx, newest.db)
	if err != nil {
		return fmt.Errorf("measure %s: %w", newest.path, err)
	}
	maps.Copy(c.shed, l.unwritten)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.carry, newest.measures, l.stale = c, m, false
	return nil
}

// next says which file the next commit goes to and whether it has to be created. Days never go back, even if the clock
// does, for the order of the files is the order of storing.
func (l *lane) next() (number fileNumber, create bool) {
	today := numberOf(l.now(), 1)
	newest := l.newest()
	switch {
	case newest == nil || newest.number.day().Before(today.day()):
		return today, true
	case newest.bytes >= l.fileBytes() && newest.number.part() < maxPart:
		return newest.number + 1, true
	}
	return newest.number, false
}

// Bounds of a file's size: small enough that dropping one is a small step, large enough that there are not too many.
const (
	minFileBytes = 1 << 20
	maxFileBytes = 2 << 30
)

// fileBytes is the size beyond which a day goes on in another file.
func (l *lane) fileBytes() int64 {
	if l.bounds.Bytes == 0 {
		return maxFileBytes
	}
	return min(max(l.bounds.Bytes/8, minFileBytes), maxFileBytes)
}

// unfinished ends the name of a file that is being built.
const unfinished = ".new"

// create builds a file aside, with all that is carried, and then gives it its name.
func (l *lane) create(ctx context.Context, number fileNumber) error {
	path := filepath.Join(l.dir, number.name(l.kind))
	aside := path + unfinished
	if err := removeDatabase(aside); err != nil {
		return err
	}
	carried := l.carry.compact()
	if err := l.build(ctx, aside, carried); err != nil {
		return errors.Join(err, removeDatabase(aside))
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("name the new file: %w", err)
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	f, err := openFile(ctx, path, number)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(slices.Clip(l.files), f)
	l.carry = carried
	clear(l.unwritten)
	return nil
}

func (l *lane) build(ctx context.Context, path string, c carry) (err error) {
	if err := migrate(ctx, path, l.kind); err != nil {
		return err
	}
	db, err := open(path, readWrite, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("carry positions: %w", err)
	}
	if err := c.write(ctx, tx); err != nil {
		return errors.Join(fmt.Errorf("carry positions: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("carry positions: %w", err)
	}
	return nil
}

// stored takes over what a commit changed and wakes the followers.
func (l *lane) stored(change carry, rows int64, earliest, latest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.newest()
	f.bytes = diskBytes(f.path)
	f.grow(rows, earliest, latest)
	for key := range change.removed {
		delete(l.carry.positions, key)
	}
	maps.Copy(l.carry.positions, change.positions)
	maps.Copy(l.carry.losses, change.losses)
	maps.Copy(l.carry.shed, change.shed)
	close(l.changed)
	l.changed = make(chan struct{})
}
