package oidc_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/e2e/jwt"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	options := s.options()
	options.AllowedDomains = []string{"company.com"}
	p := providers(t, options)
	begin := func() (identity.User, identity.Voucher) {
		arrival, err := signIn(t, p, s)
		if err != nil {
			t.Fatal(err)
		}
		return arrival.User, arrival.By
	}
	base, strange := maps.Clone(s.claims), rsaKey(2048)
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
		role   identity.Role
	}{
		"control":         {func(*standIn) {}, "", "admin"},
		"a lesser role":   {func(s *standIn) { s.claims["groups"] = []string{"viewers"} }, "", "viewer"},
		"no group":        {func(s *standIn) { s.claims["groups"] = []string{} }, "no role", ""},
		"another address": {func(s *standIn) { s.claims["email"] = "ada@elsewhere.com" }, "gone", ""},
		"disabled":        {func(s *standIn) { s.refresh = "" }, "gone", ""},
		"somebody else":   {func(s *standIn) { s.claims["sub"] = "43" }, "gone", ""},
		"another issuer":  {func(s *standIn) { s.claims["iss"] = "https://evil.example.com" }, "gone", ""},
		"another nonce":   {func(s *standIn) { s.claims["nonce"] = "x" }, "gone", ""},
		"unsigned":        {func(s *standIn) { s.sign = unsigned }, "gone", ""},
		"another's key of a known ID": {func(s *standIn) {
			s.sign = func(all map[string]any) string {
				return jwt.SignWith(s.t, jose.JSONWebKey{Key: strange, KeyID: "one"}, jose.RS256, nil, all)
			}
		}, "gone", ""},
		"another's key without an ID": {func(s *standIn) {
			s.sign = func(all map[string]any) string {
				return jwt.SignWith(s.t, jose.JSONWebKey{Key: strange}, jose.RS256, nil, all)
			}
		}, "gone", ""},
		"down": {func(s *standIn) { s.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) } }, "unavailable", ""},
		"our secret is old": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, 401, "invalid_client") }
		}, "PROVIDER_REFUSED_US", ""},
	} {
		user, by := begin()
		s.change(tc.change)
		now, secret, err := p.Refresh(t.Context(), user, by)
		if sentinelFirst(err) != tc.want || now.Role != tc.role || err == nil && now.ID() != user.ID() {
			t.Errorf("%s: got the role %q, %v, want %q, %q", name, now.Role, err, tc.role, tc.want)
		}
		if err == nil {
			by.Secret = secret
			if _, _, err := p.Refresh(t.Context(), user, by); err != nil {
				t.Errorf("%s, with the next token: %v", name, err)
			}
		}
		s.change(func(s *standIn) { s.claims, s.answer, s.sign = maps.Clone(base), nil, nil })
	}
	user, by := begin()
	other := by
	other.Provider = "gone"
	if _, _, err := p.Refresh(t.Context(), user, other); reason(err) != "gone" {
		t.Errorf("a provider that is not there any more: got %v", err)
	}
	other = by
	other.Secret = []byte("{")
	if _, _, err := p.Refresh(t.Context(), user, other); reason(err) != "gone" {
		t.Errorf("a broken secret: got %v", err)
	}
}

// TestKeysAreDown: a provider that signs with a new key, which can't be read just now, says nothing against anybody.
func TestKeysAreDown(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	next := rsaKey(2048)
	s.change(func(s *standIn) {
		s.key, s.keyID = next, "two"
		s.paths["/keys"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	})
	_, _, err = p.Refresh(t.Context(), arrival.User, arrival.By)
	if sentinelFirst(err) != "unavailable" {
		t.Errorf("a refresh: got %v, want ErrUnavailable", err)
	}
	token := jwt.SignWith(t, jose.JSONWebKey{Key: next, KeyID: "two"}, jose.RS256, nil, s.logout("1"))
	if _, err := heed(t, p, token); reason(err) != "unavailable" {
		t.Errorf("a logout token: got %v, want ErrUnavailable", err)
	}
	if _, err := signIn(t, p, s); reason(err) != "unavailable" {
		t.Errorf("a sign-in: got %v, want ErrUnavailable", err)
	}
	s.change(func(s *standIn) {
		clear(s.paths)
		s.keys = []any{jose.JSONWebKey{Key: next.Public(), KeyID: "two", Use: "sig", Algorithm: "RS256"}}
	})
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("with the keys: %v", err)
	}
	if _, err := heed(t, p, token); err != nil {
		t.Errorf("the logout token again, with the keys: %v", err)
	}
}

