package session_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"go.uber.org/goleak"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	secret    = []byte("a secret of no less than thirty-two bytes")
	errLocked = errors.New("database is locked")
)

// rows is the database, kept in memory. Its version moves with every change but a touch, as the store's does.
type rows struct {
	mu       sync.Mutex
	version  int64
	sessions map[string]identity.Session
	users    map[int64]identity.User
	fault    error  // of every call
	full     error  // of touches alone
	reading  func() // between reading a row and returning it, unlocked

	versions, reads, touches int
	claims                   map[string]time.Time // until when, by hash
	claimFault               error                // of claims alone
	claimed                  int                  // claims that failed so
}

func newRows(users ...identity.User) *rows {
	r := &rows{sessions: map[string]identity.Session{}, users: map[int64]identity.User{}, claims: map[string]time.Time{}}
	for _, user := range users {
		r.users[user.RowID] = user
	}
	return r
}

// change does something as another process would.
func (r *rows) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
	do()
}

func (r *rows) setUser(user identity.User) { r.change(func() { r.users[user.RowID] = user }) }

func (r *rows) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = err
}

func (r *rows) count() (versions, reads, touches int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.versions, r.reads, r.touches
}

func (r *rows) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

func (r *rows) CreateSession(_ context.Context, s identity.Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		return r.fault
	}
	r.version++
	r.sessions[string(s.TokenHash)] = s
	return nil
}

func (r *rows) SessionByHash(_ context.Context, hash []byte) (identity.Session, identity.User, error) {
	r.mu.Lock()
	r.reads++
	s, found := r.sessions[string(hash)]
	user, fault, reading := r.users[s.UserRowID], r.fault, r.reading
	r.mu.Unlock()
	if reading != nil {
		reading()
	}
	switch {
	case fault != nil:
		return identity.Session{}, identity.User{}, fault
	case !found:
		return identity.Session{}, identity.User{}, fmt.Errorf("session: %w", identity.ErrNotFound)
	}
	return s, user, nil
}

func (r *rows) TouchSession(_ context.Context, hash []byte, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touches++
	if r.fault != nil || r.full != nil {
		return errors.Join(r.fault, r.full)
	}
	if s, found := r.sessions[string(hash)]; found {
		s.LastSeenAt = at
		r.sessions[string(hash)] = s
	}
	return nil
}

func (r *rows) DeleteSession(_ context.Context, hash []byte) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		return false, r.fault
	}
	_, found := r.sessions[string(hash)]
	if found {
		delete(r.sessions, string(hash))
		r.version++
	}
	return found, nil
}

func (r *rows) Version(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.versions++
	return r.version, r.fault
}

func (r *rows) sweep(_ context.Context, now time.Time, idle time.Duration, limit int) ([]session.Ended, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		return nil, r.fault
	}
	var ended []session.Ended
	for hash, s := range r.sessions {
		if len(ended) < limit && (!now.Before(s.ExpiresAt) || idle > 0 && now.Sub(s.LastSeenAt) >= idle) {
			ended = append(ended, session.Ended{Session: s, User: r.users[s.UserRowID]})
			delete(r.sessions, hash)
			r.version++
		}
	}
	return ended, nil
}

var (
	alice = identity.User{
		RowID: 1, Backend: "local", Subject: "alice", Name: "Alice", Email: "alice@example.org", Role: identity.Editor,
		Grants: []identity.Grant{{Location: "etl", Role: identity.Admin}, {Location: "ml", Role: identity.Admin}},
	}
	bob = identity.User{RowID: 2, Backend: "local", Subject: "bob", Name: "Bob", Role: identity.Viewer}
)

