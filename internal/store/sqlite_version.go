package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// versions knows the number in state.version without reading it each time. SQLite's data_version, which costs no more
// than a look into shared memory, changes on a connection when any other one has committed, of this process or of any;
// only then is the row read. data_version means something on one and the same connection only, hence the pinned one.
type versions struct {
	db *sql.DB

	mu      sync.Mutex
	conn    *sql.Conn // nil: none yet, or the last one failed
	look    *sql.Stmt
	read    *sql.Stmt
	seen    int64 // data_version when version was read
	version int64
}

func (v *versions) current(ctx context.Context) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn == nil {
		if err := v.pin(ctx); err != nil {
			return 0, errors.Join(err, v.unpin())
		}
	}
	var data int64
	if err := v.look.QueryRowContext(ctx).Scan(&data); err != nil {
		return 0, errors.Join(err, v.unpin())
	}
	if data == v.seen {
		return v.version, nil
	}
	// The row is read after data_version: a commit between the two makes the next call read it again.
	if err := v.read.QueryRowContext(ctx).Scan(&v.version); err != nil {
		return 0, errors.Join(err, v.unpin())
	}
	v.seen = data
	return v.version, nil
}

func (v *versions) pin(ctx context.Context) (err error) {
	v.seen = -1 // no data_version is negative: the first call on a connection reads the row
	if v.conn, err = v.db.Conn(ctx); err != nil {
		return err
	}
	if v.look, err = v.conn.PrepareContext(ctx, `PRAGMA data_version`); err != nil {
		return err
	}
	v.read, err = v.conn.PrepareContext(ctx, `SELECT version FROM state`)
	return err
}

func (v *versions) unpin() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{v.look, v.read} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if v.conn != nil {
		errs = append(errs, v.conn.Close())
	}
	v.look, v.read, v.conn = nil, nil, nil
	return errors.Join(errs...)
}

func (v *versions) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.unpin()
	if v.db != nil {
		err = errors.Join(err, v.db.Close())
	}
	return err
}
