package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3" // the driver named "sqlite3"
	"github.com/pressly/goose/v3"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// busyTimeout is how long a statement waits for another process to finish writing, in milliseconds.
const busyTimeout = "5000"

// sqlite is the engine for one machine. All that writes goes through one connection, in transactions that hold SQLite's
// only write lock from their start, so that nothing more has to be locked.
type sqlite struct {
	path     string
	file     os.FileInfo // what was at path when it was opened
	versions versions
	glance   glance
}

func openSQLite(ctx context.Context, o Options) (*Store, error) {
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
	return openFile(ctx, path, kind, o.Log)
}

// openFile opens the file and brings it up to date. The caller holds the lock.
func openFile(ctx context.Context, path string, kind contents, log zerolog.Logger) (*Store, error) {
	file, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at the database file: %w", err)
	}
	e := &sqlite{path: path, file: file}
	s := &Store{engine: e, log: log}
	// One writer, as SQLite has one at a time, and waiting here is fairer than busy retries.
	for _, handle := range []struct {
		db     **sql.DB
		size   int
		params url.Values
	}{
		{&s.writer, 1, url.Values{"_txlock": {"immediate"}}},
		{&s.readers, max(4, runtime.NumCPU()), url.Values{"_query_only": {"true"}, "_stmt_cache_size": {"16"}}},
		{&e.versions.db, 1, url.Values{"_query_only": {"true"}}},
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
	if err := adoptVersions(ctx, s.writer); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := migrate(ctx, s.writer, goose.DialectSQLite3, fmt.Sprintf("the database %q", path)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ready is an error once the file at the path is not the one that was opened. SQLite would go on reading and writing the
// one that nobody else sees any more, and what other processes change would never be noticed.
func (e *sqlite) ready() error {
	now, err := os.Stat(e.path)
	if err != nil {
		return fmt.Errorf("the database file is gone: put it back and restart AuthKit: %w", err)
	}
	if !os.SameFile(e.file, now) {
		return fmt.Errorf("the database file %s was replaced: restart AuthKit to use the new one", e.path)
	}
	return nil
}

// version looks at most once in glanceFor, whoever asks: a change by this process is seen at once, one by another within that
// time. It asks without the caller's end: a query that is cut off by its context may leave the pinned connection unusable, and
// this one never waits for long.
func (e *sqlite) version(ctx context.Context) (int64, error) {
	version, changes, ok := e.glance.recent()
	if ok {
		return version, nil
	}
	at := time.Now()
	if err := e.ready(); err != nil {
		return 0, err
	}
	version, err := e.versions.current(context.WithoutCancel(ctx))
	if err != nil {
		return 0, err
	}
	e.glance.saw(version, changes, at)
	return version, nil
}

func (e *sqlite) serialise(context.Context, *sql.Tx) error { return nil }

// settle notes the change whatever became of it: a commit that failed may have happened.
func (e *sqlite) settle(context.Context, *sql.Tx) (func(bool), error) {
	return func(bool) { e.glance.changed() }, nil
}

func (e *sqlite) hold(context.Context, *sql.Tx, ...string) error { return nil }

func (e *sqlite) alone(context.Context, *sql.Tx, string) (bool, error) { return true, nil }

func (e *sqlite) again(error) bool { return false }

func (e *sqlite) stale(error) bool { return false }

func (e *sqlite) unwritable(err error) bool {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	return ok && slices.Contains([]sqlite3.ErrNo{sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrReadonly}, sqliteErr.Code)
}

func (e *sqlite) forbidden(error) bool { return false }

// leastRoom is how many bytes must be free before a disk that was full counts as one that is not.
const leastRoom = 1 << 20

// probe writes a page to the log of writes when it is committed, as everything does. What was refused may have needed more, and
// has left room in that file for one page: so the disk is asked, too.
func (e *sqlite) probe(ctx context.Context, tx *sql.Tx) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(e.path), &disk); err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < leastRoom { //nolint:gosec // the size of a block is no negative number
		return fmt.Errorf("%d bytes are free on the disk of %s", free, e.path)
	}
	_, err := tx.ExecContext(ctx, `UPDATE state SET version = version`)
	return err
}

func (e *sqlite) unhurried(context.Context, *sql.Tx) error { return nil }

// numbered is what AUTOINCREMENT does by itself.
func (e *sqlite) numbered(context.Context, *sql.Tx, string) error { return nil }

func (e *sqlite) close() error { return e.versions.close() }

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
