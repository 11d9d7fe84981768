package session_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

// closedWithin reports whether the channel is closed at the latest then.
func closedWithin(gone <-chan struct{}, limit time.Duration) bool {
	select {
	case <-gone:
		return true
	case <-time.After(limit):
		return false
	}
}

// running runs the manager and waits for its end when the test ends.
func running(t *testing.T, m *session.Manager) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- m.Run(ctx) }()
	return ctx, func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestWatchNotices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(r *rows, s identity.Session)
		want   bool
	}{
		{"nothing", func(*rows, identity.Session) {}, false},
		{"somebody else's change", func(r *rows, _ identity.Session) { r.setUser(bob) }, false},
		{"another email", func(r *rows, _ identity.Session) { u := alice; u.Email = "a@example.org"; r.setUser(u) }, false},
		{"grants in another order", func(r *rows, _ identity.Session) {
			u := alice
			u.Grants = slices.Clone(alice.Grants)
			slices.Reverse(u.Grants)
			r.setUser(u)
		}, false},
		{"a touch", func(r *rows, s identity.Session) {
			_ = r.TouchSession(context.Background(), s.TokenHash, time.Now())
		}, false},
		{"the session ended", func(r *rows, s identity.Session) {
			_, _ = r.DeleteSession(context.Background(), s.TokenHash)
		}, true},
		{"another role", func(r *rows, _ identity.Session) { u := alice; u.Role = identity.Viewer; r.setUser(u) }, true},
		{"a higher role", func(r *rows, _ identity.Session) { u := alice; u.Role = identity.Admin; r.setUser(u) }, true},
		{"a grant less", func(r *rows, _ identity.Session) { u := alice; u.Grants = u.Grants[:1]; r.setUser(u) }, true},
		{"disabled", func(r *rows, _ identity.Session) { u := alice; u.Disabled = true; r.setUser(u) }, true},
		{"the row is another account's now", func(r *rows, _ identity.Session) {
			u := alice
			u.Subject = "alicia"
			r.setUser(u)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRows(alice, bob)
				m := manager(t, r)
				ctx, stop := running(t, m)
				s, _ := start(t, m, alice, request(false))
				gone := m.Watch(ctx, s, alice.Identity(s.PublicID()))
				if closedWithin(gone, 10*time.Second) {
					t.Fatal("closed before anything changed")
				}
				c.change(r, s)
				if got := closedWithin(gone, time.Second); got != c.want {
					t.Errorf("closed within a second: %v, want %v", got, c.want)
				}
				stop()
			})
		})
	}
}

// The change falls between the request's Load and its Watch.
func TestWatchNoticesWhatChangedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r)
		ctx, stop := running(t, m)
		s, cookie := start(t, m, alice, request(false))
		keep := m.Watch(ctx, s, alice.Identity(s.PublicID())) // keeps the poller polling
		who, s, err := m.Load(request(false, cookie))
		if err != nil {
			t.Fatal(err)
		}
		demoted := alice
		demoted.Role = identity.Viewer
		r.setUser(demoted)
		if !closedWithin(keep, time.Second) {
			t.Error("the watch from before the change is open")
		}
		if !closedWithin(m.Watch(ctx, s, who), time.Second) {
			t.Error("a watch that began after the change, with the identity from before it, is open")
		}
		r.change(func() { r.version = 0 }) // as good a version as any
		if !closedWithin(m.Watch(ctx, s, who), time.Second) {
			t.Error("a watch that began at version 0, with the identity from before the change, is open")
		}
		stop()
	})
}

func TestWatchEndsByTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options func(*session.Options)
		after   time.Duration
	}{
		{"age", anHour, time.Hour},
		{"idleness", idle(time.Hour), time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := manager(t, newRows(alice), c.options)
				ctx, stop := running(t, m)
				s, _ := start(t, m, alice, request(false))
				gone := m.Watch(ctx, s, alice.Identity(s.PublicID()))
				if closedWithin(gone, c.after-time.Second) {
					t.Error("closed too soon")
				}
				if !closedWithin(gone, 2*time.Second) {
					t.Error("open after its end")
				}
				stop()
			})
		})
	}
}

func TestWatchIsClosedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r)
		s, _ := start(t, m, alice, request(false))
		gone := m.Watch(t.Context(), s, alice.Identity(s.PublicID()))
		m.Poll(t.Context())
		time.Sleep(24 * time.Hour)
		r.change(func() { clear(r.sessions) }) // it is both revoked and too old when it is next looked at
		m.Poll(t.Context())
		m.Poll(t.Context())
		if !closedWithin(gone, time.Millisecond) {
			t.Error("a session that is over twice is open")
		}
	})
}

