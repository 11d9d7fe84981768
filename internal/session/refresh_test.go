package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

func (r *rows) DueSessions(_ context.Context, before, now time.Time, limit int) (due []identity.Session, users []identity.User, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h, s := range r.sessions {
		if !s.RefreshedAt.IsZero() && !s.RefreshedAt.After(before) && !r.claims[h].After(now) && len(due) < limit {
			s.Secret = nil
			due, users = append(due, s), append(users, r.users[s.UserRowID])
		}
	}
	return due, users, r.fault
}

func (r *rows) ClaimSession(_ context.Context, hash []byte, seen, now, until time.Time) ([]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, found := r.sessions[string(hash)]
	if r.claimFault != nil {
		r.claimed++
		return nil, false, r.claimFault
	}
	if r.fault != nil || !found || !s.RefreshedAt.Equal(seen) || r.claims[string(hash)].After(now) {
		return nil, false, r.fault
	}
	r.claims[string(hash)] = until
	return s.Secret, true, nil
}

func (r *rows) SessionSecret(_ context.Context, hash []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, found := r.sessions[string(hash)]
	if !found {
		return nil, identity.ErrNotFound
	}
	return s.Secret, r.fault
}

func (r *rows) ReleaseSession(_ context.Context, hash []byte, claim, due time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil && r.claims[string(hash)].Equal(claim) {
		r.claims[string(hash)] = due
	}
	return r.fault
}

func (r *rows) RefreshSession(_ context.Context, hash []byte, claim, at time.Time, secret []byte, due time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, found := r.sessions[string(hash)]; found && r.fault == nil && r.claims[string(hash)].Equal(claim) {
		s.RefreshedAt, s.Secret = at, secret
		r.sessions[string(hash)] = s
		r.claims[string(hash)] = due
	}
	return r.fault
}

// backend vouches for everybody until told otherwise, and takes each secret once.
type backend struct {
	mu     sync.Mutex
	secret string
	err    error
	half   error // of an answer that uses the secret up, and has the next one
	slow   time.Duration
	asked  int
	reused bool
}

func (b *backend) refresh(ctx context.Context, _ identity.User, by identity.Voucher) ([]byte, error) {
	b.mu.Lock()
	slow := b.slow
	b.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.err != nil {
		return nil, b.err
	}
	if string(by.Secret) != b.secret {
		b.reused = true
		return nil, session.ErrGone
	}
	b.secret += "+"
	return []byte(b.secret), b.half
}

func (b *backend) counts() (asked int, reused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked, b.reused
}

func (b *backend) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

type signedIn struct {
	identity.Session
	cookie *http.Cookie
}

// vouched signs alice in through b, and runs as many managers on one database as are wanted.
func vouched(t *testing.T, b *backend, managers int) (*rows, []*session.Manager, signedIn) {
	t.Helper()
	r := newRows(alice)
	all := make([]*session.Manager, managers)
	for i := range all {
		all[i] = manager(t, r, func(o *session.Options) { o.Refresh, o.RefreshInterval = b.refresh, 15*time.Minute })
		running, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = all[i].Run(running)
		}()
		t.Cleanup(func() { stop(); <-ended })
	}
	s, cookie := startBy(t, all[0], alice, request(false), identity.Voucher{RefreshedAt: time.Now(), Secret: []byte(b.secret)})
	return r, all, signedIn{s, cookie}
}

func TestRefreshedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one", slow: time.Second}
		r, all, s := vouched(t, b, 3)
		if row := r.sessions[string(s.TokenHash)]; string(row.Secret) == "one" || len(row.Secret) == 0 {
			t.Errorf("the secret is stored as %q, want it encrypted", row.Secret)
		}
		gone := all[0].Watch(t.Context(), s.Session, alice.Identity(""))
		time.Sleep(3*time.Hour + time.Minute)
		for _, m := range all {
			checkUser(t, m, request(false, s.cookie), "Alice")
		}
		// Three processes looked after the session, and never asked with one secret twice.
		if b.asked != 12 || b.reused {
			t.Errorf("asked %d times in three hours, reused %t, want 12 times and never twice with one secret", b.asked, b.reused)
		}
		select {
		case <-gone:
			t.Error("the watch ended, though the backend vouches")
		default:
		}
	})
}

