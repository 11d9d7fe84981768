package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"dagster-authkit/e2e/jwt"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

func errorsAs(err error) (*auth.DeclinedError, bool) { return errors.AsType[*auth.DeclinedError](err) }

func sentinel(err error) string {
	_, roleless := errors.AsType[*auth.NoRoleError](err)
	switch {
	case err == nil:
		return ""
	case roleless:
		return "no role"
	case errors.Is(err, auth.ErrGone):
		return "gone"
	case errors.Is(err, auth.ErrStale):
		return "stale"
	case errors.Is(err, auth.ErrUnavailable):
		return "unavailable"
	}
	return err.Error()
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	departure, err := p.Depart(t.Context(), "sso", "/dag/runs?x=1")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(departure.Location)
	query := u.Query()
	if query.Get("redirect_uri") != "https://dagster.example.com/dag/auth/oidc/sso/callback" || query.Get("response_type") != "code" ||
		query.Get("code_challenge_method") != "S256" || query.Get("scope") != "openid profile email" || len(query.Get("state")) < 22 || len(query.Get("nonce")) < 22 {
		t.Errorf("the browser is sent to %s", departure.Location)
	}
	if strings.Contains(departure.Ticket, query.Get("nonce")) || strings.Contains(departure.Ticket, query.Get("state")) {
		t.Error("the ticket can be read")
	}
	arrival, err := p.Arrive(t.Context(), "sso", s.authorize(departure.Location), departure.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.User{
		Backend: "oidc", Subject: s.URL + "|42", Name: "ada", Email: "ada@company.com", FullName: "Ada L", Role: "admin", Groups: []string{"admins"},
	}
	if diff := cmp.Diff(want, arrival.User); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if arrival.Next != "/dag/runs?x=1" || arrival.By.Provider != "sso" || arrival.By.ProviderSession != "there-1" || arrival.By.RefreshedAt.IsZero() {
		t.Errorf("got %+v, %q", arrival.By, arrival.Next)
	}
	if n := s.times("/token"); n != 1 {
		t.Errorf("the secret was sent %d times, want once", n)
	}
}

// TestTokens: a token that is not exactly right signs nobody in. Each case changes one thing of a token that does.
func TestTokens(t *testing.T) {
	t.Parallel()
	small, other := rsaKey(1024), rsaKey(2048)
	elliptic256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(*standIn) {
		return func(s *standIn) { s.claims[name] = value }
	}
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
	}{
		"control":                      {func(*standIn) {}, ""},
		"audience in a list":           {claim("aud", []string{"dagster"}), ""},
		"several, and azp":             {func(s *standIn) { s.claims["aud"], s.claims["azp"] = []string{"dagster", "api"}, "dagster" }, ""},
		"another elliptic key":         {func(s *standIn) { s.byKey(jose.ES256, elliptic256, elliptic256.Public(), "ES256") }, ""},
		"verified as a text":           {claim("email_verified", "true"), ""},
		"iat seconds ahead":            {claim("iat", inSeconds(20)), ""},
		"another audience":             {claim("aud", "other"), "PROVIDER_ANSWER"},
		"no audience":                  {claim("aud", nil), "PROVIDER_ANSWER"},
		"several without azp":          {claim("aud", []string{"dagster", "api"}), "PROVIDER_ANSWER"},
		"azp of another":               {claim("azp", "other"), "PROVIDER_ANSWER"},
		"azp no text":                  {claim("azp", []string{"dagster"}), "PROVIDER_ANSWER"},
		"another issuer":               {claim("iss", "https://evil.example.com"), "PROVIDER_ANSWER"},
		"expired":                      {claim("exp", inSeconds(-1)), "PROVIDER_ANSWER"},
		"no exp":                       {claim("exp", nil), "PROVIDER_ANSWER"},
		"not yet valid":                {claim("nbf", inSeconds(3600)), "PROVIDER_ANSWER"},
		"made in the future":           {claim("iat", inSeconds(300)), "PROVIDER_ANSWER"},
		"no iat":                       {claim("iat", nil), "PROVIDER_ANSWER"},
		"wrong nonce":                  {claim("nonce", "of another sign-in"), "PROVIDER_ANSWER"},
		"empty nonce":                  {claim("nonce", ""), "PROVIDER_ANSWER"},
		"no nonce":                     {func(s *standIn) { s.sign = func(c map[string]any) string { delete(c, "nonce"); return s.rs256(c) } }, "PROVIDER_ANSWER"},
		"empty sub":                    {claim("sub", ""), "PROVIDER_ANSWER"},
		"blank sub":                    {claim("sub", " "), "PROVIDER_ANSWER"},
		"no sub":                       {claim("sub", nil), "PROVIDER_ANSWER"},
		"long sub":                     {claim("sub", strings.Repeat("x", 256)), "PROVIDER_ANSWER"},
		"sub with a control character": {claim("sub", "4\x002"), "PROVIDER_ANSWER"},
		"alg none":                     {func(s *standIn) { s.sign = unsigned }, "PROVIDER_ANSWER"},
		"HS256 with the public key": {func(s *standIn) {
			public, _ := x509.MarshalPKIXPublicKey(s.key.Public())
			secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
			s.sign = func(c map[string]any) string {
				return jwt.SignWith(t, secret, jose.HS256, map[string]any{"kid": "one"}, c)
			}
		}, "PROVIDER_ANSWER"},
		"HS256 with the client secret": {func(s *standIn) {
			s.sign = func(c map[string]any) string {
				return jwt.SignWith(t, []byte(strings.Repeat("s3cret", 10)), jose.HS256, nil, c)
			}
		}, "PROVIDER_ANSWER"},
		"another's key":       {func(s *standIn) { s.key = other }, "PROVIDER_ANSWER"},
		"a key in the header": {func(s *standIn) { s.key, s.header = other, map[string]any{"jwk": jose.JSONWebKey{Key: other.Public()}} }, "PROVIDER_ANSWER"},
		"an unannounced algorithm": {func(s *standIn) {
			s.sign = func(c map[string]any) string { return jwt.SignWith(t, s.key, jose.PS256, nil, c) }
		}, "PROVIDER_ANSWER"},
		"a small key":            {func(s *standIn) { s.byKey(jose.RS256, small, small.Public(), "RS256") }, "unavailable"},
		"a small key beside":     {func(s *standIn) { s.key, s.keyID = small, "two"; s.publish(small.Public(), "two") }, "PROVIDER_ANSWER"},
		"a key for encryption":   {func(s *standIn) { s.keys = []any{jose.JSONWebKey{Key: s.key.Public(), KeyID: "one", Use: "enc"}} }, "unavailable"},
		"a logout token's type":  {func(s *standIn) { s.header = map[string]any{"typ": "logout+jwt"} }, "PROVIDER_ANSWER"},
		"packed":                 {func(s *standIn) { s.header = map[string]any{"zip": "DEF"} }, "PROVIDER_ANSWER"},
		"an extension":           {func(s *standIn) { s.header = map[string]any{"crit": []string{"b64"}, "b64": true} }, "PROVIDER_ANSWER"},
		"the type JWT":           {func(s *standIn) { s.header = map[string]any{"typ": "JWT"} }, ""},
		"an access token's type": {func(s *standIn) { s.header = map[string]any{"typ": "at+jwt"} }, "PROVIDER_ANSWER"},
		"a signature cut off":    {func(s *standIn) { s.sign = func(c map[string]any) string { return s.rs256(c)[:300] } }, "PROVIDER_ANSWER"},
		"a changed claim": {func(s *standIn) {
			s.sign = func(c map[string]any) string {
				parts := strings.Split(s.rs256(c), ".")
				c["groups"] = []string{"admins", "more"}
				payload, _ := json.Marshal(c)
				return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
			}
		}, "PROVIDER_ANSWER"},
		"another's access token": {claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "PROVIDER_ANSWER"},
		"no groups of ours":      {claim("groups", []string{"strangers"}), "no role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			tc.change(s)
			p := providers(t, s.options())
			arrival, err := signIn(t, p, s)
			if reason(err) != tc.want || (err == nil) != (arrival.User.Subject != "") {
				t.Errorf("got %q, %v, want %q", arrival.User.Name, err, tc.want)
			}
		})
	}
}

func (s *standIn) rs256(c map[string]any) string {
	return jwt.SignWith(s.t, jose.JSONWebKey{Key: s.key, KeyID: s.keyID}, jose.RS256, nil, c)
}

// byKey has the provider sign with that key alone.
func (s *standIn) byKey(algorithm jose.SignatureAlgorithm, private, public any, announced string) {
	s.described["id_token_signing_alg_values_supported"] = []string{announced}
	s.keys = []any{jose.JSONWebKey{Key: public, KeyID: "one", Use: "sig"}}
	s.sign = func(c map[string]any) string {
		return jwt.SignWith(s.t, jose.JSONWebKey{Key: private, KeyID: "one"}, algorithm, nil, c)
	}
}

func (s *standIn) publish(public any, id string) {
	s.keys = append(s.keys, jose.JSONWebKey{Key: public, KeyID: id, Use: "sig"})
}
