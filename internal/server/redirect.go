package server

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNext bounds the address to go back to after signing in; Dagster's own with an asset selection stay below 2 KiB.
const maxNext = 4096

// safeRedirect returns where to go after signing in: the path and query of raw when it stays on this site and below the
// prefix, else the prefix itself. Browsers read "//host", "/\host", and both with tabs or newlines inside, as another site
// (WHATWG URL Standard, 4.4); those are refused, not repaired.
func safeRedirect(raw, prefix string) string {
	home := prefix + "/"
	if len(raw) > maxNext || !utf8.ValidString(raw) || !strings.HasPrefix(raw, home) {
		return home
	}
	bad := func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '\\' }
	if strings.HasPrefix(raw, "//") || strings.ContainsFunc(raw, bad) {
		return home
	}
	u, err := url.Parse(raw)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" {
		return home
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." || strings.ContainsRune(segment, '\\') {
			return home
		}
	}
	if strings.HasPrefix(u.Path, "//") || strings.HasPrefix(u.Path, prefix+"/auth/log") {
		return home
	}
	return u.String()
}
