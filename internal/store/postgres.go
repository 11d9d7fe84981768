package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	defaultSchema      = "authkit"
	defaultConnections = 10
	leastConnections   = 2 // one listens

	// connectTimeout bounds one attempt to connect, unless the URL has connect_timeout.
	connectTimeout = 3 * time.Second
	// idleFor is how long a connection that nobody uses is kept, and connectionAge how long any is, so that a pool follows
	// when a name in the URL means another server.
	idleFor       = 5 * time.Minute
	connectionAge = 30 * time.Minute
)

// schemaForm is what needs no quotes and leaves room for what comes before it in the name of the channel.
var schemaForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// postgres is the engine for many processes. Transactions run beside each other at READ COMMITTED; three kinds of locks make
// them right (docs/decisions/0030): write locks the one row of state first, so that changes follow one another as on SQLite;
// attempts hold advisory locks on their account and address; all else is one statement, which PostgreSQL evaluates anew when
// it had to wait for a row.
type postgres struct {
	changes *changes
}

// postgresConfig is how PostgreSQL is spoken to.
type postgresConfig struct {
	*pgx.ConnConfig
	schema      string
	connections int
}

// readPostgresConfig never shows the URL: it may hold a password, and pgx's own errors repeat parts of it.
func readPostgresConfig(o Options) (postgresConfig, error) {
	c := postgresConfig{schema: o.Schema, connections: o.MaxConnections}
	if c.schema == "" {
		c.schema = defaultSchema
	}
	if c.connections == 0 {
		c.connections = defaultConnections
	}
	if !schemaForm.MatchString(c.schema) {
		return c, fmt.Errorf("the schema %q is no plain name: write small letters, digits and _, at most 48", c.schema)
	}
	if c.connections < leastConnections {
		return c, fmt.Errorf("%d connections are too few: one listens for changes, so allow at least %d", c.connections, leastConnections)
	}
	parsed, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return c, errors.New("the URL of the database can't be read: write postgres://user@host:5432/database?sslmode=verify-full, " +
			"with %40 for an @ in a password, and certificates that sslrootcert, sslcert and sslkey name must be there")
	}
	c.ConnConfig = parsed
	if !strings.Contains(o.URL, "connect_timeout=") {
		c.ConnectTimeout = connectTimeout
	}
	// Of several hosts the one that takes writes is wanted, and only its changes are told to those who listen.
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	c.RuntimeParams["search_path"] = c.schema
	for name, value := range map[string]string{
		"application_name": "dagster-authkit",
		// A process that was stopped in the middle of a change must not keep all others from making theirs.
		"idle_in_transaction_session_timeout": "5000",
		// Nobody waits for longer: see listTimeout.
		"statement_timeout": "60000",
		// Nor does a change wait for a table that somebody locked: a little longer than reads do, which have readTimeout.
		"lock_timeout": "4000",
		// The client's end may be gone without a word.
		"tcp_user_timeout": "10000",
	} {
		if _, given := c.RuntimeParams[name]; !given {
			c.RuntimeParams[name] = value
		}
	}
	if o.tweak != nil {
		o.tweak(&c)
	}
	return c, nil
}

