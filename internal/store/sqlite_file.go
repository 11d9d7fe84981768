package store

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// private is the mode of every file of the database: it holds password hashes and whom a session belongs to.
const private fs.FileMode = 0o600

// filePath gives the absolute path that a path or sqlite URL names, links followed, so that the files beside it are
// found where SQLite makes them.
func filePath(text string) (string, error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	path := text
	if isURL {
		if scheme != "sqlite" {
			return "", errors.New("the database is not SQLite: write a path, or sqlite:///dagster_auth.db")
		}
		unescaped, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
		if err != nil {
			return "", errors.New("the path of the sqlite URL has an invalid % escape")
		}
		path = unescaped
	}
	if path == "" || path == ":memory:" || strings.ContainsRune(path, 0) {
		return "", errors.New("the database must be a file: write a path, or sqlite:///dagster_auth.db")
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the database %q: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(absolute); err == nil {
		return real, nil
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(absolute))
	if err != nil {
		folder = filepath.Dir(absolute) // checkFolder says what is wrong with it
	}
	return filepath.Join(folder, filepath.Base(absolute)), nil
}

// checkFolder wants a folder that can be written to even when the file is there: SQLite makes -wal and -shm beside it.
func checkFolder(path string) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %q of the database does not exist: make it, or name another file with --db", folder)
	case err != nil:
		return fmt.Errorf("look at the folder of the database: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%q is not a folder: name another file with --db", folder)
	}
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("user %d can't write to the folder %q of the database (%w): allow it, or name another file with --db",
			os.Geteuid(), folder, err)
	}
	return nil
}

func checkPresence(path string, mustExist bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mustExist:
		return fmt.Errorf("there is no database %q: make one with init-db, or name another file with --db", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the database: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is not a file: name another one with --db", path)
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("user %d can't read and write the database %q (%w): allow it, or name another file with --db",
			os.Geteuid(), path, err)
	}
	return nil
}

// prepareFiles makes the file, or tightens the ones that are there. SQLite gives -wal and -shm the mode of the file. The
// caller holds the lock: closing a database file that this process has open elsewhere would drop SQLite's own locks
// (sqlite.org/howtocorrupt.html, 2.2), so a file that exists is never opened here.
func prepareFiles(path string, log zerolog.Logger) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, private) //nolint:gosec // the path is the operator's choice
	if err == nil {
		// The mode given to open loses the bits of the umask; this one does not.
		if err := errors.Join(file.Chmod(private), file.Close()); err != nil {
			return fmt.Errorf("make the database %q: %w", path, err)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the database: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := tighten(path+suffix, log); err != nil {
			return err
		}
	}
	return nil
}

func tighten(path string, log zerolog.Logger) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the mode of a database file: %w", err)
	}
	if info.Mode().Perm()&^private == 0 {
		return nil
	}
	if err := os.Chmod(path, private); err != nil {
		return fmt.Errorf("others can read %q, and this user can't change that (%w): let its owner run chmod 600", path, err)
	}
	// Some mounted file systems accept the change and ignore it; refusing to start would not help anyone there.
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&^private != 0 {
		log.Warn().Str("file", path).Msg("others can read this database file, and its file system can't forbid it")
	}
	return nil
}
