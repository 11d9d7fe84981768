package accounts_test

import (
	"strings"
	"testing"
	"time"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.add(t, "alice", identity.Launcher)
	text, made, now, err := d.CreateToken(t.Context(), by, accounts.NewToken{User: "Alice", Name: "nightly", Role: "Admin", Location: "etl", Lifetime: time.Hour})
	check(t, "create", err)
	hash := token.Sum(text)
	if !token.Valid(text) || string(made.Token.Hash) != string(hash[:]) || made.Owner.ID() != "local:alice" {
		t.Errorf("made %q: %+v", text, made)
	}
	if now.Role != identity.Viewer || len(now.Grants) != 1 || now.Grants[0] != (identity.Grant{Location: "etl", Role: identity.Launcher}) {
		t.Errorf("it gives %+v, want a launcher in etl, as the owner is no admin", now)
	}
	event := d.published[len(d.published)-1]
	if event.Type != audit.EventTokenCreated || event.Token != made.Token.PublicID() || event.TokenName != "nightly" || event.Identity != "local:alice" || event.PerformedBy != by {
		t.Errorf("event: %+v", event)
	}
	line, err := event.MarshalJSON()
	check(t, "event", err)
	if strings.Contains(string(line), text) || strings.Contains(string(line), text[4:20]) {
		t.Errorf("the event has the token: %s", line)
	}

	_, _, _, err = d.CreateToken(t.Context(), by, accounts.NewToken{User: "alice", Name: "nightly"})
	wantOneLine(t, "a name that is taken", err, identity.ErrExists, "nightly", "revoke-token")
	forever, _, _, err := d.CreateToken(t.Context(), by, accounts.NewToken{User: "alice", Name: "forever"})
	check(t, "another", err)
	list, err := d.Tokens(t.Context(), "local:alice")
	check(t, "list", err)
	if len(list) != 2 || list[0].Token.Name != "forever" || !list[0].Token.ExpiresAt.IsZero() || list[1].Token.Role != identity.Admin {
		t.Errorf("list: %+v", list)
	}

	revoked, err := d.RevokeToken(t.Context(), by, strings.ToUpper(made.Token.PublicID()))
	check(t, "revoke", err)
	if revoked.Token.Name != "nightly" || d.published[len(d.published)-1].Type != audit.EventTokenRevoked {
		t.Errorf("revoked %+v, event %+v", revoked, d.published[len(d.published)-1])
	}
	_, err = d.RevokeToken(t.Context(), by, made.Token.PublicID())
	wantOneLine(t, "revoked twice", err, identity.ErrNotFound, "list-tokens")
	_, err = d.RevokeNamedToken(t.Context(), by, "alice", "nightly")
	wantOneLine(t, "revoked thrice", err, identity.ErrNotFound, "nightly", "list-tokens")
	if found, err := d.RevokeToken(t.Context(), by, forever+"\n"); err != nil || found.Token.Name != "forever" {
		t.Errorf("revoked by its text: %+v, %v", found, err)
	}
}

func TestTokensRefused(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.add(t, "alice", identity.Viewer)
	d.add(t, "dan", identity.Viewer)
	check(t, "disable", d.Disable(t.Context(), by, "dan", false))
	for name, test := range map[string]struct {
		n    accounts.NewToken
		want string
	}{
		"nobody":         {accounts.NewToken{User: "bob", Name: "x"}, `no user "bob"`},
		"disabled":       {accounts.NewToken{User: "dan", Name: "x"}, "enable-user"},
		"no name":        {accounts.NewToken{User: "alice", Name: " "}, "name is empty"},
		"a long name":    {accounts.NewToken{User: "alice", Name: strings.Repeat("x", 65)}, "at most 64"},
		"a control":      {accounts.NewToken{User: "alice", Name: "a\nb"}, "control characters"},
		"role":           {accounts.NewToken{User: "alice", Name: "x", Role: "boss"}, `unknown role "boss"`},
		"joint role":     {accounts.NewToken{User: "alice", Name: "x", Role: "viewer&editor"}, "unknown role"},
		"location":       {accounts.NewToken{User: "alice", Name: "x", Location: "a\tb"}, "code location"},
		"blank location": {accounts.NewToken{User: "alice", Name: "x", Location: " "}, "code location is empty"},
		"too short":      {accounts.NewToken{User: "alice", Name: "x", Lifetime: -1}, "from 1 second"},
		"too long":       {accounts.NewToken{User: "alice", Name: "x", Lifetime: 11 * 365 * 24 * time.Hour}, "to 10 years"},
	} {
		_, _, _, err := d.CreateToken(t.Context(), by, test.n)
		wantOneLine(t, name, err, nil, test.want)
	}
	if list, err := d.Tokens(t.Context(), ""); len(list) != 0 || err != nil {
		t.Errorf("tokens there: %v, %v", list, err)
	}
	if _, _, _, err := d.CreateToken(t.Context(), by, accounts.NewToken{User: "alice", Name: strings.Repeat("é", 64), Lifetime: time.Second}); err != nil {
		t.Errorf("the control: %v", err)
	}
}

func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	ci, err := d.AddService(t.Context(), by, "CI", identity.Admin)
	check(t, "add", err)
	if ci.ID() != "service:ci" || ci.Name != "CI" {
		t.Errorf("made %+v", ci)
	}
	_, err = d.AddService(t.Context(), by, "ci", identity.Viewer)
	wantOneLine(t, "a name that is taken", err, identity.ErrExists, "service account", "create-token")
	_, err = d.AddService(t.Context(), by, "x", "boss")
	wantOneLine(t, "role", err, nil, `unknown role "boss"`)
	_, err = d.AddService(t.Context(), by, "a\nb", identity.Viewer)
	wantOneLine(t, "name", err, nil, "control")
	wantOneLine(t, "password", d.ChangePassword(t.Context(), by, "ci", "correct horse"), nil, "service account", "create-token")

	// It is no admin that anybody could sign in as, and so never the last.
	d.add(t, "ada", identity.Admin)
	wantOneLine(t, "the last admin", d.Disable(t.Context(), by, "ada", false), identity.ErrLastAdmin)
	check(t, "another role", d.ChangeRole(t.Context(), by, "service:CI", identity.Editor, false))
	check(t, "admin again", d.ChangeRole(t.Context(), by, "ci", identity.Admin, false))
	_, _, err = d.Grant(t.Context(), by, accounts.Grantee{User: "ci"}, identity.Grant{Location: "etl", Role: identity.Editor})
	check(t, "grant", err)
	check(t, "disable", d.Disable(t.Context(), by, "ci", false))
	check(t, "enable", d.Enable(t.Context(), by, "ci"))
	_, _, _, err = d.CreateToken(t.Context(), by, accounts.NewToken{User: "ci", Name: "x"})
	check(t, "token", err)
	check(t, "delete", d.Delete(t.Context(), by, "ci", false))
	if list, err := d.Tokens(t.Context(), ""); len(list) != 0 || err != nil {
		t.Errorf("tokens left: %v, %v", list, err)
	}
}
