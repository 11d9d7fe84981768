package session_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

// TestAnOutageIsNoIdleness: while the store is away, or takes nothing, people can't be seen at work. Their sessions do not end for
// that, neither at their next request nor by a sweep; those of people who had left before do, and those who leave after it, too.
func TestAnOutageIsNoIdleness(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		begin func(r *rows)
		away  bool // nothing can be read either
	}{
		"away":     {func(r *rows) { r.fail(errLocked) }, true},
		"full":     {func(r *rows) { r.fill(errLocked) }, false},
		"no fault": {func(*rows) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRows(alice, bob)
				m := manager(t, r, idle(30*time.Minute))
				_, left := start(t, m, bob, request(false))
				time.Sleep(20 * time.Minute)
				_, stop := running(t, m)
				s, cookie := start(t, m, alice, request(false))
				time.Sleep(11 * time.Minute) // bob's is over now
				tc.begin(r)
				for range 12 { // an hour of work, of which nothing is noted
					time.Sleep(5 * time.Minute)
					_, _, err := m.Load(request(false, cookie))
					if err == nil && name != "no fault" {
						_ = m.Touch(t.Context(), s) // it fails, which the caller logs
					}
					if name != "no fault" && (err != nil) != tc.away {
						t.Fatalf("got %v during the outage", err)
					}
				}
				r.fail(nil)
				r.fill(nil)
				time.Sleep(2 * time.Minute) // two sweeps
				checkNobody(t, m, request(false, left))
				if name == "no fault" { // the control: alice loaded pages by themselves, and did nothing
					checkNobody(t, m, request(false, cookie))
					stop()
					return
				}
				checkUser(t, m, request(false, cookie), "Alice")
				if err := m.Touch(t.Context(), s); err != nil {
					t.Error(err)
				}
				time.Sleep(31 * time.Minute)
				checkNobody(t, m, request(false, cookie))
				if r.left() != 0 {
					t.Errorf("%d sessions are left, want none", r.left())
				}
				stop()
			})
		})
	}
}

// TestFailuresNowAndThenAreNoOutage: one that goes by, of whatever kind, each time shortly before somebody has been idle for long enough.
func TestFailuresNowAndThenAreNoOutage(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, r *rows, m *session.Manager, s identity.Session, cookie *http.Cookie){
		"reading": func(t *testing.T, r *rows, m *session.Manager, _ identity.Session, cookie *http.Cookie) {
			r.fail(errLocked)
			if _, _, err := m.Load(request(false, cookie)); err == nil {
				t.Error("the fault did not show")
			}
			r.fail(nil)
		},
		"noting": func(t *testing.T, r *rows, m *session.Manager, s identity.Session, _ *http.Cookie) {
			r.fill(errLocked)
			if m.Touch(t.Context(), s) == nil {
				t.Error("the fault did not show")
			}
			r.fill(nil)
			if err := m.Touch(t.Context(), s); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRows(alice, bob)
				m := manager(t, r, idle(30*time.Minute))
				_, stop := running(t, m)
				_, idles := start(t, m, alice, request(false))
				works, cookie := start(t, m, bob, request(false))
				for range 5 {
					time.Sleep(25 * time.Minute)
					fail(t, r, m, works, cookie)
				}
				checkNobody(t, m, request(false, idles))
				stop()
			})
		})
	}
}

func (r *rows) fill(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = err
}
