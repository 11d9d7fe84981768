// Package store keeps users, sessions, sign-in attempts and the audit trail in the database, SQLite or PostgreSQL. It is the
// only package that speaks SQL, and knows no rules beyond those that only a transaction can keep: that the last admin stays,
// that a change and its audit event are stored together or not at all, that attempts are counted before they are made.
//
// The SQL is the same for both engines and stands in the files named for what it is about; what differs is in the files
// sqlite*.go and postgres*.go, behind the interface engine.
//
// What was acknowledged is on the disk: SQLite runs with synchronous=FULL, and PostgreSQL with what its administrator set,
// which is the same by default.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
)

// Options are what Open needs.
type Options struct {
	// URL is the path of the SQLite file, or sqlite:///path as SQLAlchemy reads it: three slashes before a relative
	// path, four before an absolute one. Or it is postgres://user@host/database, with the parameters of libpq, whose
	// variables (PGPASSWORD, PGPASSFILE, PGSSLMODE, ...) stand in for what it leaves out.
	URL string
	// Schema is where the tables are on PostgreSQL; empty: authkit.
	Schema string
	// MaxConnections bounds the connections to PostgreSQL, the one that listens included; 0: 10, at least 2.
	MaxConnections int
	// MustExist makes a missing file or schema an error that names init-db, instead of making it: a mistyped --db of a
	// command that only looks must not leave an empty database behind.
	MustExist bool
	// Log hears of a takeover, of file permissions that had to be changed, of who else can read the tables, and of
	// PostgreSQL being away and back.
	Log zerolog.Logger

	// tweak changes how PostgreSQL is spoken to, for tests.
	tweak func(*postgresConfig)
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	writer  *sql.DB // of SQLite one connection; of PostgreSQL the same pool as readers
	readers *sql.DB
	engine  engine
	// unwritable is set by a change that the database had no room for, or did not take as a standby, and taken back by Ping. The
	// next change that is taken shows little: there may be room for it, on a page that was begun, and for no other.
	unwritable atomic.Bool
	probed     struct {
		sync.Mutex
		at  time.Time
		err error // of the last time; nil: it took what it was asked
	}
	log zerolog.Logger
}

// engine is what SQLite and PostgreSQL do differently.
type engine interface {
	// ready is an error when what was opened is no longer what others see.
	ready() error
	// version is Store.Version.
	version(ctx context.Context) (int64, error)
	// serialise makes the transaction the only one that changes what Version tells of, until it ends.
	serialise(ctx context.Context, tx *sql.Tx) error
	// settle is called at the end of such a transaction; what it returns is called when that was committed, or may have been.
	settle(ctx context.Context, tx *sql.Tx) (ended func(committed bool), err error)
	// hold makes other transactions that hold one of the keys wait until this one ends.
	hold(ctx context.Context, tx *sql.Tx, keys ...string) error
	// alone is false when another process is at the same work at this moment.
	alone(ctx context.Context, tx *sql.Tx, work string) (bool, error)
	// again is true for the error of a transaction that was given up because of another one, and may be tried anew.
	again(err error) bool
	// stale is true for the error of a connection of the pool that had died before it was used: what only reads, or has not
	// begun, may be tried on another.
	stale(err error) bool
	// unwritable is true for the error of a change that says that others would fail, too: no room, or nobody may write.
	unwritable(err error) bool
	// forbidden is true for the error of something that AuthKit has no right to do.
	forbidden(err error) bool
	// probe writes something that is no change, and needs room.
	probe(ctx context.Context, tx *sql.Tx) error
	// unhurried lifts the limits of time on a transaction that moves everything.
	unhurried(ctx context.Context, tx *sql.Tx) error
	// numbered makes new rows of the table follow the highest number in it.
	numbered(ctx context.Context, tx *sql.Tx, table string) error
	close() error
}

// ErrNewerSchema is in the error of Open when the database can only be used by a newer program.
var ErrNewerSchema = errors.New("the database needs a newer dagster-authkit")

// Open opens the database, and first makes or migrates it, or takes it over from the Python AuthKit. Many processes may
// do so at the same time: all but one wait. Every error is one line that says what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	if IsPostgres(o.URL) {
		return openPostgres(ctx, o)
	}
	return openSQLite(ctx, o)
}

// IsPostgres reports whether the URL is one of PostgreSQL's.
func IsPostgres(url string) bool {
	scheme, _, isURL := strings.Cut(url, "://")
	return isURL && (scheme == "postgres" || scheme == "postgresql")
}

// Version is a number that moves with every change of users, grants, sessions and tokens, whichever process makes it: what was
// read after Version gave a number is good for as long as Version gives that number. Audit events, sign-in attempts,
// TouchSession, TouchToken, SignedIn and ReplaceHash do not move it. A change made by this Store has moved it when it returns;
// one of another process is seen within glanceFor on SQLite and some milliseconds on PostgreSQL, and it is an error when
// PostgreSQL could not tell for a second. It costs next to nothing.
func (s *Store) Version(ctx context.Context) (int64, error) {
	version, err := s.engine.version(ctx)
	if err != nil {
		return 0, fmt.Errorf("read version: %w", err)
	}
	return version, nil
}

