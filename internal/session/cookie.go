package session

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/sessions"
)

const (
	// tokenSize is in bytes: 256 bits, twice what ASVS 5.0, 7.2.3 asks for.
	tokenSize = 32
	// maxCookie is in bytes. Ours have 120.
	maxCookie = 256
	// maxCookies bounds how many cookies of our name are looked at in one request. A browser sends one; more come from
	// somebody who sets cookies from a sibling host.
	maxCookies = 16
	// hostPrefix makes a browser refuse the cookie from anybody but this very host over TLS (RFC 6265bis, 4.1.3.2).
	hostPrefix = "__Host-"
)

type (
	token [tokenSize]byte
	hash  [sha256.Size]byte
)

func (t token) hash() hash { return sha256.Sum256(t[:]) }

// CookieNames are the names under which a browser may send a session cookie of an AuthKit with this configuration, here or
// beside us under another path. None of them may reach Dagster.
func (m *Manager) CookieNames() []string { return []string{m.name, hostPrefix + m.name} }

// ownNames are those under which we may have set a cookie at our path. At "/", a change to TLS changes the name.
func (m *Manager) ownNames() []string {
	if m.path == "/" {
		return m.CookieNames()
	}
	return []string{m.name}
}

// nameFor is the only name that counts for the request. A cookie of the plain name is not read where the __Host- one
// could have been set: anybody on a sibling host can plant the plain one.
func (m *Manager) nameFor(r *http.Request) string {
	if m.path == "/" && m.secure(r) {
		return hostPrefix + m.name
	}
	return m.name
}

// tokens are those of the request's cookies of that name which we signed, each once, in the order sent. The name is part of
// what was signed, so a cookie does not pass for one of another name.
func (m *Manager) tokens(r *http.Request, name string) []token {
	cookies := r.CookiesNamed(name)
	tokens := make([]token, 0, 1)
	for _, cookie := range cookies[:min(len(cookies), maxCookies)] {
		var value []byte
		if err := m.codec.Decode(name, cookie.Value, &value); err != nil || len(value) != tokenSize {
			continue
		}
		if t := token(value); !slices.Contains(tokens, t) {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// options are the attributes of the cookie that answers r.
func (m *Manager) options(r *http.Request) *sessions.Options {
	return &sessions.Options{
		Path: m.path, MaxAge: int(m.maxAge / time.Second), Secure: m.secure(r), HttpOnly: true, SameSite: m.sameSite,
	}
}

// Clear tells the browser to forget the cookies of ours that r carries. After Load said ErrNone they name nothing, and a
// page that waits for its cookie to go would reload for ever. Where r carries none, nothing is cleared: its answer may
// come after that of a sign-in in another tab. Only our own path is cleared: a cookie of the same name at "/" may be that
// of another AuthKit beside us.
func (m *Manager) Clear(w http.ResponseWriter, r *http.Request) {
	for _, name := range m.ownNames() {
		if len(r.CookiesNamed(name)) == 0 {
			continue
		}
		gone := m.options(r)
		if name != m.name && !gone.Secure {
			// Perhaps a proxy did not say that the client came by TLS: then this cookie may be somebody's live session.
			continue
		}
		gone.MaxAge = -1
		http.SetCookie(w, sessions.NewCookie(name, "", gone))
	}
}
