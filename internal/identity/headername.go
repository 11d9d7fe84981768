package identity

import "strings"

// HeaderKey is a header's name as the laxest reader sees it, the form in which names of identity headers are compared: CGI and
// WSGI make "_" of "-" and can't tell Remote-User from Remote_User (GHSA-vjrc-mh2v-45x6); some servers do the same with dots.
func HeaderKey(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}
