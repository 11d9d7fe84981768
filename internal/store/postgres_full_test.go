package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"dagster-authkit/internal/identity"
)

// diskFull fills the disk on which the tables are. What must not be is a change without its event; reading goes on, and who asks
// how it is hears that nothing can be changed.
func (f *faults) diskFull(t *testing.T) {
	what, fill, free := f.server.FullDisk("postgres", "authkit")
	t.Log(what)
	check(t, "fill", fill())
	last := identity.Role("")
	eventually(t, "a change that finds no room", func() bool { // there may be some on the pages that are begun
		role := identity.Role(fmt.Sprint("role", time.Now().UnixNano()))
		if err := f.s.SetRole(t.Context(), f.user.RowID, role, false, event()); err != nil {
			t.Logf("the error is %v", err)
			return true
		}
		last = role
		return false
	})
	if user, err := f.s.UserByName(t.Context(), "local", "alice"); err != nil || last != "" && user.Role != last {
		t.Errorf("got the role %q, %v, want %q: a change was made without its event", user.Role, err, last)
	}
	if err := f.s.Ping(t.Context()); !errors.Is(err, identity.ErrUnwritable) {
		t.Errorf("ping: got %v, want that the database takes no changes", err)
	}
	at := f.s.probed.at
	if err := f.s.Ping(t.Context()); !errors.Is(err, identity.ErrUnwritable) || f.s.probed.at != at && f.s.probed.at.Sub(at) < probePause {
		t.Errorf("asked again at once: got %v, and a try %v after the one before; want the answer of that", err, f.s.probed.at.Sub(at))
	}
	if _, _, err := f.s.SessionByHash(t.Context(), []byte("session")); err != nil {
		t.Errorf("reading does not go on: %v", err)
	}
	if _, err := f.s.Version(t.Context()); err != nil {
		t.Errorf("the version: %v", err)
	}
	check(t, "free", free())
}

// untried: whoever may change rows and make no table can't tell that the disk has room again. It does not count as full for ever.
func (f *faults) untried(t *testing.T) {
	const schema = ` CREATE ON SCHEMA authkit `
	check(t, "revoke", f.server.Exec(t.Context(), "postgres", `REVOKE`+schema+`FROM authkit`))
	f.s.unwritable.Store(true)
	check(t, "ping", f.s.Ping(t.Context()))
	if f.s.unwritable.Load() {
		t.Error("the database still counts as one that takes no changes")
	}
	check(t, "grant", f.server.Exec(t.Context(), "postgres", `GRANT`+schema+`TO authkit`))
}
