package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Backup copies the SQLite database at url into a new file, mode 0600, while others use it: what they had committed when it
// began is in it, and nothing else. The schema is not touched, so that a backup before an upgrade is one of the old schema.
func Backup(ctx context.Context, url, target string) (err error) {
	path, err := filePath(url)
	if err != nil {
		return err
	}
	if err := checkPresence(path, true); err != nil {
		return err
	}
	if kind, err := inspect(ctx, path); err != nil {
		return err
	} else if kind == emptyDatabase {
		return fmt.Errorf("the database %q is empty: there is nothing to back up", path)
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q is there already: name a new file", target)
	}
	// The copy gets its name when it is whole. SQLite takes a file that is there when it is empty, and leaves its mode.
	file, err := os.CreateTemp(filepath.Dir(target), ".backup-*")
	if err != nil {
		return fmt.Errorf("make the backup: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if err := vacuumInto(ctx, path, file.Name()); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if err := os.Link(file.Name(), target); err != nil {
		return fmt.Errorf("name the backup: %w", err)
	}
	return syncFolder(filepath.Dir(target))
}

func vacuumInto(ctx context.Context, path, target string) (err error) {
	db, err := sql.Open("sqlite3", fileURL(path, url.Values{"mode": {"ro"}, "_busy_timeout": {busyTimeout}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, target)
	return err
}

// syncFolder makes a new name in it survive a power cut.
func syncFolder(path string) error {
	folder, err := os.Open(path) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// DumpCommand is the command line that backs the schema in PostgreSQL up into a file, without the password, which pg_dump
// asks for, or finds where libpq looks.
func DumpCommand(o Options, target string) (string, error) {
	config, err := readPostgresConfig(o)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return "", errors.New("the URL of the database can't be read")
	}
	u.User = url.User(config.User)
	query := u.Query()
	query.Del("password")
	u.RawQuery = query.Encode()
	return strings.Join([]string{"pg_dump", "--format=custom", "--schema=" + config.schema, "--file=" + quote(target), quote(u.String())}, " "), nil
}

// quote makes one word of the text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
