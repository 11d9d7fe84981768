package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"
)

const (
	// heartbeat is how often the listening connection reads state.version. It finds what a lost notification would have told
	// (a pooler between us and PostgreSQL may swallow them), and shows that the connection lives.
	heartbeat = 250 * time.Millisecond
	// trusted is for how long after such a reading was begun nothing else is asked. After it each call reads the row.
	trusted = time.Second
	// relisten is the pause before a lost connection is made anew. It is short, as we are to be back soon after PostgreSQL.
	relisten = 200 * time.Millisecond
	// listens is added to the name by which PostgreSQL shows the listening connection, in pg_stat_activity.
	listens = " listens"
)

// changes knows whether state.version has moved, without asking each time: the triggers notify in the transaction that moves
// it, and one connection listens. The number it gives is its own: it moves whenever state.version was seen to be another,
// also an older one, as after a restored backup.
type changes struct {
	config postgresConfig
	pool   *sql.DB
	log    zerolog.Logger
	end    context.CancelFunc
	ended  chan struct{}
	looks  singleflight.Group

	mu     sync.Mutex
	row    int64     // state.version, the newest that is known
	number int64     // what version gives
	fresh  time.Time // when the last reading on the listening connection was begun; zero: it is lost
}

// listen starts the goroutine that listens; close ends it.
func listen(config postgresConfig, pool *sql.DB, log zerolog.Logger) *changes {
	ctx, cancel := context.WithCancel(context.Background())
	c := &changes{config: config, pool: pool, log: log, end: cancel, ended: make(chan struct{})}
	go c.run(ctx)
	return c
}

func (c *changes) close() {
	c.end()
	<-c.ended
}

// version is Store.Version. While the listening connection is silent it reads the row, once for all who ask at that time.
func (c *changes) version(ctx context.Context) (int64, error) {
	if number, sure := c.current(); sure {
		return number, nil
	}
	look := c.looks.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
		defer cancel()
		before := c.known()
		var row int64
		if err := c.pool.QueryRowContext(ctx, `SELECT version FROM state`).Scan(&row); err != nil {
			return nil, err
		}
		c.read(row, before)
		return nil, nil
	})
	select {
	case result := <-look:
		if result.Err != nil {
			return 0, result.Err
		}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	number, _ := c.current()
	return number, nil
}

func (c *changes) current() (number int64, sure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number, !c.fresh.IsZero() && time.Since(c.fresh) < trusted
}

// told is for what was committed here, or notified of. News may come late, after that of a later change: then it is none.
func (c *changes) told(row int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if row > c.row {
		c.row = row
		c.number++
	}
}

// read is for what was read, when before was known before. A lower number than that is the truth too: the database is
// another one now.
func (c *changes) read(row, before int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if row > c.row || row < before {
		c.row = row
		c.number++
	}
}

func (c *changes) known() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.row
}

// doubt is for a commit whose answer was lost: it may have been made.
func (c *changes) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
}

func (c *changes) beat(begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = begun
}

// lost reports whether it was there before. What was read until now is good no longer: what answers next may be a standby that
// was promoted without the last changes, and has made others by the time that it has the same version.
func (c *changes) lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := !c.fresh.IsZero()
	if was {
		c.number++
	}
	c.fresh = time.Time{}
	return was
}

func (c *changes) run(ctx context.Context) {
	defer close(c.ended)
	for ctx.Err() == nil {
		err := c.listen(ctx)
		if c.lost() && ctx.Err() == nil {
			c.log.Warn().Err(err).Msg("lost the connection on which PostgreSQL tells of changes; until it is back the database is asked each time")
		}
		select {
		case <-ctx.Done():
		case <-time.After(relisten):
		}
	}
}

// listen makes a connection and listens until it fails.
func (c *changes) listen(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, c.config.ConnectTimeout)
	defer cancel()
	config := c.config.Copy()
	config.RuntimeParams["application_name"] += listens
	conn, err := pgx.ConnectConfig(dial, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		_ = conn.Close(ctx) // it has failed, or we are leaving: there is nothing to be done about it
	}()
	// Whatever is committed after this is told of; what was before, the first heartbeat reads.
	if _, err := conn.Exec(dial, `LISTEN `+pgx.Identifier{"authkit_" + c.config.schema}.Sanitize()); err != nil {
		return err
	}
	for {
		if err := c.look(ctx, conn); err != nil {
			return err
		}
		if err := c.wait(ctx, conn); err != nil {
			return err
		}
	}
}

func (c *changes) look(ctx context.Context, conn *pgx.Conn) error {
	begun, before := time.Now(), c.known()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var row int64
	if err := conn.QueryRow(ctx, `SELECT version FROM state`).Scan(&row); err != nil {
		return err
	}
	c.read(row, before)
	c.beat(begun)
	return nil
}

// wait takes notifications until the next heartbeat is due.
func (c *changes) wait(ctx context.Context, conn *pgx.Conn) error {
	until, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	for {
		told, err := conn.WaitForNotification(until)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case until.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		row, err := strconv.ParseInt(told.Payload, 10, 64)
		if err != nil {
			return fmt.Errorf("read a notification: %w", err)
		}
		c.told(row)
	}
}
