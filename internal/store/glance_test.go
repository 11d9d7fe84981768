package store

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"dagster-authkit/internal/identity"
)

// A change of this process is seen at once, whoever looked meanwhile; what another process did, once the glance is over.
func TestGlance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g glance
		if _, _, ok := g.recent(); ok {
			t.Error("something is known that nobody saw")
		}
		_, changes, _ := g.recent()
		g.saw(7, changes, time.Now())
		if version, _, ok := g.recent(); !ok || version != 7 {
			t.Errorf("just seen: got %d, %t", version, ok)
		}
		time.Sleep(glanceFor)
		if _, changes, ok := g.recent(); ok {
			t.Error("a glance is good for too long")
		} else {
			g.saw(8, changes, time.Now())
		}
		g.changed()
		_, changes, ok := g.recent()
		if ok {
			t.Error("a change of this process is not seen at once")
		}
		g.changed() // while somebody looks
		g.saw(9, changes, time.Now())
		if _, _, ok := g.recent(); ok {
			t.Error("a look that began before the change is good after it")
		}
	})
}

// Two stores on one file are two processes to SQLite.
func TestVersionOfAnotherProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth.db")
	ours, theirs := openPath(t, path), openPath(t, path)
	look := func() int64 {
		t.Helper()
		v, err := ours.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := look()
	if _, err := theirs.CreateUser(t.Context(), identity.User{Backend: "local", Name: "alice"}, "", event()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(glanceFor)
	after := look()
	if after == before {
		t.Error("a change by another store is not seen")
	}
	if _, err := ours.CreateUser(t.Context(), identity.User{Backend: "local", Name: "bob"}, "", event()); err != nil {
		t.Fatal(err)
	}
	if look() == after {
		t.Error("a change of our own is not seen at once")
	}
}
