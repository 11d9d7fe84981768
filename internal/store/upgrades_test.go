package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"dagster-authkit/migrations"
)

// The next release's migration, as this one finds it: it adds, and notes itself.
const nextRelease = `ALTER TABLE users ADD COLUMN later TEXT NOT NULL DEFAULT ''; ALTER TABLE sessions ADD COLUMN later TEXT;
	CREATE TABLE later (id INTEGER); INSERT INTO schema_migrations (version_id, is_applied) VALUES (99999, %s)`

// TestNewerSchema runs the whole contract on schemas of the next release: during a rolling upgrade this program stands beside it.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		contract(t, func(t *testing.T) *Store {
			path := filepath.Join(t.TempDir(), "a.db")
			if err := openPath(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			execFile(t, path, fmt.Sprintf(nextRelease, "1"))
			return openPath(t, path)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		contract(t, func(t *testing.T) *Store {
			o := newSchema(t)
			running := openOptions(t, o) // it goes on while the schema changes under it
			if _, err := running.writer.Exec(fmt.Sprintf(nextRelease, "true")); err != nil {
				t.Fatal(err)
			}
			if err := openOptions(t, o).Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			return running
		})
	})
}

// TestOlderProgram opens today's schema with the migrations that the program of each earlier schema knows.
func TestOlderProgram(t *testing.T) {
	t.Parallel()
	for name, open := range map[goose.Dialect]func(t *testing.T) *Store{
		goose.DialectSQLite3:  openNew,
		goose.DialectPostgres: func(t *testing.T) *Store { return openOptions(t, newSchema(t)) },
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			s := open(t)
			files, err := migrationFiles(name)
			if err != nil {
				t.Fatal(err)
			}
			last := lastMigration(t, files)
			for _, known := range append(earlier, strings.TrimSuffix(last, ".sql")) {
				if err := migrateWith(t.Context(), s.writer, name, upTo{files, known + ".sql"}, "x"); err != nil {
					t.Errorf("a program that knows %s: %v", known, err)
				}
			}
			if _, err := s.writer.Exec(`UPDATE state SET least_schema = 2`); err != nil {
				t.Fatal(err)
			}
			if err := migrateWith(t.Context(), s.writer, name, upTo{files, earlier[0] + ".sql"}, "x"); !errors.Is(err, ErrNewerSchema) {
				t.Errorf("a program that knows too little: got %v, want ErrNewerSchema", err)
			}
			if err := migrateWith(t.Context(), s.writer, name, upTo{files, earlier[1] + ".sql"}, "x"); err != nil {
				t.Errorf("a program that knows just enough: %v", err)
			}
		})
	}
}

func lastMigration(t *testing.T, files fs.FS) string {
	t.Helper()
	list, err := fs.Glob(files, "*.sql")
	if err != nil || len(list) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	return list[len(list)-1]
}

// upTo is a folder without what comes after the file named.
type upTo struct {
	fs.FS
	last string
}

func (u upTo) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(u.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() > u.last }), err
}

// TestSameMigrations: both engines have the same files, tables and columns, so that the same SQL runs on both.
func TestSameMigrations(t *testing.T) {
	t.Parallel()
	var lists [2][]string
	for i, files := range []fs.FS{migrations.SQLite, migrations.Postgres} {
		paths, err := fs.Glob(files, "*/*.sql")
		if err != nil || len(paths) == 0 {
			t.Fatalf("%d files, %v", len(paths), err)
		}
		for _, path := range paths {
			lists[i] = append(lists[i], filepath.Base(path))
		}
	}
	if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
		t.Errorf("migrations (-sqlite +postgres):\n%s", diff)
	}
	o := newSchema(t)
	sqliteColumns, err := names(t.Context(), openNew(t).readers, `SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT IN ('goose_db_version', 'schema_migrations') ORDER BY 1`)
	check(t, "columns of SQLite", err)
	postgresColumns, err := names(t.Context(), openOptions(t, o).readers, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = $1 AND table_name <> 'schema_migrations' ORDER BY 1`, o.Schema)
	check(t, "columns of PostgreSQL", err)
	slices.Sort(postgresColumns) // SQLite compares bytes
	if diff := cmp.Diff(sqliteColumns, postgresColumns); diff != "" {
		t.Errorf("columns (-sqlite +postgres):\n%s", diff)
	}
	indexes := func(s *Store, query string, args ...any) []string {
		list, err := names(t.Context(), s.readers, query, args...)
		check(t, "indexes", err)
		slices.Sort(list)
		return list
	}
	sqliteIndexes := indexes(openNew(t), `SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL`)
	o = newSchema(t)
	postgresIndexes := indexes(openOptions(t, o), `SELECT indexname FROM pg_indexes WHERE schemaname = $1 AND indexname NOT LIKE '%key' AND indexname NOT LIKE '%_pkey'`, o.Schema)
	if diff := cmp.Diff(sqliteIndexes, postgresIndexes); diff != "" {
		t.Errorf("indexes (-sqlite +postgres):\n%s", diff)
	}
}
