// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/holdfast-project/holdfast/collector/store"
)

//go:embed migrations
var migrations embed.FS

// Modes of a database connection. Every one waits for a lock instead of giving up, and never holds pages of its own
// beyond a few megabytes.
const (
	readOnly  = "query_only(1)"
	readWrite = "query_only(0)"
)

// open opens a database file with write-ahead log, which it creates if it is missing. A commit is on disk when it
// returns. The connection pool has no more than conns connections and gives idle ones back.
func open(path, mode string, conns int) (*sql.DB, error) {
	options := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
			"journal_size_limit(67108864)", mode,
		},
	}
	if mode == readOnly {
		options.Set("_txlock", "deferred")
	}
	// In a URI, what a relative path begins with would be taken for a host.
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	dsn := url.URL{Scheme: "file", Path: absolute, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(30 * time.Second)
	return db, nil
}

// migrate brings a database file to the newest schema of its kind, which is a folder of migrations.
func migrate(ctx context.Context, path, kind string) (err error) {
	db, err := open(path, readWrite, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	steps, err := fs.Sub(migrations, "migrations/"+kind)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", kind, err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, steps, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", kind, err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", path, full(err))
	}
	return nil
}

// full adds store.ErrFull to an error that a full disk or quota caused.
func full(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return fmt.Errorf("%w: %w", store.ErrFull, err)
		}
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN:
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// placeholders is n question marks with commas between them.
func placeholders(n int) string {
	return strings.TrimSuffix(strings.Repeat("?,", n), ",")
}

// nanos is a time as it is kept: nanoseconds since 1970, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// moment is the time that nanos kept.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