func manager(t testing.TB, r *rows, change ...func(*session.Options)) *session.Manager {
	t.Helper()
	o := session.Options{Rows: r, Sweep: r.sweep, Key: secret, MaxAge: 24 * time.Hour}
	for _, c := range change {
		c(&o)
	}
	m, err := session.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// anHour keeps tests that poll through a whole lifetime short.
func anHour(o *session.Options) { o.MaxAge = time.Hour }

func prefix(o *session.Options) { o.Path = "/dagster/" }

func idle(timeout time.Duration) func(*session.Options) {
	return func(o *session.Options) { o.IdleTimeout = timeout }
}

// request carries the cookies as a browser would send them.
func request(overTLS bool, cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://authkit.example/", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	if overTLS {
		r.TLS = &tls.ConnectionState{}
	}
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

// start signs in and returns the cookie that came back.
func start(t testing.TB, m *session.Manager, user identity.User, r *http.Request) (identity.Session, *http.Cookie) {
	t.Helper()
	return startBy(t, m, user, r, identity.Voucher{})
}

func startBy(t testing.TB, m *session.Manager, user identity.User, r *http.Request, by identity.Voucher) (identity.Session, *http.Cookie) {
	t.Helper()
	w := httptest.NewRecorder()
	s, err := m.Start(w, r, user, "192.0.2.1", by)
	if err != nil {
		t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("signing in set %d cookies, want 1", len(cookies))
	}
	return s, cookies[0]
}

func checkUser(t testing.TB, m *session.Manager, r *http.Request, want string) {
	t.Helper()
	who, _, err := m.Load(r)
	if err != nil || who.Username != want {
		t.Errorf("got %q, %v, want %s signed in", who.Username, err, want)
	}
}

func checkNobody(t testing.TB, m *session.Manager, r *http.Request) {
	t.Helper()
	who, _, err := m.Load(r)
	if !errors.Is(err, session.ErrNone) || !who.Nobody() {
		t.Errorf("got %q, %v, want nobody", who.Username, err)
	}
}

func TestStartAndLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := manager(t, newRows(alice))
		began, cookie := start(t, m, alice, request(false))
		who, s, err := m.Load(request(false, cookie))
		if err != nil {
			t.Fatal(err)
		}
		want := identity.Identity{
			ID: "local:alice", Backend: "local", Username: "Alice", Email: "alice@example.org", Role: identity.Editor,
			Grants: alice.Grants, SessionID: began.PublicID(),
		}
		if diff := cmp.Diff(want, who); diff != "" {
			t.Errorf("identity (-want +got):\n%s", diff)
		}
		wantSession := identity.Session{
			TokenHash: s.TokenHash, UserRowID: 1, CreatedAt: time.Now().UTC(), ExpiresAt: time.Now().Add(24 * time.Hour).UTC(),
			LastSeenAt: time.Now().UTC(), Address: "192.0.2.1", UserAgent: "Mozilla/5.0",
		}
		if diff := cmp.Diff(wantSession, s); diff != "" {
			t.Errorf("session (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(s, began); diff != "" {
			t.Errorf("Start returned another session than Load (-load +start):\n%s", diff)
		}
		checkNobody(t, m, request(false))
	})
}

// The expected attributes are those of design.md section 7 and, for __Host-, of RFC 6265bis section 4.1.3.2.
func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		overTLS bool
		options func(*session.Options)
		want    string
	}{
		{"plain", false, nil, "dagster_authkit=V; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		{"TLS", true, nil, "__Host-dagster_authkit=V; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		{"plain with prefix", false, prefix, "dagster_authkit=V; Path=/dagster/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		{"TLS with prefix", true, prefix, "dagster_authkit=V; Path=/dagster/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		{
			"TLS that ends before us", false,
			func(o *session.Options) { o.Secure = func(*http.Request) bool { return true } },
			"__Host-dagster_authkit=V; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"renamed", false, func(o *session.Options) { o.CookieName = "dagster_staging" },
			"dagster_staging=V; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*session.Options)
			if c.options != nil {
				changes = append(changes, c.options)
			}
			m := manager(t, newRows(alice), changes...)
			_, cookie := start(t, m, alice, request(c.overTLS))
			if age := time.Until(cookie.Expires); age < 24*time.Hour-time.Minute || age > 24*time.Hour {
				t.Errorf("expires in %v, want a day", age)
			}
			raw := strings.Replace(cookie.Raw, "Expires="+cookie.RawExpires+"; ", "", 1)
			if got := strings.Replace(raw, cookie.Value, "V", 1); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if len(cookie.Value) > 200 {
				t.Errorf("the cookie has %d bytes, want a small one", len(cookie.Value))
			}
			checkUser(t, m, request(c.overTLS, cookie), "Alice")
		})
	}
}