// The poller does not leave it to the sweep.
func TestWatchNoticesIdlenessItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r, idle(time.Hour))
		s, _ := start(t, m, alice, request(false))
		gone := m.Watch(t.Context(), s, alice.Identity(s.PublicID()))
		for _, after := range []time.Duration{0, time.Hour - time.Second} {
			time.Sleep(after)
			m.Poll(t.Context())
			if closedWithin(gone, time.Millisecond) {
				t.Fatal("closed too soon")
			}
		}
		time.Sleep(time.Second)
		m.Poll(t.Context())
		if !closedWithin(gone, time.Millisecond) {
			t.Error("an idle session is open")
		}
	})
}

func TestWatchIdleSessionThatIsTouchedElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r, idle(time.Hour))
		ctx, stop := running(t, m)
		s, _ := start(t, m, alice, request(false))
		gone := m.Watch(ctx, s, alice.Identity(s.PublicID()))
		for range 5 {
			if closedWithin(gone, 50*time.Minute) {
				t.Fatal("a session in use was closed")
			}
			if err := r.TouchSession(ctx, s.TokenHash, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		stop()
	})
}

// A fault signs nobody out, an outage does not lengthen a session, and what changed meanwhile counts when it is over.
func TestWatchThroughAFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r, idle(time.Hour), func(o *session.Options) { o.MaxAge = 4 * time.Hour })
		ctx, stop := running(t, m)
		first, _ := start(t, m, alice, request(false))
		gone := m.Watch(ctx, first, alice.Identity(first.PublicID()))
		if closedWithin(gone, time.Minute) {
			t.Fatal("closed before anything happened")
		}
		r.fail(errLocked)
		if closedWithin(gone, 3*time.Hour) {
			t.Error("a fault of the store closed the connection")
		}
		r.mu.Lock()
		used := r.sessions[string(first.TokenHash)]
		used.LastSeenAt = time.Now()
		r.sessions[string(first.TokenHash)] = used
		r.version++
		r.fault = nil
		r.mu.Unlock()
		if closedWithin(gone, 10*time.Minute) {
			t.Error("closed after the fault, though the session was used elsewhere meanwhile")
		}
		r.fail(errLocked)
		if !closedWithin(gone, time.Hour) {
			t.Error("open after the session's own end, because of a fault")
		}
		r.fail(nil)

		second, _ := start(t, m, alice, request(false))
		gone = m.Watch(ctx, second, alice.Identity(second.PublicID()))
		time.Sleep(time.Second)
		r.fail(errLocked)
		r.change(func() { delete(r.sessions, string(second.TokenHash)) })
		if closedWithin(gone, time.Minute) {
			t.Error("closed while nothing could be known")
		}
		r.fail(nil)
		if !closedWithin(gone, time.Second) {
			t.Error("open after the fault, though the session was revoked during it")
		}
		stop()
	})
}

func TestWatchIsReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRows(alice)
		m := manager(t, r)
		_, stop := running(t, m)
		s, cookie := start(t, m, alice, request(false))
		var all []<-chan struct{}
		watched, release := context.WithCancel(t.Context())
		for range 100 {
			all = append(all, m.Watch(watched, s, alice.Identity(s.PublicID())))
		}
		before, reads, _ := r.count()
		time.Sleep(10 * time.Second)
		polled, readsAfter, _ := r.count()
		if polled-before > 41 || polled == before || readsAfter-reads > 1 {
			t.Errorf("100 watchers cost %d looks at the version and %d reads in 10 s, want 40 and 1", polled-before, readsAfter-reads)
		}
		release()
		synctest.Wait()
		before, _, _ = r.count()
		time.Sleep(10 * time.Second)
		if after, _, _ := r.count(); after != before {
			t.Errorf("%d looks at the version with nobody watching, want none", after-before)
		}
		if _, err := m.End(httptest.NewRecorder(), request(false, cookie)); err != nil {
			t.Fatal(err)
		}
		for _, gone := range all {
			if closedWithin(gone, time.Millisecond) {
				t.Error("a released watch was closed")
			}
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		m.Watch(done, s, alice.Identity(""))
		stop()
	})
}

func BenchmarkPoll(b *testing.B) {
	r := newRows(alice)
	m := manager(b, r)
	for range 1000 {
		s, _ := start(b, m, alice, request(false))
		m.Watch(b.Context(), s, alice.Identity(s.PublicID()))
	}
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%v", changed), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if changed {
					r.change(func() {})
				}
				m.Poll(b.Context())
			}
		})
	}
}
