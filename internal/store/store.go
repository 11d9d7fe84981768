// Package store keeps users, sessions, sign-in attempts and the audit trail in the database. It is the only package that
// speaks SQL, and knows no rules beyond those that only a transaction can keep: that the last admin stays, that a change
// and its audit event are stored together or not at all, that attempts are counted before they are made.
//
// What was acknowledged is on the disk: SQLite runs with synchronous=FULL, so neither a kill nor a power cut loses it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver named "sqlite3"
	"github.com/rs/zerolog"
)

// busyTimeout is how long a statement waits for another process to finish writing, in milliseconds.
const busyTimeout = "5000"

// Options are what Open needs.
type Options struct {
	// URL is the path of the SQLite file, or sqlite:///path as SQLAlchemy reads it: three slashes before a relative
	// path, four before an absolute one.
	URL string
	// MustExist makes a missing file an error that names init-db, instead of making the file: a mistyped --db of a
	// command that only looks must not leave an empty database behind.
	MustExist bool
	// Log hears of a takeover and of file permissions that had to be changed.
	Log zerolog.Logger
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	path     string
	file     os.FileInfo // what was at path when it was opened
	writer   *sql.DB     // one connection: SQLite has one writer at a time, and waiting here is fairer than busy retries
	readers  *sql.DB
	versions versions
	glance   glance
}

// Open opens the database, and first makes or migrates it, or takes it over from the Python AuthKit. Many processes may
// do so at the same time: all but one wait. Every error is one line that says what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	path, err := filePath(o.URL)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(path); err != nil {
		return nil, err
	}
	if err := checkPresence(path, o.MustExist); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	kind, err := inspect(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := prepareFiles(path, o.Log); err != nil {
		return nil, err
	}
	return open(ctx, path, kind, o.Log)
}

func open(ctx context.Context, path string, kind contents, log zerolog.Logger) (*Store, error) {
	file, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at the database file: %w", err)
	}
	s := &Store{path: path, file: file}
	for _, handle := range []struct {
		db     **sql.DB
		size   int
		params url.Values
	}{
		{&s.writer, 1, url.Values{"_txlock": {"immediate"}}},
		{&s.readers, max(4, runtime.NumCPU()), url.Values{"_query_only": {"true"}, "_stmt_cache_size": {"16"}}},
		{&s.versions.db, 1, url.Values{"_query_only": {"true"}}},
	} {
		db, err := sql.Open("sqlite3", dsn(path, handle.params))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open database: %w", err), s.Close())
		}
		db.SetMaxOpenConns(handle.size)
		db.SetMaxIdleConns(handle.size)
		*handle.db = db
	}
	if kind == pythonDatabase {
		if err := s.takeOver(ctx, log); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := migrate(ctx, s.writer, path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// inPlace is an error once the file at the path is not the one that was opened. SQLite would go on reading and writing the
// one that nobody else sees any more, and what other processes change would never be noticed.
func (s *Store) inPlace() error {
	now, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("the database file is gone: put it back and restart AuthKit: %w", err)
	}
	if !os.SameFile(s.file, now) {
		return fmt.Errorf("the database file %s was replaced: restart AuthKit to use the new one", s.path)
	}
	return nil
}

// dsn names the file and every pragma: one that is set by a statement reaches a single connection of a pool only.
func dsn(path string, params url.Values) string {
	for name, value := range map[string]string{
		"mode": "rw", "_busy_timeout": busyTimeout, "_journal_mode": "WAL", "_synchronous": "FULL", "_foreign_keys": "true",
	} {
		params.Set(name, value)
	}
	return fileURL(path, params)
}

func fileURL(path string, params url.Values) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}).String()
}

// Close closes the database. The writer is last, as the last connection folds the write-ahead log into the file.
func (s *Store) Close() error {
	err := s.versions.close()
	for _, db := range []*sql.DB{s.readers, s.writer} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Ping reads one row, to tell whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.inPlace(); err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	var version int64
	if err := s.readers.QueryRowContext(ctx, `SELECT version FROM state`).Scan(&version); err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	return nil
}

// writeTimeout bounds a write, the wait for the one connection that writes included: when another process holds the lock,
// those who wait for it wait together, not one after the other. It is as long as the busy timeout of a single one.
const writeTimeout = 5 * time.Second

// write runs f in one transaction that holds the write lock from its start, so that what f reads can't change before it
// writes. step names it in errors.
func (s *Store) write(ctx context.Context, step string, f func(tx *sql.Tx) error) error {
	if err := s.inPlace(); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer s.glance.changed() // whatever became of it: a commit that failed may have happened
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: begin: %w", step, err)
	}
	if err := f(tx); err != nil {
		// The cause is what counts; a rollback that fails, fails for the same reason or has happened already.
		_ = tx.Rollback()
		return fmt.Errorf("%s: %w", step, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: commit: %w", step, err)
	}
	return nil
}

// toMillis and fromMillis are the only ways of a time into and out of the database; NULL is the zero time.
func toMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func fromMillis(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}
