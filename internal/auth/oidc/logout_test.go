package oidc_test

import (
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/e2e/jwt"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/oidc"
)

// heed gives what the token says.
func heed(t *testing.T, p *oidc.Providers, token string) (notice auth.Notice, err error) {
	t.Helper()
	err = p.Heed(t.Context(), "sso", token, func(said auth.Notice) error {
		notice = said
		return nil
	})
	return notice, err
}

// TestLogoutTokenAgain: a token is used up when the sessions are ended, not before.
func TestLogoutTokenAgain(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	token := s.typed("logout+jwt", s.logout("1"))
	down := errors.New("the database is away")
	if err := p.Heed(t.Context(), "sso", token, func(auth.Notice) error { return down }); !errors.Is(err, down) {
		t.Fatalf("the sessions can't be ended: got %v, want that error", err)
	}
	if notice, err := heed(t, p, token); err != nil || notice.Session != "there-1" {
		t.Errorf("the provider's second try: got %+v, %v, want the session", notice, err)
	}
	if notice, err := heed(t, p, token); reason(err) != "LOGOUT_TOKEN" || notice.Session != "" {
		t.Errorf("after that: got %+v, %v, want it refused", notice, err)
	}
}

// TestLogoutTokens: each case changes one thing of a token that is good.
func TestLogoutTokens(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	other := rsaKey(2048)
	const event = "http://schemas.openid.net/event/backchannel-logout"
	good := func(id string) map[string]any {
		return map[string]any{
			"iss": s.URL, "aud": "dagster", "iat": inSeconds(0), "exp": inSeconds(120), "jti": id, "sub": "42", "sid": "there-1",
			"events": map[string]any{event: map[string]any{}},
		}
	}
	with := func(changes map[string]any) func(map[string]any) string {
		return func(all map[string]any) string {
			maps.Copy(all, changes)
			return s.typed("logout+jwt", all)
		}
	}
	// A token about one person must not end the session of another, so that each claim has one reading.
	more := func(members string) func(map[string]any) string {
		return func(all map[string]any) string { return s.signedText(added(t, all, members)) }
	}
	for name, tc := range map[string]struct {
		token func(all map[string]any) string
		ok    bool
	}{
		"control":                {with(nil), true},
		"control with more":      {more(`,"subject":"olga"`), true},
		"SUB":                    {more(`,"SUB":"olga"`), false},
		"sub twice":              {more(`,"sub":"olga"`), false},
		"SID":                    {more(`,"SID":"there-2"`), false},
		"sid twice":              {more(`,"sid":"there-2"`), false},
		"JTI":                    {more(`,"JTI":"2"`), false},
		"jti twice":              {more(`,"jti":"2"`), false},
		"Events":                 {more(`,"Events":{}`), false},
		"events twice":           {more(`,"events":{}`), false},
		"IAT":                    {more(`,"IAT":1`), false},
		"no type":                {func(all map[string]any) string { return s.typed("", all) }, true},
		"JWT":                    {func(all map[string]any) string { return s.typed("JWT", all) }, true},
		"of a session alone":     {with(map[string]any{"sub": nil}), true},
		"of a person alone":      {with(map[string]any{"sid": nil}), true},
		"of nobody":              {with(map[string]any{"sid": nil, "sub": nil}), false},
		"another audience":       {with(map[string]any{"aud": "other"}), false},
		"another issuer":         {with(map[string]any{"iss": "https://evil.example.com"}), false},
		"expired":                {with(map[string]any{"exp": inSeconds(-1)}), false},
		"no exp":                 {with(map[string]any{"exp": nil}), false},
		"no iat":                 {with(map[string]any{"iat": nil}), false},
		"from the future":        {with(map[string]any{"iat": inSeconds(300)}), false},
		"an hour old":            {with(map[string]any{"iat": inSeconds(-3600)}), false},
		"a nonce":                {with(map[string]any{"nonce": "x"}), false},
		"no event":               {with(map[string]any{"events": map[string]any{}}), false},
		"no events":              {with(map[string]any{"events": nil}), false},
		"another event":          {with(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}}), false},
		"an event that is true":  {with(map[string]any{"events": map[string]any{event: true}}), false},
		"no jti":                 {with(map[string]any{"jti": nil}), false},
		"an access token's type": {func(all map[string]any) string { return s.typed("at+jwt", all) }, false},
		"an ID token": {func(map[string]any) string {
			all := maps.Clone(s.claims)
			all["nonce"] = "x"
			return s.typed("JWT", all)
		}, false},
		"unsigned": {unsigned, false},
		"HS256": {func(all map[string]any) string {
			return jwt.SignWith(t, []byte(strings.Repeat("s3cret", 10)), jose.HS256, nil, all)
		}, false},
		"another's key": {func(all map[string]any) string {
			return jwt.SignWith(t, jose.JSONWebKey{Key: other, KeyID: "one"}, jose.RS256, nil, all)
		}, false},
		"nothing":    {func(map[string]any) string { return "" }, false},
		"a megabyte": {func(map[string]any) string { return strings.Repeat("x", 1<<20) }, false},
	} {
		token := tc.token(good(name))
		notice, err := heed(t, p, token)
		if (err == nil) != tc.ok || !tc.ok && reason(err) != "LOGOUT_TOKEN" {
			t.Errorf("%s: got %+v, %v", name, notice, err)
		}
		if tc.ok {
			if notice.Provider != "sso" || notice.Session == "" && notice.Subject == "" || notice.Subject != "" && notice.Subject != s.URL+"|42" {
				t.Errorf("%s: got %+v", name, notice)
			}
			if _, err := heed(t, p, token); reason(err) != "LOGOUT_TOKEN" {
				t.Errorf("%s, again: got %v, want it refused", name, err)
			}
		}
	}
	s.Close()
	if _, err := heed(t, providers(t, s.options()), "x"); reason(err) != "unavailable" {
		t.Errorf("down: got %v", err)
	}
}