// tokenOf reads the token out of a cookie as RFC 4648 and securecookie's format, base64("date|base64(value)|mac"), say.
func tokenOf(t *testing.T, cookie *http.Cookie) []byte {
	t.Helper()
	decoded, err := base64.URLEncoding.DecodeString(cookie.Value)
	if err != nil {
		t.Fatal(err)
	}
	token, err := base64.URLEncoding.DecodeString(strings.Split(string(decoded), "|")[1])
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestOnlyTheHashIsStored(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	s, cookie := start(t, m, alice, request(false))
	token := tokenOf(t, cookie)
	hash := sha256.Sum256(token)
	if len(token) != 32 || !bytes.Equal(s.TokenHash, hash[:]) {
		t.Errorf("stored %x for a token of %d bytes, want its SHA-256 and 32", s.TokenHash, len(token))
	}
	for key, row := range r.sessions {
		if shown := key + fmt.Sprintf("%+v%x", row, row); strings.Contains(shown, string(token)) || strings.Contains(shown, fmt.Sprintf("%x", token)) {
			t.Error("the row holds the token")
		}
	}
}

// A token that somebody knew before the sign-in is worth nothing after it.
func TestStartMakesANewToken(t *testing.T) {
	t.Parallel()
	r := newRows(alice, bob)
	m := manager(t, r)
	_, planted := start(t, m, bob, request(false))
	checkUser(t, m, request(false, planted), "Bob")
	_, cookie := start(t, m, alice, request(false, planted))
	if cookie.Value == planted.Value {
		t.Error("signing in kept the token")
	}
	checkUser(t, m, request(false, cookie), "Alice")
	checkNobody(t, m, request(false, planted))
	if len(r.sessions) != 1 {
		t.Errorf("%d sessions are left, want the new one", len(r.sessions))
	}
}

func TestForgedCookies(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	token := tokenOf(t, cookie)
	sign := func(key []byte, name string, token []byte) string {
		value, err := securecookie.New(key, nil).SetSerializer(securecookie.NopEncoder{}).Encode(name, token)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, "dagster-authkit session cookie", 32)
	if err != nil {
		t.Fatal(err)
	}
	checkUser(t, m, request(false, &http.Cookie{Name: "dagster_authkit", Value: sign(derived, "dagster_authkit", token)}), "Alice")
	_, before, _ := r.count()
	for name, value := range map[string]string{
		"the secret itself as key": sign(secret, "dagster_authkit", token),
		"another secret":           sign([]byte("another secret of thirty-two bytes"), "dagster_authkit", token),
		"signed for another name":  sign(derived, "__Host-dagster_authkit", token),
		"signed, but too short":    sign(derived, "dagster_authkit", token[1:]),
		"signed, but too long":     sign(derived, "dagster_authkit", append(token, 0)),
		"the bare token":           base64.URLEncoding.EncodeToString(token),
		"empty":                    "",
		"cut":                      cookie.Value[:len(cookie.Value)-8],
		"changed":                  strings.Replace(cookie.Value, cookie.Value[20:24], "AAAA", 1),
		"huge":                     strings.Repeat("A", 1<<16),
	} {
		forged := request(false, &http.Cookie{Name: "dagster_authkit", Value: value})
		if _, _, err := m.Load(forged); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: got %v, want nobody", name, err)
		}
	}
	if _, after, _ := r.count(); after != before {
		t.Errorf("forged cookies made %d reads of the database, want none", after-before)
	}
}

// A sibling host can set the plain cookie for ours; the __Host- one it can't.
func TestPlainCookieIsNotReadOverTLS(t *testing.T) {
	t.Parallel()
	m := manager(t, newRows(alice, bob))
	_, plain := start(t, m, bob, request(false))
	_, host := start(t, m, alice, request(true))
	checkUser(t, m, request(false, plain), "Bob")
	checkNobody(t, m, request(true, plain))
	checkUser(t, m, request(true, plain, host), "Alice")
	checkNobody(t, m, request(false, host))
	checkNobody(t, m, request(true, &http.Cookie{Name: host.Name, Value: plain.Value}))
}

