package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// preparePatience bounds making or migrating the schema, the wait for others who are at it included.
const preparePatience = 2 * time.Minute

// prepare makes or migrates the schema on a connection of its own, which holds an advisory lock meanwhile: of many who start
// at once one does it and the others wait. goose's own lock for PostgreSQL asks once a second, so that the last of ten would
// wait for ten; PostgreSQL hands this one on at once, and gives it back when its holder dies.
func prepare(ctx context.Context, config postgresConfig, mustExist bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, preparePatience)
	defer cancel()
	own := config.Copy()
	// A migration may take long, and the wait for the lock too.
	own.RuntimeParams["statement_timeout"] = "0"
	own.RuntimeParams["lock_timeout"] = "0"
	own.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	db := stdlib.OpenDB(*own)
	defer func() { err = errors.Join(err, db.Close()) }()
	// goose wants a pool. The lock is a session's, so there must be one connection only; goose gives it back in between.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	if err := db.PingContext(ctx); err != nil {
		return config.unreachable(err)
	}
	if _, err := db.ExecContext(ctx, `SELECT pg_advisory_lock($1, $2)`, lockPreparing, lockNumber(config.schema)); err != nil {
		return fmt.Errorf("waiting for another process that prepares the database: %s", oneLine(err))
	}
	if err := config.makeSchema(ctx, db, mustExist); err != nil {
		return err
	}
	return migrate(ctx, db, goose.DialectPostgres, config.place())
}

// makeSchema makes the schema when it is not there, and refuses a database in which text can be anything.
func (c postgresConfig) makeSchema(ctx context.Context, db *sql.DB, mustExist bool) error {
	var encoding string
	var there, ours, empty bool
	err := db.QueryRowContext(ctx, `SELECT current_setting('server_encoding'),
			EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1),
			to_regclass(format('%I.%I', $1::text, $2::text)) IS NOT NULL,
			NOT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1))`,
		c.schema, versionTable).Scan(&encoding, &there, &ours, &empty)
	switch {
	case err != nil:
		return fmt.Errorf("look into %s: %s", c.place(), oneLine(err))
	case encoding != "UTF8":
		return fmt.Errorf("the database %q has the encoding %s, and UTF8 is needed: make one with CREATE DATABASE ... ENCODING 'UTF8'", c.Database, encoding)
	case ours:
		return nil
	case mustExist:
		return fmt.Errorf("there is no %s: make it with init-db, or name another database with --db", c.place())
	case there && !empty:
		return fmt.Errorf("%s holds the tables of another program: name another one with DAGSTER_AUTH_DATABASE_SCHEMA", c.place())
	case there:
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA `+pgx.Identifier{c.schema}.Sanitize()); err != nil {
		return fmt.Errorf("make %s: %s: let an administrator run CREATE SCHEMA %s AUTHORIZATION %s",
			c.place(), oneLine(err), c.schema, pgx.Identifier{c.User}.Sanitize())
	}
	return nil
}

// unreachable says in one line why there is no connection.
func (c postgresConfig) unreachable(err error) error {
	hint := "is it up, and are host, port and TLS settings right?"
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case "28P01", "28000":
			hint = "check user and password (also PGPASSWORD, PGPASSFILE or DAGSTER_AUTH_DATABASE_URL_FILE) and pg_hba.conf"
		case "3D000":
			hint = "make it with CREATE DATABASE"
		case "53300":
			hint = "raise max_connections of PostgreSQL, or lower --db-max-connections"
		case "08P01":
			// PgBouncer's answer to search_path and timeouts.
			hint = "is that a pooler? Name PostgreSQL itself in the URL, as AuthKit has a pool of its own (--db-max-connections)"
		}
	}
	return fmt.Errorf("connect to %s: %s: %s", c.place(), oneLine(err), hint)
}

// oneLine is the error's text without line breaks; pgx puts each host of the URL on a line of its own, and no password.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
