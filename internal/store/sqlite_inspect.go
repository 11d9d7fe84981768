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
	"github.com/pressly/goose/v3/database"
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
	gooseTable := slices.Contains(tables, goose.DefaultTablename) || slices.Contains(tables, versionTable)
	others := slices.DeleteFunc(slices.Clone(tables), func(name string) bool { return name == goose.DefaultTablename || name == versionTable })
	switch {
	case len(others) == 0:
		return emptyDatabase, nil
	case gooseTable && slices.Contains(tables, "audit_events") && slices.Contains(userColumns, "subject"):
		return ourDatabase, nil
	case !gooseTable && isPython(userColumns):
		return pythonDatabase, nil
	}
	return 0, fmt.Errorf("%q is the database of another program (tables %s): name another file with --db",
		path, strings.Join(tables[:min(3, len(tables))], ", "))
}

// adoptVersions copies what the first releases noted in goose's own table, goose_db_version, into ours. Theirs then stays at
// what they know, and they open the database again after a downgrade: they refuse one in which it has a higher number.
func adoptVersions(ctx context.Context, db *sql.DB) error {
	tables, err := names(ctx, db, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return fmt.Errorf("look for the schema's version: %w", err)
	}
	if slices.Contains(tables, versionTable) || !slices.Contains(tables, goose.DefaultTablename) {
		return nil
	}
	versions, err := database.NewStore(database.DialectSQLite3, versionTable)
	if err != nil {
		return fmt.Errorf("make the schema's version: %w", err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make the schema's version: %w", err)
	}
	err = versions.CreateVersionTable(ctx, tx)
	if err == nil {
		//nolint:gosec // both names are constants
		_, err = tx.ExecContext(ctx, `INSERT INTO `+versionTable+` (version_id, is_applied, tstamp)
			SELECT version_id, is_applied, tstamp FROM `+goose.DefaultTablename+` ORDER BY id`)
	}
	if err != nil {
		_ = tx.Rollback()
		return fmt.Errorf("make the schema's version: %w", err)
	}
	return tx.Commit()
}