func TestSeveralCookies(t *testing.T) {
	t.Parallel()
	r := newRows(alice, bob)
	m := manager(t, r)
	garbage := &http.Cookie{Name: "dagster_authkit", Value: "garbage"}
	_, ended := start(t, m, alice, request(false))
	if _, err := m.End(httptest.NewRecorder(), request(false, ended)); err != nil {
		t.Fatal(err)
	}
	_, hers := start(t, m, alice, request(false))
	checkUser(t, m, request(false, garbage, hers), "Alice")
	checkUser(t, m, request(false, hers, garbage), "Alice")
	checkUser(t, m, request(false, ended, hers), "Alice")
	checkUser(t, m, request(false, hers, hers), "Alice")

	_, his := start(t, m, bob, request(false))
	checkNobody(t, m, request(false, his, hers))
	checkNobody(t, m, request(false, hers, his))

	_, anew := start(t, m, alice, request(false, his, hers))
	checkNobody(t, m, request(false, hers))
	checkUser(t, m, request(false, his, anew), "Alice")
}

func TestManyCookiesAreNotAllLookedAt(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	many := make([]*http.Cookie, 0, 1001)
	for range 1000 {
		many = append(many, &http.Cookie{Name: cookie.Name, Value: "x"})
	}
	checkUser(t, m, request(false, append([]*http.Cookie{cookie}, many...)...), "Alice")
	checkNobody(t, m, request(false, append(many, cookie)...))
}

func TestAbsoluteExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var expired []string
		r := newRows(alice)
		m := manager(t, r, idle(20*time.Hour), func(o *session.Options) {
			o.Expired = func(_ context.Context, s identity.Session, user identity.User, _ string) {
				expired = append(expired, user.Name+" "+s.PublicID())
			}
		})
		s, cookie := start(t, m, alice, request(false))
		time.Sleep(12 * time.Hour)
		if err := m.Touch(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12*time.Hour - time.Second)
		checkUser(t, m, request(false, cookie), "Alice")
		time.Sleep(time.Second)
		for range 3 {
			checkNobody(t, m, request(false, cookie))
		}
		if diff := cmp.Diff([]string{"Alice " + s.PublicID()}, expired); diff != "" {
			t.Errorf("told of expiry (-want +got):\n%s", diff)
		}
		if len(r.sessions) != 0 {
			t.Error("the expired session's row is left")
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		strict, lenient := manager(t, r, idle(30*time.Minute)), manager(t, r)
		_, cookie := start(t, strict, alice, request(false))
		for range 10 {
			time.Sleep(29 * time.Minute)
			_, s, err := strict.Load(request(false, cookie))
			if err != nil {
				t.Fatalf("an active session ended: %v", err)
			}
			if err := strict.Touch(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		for range 29 { // polling tabs load, and do not touch
			time.Sleep(time.Minute)
			checkUser(t, strict, request(false, cookie), "Alice")
		}
		time.Sleep(time.Minute)
		checkUser(t, lenient, request(false, cookie), "Alice")
		checkNobody(t, strict, request(false, cookie))
	})
}

func TestExpiredIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]int{}
		r := newRows(alice)
		count := func(o *session.Options) {
			o.Expired = func(_ context.Context, s identity.Session, _ identity.User, _ string) {
				mu.Lock()
				defer mu.Unlock()
				told[s.PublicID()]++
			}
		}
		one, two := manager(t, r, anHour, count), manager(t, r, anHour, count) // two processes
		var cookies []*http.Cookie
		for range 600 { // more than one batch of the sweep
			_, cookie := start(t, one, alice, request(false))
			cookies = append(cookies, cookie)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for _, m := range []*session.Manager{one, two} {
			running.Go(func() {
				if err := m.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Hour - time.Second)
		if r.left() != 600 {
			t.Errorf("%d sessions before their end, want 600", r.left())
		}
		time.Sleep(time.Second)
		for _, cookie := range cookies[:50] {
			for _, m := range []*session.Manager{one, two} {
				running.Go(func() { checkNobody(t, m, request(false, cookie)) })
			}
		}
		time.Sleep(2 * time.Minute)
		cancel()
		running.Wait()
		if len(told) != 600 || r.left() != 0 {
			t.Errorf("told of %d sessions, %d are left, want 600 and 0", len(told), r.left())
		}
		for id, times := range told {
			if times != 1 {
				t.Errorf("told %d times of session %s", times, id)
			}
		}
	})
}

