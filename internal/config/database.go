package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// parseDatabase gives the path of the SQLite file that a path or URL names. URLs are read as SQLAlchemy and the Python
// AuthKit read them: sqlite:///file.db is beside us, sqlite:////var/lib/file.db is absolute.
// The text is never shown in an error, as a database URL may hold a password.
func parseDatabase(text string) (string, error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return checkFile(text)
	}
	switch scheme {
	case "sqlite":
	case "postgres", "postgresql":
		return "", errors.New("PostgreSQL is not built yet: write a path, or sqlite:///dagster_auth.db")
	default:
		return "", fmt.Errorf("%s databases are not supported: write a path, or sqlite:///dagster_auth.db", schemeName(scheme))
	}
	if strings.ContainsAny(rest, "?#") {
		return "", errors.New("parameters in a sqlite URL are not used: leave out what follows the path")
	}
	path, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		return "", errors.New("the path of the sqlite URL has an invalid % escape")
	}
	return checkFile(path)
}

// schemeName shows a scheme only when it looks like one: text that a typing error put before "://" may be anything.
func schemeName(scheme string) string {
	if len(scheme) > 20 || strings.ContainsFunc(scheme, func(r rune) bool { return r != '+' && (r < 'a' || r > 'z') }) {
		return "such"
	}
	return scheme
}

func checkFile(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("it names no file: write a path, or sqlite:///dagster_auth.db")
	case path == ":memory:" || strings.HasPrefix(path, "file:"):
		return "", errors.New("the database must be a file: users have to survive a restart")
	case strings.HasSuffix(path, "/"):
		return "", fmt.Errorf("%q is a folder: name a file in it", path)
	case strings.ContainsRune(path, 0):
		return "", errors.New("a path can't hold a zero byte")
	}
	return path, nil
}