// TestKeyOfTomorrow: a provider that signs by a key before it publishes it, or with which another of its servers does, says nothing
// against anybody. The refresh token of that answer counts, since the one before it is used up.
func TestKeyOfTomorrow(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	user, by := arrival.User, arrival.By
	next := rsaKey(2048)
	s.change(func(s *standIn) { s.key, s.keyID = next, "two" })
	_, secret, err := p.Refresh(t.Context(), user, by)
	if sentinelFirst(err) != "unavailable" || len(secret) == 0 {
		t.Fatalf("signed by a key that is not there yet: got %v and a secret of %d bytes, want ErrUnavailable and the next secret", err, len(secret))
	}
	if _, _, err := p.Refresh(t.Context(), user, by); sentinelFirst(err) != "gone" {
		t.Errorf("the control, the refresh token that is used up: got %v, want ErrGone", err)
	}
	s.change(func(s *standIn) { s.publish(next.Public(), "two") })
	by.Secret = secret
	if now, _, err := p.Refresh(t.Context(), user, by); err != nil || now.Role != "admin" {
		t.Errorf("once the key is there: got %q, %v", now.Role, err)
	}
}

func sentinelFirst(err error) string {
	if errors.Is(err, auth.ErrGone) {
		return "gone"
	}
	return reason(err)
}

// TestNextTokenIsKept: when the provider fails after it gave the next refresh token, that one counts.
func TestNextTokenIsKept(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.claims["groups"], s.userinfo = nil, map[string]any{"sub": "42", "groups": []string{"admins"}}
	p := providers(t, s.options())
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	s.change(func(s *standIn) {
		s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	})
	_, secret, err := p.Refresh(t.Context(), arrival.User, arrival.By)
	if reason(err) != "unavailable" || len(secret) == 0 {
		t.Fatalf("got %v and a secret of %d bytes", err, len(secret))
	}
	s.change(func(s *standIn) { clear(s.paths) })
	arrival.By.Secret = secret
	if now, _, err := p.Refresh(t.Context(), arrival.User, arrival.By); err != nil || now.Role != "admin" {
		t.Errorf("got %q, %v", now.Role, err)
	}
}

// TestWithoutRefreshToken: nobody can be asked, so that the session ends in time.
func TestWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.claims["groups"] = []string{"analysts"}
	p := providers(t, s.options())
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		all := maps.Clone(s.claims)
		all["nonce"] = s.codes[r.FormValue("code")].Get("nonce")
		s.write(w, map[string]any{"access_token": "access", "id_token": s.signed(all)})
	}
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	arrival.User.RuleGrants, arrival.User.Groups = nil, nil // as the store gives it
	now, secret, err := p.Refresh(t.Context(), arrival.User, arrival.By)
	if err != nil || len(secret) == 0 || len(now.RuleGrants) != 1 || now.RuleGrants[0].Location != "analytics" {
		t.Errorf("within the hour: got %+v, %v", now, err)
	}
	var kept map[string]any
	if err := json.Unmarshal(arrival.By.Secret, &kept); err != nil {
		t.Fatal(err)
	}
	kept["t"] = "2020-01-01T00:00:00Z"
	arrival.By.Secret, _ = json.Marshal(kept)
	if _, _, err := p.Refresh(t.Context(), arrival.User, arrival.By); reason(err) != "gone" {
		t.Errorf("later: got %v, want ErrGone", err)
	}
}