// Another process is faster by the moment between our look and our delete: what ended there is told of there.
func TestAnotherProcessEndedItFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []bool{false, true} {
			r, told := newRows(alice), 0
			m := manager(t, r, func(o *session.Options) {
				o.Expired = func(context.Context, identity.Session, identity.User, string) { told++ }
			})
			if first {
				r.reading = func() { r.change(func() { clear(r.sessions) }) }
			}
			_, cookie := start(t, m, alice, request(false))
			who, err := m.End(httptest.NewRecorder(), request(false, cookie))
			if err != nil || who.Nobody() != first {
				t.Errorf("End, another first %v: got %q, %v", first, who.Username, err)
			}
			_, cookie = start(t, m, alice, request(false))
			time.Sleep(24 * time.Hour)
			checkNobody(t, m, request(false, cookie))
			if told == 1 == first {
				t.Errorf("expiry, another first %v: told %d times", first, told)
			}
		}
	})
}

// One sweep goes on until nothing is left, however many there are.
func TestSweepIsComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, told := newRows(alice), 0
		m := manager(t, r, anHour, func(o *session.Options) {
			o.Expired = func(context.Context, identity.Session, identity.User, string) { told++ }
		})
		for range 1200 {
			start(t, m, alice, request(false))
		}
		time.Sleep(50 * time.Minute)
		start(t, m, alice, request(false))
		time.Sleep(10 * time.Minute)
		_, stop := running(t, m)
		synctest.Wait()
		if r.left() != 1 {
			t.Errorf("%d sessions are left after the first sweep, want the one that is not over", r.left())
		}
		r.fail(errLocked)
		time.Sleep(time.Hour)
		r.fail(nil)
		time.Sleep(time.Minute + time.Second) // past the next sweep, which is due at a full minute
		stop()
		if r.left() != 0 || told != 1201 {
			t.Errorf("%d sessions are left and %d told of after a fault, want 0 and 1201", r.left(), told)
		}
	})
}

// Whoever lowers the lifetime means the sessions that exist, too.
func TestLoweredLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		before, after := manager(t, r), manager(t, r, anHour)
		_, cookie := start(t, before, alice, request(false))
		checkUser(t, after, request(false, cookie), "Alice")
		time.Sleep(time.Hour + 2*time.Second)
		checkUser(t, before, request(false, cookie), "Alice")
		checkNobody(t, after, request(false, cookie))
	})
}

func TestDisabledUser(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	checkUser(t, m, request(false, cookie), "Alice")
	disabled := alice
	disabled.Disabled = true
	r.setUser(disabled)
	checkNobody(t, m, request(false, cookie))
}

// Grafana signed people out when its database was busy (facts/survey.md, complaint 6).
func TestStoreFaultIsNotNobody(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	for _, warm := range []bool{false, true} {
		if warm {
			checkUser(t, m, request(false, cookie), "Alice")
		}
		r.fail(errLocked)
		w := httptest.NewRecorder()
		if _, _, err := m.Load(request(false, cookie)); !errors.Is(err, errLocked) || errors.Is(err, session.ErrNone) {
			t.Errorf("Load, cached %v: got %v, want %v", warm, err, errLocked)
		}
		if _, err := m.Start(w, request(false, cookie), alice, "", identity.Voucher{}); !errors.Is(err, errLocked) {
			t.Errorf("Start: got %v, want %v", err, errLocked)
		}
		if _, err := m.Start(w, request(false), alice, "", identity.Voucher{}); !errors.Is(err, errLocked) {
			t.Errorf("Start without a cookie: got %v, want %v", err, errLocked)
		}
		if _, err := m.End(w, request(false, cookie)); !errors.Is(err, errLocked) {
			t.Errorf("End: got %v, want %v", err, errLocked)
		}
		if got := w.Header().Values("Set-Cookie"); len(got) != 0 {
			t.Errorf("a fault of the store changed the cookie: %q", got)
		}
		r.fail(nil)
		checkUser(t, m, request(false, cookie), "Alice")
	}
}

func TestCacheReadsOncePerChange(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	for round := 1; round <= 3; round++ {
		for range 10 {
			checkUser(t, m, request(false, cookie), "Alice")
		}
		if _, reads, _ := r.count(); reads != round {
			t.Errorf("%d reads after %d changes, want as many", reads, round)
		}
		r.change(func() {})
	}
	demoted := alice
	demoted.Role = identity.Viewer
	r.setUser(demoted)
	if who, _, err := m.Load(request(false, cookie)); err != nil || who.Role != identity.Viewer {
		t.Errorf("got role %q, %v, want the new one at the next request", who.Role, err)
	}
}

