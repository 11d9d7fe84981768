package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
)

func TestWatchUserNotices(t *testing.T) {
	t.Parallel()
	as := func(change func(u *identity.User)) func() (identity.User, error) {
		u := alice
		change(&u)
		return func() (identity.User, error) { return u, nil }
	}
	failing := func(err error) func() (identity.User, error) {
		return func() (identity.User, error) { return identity.User{}, err }
	}
	for _, c := range []struct {
		name string
		look func() (identity.User, error)
		want bool
	}{
		{"nothing", as(func(*identity.User) {}), false},
		{"another email", as(func(u *identity.User) { u.Email = "a@example.org" }), false},
		{"a fault", failing(errors.New("the database is down")), false},
		{"another role", as(func(u *identity.User) { u.Role = identity.Viewer }), true},
		{"a grant less", as(func(u *identity.User) { u.Grants = u.Grants[:1] }), true},
		{"disabled", as(func(u *identity.User) { u.Disabled = true }), true},
		{"another account", as(func(u *identity.User) { u.Subject = "alicia" }), true},
		{"gone", failing(fmt.Errorf("look: %w", identity.ErrNotFound)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := manager(t, newRows(alice))
				ctx, stop := running(t, m)
				var changed atomic.Bool
				look := func(context.Context) (identity.User, error) {
					if changed.Load() {
						return c.look()
					}
					return alice, nil
				}
				gone := m.WatchUser(ctx, look, alice.Identity(""))
				if closedWithin(gone, 10*time.Second) {
					t.Error("closed before anything changed")
				}
				changed.Store(true)
				if got := closedWithin(gone, time.Second); got != c.want {
					t.Errorf("closed within a second: %t, want %t", got, c.want)
				}
				stop()
			})
		})
	}
}

// TestWatchUserEnds: when the connection's context ends the watch does, and nobody is asked any more.
func TestWatchUserEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := manager(t, newRows(alice))
		ctx, stop := running(t, m)
		connection, leave := context.WithCancel(ctx)
		var looks atomic.Int32
		gone := m.WatchUser(connection, func(context.Context) (identity.User, error) { looks.Add(1); return alice, nil }, alice.Identity(""))
		time.Sleep(time.Second)
		leave()
		synctest.Wait()
		before := looks.Load()
		if closedWithin(gone, 10*time.Second) || before == 0 || looks.Load() != before {
			t.Errorf("looked %d times before and %d after the end, want some and none; and the channel open", before, looks.Load()-before)
		}
		stop()
	})
}
