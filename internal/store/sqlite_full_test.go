package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dagster-authkit/e2e/smalldisk"
	"dagster-authkit/internal/identity"
)

// TestSQLiteDiskFull fills the disk on which the file is: reading goes on, nothing is half done, who asks how it is hears that
// nothing can be changed, and all is well by itself when there is room again.
func TestSQLiteDiskFull(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	disk, err := smalldisk.Mount(folder, 8<<20, os.Getuid(), os.Getgid())
	if errors.Is(err, smalldisk.ErrNotPermitted) { // nothing else makes SQLite's disk full
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, "unmount", disk.Unmount()) })
	s := openPath(t, filepath.Join(folder, "a.db"))
	user := add(t, s, "alice", identity.Viewer)
	signIn(t, s, user, "session")
	for range 2 {
		check(t, "fill", disk.Fill())
		eventually(t, "a change that finds no room", func() bool {
			before := countEvents(t, s)
			if s.SetRole(t.Context(), user.RowID, identity.Admin, false, event()) == nil {
				check(t, "and back", s.SetRole(t.Context(), user.RowID, identity.Viewer, false, event()))
				check(t, "fill more", disk.Fill())
				return false
			}
			if n := countEvents(t, s); n != before {
				t.Errorf("a change that failed left %d events", n-before)
			}
			return true
		})
		if err := s.Ping(t.Context()); !errors.Is(err, identity.ErrUnwritable) {
			t.Errorf("ping: got %v, want that the database takes no changes", err)
		}
		if _, who, err := s.SessionByHash(t.Context(), []byte("session")); err != nil || who.Role != identity.Viewer {
			t.Errorf("reading does not go on: %s, %v", who.Role, err)
		}
		check(t, "free", disk.Free())
		eventually(t, "a good ping afterwards", func() bool { return s.Ping(t.Context()) == nil })
		check(t, "a change afterwards", s.SetRole(t.Context(), user.RowID, identity.Viewer, false, event()))
	}
}
