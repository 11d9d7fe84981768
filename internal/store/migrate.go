package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"dagster-authkit/migrations"
)

// contents is what a database file was found to hold.
type contents int

const (
	emptyDatabase contents = iota
	ourDatabase
	pythonDatabase // of the Python AuthKit, not taken over yet
)

// inspect looks into the file without changing anything, so that a mistyped path does no harm to somebody's database.
func inspect(ctx context.Context, path string) (_ contents, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return emptyDatabase, nil
	}
	db, err := sql.Open("sqlite3", fileURL(path, url.Values{"mode": {"ro"}, "_busy_timeout": {busyTimeout}}))
	if err != nil {
		return 0, fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, err := names(ctx, db, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
	if sqliteErr, ok := errors.AsType[sqlite3.Error](err); ok && sqliteErr.Code == sqlite3.ErrNotADB {
		return 0, fmt.Errorf("%q is not an SQLite database: name another file with --db", path)
	}
	if err != nil {
		return 0, fmt.Errorf("look into the database %q: %w", path, err)
	}
	columns, err := names(ctx, db, `SELECT name FROM pragma_table_info('users')`)
	if err != nil {
		return 0, fmt.Errorf("look into the database %q: %w", path, err)
	}
	return recognise(path, tables, columns)
}

// recognise tells by the tables, and the columns of the one named users, whose database this is. That a file is ours is
// not told by goose's table alone, as other programs use goose too.
func recognise(path string, tables, userColumns []string) (contents, error) {
	gooseTable := slices.Contains(tables, goose.DefaultTablename)
	switch {
	case len(tables) == 0, gooseTable && len(tables) == 1:
		return emptyDatabase, nil
	case gooseTable && slices.Contains(tables, "audit_events") && slices.Contains(userColumns, "subject"):
		return ourDatabase, nil
	case !gooseTable && isPython(userColumns):
		return pythonDatabase, nil
	}
	return 0, fmt.Errorf("%q is the database of another program (tables %s): name another file with --db",
		path, strings.Join(tables[:min(3, len(tables))], ", "))
}

func names(ctx context.Context, db querier, query string, args ...any) (_ []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, rows.Err()
}

// migrate brings the schema up to what this program knows. The caller holds the lock.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	files, err := fs.Sub(migrations.SQLite, "sqlite")
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version in %q: %w", path, err)
	}
	if current > target {
		return fmt.Errorf("the database %q was made by a newer dagster-authkit (its schema is %d, this program knows %d): "+
			"use that version, or name another file with --db", path, current, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database %q: %w", path, err)
	}
	return nil
}