// Holds says no as soon as anything of what Load found is not so any more.
func TestHolds(t *testing.T) {
	t.Parallel()
	granted := alice
	granted.Grants = []identity.Grant{{Location: "a", Role: identity.Admin}}
	other, disabled := alice, alice
	other.Role, disabled.Disabled = identity.Viewer, true
	for name, change := range map[string]func(r *rows, s identity.Session){
		"nothing":  func(*rows, identity.Session) {},
		"grants":   func(r *rows, _ identity.Session) { r.setUser(granted) },
		"role":     func(r *rows, _ identity.Session) { r.setUser(other) },
		"disabled": func(r *rows, _ identity.Session) { r.setUser(disabled) },
		"revoked":  func(r *rows, s identity.Session) { _, _ = r.DeleteSession(t.Context(), s.TokenHash) },
		"a fault":  func(r *rows, _ identity.Session) { r.fail(errLocked) },
	} {
		r := newRows(alice)
		m := manager(t, r)
		_, cookie := start(t, m, alice, request(false))
		who, s, err := m.Load(request(false, cookie))
		if err != nil {
			t.Fatal(err)
		}
		change(r, s)
		if got, want := m.Holds(t.Context(), s, who), name == "nothing"; got != want {
			t.Errorf("changed: %s: holds %t, want %t", name, got, want)
		}
		if m.Holds(t.Context(), identity.Session{}, who) {
			t.Error("no session holds")
		}
	}
}

// A change that falls between the reading of a row and its keeping must not be missed for ever.
func TestCacheKeepsNothingReadBeforeAChange(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	_, cookie := start(t, m, alice, request(false))
	demoted := alice
	demoted.Role = identity.Viewer
	r.reading = func() { r.setUser(demoted) }
	if who, _, err := m.Load(request(false, cookie)); err != nil || who.Role != identity.Editor {
		t.Fatalf("got role %q, %v, want the one read before the change", who.Role, err)
	}
	r.mu.Lock()
	r.reading = nil
	r.mu.Unlock()
	if who, _, err := m.Load(request(false, cookie)); err != nil || who.Role != identity.Viewer {
		t.Errorf("got role %q, %v, want the one after the change", who.Role, err)
	}
}

