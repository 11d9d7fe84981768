package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrPooler is in the error of Open when a pooler between AuthKit and PostgreSQL does not leave it sessions of its own.
var ErrPooler = errors.New("the pooler before PostgreSQL can't be used")

const (
	// poolerTimeout bounds the look at what is between us and PostgreSQL, once there is a connection. Making one may take as long
	// as the URL allows for each of its hosts, and as preparePatience: the database may have to wake up first.
	poolerTimeout = 10 * time.Second
	// poolerTries are more than a pooler needs that gives out its connections in turn, of which it has a few.
	poolerTries = 5
)

// checkPooler refuses a pooler that gives each transaction another connection, as PgBouncer does with pool_mode=transaction: the
// lock under which the schema is made would stay with a stranger, statements that were prepared be somewhere else, and LISTEN
// be heard by nobody. It reports whether there is any pooler, which it tells by the number of the process that answers: a
// pooler gives clients one of its own.
func (c postgresConfig) checkPooler(ctx context.Context) (pooled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, preparePatience)
	defer cancel()
	first, err := c.plain(ctx)
	if err != nil {
		return false, c.unreachable(err)
	}
	defer func() { err = errors.Join(err, first.Close(ctx)) }()
	look, cancelLook := context.WithTimeout(ctx, poolerTimeout)
	defer cancelLook()
	var path string
	if err := first.QueryRow(look, `SELECT current_setting('search_path')`).Scan(&path); err != nil {
		return false, fmt.Errorf("look at %s: %s", c.place(), oneLine(err))
	}
	pid, err := backend(look, first)
	switch {
	case err != nil:
		return false, fmt.Errorf("look at %s: %s", c.place(), oneLine(err))
	case pid == first.PgConn().PID() && path == c.schema:
		return false, nil
	case path != c.schema:
		return true, c.badPooler("it ignores the search_path that a connection is begun with")
	}
	shared, err := c.sharesConnections(ctx, first)
	switch {
	case err != nil:
		return true, fmt.Errorf("look at the pooler before %s: %s", c.place(), oneLine(err))
	case shared:
		return true, c.badPooler("it gives each transaction another connection (PgBouncer's pool_mode=transaction, or statement)")
	}
	return true, nil
}

// sharesConnections is true when a second client is given the process that just answered the first, or the first is answered by
// another one than before.
func (c postgresConfig) sharesConnections(ctx context.Context, first *pgx.Conn) (_ bool, err error) {
	second, err := c.plain(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, second.Close(ctx)) }()
	look, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	for range poolerTries {
		before, err := backend(look, first)
		if err != nil {
			return false, err
		}
		if _, err := second.Exec(look, `BEGIN`); err != nil { // while it is open nobody else gets the same
			if _, refused := errors.AsType[*pgconn.PgError](err); refused { // pool_mode=statement
				return true, nil
			}
			return false, err
		}
		other, err := backend(look, second)
		if err != nil || other == before {
			return err == nil, err
		}
		after, err := backend(look, first)
		if err != nil || after != before {
			return err == nil, err
		}
		if _, err := second.Exec(look, `ROLLBACK`); err != nil {
			return false, err
		}
	}
	return false, nil
}

// plain is a connection that prepares no statements.
func (c postgresConfig) plain(ctx context.Context) (*pgx.Conn, error) {
	config := c.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, config)
}

// backend is the number of the process that answers.
func backend(ctx context.Context, conn *pgx.Conn) (pid uint32, err error) {
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid)
	return pid, err
}

func (c postgresConfig) badPooler(why string) error {
	return fmt.Errorf("a pooler stands before %s, and %s: name PostgreSQL itself in the URL, as AuthKit has a pool of its own "+
		"(--db-max-connections): %w", c.place(), why, ErrPooler)
}