// Close closes the database. The writer is last, as SQLite's last connection folds the write-ahead log into the file.
func (s *Store) Close() error {
	err := s.engine.close()
	if s.readers != nil && s.readers != s.writer {
		err = errors.Join(err, s.readers.Close())
	}
	if s.writer != nil {
		err = errors.Join(err, s.writer.Close())
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Ping reads one row, to tell whether the database answers. When it had no room for a change it is asked to write, too, until it
// can: meanwhile the error is identity.ErrUnwritable.
func (s *Store) Ping(ctx context.Context) error {
	var version int64
	err := s.read(ctx, "ping database", readTimeout, func(ctx context.Context) error {
		return s.readers.QueryRowContext(ctx, `SELECT version FROM state`).Scan(&version)
	})
	if err != nil || !s.unwritable.Load() {
		return err
	}
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("%w: %w", identity.ErrUnwritable, err)
	}
	return nil
}

// probePause is how long it counts that the database took no change: anybody may ask, and each time it is written to.
const probePause = time.Second

// probe tries whether the database takes changes again. When that can't be told, as AuthKit may change what is there and nothing
// else, it is for the next change to show.
func (s *Store) probe(ctx context.Context) error {
	s.probed.Lock()
	defer s.probed.Unlock()
	if !s.unwritable.Load() {
		return nil
	}
	if s.probed.err != nil && time.Since(s.probed.at) < probePause {
		return s.probed.err
	}
	err := s.note(ctx, "ping database", func(tx *sql.Tx) error { return s.engine.probe(ctx, tx) })
	if err != nil && s.engine.forbidden(err) {
		s.log.Warn().Err(err).Msg("the database took no changes a while ago; whether it does again can't be tried, so it counts as if it did")
		err = nil
	}
	if err == nil {
		s.unwritable.Store(false)
	}
	s.probed.at, s.probed.err = time.Now(), err
	return err
}

// Connections are those of the pool, the one that listens to PostgreSQL not counted.
type Connections struct {
	Max, InUse, Idle int
	// Waits counts the times that somebody had to wait for one, and Waited is how long altogether.
	Waits  int64
	Waited time.Duration
}

// Connections tells how the pool that reads is used.
func (s *Store) Connections() Connections {
	stats := s.readers.Stats()
	return Connections{Max: stats.MaxOpenConnections, InUse: stats.InUse, Idle: stats.Idle, Waits: stats.WaitCount, Waited: stats.WaitDuration}
}

// What a request waits for. They are variables for the tests alone, which must not fail because a machine has other things to do.
var (
	// readTimeout bounds what a request waits for, the wait for a connection included: a database that hangs is as good as
	// none.
	readTimeout = 3 * time.Second
	// writeTimeout bounds a write, the wait for the one connection that writes to SQLite included: when another process
	// holds the lock, those who wait for it wait together, not one after the other. It is as long as the busy timeout of a
	// single one.
	writeTimeout = 5 * time.Second
	// lookTimeout bounds the reading of the one row that has the version, on PostgreSQL.
	lookTimeout = time.Second
)

const (
	// listTimeout bounds lists of everything, which are long where there are many users.
	listTimeout = time.Minute
	// writeTries bounds how often a transaction is tried that PostgreSQL gave up because of another one.
	writeTries = 4
	// staleTries is more than the connections of a pool that may have died together; each try finds another.
	staleTries = 1001
)

// read runs f, which only reads, within the time given. step names it in errors.
func (s *Store) read(ctx context.Context, step string, within time.Duration, f func(ctx context.Context) error) error {
	if err := s.engine.ready(); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var err error
	for range staleTries {
		if err = f(ctx); err == nil {
			return nil
		}
		if !s.engine.stale(err) || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("%s: %w", step, err)
}

// write runs f in one transaction that is the only one to change users, grants and sessions from its start, so that what f
// reads can't change before it writes. f may be run several times, and only the last one counts.
func (s *Store) write(ctx context.Context, step string, f func(tx *sql.Tx) error) error {
	return s.try(ctx, step, func(ctx context.Context, tx *sql.Tx) (func(bool), error) {
		if err := s.engine.serialise(ctx, tx); err != nil {
			return nil, err
		}
		if err := f(tx); err != nil {
			return nil, err
		}
		return s.engine.settle(ctx, tx)
	})
}

// note runs f in one transaction that does not move Version. On SQLite it is like write. On PostgreSQL others may run at the
// same time, so that f must be right by its statements alone, or by engine.hold.
func (s *Store) note(ctx context.Context, step string, f func(tx *sql.Tx) error) error {
	return s.try(ctx, step, func(_ context.Context, tx *sql.Tx) (func(bool), error) {
		return func(bool) {}, f(tx)
	})
}

func (s *Store) try(ctx context.Context, step string, f func(ctx context.Context, tx *sql.Tx) (func(bool), error)) error {
	if err := s.engine.ready(); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var err error
	for range writeTries {
		if err = s.transaction(ctx, f); err == nil {
			return nil
		}
		if !s.engine.again(err) {
			break
		}
	}
	if s.engine.unwritable(err) {
		s.unwritable.Store(true)
	}
	return fmt.Errorf("%s: %w", step, err)
}

func (s *Store) transaction(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) (func(bool), error)) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	ended, err := f(ctx, tx)
	if err != nil {
		// The cause is what counts; a rollback that fails, fails for the same reason or has happened already.
		_ = tx.Rollback()
		return err
	}
	if err := tx.Commit(); err != nil {
		ended(false)
		return fmt.Errorf("commit: %w", err)
	}
	ended(true)
	return nil
}

func (s *Store) begin(ctx context.Context) (tx *sql.Tx, err error) {
	for range staleTries {
		if tx, err = s.writer.BeginTx(ctx, nil); err == nil || !s.engine.stale(err) || ctx.Err() != nil {
			break
		}
	}
	return tx, err
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
