// Package session knows who is signed in. It is a gorilla/sessions Store whose rows live in our database: the cookie holds
// one signed, opaque token, the row holds its SHA-256 and whose it is, and role and grants are read with the row each
// time, so that a change of either counts on the next request. The server calls Start, Load and End; Run sweeps what has
// expired and tells those who Watch, the open WebSockets, when their session is over.
package session

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/seal"
)

// ErrNone says that nobody is signed in: no cookie, one that is not ours, or a session that is unknown, over, or whose
// user was disabled. Any other error of this package is a fault of the store, and no reason to sign anybody out.
var ErrNone = errors.New("no session")

// minKey is in bytes. The key signs with HMAC-SHA-256, whose keys should be no shorter than its output (RFC 2104, section 3).
const minKey = 32

// defaultCookieName is design.md's; DAGSTER_AUTH_COOKIE_NAME renames it.
const defaultCookieName = "dagster_authkit"

// cookieNames are the names that RFC 6265, section 4.1.1 allows.
var cookieNames = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")

// Rows are the sessions in the database.
type Rows interface {
	CreateSession(ctx context.Context, session identity.Session) error
	// SessionByHash returns the session, its user, and the user's grants in one read, or identity.ErrNotFound.
	SessionByHash(ctx context.Context, hash []byte) (identity.Session, identity.User, error)
	// TouchSession stores when a person was last seen. It need not move Version.
	TouchSession(ctx context.Context, hash []byte, at time.Time) error
	// DeleteSession reports whether it was this call that deleted the session; to delete nothing is no error.
	DeleteSession(ctx context.Context, hash []byte) (deleted bool, err error)
	// DueSessions lists at most limit sessions that were last refreshed at before or earlier and that nobody refreshes at now.
	DueSessions(ctx context.Context, before, now time.Time, limit int) ([]identity.Session, []identity.User, error)
	// ClaimSession takes a refresh on the caller until the time given, and returns the stored secret; claimed is false when
	// the session is gone, was refreshed since seen, or is somebody else's to refresh.
	ClaimSession(ctx context.Context, hash []byte, seen, now, until time.Time) (secret []byte, claimed bool, err error)
	// ReleaseSession gives the claim until that time back, if it still is the one; the session is due again at due.
	ReleaseSession(ctx context.Context, hash []byte, claim, due time.Time) error
	// SessionSecret gives the stored secret, or identity.ErrNotFound.
	SessionSecret(ctx context.Context, hash []byte) ([]byte, error)
	// RefreshSession stores when the backend last vouched, and the next secret, and gives the claim back, if it still is the one.
	// The session is not asked about before due. Neither it nor a claim need move Version.
	RefreshSession(ctx context.Context, hash []byte, claim, at time.Time, secret []byte, due time.Time) error
	// Version changes whenever anybody, in this process or another, changed users, grants or sessions. What was read after
	// a call of Version is good for as long as Version returns the same. It costs microseconds.
	Version(ctx context.Context) (int64, error)
}

// Refresh asks the backend that vouched for the session's user whether it still does, stores what it says of them, and returns
// the secret to ask with next time. ErrGone says that it does not; any other error leaves that open, and a secret beside it is
// kept all the same: the one before may be used up.
type Refresh func(ctx context.Context, user identity.User, by identity.Voucher) (secret []byte, err error)

// ErrGone is Refresh's word for a user whom the backend does not vouch for any more.
var ErrGone = errors.New("nobody vouches for the user any more")

// ReasonGone is why a session ended whose backend does not vouch for its user any more.
const ReasonGone = "BACKEND_NO_LONGER_VOUCHES"

// ErrUnconfirmed says that a session is open, but that its backend has not vouched for its user for twice the refresh
// interval, and does not answer now either. It is no reason to sign anybody out, and none to let anybody in.
var ErrUnconfirmed = errors.New("the server that knows the user does not answer")

// Ended is a session that expired, and whose it was.
type Ended struct {
	Session identity.Session
	User    identity.User
}

// Sweep deletes at most limit sessions that are over at now, because of their ExpiresAt or, when idle is not 0, because
// nobody was seen for that long, and returns those that it deleted itself.
type Sweep func(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]Ended, error)