// logout are the claims of a logout token.
func (s *standIn) logout(id string) map[string]any {
	return map[string]any{
		"iss": s.URL, "aud": "dagster", "iat": inSeconds(0), "exp": inSeconds(120), "jti": id, "sub": "42", "sid": "there-1",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
}

// typed is a token with that typ.
func (s *standIn) typed(kind string, all map[string]any) string {
	var header map[string]any
	if kind != "" {
		header = map[string]any{"typ": kind}
	}
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return jwt.SignWith(s.t, jose.JSONWebKey{Key: s.key, KeyID: "one"}, jose.RS256, header, all)
}

func TestLeave(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(p.Leave(t.Context(), arrival.By))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	if !strings.HasPrefix(u.String(), s.URL+"/end?") || query.Get("ui") != "1" || query.Get("client_id") != "dagster" ||
		query.Get("post_logout_redirect_uri") != "https://dagster.example.com/dag/auth/logout" || strings.Count(query.Get("id_token_hint"), ".") != 2 {
		t.Errorf("got %s", u)
	}
	delete(s.described, "end_session_endpoint")
	silent := providers(t, s.options())
	if got := silent.Leave(t.Context(), arrival.By); got != "" {
		t.Errorf("of a provider without that page: got %q", got)
	}
	arrival.By.Provider = "gone"
	if got := p.Leave(t.Context(), arrival.By); got != "" {
		t.Errorf("of a provider that is not there: got %q", got)
	}
}

// TestSignedOutMeanwhile: a session that the provider ended while somebody was on their way back does not begin here.
func TestSignedOutMeanwhile(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); err != nil {
		t.Fatalf("the control: %v", err)
	}
	token := s.typed("logout+jwt", map[string]any{
		"iss": s.URL, "aud": "dagster", "iat": inSeconds(0), "exp": inSeconds(120), "jti": "1", "sid": "there-1",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	if _, err := heed(t, p, token); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, p, s); reason(err) != "stale" {
		t.Errorf("the session that is over: got %v", err)
	}
	s.change(func(s *standIn) { s.claims["sid"] = "there-2" })
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("the next session: %v", err)
	}
}
