package seal_test

import (
	"bytes"
	"strings"
	"testing"

	"dagster-authkit/internal/seal"
)

func TestNew(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("k", 32))
	sealed := func(by []byte, purpose string) []byte {
		t.Helper()
		aead, err := seal.New(by, purpose)
		if err != nil {
			t.Fatal(err)
		}
		return aead.Seal(nil, nil, []byte("refresh token"), []byte("row 1"))
	}
	opens := func(text, by []byte, purpose, beside string) bool {
		t.Helper()
		aead, err := seal.New(by, purpose)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := aead.Open(nil, nil, text, []byte(beside))
		return err == nil && string(plain) == "refresh token"
	}
	text := sealed(secret, "sessions")
	if !opens(text, secret, "sessions", "row 1") {
		t.Error("the control: it does not open again")
	}
	if bytes.Contains(text, []byte("refresh")) || bytes.Equal(text, sealed(secret, "sessions")) {
		t.Error("it is in clear, or sealed in the same way twice")
	}
	changed := bytes.Clone(text)
	changed[len(changed)-1] ^= 1
	for name, opened := range map[string]bool{
		"for another purpose": opens(text, secret, "tickets", "row 1"), "beside another row": opens(text, secret, "sessions", "row 2"),
		"by another secret": opens(text, []byte(strings.Repeat("l", 32)), "sessions", "row 1"), "changed": opens(changed, secret, "sessions", "row 1"),
	} {
		if opened {
			t.Errorf("it opens %s", name)
		}
	}
}