// Options are what a Manager needs.
type Options struct {
	// Rows and Sweep are the store; needed.
	Rows  Rows
	Sweep Sweep
	// Key is DAGSTER_AUTH_SECRET_KEY, at least 32 bytes. The key that signs is derived from it.
	Key []byte
	// MaxAge is how long a session lasts, whatever happens in it; at least a second.
	MaxAge time.Duration
	// IdleTimeout ends a session in which nobody was seen for that long; 0: none does.
	IdleTimeout time.Duration
	// CookieName is without the __Host- prefix; empty: "dagster_authkit".
	CookieName string
	// Path is "{prefix}/"; empty: "/".
	Path string
	// Secure says whether the client came by TLS; nil: whether this connection has it.
	Secure func(*http.Request) bool
	// SameSite is the cookie's; 0 is Lax, so that links from elsewhere find a signed-in person signed in.
	SameSite http.SameSite
	// Backends are those whose users may be signed in; none: everybody's. A session that another backend began, the dummy one
	// that was tried out yesterday, is nobody's today.
	Backends []string
	// Refresh is called for sessions with a Voucher once in RefreshInterval; nil: no backend has to be asked.
	Refresh         Refresh
	RefreshInterval time.Duration
	// Expired is called once for each session that ended by its age, by idleness or because its backend does not vouch for its
	// user any more, by whoever deleted its row; reason is ReasonGone for the last. nil: nobody hears of it.
	Expired func(ctx context.Context, session identity.Session, user identity.User, reason string)
	Log     zerolog.Logger
}

// Manager is made by New and safe for any number of goroutines.
type Manager struct {
	rows        Rows
	sweep       Sweep
	codec       *securecookie.SecureCookie
	maxAge      time.Duration
	idleTimeout time.Duration
	name        string
	path        string
	secure      func(*http.Request) bool
	sameSite    http.SameSite
	backends    []string
	refresh     refresher
	expired     func(context.Context, identity.Session, identity.User, string)
	log         zerolog.Logger

	cache   cache
	touches touches
	outage  outage

	watching sync.Mutex
	watchers map[*watcher]struct{}
}

var _ sessions.Store = (*Manager)(nil)

// New makes a Manager. Its Run must run for sessions to be swept and watched.
func New(o Options) (*Manager, error) {
	if o.CookieName == "" {
		o.CookieName = defaultCookieName
	}
	if o.Path == "" {
		o.Path = "/"
	}
	if o.SameSite == 0 {
		o.SameSite = http.SameSiteLaxMode
	}
	if o.Secure == nil {
		o.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	if o.Expired == nil {
		o.Expired = func(context.Context, identity.Session, identity.User, string) {}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	codec, err := newCodec(o.Key, o.MaxAge)
	if err != nil {
		return nil, err
	}
	aead, err := seal.New(o.Key, "dagster-authkit session secrets")
	if err != nil {
		return nil, err
	}
	return &Manager{
		rows: o.Rows, sweep: o.Sweep, codec: codec, maxAge: o.MaxAge, idleTimeout: o.IdleTimeout,
		name: o.CookieName, path: o.Path, secure: o.Secure, sameSite: o.SameSite, backends: o.Backends, expired: o.Expired, log: o.Log,
		refresh: refresher{ask: o.Refresh, interval: o.RefreshInterval, sealer: sealer{aead}},
		cache:   newCache(), touches: newTouches(), watchers: map[*watcher]struct{}{},
	}, nil
}

func (o Options) check() error {
	switch {
	case o.Rows == nil || o.Sweep == nil:
		return errors.New("session: rows and sweep are needed")
	case len(o.Key) < minKey:
		return fmt.Errorf("session: the secret key has %d bytes: give at least %d", len(o.Key), minKey)
	case o.MaxAge < time.Second:
		return fmt.Errorf("session: a lifetime of %v: give at least a second", o.MaxAge)
	case o.Refresh != nil && o.RefreshInterval < time.Second:
		return fmt.Errorf("session: a refresh interval of %v: give at least a second", o.RefreshInterval)
	case o.IdleTimeout < 0:
		return fmt.Errorf("session: an idle timeout of %v: give 0 for none, or more", o.IdleTimeout)
	case !cookieNames.MatchString(o.CookieName) || strings.HasPrefix(o.CookieName, "__"):
		return fmt.Errorf("session: cookie name %q: give letters, digits, '-' and '_', not beginning with '__'", o.CookieName)
	case !strings.HasPrefix(o.Path, "/") || !strings.HasSuffix(o.Path, "/") || strings.ContainsAny(o.Path, "; \t\r\n"):
		return fmt.Errorf("session: cookie path %q: begin and end it with '/'", o.Path)
	}
	return nil
}

// newCodec signs with a key of its own, derived by HKDF (RFC 5869), so that the secret can serve other ends as well.
func newCodec(secret []byte, maxAge time.Duration) (*securecookie.SecureCookie, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "dagster-authkit session cookie", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key for session cookies: %w", err)
	}
	codec := securecookie.New(key, nil).SetSerializer(securecookie.NopEncoder{})
	return codec.MaxAge(int(maxAge / time.Second)).MaxLength(maxCookie), nil
}