func openPostgres(ctx context.Context, o Options) (*Store, error) {
	config, err := readPostgresConfig(o)
	if err != nil {
		return nil, err
	}
	pooled, err := config.checkPooler(ctx)
	if err != nil {
		return nil, err
	}
	if pooled {
		o.Log.Warn().Str("database", config.place()).Msg("a pooler stands before PostgreSQL: it must leave each connection to whoever made it " +
			"(PgBouncer: pool_mode=session), and is of no use, as AuthKit has a pool of its own")
	}
	if err := prepare(ctx, config, o.MustExist); err != nil {
		return nil, err
	}
	pool := stdlib.OpenDB(*config.ConnConfig)
	pool.SetMaxOpenConns(config.connections - 1)
	pool.SetMaxIdleConns(config.connections - 1)
	pool.SetConnMaxIdleTime(idleFor)
	pool.SetConnMaxLifetime(connectionAge)
	s := &Store{writer: pool, readers: pool, engine: &postgres{changes: listen(config, pool, o.Log)}, log: o.Log}
	if err := s.warnOfNeighbours(ctx, config, o.Log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// place names the database for people, without the password.
func (c postgresConfig) place() string {
	return fmt.Sprintf("schema %q of the database postgres://%s@%s:%d/%s", c.schema, c.User, c.Host, c.Port, c.Database)
}

func (e *postgres) ready() error { return nil }

func (e *postgres) version(ctx context.Context) (int64, error) { return e.changes.version(ctx) }

func (e *postgres) serialise(ctx context.Context, tx *sql.Tx) error {
	var version int64
	if err := tx.QueryRowContext(ctx, `SELECT version FROM state FOR UPDATE`).Scan(&version); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

func (e *postgres) settle(ctx context.Context, tx *sql.Tx) (func(bool), error) {
	var version int64
	if err := tx.QueryRowContext(ctx, `SELECT version FROM state`).Scan(&version); err != nil {
		return nil, fmt.Errorf("read version: %w", err)
	}
	return func(committed bool) {
		if committed {
			e.changes.told(version)
			return
		}
		e.changes.doubt()
	}, nil
}

// The first numbers of our advisory locks, which belong to the whole database. The second ones are hashes: two keys with the
// same one wait for each other without need, and that is all.
const (
	lockPreparing int32 = 0x0A07_0001
	lockKeys      int32 = 0x0A07_0002
	lockWork      int32 = 0x0A07_0003
)

// hold takes the locks in the order of their numbers, so that two transactions can't wait for each other.
func (e *postgres) hold(ctx context.Context, tx *sql.Tx, keys ...string) error {
	numbers := make([]int32, len(keys))
	for i, key := range keys {
		numbers[i] = lockNumber(key)
	}
	slices.Sort(numbers)
	for _, number := range numbers {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1, $2)`, lockKeys, number); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
	return nil
}

func (e *postgres) alone(ctx context.Context, tx *sql.Tx, work string) (alone bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema() || $2::text))`, lockWork, work).Scan(&alone)
	return alone, err
}

func lockNumber(key string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash takes everything
	return int32(h.Sum32())     //nolint:gosec // the sign is as good as any other bit
}

// again is true for a deadlock, which lists of rows in different orders can make, and for failed serialisation.
func (e *postgres) again(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "40P01" || pgErr.Code == "40001")
}

// stale is about connections that PostgreSQL closed when it was restarted or an administrator ended them. One that can't be
// made is another matter.
func (e *postgres) stale(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return false
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code == "57P01" || pgErr.Code == "57P02"
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || pgconn.SafeToRetry(err)
}

// unwritable is about a full disk (53100), a disk that fails (58030), and a server that became a standby, or that an
// administrator made read-only (25006).
func (e *postgres) unwritable(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "53100" || pgErr.Code == "58030" || pgErr.Code == "25006")
}

func (e *postgres) forbidden(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "42501"
}

// probe makes a table of 100 KiB where the others are, and takes it back. Rows in those others would show nothing: there may be
// room on the pages that they have, while another table, which the last change needed, has none.
func (e *postgres) probe(ctx context.Context, tx *sql.Tx) error {
	name := "probe_" + strings.ToLower(rand.Text()) // of its own: several processes may be at it
	for _, statement := range []string{
		`SAVEPOINT probe`,
		`SELECT set_config('default_tablespace', coalesce((SELECT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
			WHERE c.oid = 'audit_events'::regclass), ''), true)`,
		`CREATE TABLE ` + name + ` (row VARCHAR(1000))`,
		`INSERT INTO ` + name + ` SELECT repeat('x', 1000) FROM generate_series(1, 100)`,
		`ROLLBACK TO probe`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (e *postgres) unhurried(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`)
	return err
}

func (e *postgres) numbered(ctx context.Context, tx *sql.Tx, table string) error {
	columns, err := names(ctx, tx, `SELECT column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'`, table)
	if err != nil {
		return err
	}
	for _, column := range columns {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence($1, $2), (SELECT coalesce(max(%s), 0) + 1 FROM %s), false)`,
			column, table), table, column); err != nil {
			return err
		}
	}
	return nil
}

func (e *postgres) close() error {
	e.changes.close()
	return nil
}
