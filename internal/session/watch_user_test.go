package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
)

func TestWatchUser(t *testing.T) {
	t.Parallel()
	alice := identity.User{Backend: "local", Subject: "alice", Role: identity.Editor, Grants: []identity.Grant{{Location: "a", Role: "admin"}, {Location: "b", Role: "admin"}}}
	reordered, lesser, disabled, another := alice, alice, alice, alice
	reordered.Grants = []identity.Grant{alice.Grants[1], alice.Grants[0]}
	lesser.Grants = alice.Grants[:1]
	disabled.Disabled = true
	another.Subject = "bob"
	for _, test := range []struct {
		name string
		user identity.User
		err  error
		gone bool
	}{
		{"nothing changed", alice, nil, false},
		{"the same grants in another order", reordered, nil, false},
		{"a fault", identity.User{}, errors.New("disk"), false},
		{"gone", identity.User{}, identity.ErrNotFound, true},
		{"disabled", disabled, nil, true},
		{"a grant less", lesser, nil, true},
		{"somebody else", another, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changed atomic.Bool
				ctx, cancel := context.WithCancel(t.Context())
				gone := (&Manager{}).WatchUser(ctx, func(context.Context) (identity.User, error) {
					if changed.Load() {
						return test.user, test.err
					}
					return alice, nil
				}, alice.Identity(""))
				time.Sleep(time.Minute)
				if isClosed(gone) {
					t.Fatal("closed before anything changed")
				}
				changed.Store(true)
				time.Sleep(time.Second)
				if got := isClosed(gone); got != test.gone {
					t.Errorf("a second after: closed is %v, want %v", got, test.gone)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