// cleared is what makes a browser forget a cookie.
func cleared(name, path, secure string) string {
	return name + "=; Path=" + path + "; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; HttpOnly" + secure + "; SameSite=Lax"
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	var cookies []*http.Cookie
	for range session.MaxCached + 50 {
		_, cookie := start(t, m, alice, request(false))
		cookies = append(cookies, cookie)
	}
	for _, changed := range []bool{false, true} {
		if changed {
			r.change(func() {})
		}
		for _, cookie := range cookies {
			checkUser(t, m, request(false, cookie), "Alice")
		}
		if got := m.Cached(); got > session.MaxCached || got < session.MaxCached-50 {
			t.Errorf("after a change %v: %d sessions are cached, want about %d", changed, got, session.MaxCached)
		}
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	m := manager(t, newRows(alice, bob))
	_, plain := start(t, m, bob, request(false))
	s, host := start(t, m, alice, request(true))
	w := httptest.NewRecorder()
	who, err := m.End(w, request(true, plain, host))
	if err != nil || who.Username != "Alice" || who.SessionID != s.PublicID() {
		t.Errorf("got %q of session %s, %v, want Alice's", who.Username, who.SessionID, err)
	}
	want := []string{
		cleared("dagster_authkit", "/", "; Secure"), cleared("__Host-dagster_authkit", "/", "; Secure"),
	}
	if diff := cmp.Diff(want, w.Header().Values("Set-Cookie")); diff != "" {
		t.Errorf("cookies cleared (-want +got):\n%s", diff)
	}
	checkNobody(t, m, request(true, host))
	checkNobody(t, m, request(false, plain))
	for want, r := range []*http.Request{request(true), request(true, host)} {
		w := httptest.NewRecorder()
		if who, err := m.End(w, r); err != nil || !who.Nobody() {
			t.Errorf("ending no session: got %q, %v, want nobody and no error", who.Username, err)
		}
		if got := w.Header().Values("Set-Cookie"); len(got) != want {
			t.Errorf("ending no session sets %q, want %d cookies cleared", got, want)
		}
	}
}

func TestClear(t *testing.T) {
	t.Parallel()
	plain := &http.Cookie{Name: "dagster_authkit", Value: "x"}
	host := &http.Cookie{Name: "__Host-dagster_authkit", Value: "x"}
	other := &http.Cookie{Name: "theme", Value: "dark"}
	for _, c := range []struct {
		name string
		path string
		tls  bool
		sent []*http.Cookie
		want []string
	}{
		{"no cookie", "/", false, nil, nil},
		{"another's cookie", "/", false, []*http.Cookie{other}, nil},
		{"plain", "/", false, []*http.Cookie{other, plain}, []string{cleared("dagster_authkit", "/", "")}},
		{"host over TLS", "/", true, []*http.Cookie{host}, []string{cleared("__Host-dagster_authkit", "/", "; Secure")}},
		{"both over TLS", "/", true, []*http.Cookie{host, plain}, []string{
			cleared("dagster_authkit", "/", "; Secure"), cleared("__Host-dagster_authkit", "/", "; Secure"),
		}},
		{"prefix", "/d/", true, []*http.Cookie{plain}, []string{cleared("dagster_authkit", "/d/", "; Secure")}},
		{"another AuthKit's at the root", "/d/", true, []*http.Cookie{host}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := manager(t, newRows(), func(o *session.Options) { o.Path = c.path })
			r, w := request(c.tls, c.sent...), httptest.NewRecorder()
			m.Clear(w, r)
			if diff := cmp.Diff(c.want, w.Header().Values("Set-Cookie")); diff != "" {
				t.Errorf("cleared (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGorillaStore(t *testing.T) {
	t.Parallel()
	m := manager(t, newRows(alice))
	var store sessions.Store = m
	r := request(false)
	s, err := store.Get(r, "dagster_authkit")
	if err != nil || !s.IsNew || s.ID != "" {
		t.Fatalf("without a cookie: got new %v, ID %q, %v, want a new session", s.IsNew, s.ID, err)
	}
	if again, err := store.Get(r, "dagster_authkit"); err != nil || again != s {
		t.Errorf("a second Get of the request returned another session (%v)", err)
	}
	if err := s.Save(r, httptest.NewRecorder()); err == nil {
		t.Error("a session of nobody was saved")
	}
	_, cookie := start(t, m, alice, r)
	if s.IsNew || s.ID == "" {
		t.Error("signing in did not renew the request's session")
	}
	id := s.ID
	s.ID, s.Values["cart"] = "", "apples"
	if err := s.Save(r, httptest.NewRecorder()); err == nil {
		t.Error("a value that the row can't hold was dropped without an error")
	}
	s.ID = id

	r = request(false, cookie)
	loaded, err := store.New(r, "dagster_authkit")
	if err != nil || loaded.IsNew || loaded.ID != s.ID {
		t.Fatalf("with a cookie: got new %v, ID %q, %v, want the one started", loaded.IsNew, loaded.ID, err)
	}
	w := httptest.NewRecorder()
	if err := sessions.Save(r, w); err != nil || len(w.Result().Cookies()) != 0 {
		t.Errorf("saving what is stored: %v, want nothing done", err)
	}
	w = httptest.NewRecorder()
	loaded.Options.MaxAge = -1
	if err := loaded.Save(r, w); err != nil || len(w.Result().Cookies()) != 1 {
		t.Errorf("saving with a negative age: %v, want the cookie cleared", err)
	}
	checkNobody(t, m, request(false, cookie))
	if s, err := store.New(r, "other"); err == nil || s == nil {
		t.Errorf("a session of another name: got %v, %v, want one and an error, as gorilla's registry needs", s, err)
	}
}

func TestTouchAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r)
		_, cookie := start(t, m, alice, request(false))
		touch := func() error {
			_, s, err := m.Load(request(false, cookie))
			if err != nil {
				t.Fatal(err)
			}
			return m.Touch(t.Context(), s)
		}
		for range 600 {
			if err := touch(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if _, _, touches := r.count(); touches != 9 {
			t.Errorf("%d touches stored in ten minutes, want 9: the sign-in was the first", touches)
		}
		_, stale, err := m.Load(request(false, cookie))
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if err := m.Touch(t.Context(), stale); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if _, _, touches := r.count(); touches != 10 {
			t.Errorf("%d touches stored, want one more for fifty at once", touches)
		}
	})
}

func TestTouchFailedIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r)
		s, _ := start(t, m, alice, request(false))
		time.Sleep(time.Minute)
		r.fail(errLocked)
		if err := m.Touch(t.Context(), s); !errors.Is(err, errLocked) {
			t.Errorf("got %v, want %v", err, errLocked)
		}
		r.fail(nil)
		if err := m.Touch(t.Context(), s); err != nil || r.sessions[string(s.TokenHash)].LastSeenAt != time.Now().UTC() {
			t.Errorf("got %v, want the touch stored at the second try", err)
		}
	})
}

