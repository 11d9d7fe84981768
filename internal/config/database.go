package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// database is where users and sessions are kept.
type database struct {
	// path is that of the SQLite file. For PostgreSQL it is the URL as people may see it, and url the whole one.
	path string
	url  Secret
}

// parseDatabase reads a path or URL. Those of SQLite are read as SQLAlchemy and the Python AuthKit read them:
// sqlite:///file.db is beside us, sqlite:////var/lib/file.db is absolute. The text is never shown in an error, as a database
// URL may hold a password.
func parseDatabase(text string) (database, error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return checkFile(text)
	}
	switch scheme {
	case "sqlite":
	case "postgres", "postgresql":
		return parsePostgres(text)
	default:
		return database{}, fmt.Errorf("%s databases are not supported: write a path, sqlite:///dagster_auth.db or postgres://user@host/database", schemeName(scheme))
	}
	if strings.ContainsAny(rest, "?#") {
		return database{}, errors.New("parameters in a sqlite URL are not used: leave out what follows the path")
	}
	path, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		return database{}, errors.New("the path of the sqlite URL has an invalid % escape")
	}
	return checkFile(path)
}

// parsePostgres looks at the form only; what the parameters mean is libpq's to say. The errors of url.Parse repeat the text.
func parsePostgres(text string) (database, error) {
	u, err := url.Parse(text)
	if err != nil {
		return database{}, errors.New("it is no URL: write postgres://user@host:5432/database, and %40 for an @ in a password (its other odd characters as % escapes too)")
	}
	shown := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
	if u.User != nil {
		shown.User = url.User(u.User.Username())
	}
	return database{path: shown.String(), url: NewSecret(text)}, nil
}

// hasPassword reports whether a password stands in the URL.
func (d database) hasPassword() bool {
	u, err := url.Parse(d.url.Reveal())
	if err != nil || u.User == nil {
		return err == nil && u.Query().Has("password")
	}
	_, given := u.User.Password()
	return given || u.Query().Has("password")
}

// schemeName shows a scheme only when it looks like one: text that a typing error put before "://" may be anything.
func schemeName(scheme string) string {
	if len(scheme) > 20 || strings.ContainsFunc(scheme, func(r rune) bool { return r != '+' && (r < 'a' || r > 'z') }) {
		return "such"
	}
	return scheme
}

func checkFile(path string) (database, error) {
	switch {
	case path == "":
		return database{}, errors.New("it names no file: write a path, or sqlite:///dagster_auth.db")
	case path == ":memory:" || strings.HasPrefix(path, "file:"):
		return database{}, errors.New("the database must be a file: users have to survive a restart")
	case strings.HasSuffix(path, "/"):
		return database{}, fmt.Errorf("%q is a folder: name a file in it", path)
	case strings.ContainsRune(path, 0):
		return database{}, errors.New("a path can't hold a zero byte")
	}
	return database{path: path}, nil
}

var schemaForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

func parseSchema(text string) (string, error) {
	if !schemaForm.MatchString(text) {
		return "", fmt.Errorf("%q is no plain name: write small letters, digits and _, at most 48", text)
	}
	return text, nil
}

// parseRetention is for a number of days, and 0 for ever.
func parseRetention(text string) (time.Duration, error) {
	return parseDays(text, 1, "write days (365d), or 0 to keep everything")
}

// parseDays reads days too, as nobody counts months in hours: at least so many, or 0.
func parseDays(text string, least int, advice string) (time.Duration, error) {
	const day = 24 * time.Hour
	d, err := parseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n int
		if n, err = parseInt(days, 0, 36500); err != nil {
			return 0, fmt.Errorf("%q is no time: %s", text, advice)
		}
		d = time.Duration(n) * day
	}
	if err == nil && d != 0 && d < time.Duration(least)*day {
		return 0, fmt.Errorf("%q is too short: %s", text, advice)
	}
	return d, err
}
