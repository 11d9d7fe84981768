package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"dagster-authkit/migrations"
)

// versionTable is where goose notes which migrations were made.
const versionTable = "schema_migrations"

// migrate brings the schema up to what this program knows. One that is newer is used as it is, unless state.least_schema
// says that only newer programs may: then the error is ErrNewerSchema. The caller holds the engine's lock; name is the
// database's in errors.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, name string) error {
	files, err := migrationFiles(dialect)
	if err != nil {
		return err
	}
	return migrateWith(ctx, db, dialect, files, name)
}

func migrationFiles(dialect goose.Dialect) (fs.FS, error) {
	all, folder := migrations.SQLite, "sqlite"
	if dialect == goose.DialectPostgres {
		all, folder = migrations.Postgres, "postgres"
	}
	files, err := fs.Sub(all, folder)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return files, nil
}

func migrateWith(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS, name string) error {
	provider, err := goose.NewProvider(dialect, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithTableName(versionTable))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version in %s: %w", name, err)
	}
	if current > target {
		return checkLeast(ctx, db, current, target, name)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", name, err)
	}
	return nil
}

// checkLeast is about a schema that a newer program made.
func checkLeast(ctx context.Context, db *sql.DB, current, target int64, name string) error {
	var least int64
	if err := db.QueryRowContext(ctx, `SELECT least_schema FROM state`).Scan(&least); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the schema's version in %s: %w", name, err)
	}
	if least > target {
		return fmt.Errorf("%s was made by a newer dagster-authkit (its schema is %d and needs a program that knows %d, this one knows %d): "+
			"use that version, or name another database with --db: %w", name, current, least, target, ErrNewerSchema)
	}
	return nil
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
