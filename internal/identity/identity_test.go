package identity

import (
	"strings"
	"testing"
)

func TestIncludes(t *testing.T) {
	t.Parallel()
	// Dagster+'s order, least first; whatever is not one of the four includes and is included by nothing.
	order := []Role{"viewer", "launcher", "editor", "admin"}
	for i, held := range order {
		for j, needed := range order {
			if got := held.Includes(needed); got != (i >= j) {
				t.Errorf("%s includes %s: got %t, want %t", held, needed, got, i >= j)
			}
		}
		for _, strange := range []Role{"", "Admin", "ADMIN", "operator", " admin"} {
			if held.Includes(strange) || strange.Includes(held) {
				t.Errorf("%q and %q include one another, want neither", held, strange)
			}
		}
	}
}

func TestParseRole(t *testing.T) {
	t.Parallel()
	if got, err := ParseRole(" Editor "); got != Editor || err != nil {
		t.Errorf("got %q, %v, want editor", got, err)
	}
	for _, name := range []string{"", "root", "edito"} {
		if got, err := ParseRole(name); err == nil || got != "" {
			t.Errorf("%q: got %q, want an error", name, got)
		}
	}
}

func TestNameKey(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"alice", "Alice", "ALICE", " alice ", "Ａlice", "ａｌｉｃｅ"},
		{"straße", "STRASSE", "strasse"},
		{"ﬁn", "fin", "FIN"},
		{"é", "e\u0301", "É"},
	} {
		for _, name := range same[1:] {
			if got, want := NameKey(name), NameKey(same[0]); got != want {
				t.Errorf("%q has the key %q, want that of %q, %q", name, got, same[0], want)
			}
		}
	}
	if NameKey("alice") == NameKey("аlice") { // the second begins with a Cyrillic letter
		t.Error("two names of different letters have one key")
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "alice@example.com", "Ada Lovelace", "名前", strings.Repeat("x", 64)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: got %v, want no error", good, err)
		}
	}
	for _, bad := range []string{"", "   ", strings.Repeat("x", 65), "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u2028b", "\xff", "\ufdfa\ufdfa\ufdfa\ufdfa"} {
		if err := CheckName(bad); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want an error of one line", bad, err)
		}
	}
}

func TestPublicID(t *testing.T) {
	t.Parallel()
	if got := (Session{TokenHash: []byte{0, 0x1f, 0xff, 3, 4, 5, 6}}).PublicID(); got != "001fff030405" {
		t.Errorf("got %q, want 001fff030405", got)
	}
	if got := (Session{}).PublicID(); got != "" {
		t.Errorf("of no session: got %q, want none", got)
	}
}

func TestNobody(t *testing.T) {
	t.Parallel()
	if !(Identity{Role: Admin}).Nobody() {
		t.Error("an identity without an ID is somebody")
	}
	user := User{Backend: "local", Subject: "alice", Name: "Alice", Role: Viewer}
	if got := user.Identity("s1"); got.Nobody() || got.ID != "local:alice" || got.SessionID != "s1" || got.Role != Viewer {
		t.Errorf("got %+v", got)
	}
}
