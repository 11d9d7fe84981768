package app

import (
	"errors"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/store"
)

// TestHeaderGroupsAreExact: whoever may make a group at the proxy gets nobody's role by a name that looks like another's.
func TestHeaderGroupsAreExact(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(config.Source{Environ: []string{
		"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_TRUSTED_PROXIES=192.0.2.1", "DAGSTER_AUTH_PROXY_GROUP_PATTERN={role}",
	}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rows.Close() })
	roles, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newHeader(rows, roles, cfg)
	if err != nil {
		t.Fatal(err)
	}
	come := func(user, groups string) (auth.Presented, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "192.0.2.1:1"
		r.Header.Set("Remote-User", user)
		r.Header.Set("Remote-Groups", groups)
		who, _, err := b.Present(r)
		return who, err
	}
	for _, group := range []string{"Admins", "ADMINS", "\u24d0dmins", "\uff41dmins", "admins\u00a0"} {
		if who, err := come("mallory", group); err == nil || who.Role != "" {
			t.Errorf("the group %q: got the role %q, %v, want none", group, who.Role, err)
		} else if _, none := errors.AsType[*auth.NoRoleError](err); !none && !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("the group %q: got %v, want a refusal", group, err)
		}
	}
	if who, err := come("Ada", "admins"); err != nil || who.Role != "admin" || who.ID != "header:ada" {
		t.Errorf("the control: got %s, %q, %v", who.ID, who.Role, err)
	}
	// Names that look like hers are not she.
	for _, name := range []string{"\uff21da", "\u1d2cda", "\u212bda"} {
		if who, err := come(name, "viewers"); err == nil && who.ID == "header:ada" {
			t.Errorf("%q is taken for ada", name)
		}
	}
}