func TestBackendNoLongerVouches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one"}
		r, all, s := vouched(t, b, 1)
		gone := all[0].Watch(t.Context(), s.Session, alice.Identity(""))
		time.Sleep(20 * time.Minute)
		checkUser(t, all[0], request(false, s.cookie), "Alice")
		b.set(session.ErrGone)
		time.Sleep(15 * time.Minute)
		checkNobody(t, all[0], request(false, s.cookie))
		if r.left() != 0 {
			t.Error("the session is still stored")
		}
		<-gone
	})
}

func TestBackendDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one", err: errors.New("connection refused")}
		_, all, s := vouched(t, b, 1)
		gone := all[0].Watch(t.Context(), s.Session, alice.Identity(""))
		time.Sleep(29 * time.Minute)
		checkUser(t, all[0], request(false, s.cookie), "Alice")
		time.Sleep(2 * time.Minute)
		if _, _, err := all[0].Load(request(false, s.cookie)); !errors.Is(err, session.ErrUnconfirmed) {
			t.Errorf("overdue by an interval: got %v, want ErrUnconfirmed", err)
		}
		<-gone
		b.set(nil)
		// The request itself asks, whatever the worker does.
		time.Sleep(time.Minute)
		checkUser(t, all[0], request(false, s.cookie), "Alice")
	})
}

// TestHalfAnAnswer: a backend that took the secret and gave the next one, but could not say whether it vouches, is asked again soon,
// with that next one, and the session goes on meanwhile, until it is overdue.
func TestHalfAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one", half: errors.New("its key is not published yet")}
		_, all, s := vouched(t, b, 1)
		time.Sleep(16 * time.Minute)
		checkUser(t, all[0], request(false, s.cookie), "Alice")
		if asked, reused := b.counts(); asked < 2 || reused {
			t.Errorf("asked %d times within a minute, used secrets again: %t, want more than once, each with the next secret", asked, reused)
		}
		time.Sleep(15 * time.Minute)
		if _, _, err := all[0].Load(request(false, s.cookie)); !errors.Is(err, session.ErrUnconfirmed) {
			t.Errorf("overdue: got %v, want ErrUnconfirmed", err)
		}
		b.mu.Lock()
		b.half = nil
		b.mu.Unlock()
		time.Sleep(time.Minute)
		checkUser(t, all[0], request(false, s.cookie), "Alice")
	})
}

// TestOverdueAtTheStart: all processes were down for longer than two intervals.
func TestOverdueAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		r := newRows(alice)
		m := manager(t, r, func(o *session.Options) {
			o.RefreshInterval = 15 * time.Minute
			o.Refresh = func(context.Context, identity.User, identity.Voucher) ([]byte, error) {
				asked.Add(1)
				time.Sleep(time.Second)
				return nil, nil
			}
		})
		_, cookie := startBy(t, m, alice, request(false), identity.Voucher{RefreshedAt: time.Now()})
		time.Sleep(10 * time.Hour)
		var running sync.WaitGroup
		for range 10 {
			running.Go(func() { checkUser(t, m, request(false, cookie), "Alice") })
		}
		running.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times for ten requests, want once", asked.Load())
		}
	})
}

// TestSecretOfAnotherSession: who can write into the database can't move a refresh token into a session of their own.
func TestSecretOfAnotherSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one"}
		r, all, s := vouched(t, b, 1)
		r.setUser(bob)
		other, cookie := startBy(t, all[0], bob, request(false), identity.Voucher{RefreshedAt: time.Now()})
		r.change(func() {
			moved := r.sessions[string(other.TokenHash)]
			moved.Secret = r.sessions[string(s.TokenHash)].Secret
			r.sessions[string(other.TokenHash)] = moved
		})
		time.Sleep(20 * time.Minute)
		checkNobody(t, all[0], request(false, cookie))
		checkUser(t, all[0], request(false, s.cookie), "Alice")
	})
}