// With a minute between touches, an idle timeout of a minute would end sessions in use.
func TestTouchWithAShortIdleTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := manager(t, newRows(alice), idle(time.Minute))
		_, cookie := start(t, m, alice, request(false))
		for range 100 {
			time.Sleep(20 * time.Second)
			_, s, err := m.Load(request(false, cookie))
			if err != nil {
				t.Fatalf("a session in use ended: %v", err)
			}
			if err := m.Touch(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestUserAgentIsCut(t *testing.T) {
	t.Parallel()
	r := request(false)
	r.Header.Set("User-Agent", strings.Repeat("a", 255)+"é\x00"+strings.Repeat("b", 1000))
	s, _ := start(t, manager(t, newRows(alice)), alice, r)
	if want := strings.Repeat("a", 255); s.UserAgent != want {
		t.Errorf("got %d bytes, want 255: no half characters", len(s.UserAgent))
	}
}

func TestCookieNamesCoverBoth(t *testing.T) {
	t.Parallel()
	want := []string{"dagster_authkit", "__Host-dagster_authkit"}
	if diff := cmp.Diff(want, manager(t, newRows(), prefix).CookieNames()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	manager(t, newRows(), func(o *session.Options) { o.Key = secret[:32]; o.MaxAge = time.Second })
	for name, change := range map[string]func(*session.Options){
		"no rows":               func(o *session.Options) { o.Rows = nil },
		"no sweep":              func(o *session.Options) { o.Sweep = nil },
		"a key of 31 bytes":     func(o *session.Options) { o.Key = secret[:31] },
		"no lifetime":           func(o *session.Options) { o.MaxAge = 0 },
		"negative idle timeout": func(o *session.Options) { o.IdleTimeout = -1 },
		"a name with a space":   func(o *session.Options) { o.CookieName = "a b" },
		"a name with a prefix":  func(o *session.Options) { o.CookieName = "__Host-a" },
		"a path without end":    func(o *session.Options) { o.Path = "/dagster" },
		"a path with attribute": func(o *session.Options) { o.Path = "/; Domain=example.org/" },
	} {
		o := session.Options{Rows: newRows(), Sweep: newRows().sweep, Key: secret, MaxAge: time.Hour}
		change(&o)
		if _, err := session.New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestEverythingTogether(t *testing.T) {
	t.Parallel()
	r := newRows(alice, bob)
	m := manager(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = m.Run(ctx) })
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			user := []identity.User{alice, bob}[i%2]
			for range 20 {
				s, cookie := start(t, m, user, request(false))
				watched, stop := context.WithCancel(ctx)
				m.Watch(watched, s, user.Identity(s.PublicID()))
				checkUser(t, m, request(false, cookie), user.Name)
				if err := m.Touch(ctx, s); err != nil {
					t.Error(err)
				}
				if _, err := m.End(httptest.NewRecorder(), request(false, cookie)); err != nil {
					t.Error(err)
				}
				checkNobody(t, m, request(false, cookie))
				stop()
			}
		})
	}
	group.Wait()
	cancel()
	running.Wait()
}

func BenchmarkLoad(b *testing.B) {
	m := manager(b, newRows(alice))
	_, cookie := start(b, m, alice, request(true))
	r := request(true, cookie)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.Load(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadParallel(b *testing.B) {
	m := manager(b, newRows(alice))
	_, cookie := start(b, m, alice, request(true))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := request(true, cookie)
		for pb.Next() {
			if _, _, err := m.Load(r); err != nil {
				b.Error(err)
			}
		}
	})
}
