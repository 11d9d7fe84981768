package token

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// TestConfirm follows a directory through its moods: the real ones are asked in the backends' own tests.
func TestConfirm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mood atomic.Pointer[error]
		var slow atomic.Int64
		var asked atomic.Int64
		says := func(err error) { mood.Store(&err) }
		c := confirmer{interval: time.Minute, known: map[int64]confirmation{}, ask: func(ctx context.Context, _ identity.User) error {
			asked.Add(1)
			select {
			case <-time.After(time.Duration(slow.Load())):
				return *mood.Load()
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		carol := identity.User{RowID: 1}
		step := func(what string, want error, times int64) {
			t.Helper()
			asked.Store(0)
			_, err := c.check(t.Context(), carol, time.Now())
			if !errors.Is(err, want) || (want == nil) != (err == nil) || asked.Load() != times {
				t.Errorf("%s: got %v after %d questions, want %v after %d", what, err, asked.Load(), want, times)
			}
		}
		says(errors.New("down"))
		step("never vouched, and down", auth.ErrUnavailable, 1)
		step("the same at once", auth.ErrUnavailable, 0)
		says(nil)
		time.Sleep(confirmRetry)
		step("up", nil, 1)
		step("known", nil, 0)
		time.Sleep(time.Minute)
		step("due", nil, 1)
		says(errors.New("down"))
		time.Sleep(time.Minute)
		step("due, and down", nil, 1)
		time.Sleep(50 * time.Second)
		step("down, and not overdue", nil, 1)
		time.Sleep(10 * time.Second)
		step("overdue", auth.ErrUnavailable, 1)
		says(nil)
		time.Sleep(confirmRetry)
		step("up again", nil, 1)
		says(auth.ErrGone)
		step("gone, not asked yet", nil, 0)
		time.Sleep(time.Minute)
		step("gone", auth.ErrGone, 1)
		step("gone, known", auth.ErrGone, 0)
		says(nil)
		time.Sleep(confirmRetry)
		step("back", nil, 1)
		slow.Store(int64(time.Hour))
		time.Sleep(time.Minute)
		step("hangs", nil, 1)
		step("hangs still", nil, 0)
		time.Sleep(2 * time.Minute)
		step("hangs too long", auth.ErrUnavailable, 1)
		time.Sleep(time.Minute) // the last question is given up
	})
}

// TestOwnersOfDirectories: the token of somebody whom the directory does not know any more is worth nothing, and what the
// directory says of them counts for the request that had it asked.
func TestOwnersOfDirectories(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	carol := identity.User{Backend: "ldap", Subject: "uid=carol", Name: "carol", Role: identity.Editor}
	stored, err := k.rows.UpsertUser(t.Context(), carol)
	check(t, err)
	says := func() error {
		carol.Role = identity.Launcher
		_, err := k.rows.UpsertUser(t.Context(), carol)
		return err
	}
	k.Keeper, err = NewKeeper(Options{
		Rows: k.rows, Roles: k.roles, Backends: []string{"local", "ldap"}, Vouching: []string{"ldap"}, ConfirmInterval: time.Hour,
		Confirm: func(context.Context, identity.User) error { return says() },
	})
	check(t, err)
	header := "Bearer " + k.token(stored, identity.Token{})
	who, _, err := k.present("Authorization", header)
	if err != nil || who.Role != identity.Launcher {
		t.Errorf("the first request: %s, %v, want a launcher, as the directory says", who.Role, err)
	}
	says = func() error { return auth.ErrGone }
	if _, _, err := k.present("Authorization", header); err != nil {
		t.Errorf("before it is asked again: %v", err)
	}
	k.confirm.known[stored.RowID] = confirmation{}
	_, _, err = k.present("Authorization", header)
	if refused, _ := errors.AsType[*auth.RefusedError](err); refused == nil || refused.Reason != ReasonGone {
		t.Errorf("gone: %v", err)
	}
	says = func() error { return ErrUnseen }
	k.confirm.known[stored.RowID] = confirmation{}
	_, _, err = k.present("Authorization", header)
	if refused, _ := errors.AsType[*auth.RefusedError](err); refused == nil || refused.Reason != ReasonUnseen || !strings.Contains(refused.Message, "signed in") {
		t.Errorf("not seen for too long: %v", err)
	}
	if _, err := who.Look(t.Context()); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("an open WebSocket of somebody gone: %v", err)
	}
	if _, _, err := k.present("Authorization", "Bearer "+k.token(k.user("local", "ada", identity.Admin), identity.Token{})); err != nil {
		t.Errorf("the control, a local user: %v", err)
	}
	if _, err := NewKeeper(Options{Rows: k.rows, Roles: k.roles, Vouching: []string{"ldap"}}); err == nil {
		t.Error("a keeper without a way to ask was made")
	}
}