// TestVoucher: signing out at the provider needs what the session was begun with, and only the session's own.
func TestVoucher(t *testing.T) {
	t.Parallel()
	r := newRows(alice)
	m := manager(t, r)
	by := identity.Voucher{Provider: "corp", ProviderSession: "sid-1", RefreshedAt: time.Now(), Secret: []byte("one")}
	s, cookie := startBy(t, m, alice, request(false), by)
	got, err := m.Voucher(request(false, cookie))
	if err != nil || got.Provider != "corp" || got.ProviderSession != "sid-1" || string(got.Secret) != "one" {
		t.Errorf("got %+v, %v", got, err)
	}
	// A secret that was put into another session's row can't be read there.
	other, otherCookie := startBy(t, m, alice, request(false), by)
	r.mu.Lock()
	stolen := r.sessions[string(other.TokenHash)]
	stolen.Secret = r.sessions[string(s.TokenHash)].Secret
	r.sessions[string(other.TokenHash)] = stolen
	r.mu.Unlock()
	if got, err := m.Voucher(request(false, otherCookie)); err != nil || len(got.Secret) != 0 || got.Provider != "corp" {
		t.Errorf("with another session's secret: got %+v, %v", got, err)
	}
	if got, err := m.Voucher(request(false)); err != nil || got.Provider != "" {
		t.Errorf("of nobody: got %+v, %v", got, err)
	}
	_, local := start(t, m, alice, request(false))
	if got, err := m.Voucher(request(false, local)); err != nil || got.Provider != "" || len(got.Secret) != 0 {
		t.Errorf("of a session that no provider began: got %+v, %v", got, err)
	}
}

// TestOverdueCanBeLeft: while nobody vouches for the user, the session can be ended, and another begun in its place.
func TestOverdueCanBeLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one", err: errors.New("connection refused")}
		r, all, s := vouched(t, b, 1)
		m := all[0]
		time.Sleep(31 * time.Minute)
		if _, _, err := m.Load(request(false, s.cookie)); !errors.Is(err, session.ErrUnconfirmed) {
			t.Fatalf("overdue: got %v, want ErrUnconfirmed", err)
		}
		r.setUser(bob)
		_, cookie := start(t, m, bob, request(false, s.cookie))
		checkUser(t, m, request(false, cookie), "Bob")
		if r.left() != 1 {
			t.Errorf("%d sessions are left, want bob's alone", r.left())
		}
		_, again := startBy(t, m, alice, request(false), identity.Voucher{RefreshedAt: time.Now().Add(-time.Hour)})
		if by, err := m.Voucher(request(false, again)); err != nil || by.RefreshedAt.IsZero() {
			t.Errorf("the voucher of an overdue session: got %+v, %v", by, err)
		}
		if who, err := m.End(httptest.NewRecorder(), request(false, again)); err != nil || who.Username != "Alice" {
			t.Errorf("signing out: got %q, %v, want Alice", who.Username, err)
		}
	})
}

// TestClaimsThatFail: a database that can be read and not written is not asked in a loop.
func TestClaimsThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{secret: "one"}
		r, all, _ := vouched(t, b, 1)
		for range 150 {
			startBy(t, all[0], alice, request(false), identity.Voucher{RefreshedAt: time.Now()})
		}
		r.mu.Lock()
		r.claimFault = errLocked
		r.mu.Unlock()
		time.Sleep(16 * time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		// A minute of looks every few seconds, of at most a batch each.
		if r.claimed == 0 || r.claimed > 100*20 {
			t.Errorf("%d claims were tried within a minute, want a batch every few seconds", r.claimed)
		}
	})
}
