package oidc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/identity"
)

func errorsAs(err error) (*auth.RefusedError, bool) { return errors.AsType[*auth.RefusedError](err) }

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
			s.sign = func(c map[string]any) string { return signedBy(t, jose.HS256, secret, map[string]any{"kid": "one"}, c) }
		}, "PROVIDER_ANSWER"},
		"HS256 with the client secret": {func(s *standIn) {
			s.sign = func(c map[string]any) string {
				return signedBy(t, jose.HS256, []byte(strings.Repeat("s3cret", 10)), nil, c)
			}
		}, "PROVIDER_ANSWER"},
		"another's key":       {func(s *standIn) { s.key = other }, "PROVIDER_ANSWER"},
		"a key in the header": {func(s *standIn) { s.key, s.header = other, map[string]any{"jwk": jose.JSONWebKey{Key: other.Public()}} }, "PROVIDER_ANSWER"},
		"an unannounced algorithm": {func(s *standIn) {
			s.sign = func(c map[string]any) string { return signedBy(t, jose.PS256, s.key, nil, c) }
		}, "PROVIDER_ANSWER"},
		"a small key":            {func(s *standIn) { s.byKey(jose.RS256, small, small.Public(), "RS256") }, "unavailable"},
		"a small key beside":     {func(s *standIn) { s.key, s.keyID = small, "two"; s.publish(small.Public(), "two") }, "PROVIDER_ANSWER"},
		"a key for encryption":   {func(s *standIn) { s.keys = []any{jose.JSONWebKey{Key: s.key.Public(), KeyID: "one", Use: "enc"}} }, "unavailable"},
		"a logout token's type":  {func(s *standIn) { s.header = map[string]any{"typ": "logout+jwt"} }, "PROVIDER_ANSWER"},
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
	return signedBy(s.t, jose.RS256, jose.JSONWebKey{Key: s.key, KeyID: s.keyID}, nil, c)
}

// byKey has the provider sign with that key alone.
func (s *standIn) byKey(algorithm jose.SignatureAlgorithm, private, public any, announced string) {
	s.described["id_token_signing_alg_values_supported"] = []string{announced}
	s.keys = []any{jose.JSONWebKey{Key: public, KeyID: "one", Use: "sig"}}
	s.sign = func(c map[string]any) string {
		return signedBy(s.t, algorithm, jose.JSONWebKey{Key: private, KeyID: "one"}, nil, c)
	}
}

func (s *standIn) publish(public any, id string) {
	s.keys = append(s.keys, jose.JSONWebKey{Key: public, KeyID: id, Use: "sig"})
}

// TestCallbacks: what a browser comes back with is good once, in that browser, of that provider.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	s, elsewhere := newStandIn(t), newStandIn(t)
	second := elsewhere.options()
	second.ID = "other"
	p := providers(t, s.options(), second)
	depart := func(id string) auth.Departure {
		departure, err := p.Depart(t.Context(), id, "/dag/")
		if err != nil {
			t.Fatal(err)
		}
		return departure
	}
	for name, tc := range map[string]struct {
		change func(query url.Values, d *auth.Departure) string // returns the provider's ID
		want   string
	}{
		"control":          {func(url.Values, *auth.Departure) string { return "sso" }, ""},
		"without iss":      {func(q url.Values, _ *auth.Departure) string { q.Del("iss"); return "sso" }, ""},
		"no ticket":        {func(_ url.Values, d *auth.Departure) string { d.Ticket = ""; return "sso" }, "stale"},
		"another's ticket": {func(_ url.Values, d *auth.Departure) string { d.Ticket = depart("sso").Ticket; return "sso" }, "stale"},
		"a changed ticket": {func(_ url.Values, d *auth.Departure) string {
			d.Ticket = d.Ticket[:len(d.Ticket)-2] + "AA"
			return "sso"
		}, "stale"},
		"no state":         {func(q url.Values, _ *auth.Departure) string { q.Del("state"); return "sso" }, "stale"},
		"another state":    {func(q url.Values, _ *auth.Departure) string { q.Set("state", "x"); return "sso" }, "stale"},
		"two states":       {func(q url.Values, _ *auth.Departure) string { q.Add("state", q.Get("state")); return "sso" }, "stale"},
		"two codes":        {func(q url.Values, _ *auth.Departure) string { q.Add("code", "x"); return "sso" }, "stale"},
		"another provider": {func(url.Values, *auth.Departure) string { return "other" }, "stale"},
		"mix-up":           {func(q url.Values, _ *auth.Departure) string { q.Set("iss", elsewhere.URL); return "sso" }, "PROVIDER_ANSWER"},
		"empty iss":        {func(q url.Values, _ *auth.Departure) string { q.Set("iss", ""); return "sso" }, "PROVIDER_ANSWER"},
		"made-up code":     {func(q url.Values, _ *auth.Departure) string { q.Set("code", "x"); return "sso" }, "stale"},
		"another sign-in's code": {func(q url.Values, _ *auth.Departure) string {
			q.Set("code", s.authorize(depart("sso").Location).Get("code"))
			return "sso"
		}, "stale"},
		"no code": {func(q url.Values, _ *auth.Departure) string { q.Del("code"); return "sso" }, "PROVIDER_ANSWER"},
		"denied":  {func(q url.Values, _ *auth.Departure) string { q.Set("error", "access_denied"); return "sso" }, "ACCESS_DENIED"},
		"an error of anybody's": {func(q url.Values, _ *auth.Departure) string {
			q.Set("error", "<script>alert(1)</script>")
			return "sso"
		}, "PROVIDER_REFUSED"},
		"down for a while": {func(q url.Values, _ *auth.Departure) string { q.Set("error", "temporarily_unavailable"); return "sso" }, "unavailable"},
	} {
		departure := depart("sso")
		query := s.authorize(departure.Location)
		id := tc.change(query, &departure)
		_, err := p.Arrive(t.Context(), id, query, departure.Ticket)
		if reason(err) != tc.want {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
		if refusal, is := errorsAs(err); is && strings.ContainsAny(refusal.Message, "<>") {
			t.Errorf("%s: the message has the address's text: %s", name, refusal.Message)
		}
		// Whatever came of it, it is used up.
		if tc.want != "stale" {
			if _, err := p.Arrive(t.Context(), id, query, departure.Ticket); reason(err) != "stale" {
				t.Errorf("%s, again: got %v, want ErrStale", name, err)
			}
		}
	}
	if _, err := p.Depart(t.Context(), "nobody", "/"); !errors.Is(err, oidc.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	// A provider that announces RFC 9207 has to keep to it.
	strict := newStandIn(t)
	strict.described["authorization_response_iss_parameter_supported"] = true
	p = providers(t, strict.options())
	if _, err := signIn(t, p, strict); err != nil {
		t.Errorf("with iss: %v", err)
	}
	departure, _ := p.Depart(t.Context(), "sso", "")
	query := strict.authorize(departure.Location)
	query.Del("iss")
	if _, err := p.Arrive(t.Context(), "sso", query, departure.Ticket); reason(err) != "PROVIDER_ANSWER" {
		t.Errorf("without the announced iss: got %v", err)
	}
}

// TestWhoMayEnter: domains and groups.
func TestWhoMayEnter(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	options := s.options()
	options.AllowedDomains, options.AllowedGroups = []string{"Company.com"}, []string{"staff", "Admins"}
	p := providers(t, options)
	s.claims["groups"] = []string{"admins", "staff"}
	for _, tc := range []struct {
		email    any
		verified any
		groups   []string
		want     string
	}{
		{"ada@company.com", true, []string{"admins", "staff"}, ""},
		{"Ada@COMPANY.COM", true, []string{"admins", "staff"}, ""},
		{"ada@company.com", false, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", nil, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", "false", []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", 1, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{nil, true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"attacker@evil.com@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{`"attacker@evil.com"@company.com`, true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com.evil.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@evilcompany.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@sub.company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@evil.com,ada@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{[]string{"ada@company.com"}, true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com", true, []string{"admins"}, "GROUP_NOT_ALLOWED"},
		{"ada@company.com", true, []string{"admins", "STAFF"}, "GROUP_NOT_ALLOWED"},
	} {
		s.change(func(s *standIn) {
			s.claims["email"], s.claims["email_verified"], s.claims["groups"] = tc.email, tc.verified, tc.groups
			s.userinfo = map[string]any{"sub": "42"}
		})
		if _, err := signIn(t, p, s); reason(err) != tc.want {
			t.Errorf("%v, %v, %v: got %v, want %q", tc.email, tc.verified, tc.groups, err, tc.want)
		}
	}
}

// TestUserinfo: what the token lacks is asked for, and believed of the same person alone.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
		role   identity.Role
		email  string
	}{
		"control": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z", "email_verified": true}
			s.claims["groups"], s.claims["email"], s.claims["email_verified"] = nil, nil, nil
		}, "", "viewer", "x@y.z"},
		"the token is before it": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z"}
			s.claims["email"] = nil
		}, "", "admin", "x@y.z"},
		"a verification of another address": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z", "email_verified": true}
			s.claims["groups"], s.claims["email_verified"] = nil, nil
		}, "", "viewer", ""},
		"of somebody else": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "43", "groups": []string{"admins"}}
			s.claims["groups"] = nil
		}, "PROVIDER_ANSWER", "", ""},
		"of nobody": {func(s *standIn) {
			s.userinfo = map[string]any{"groups": []string{"admins"}}
			s.claims["groups"] = nil
		}, "PROVIDER_ANSWER", "", ""},
		"down": {func(s *standIn) {
			s.claims["groups"] = nil
			s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		}, "unavailable", "", ""},
		"too large": {func(s *standIn) {
			s.claims["groups"] = nil
			s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) }
		}, "unavailable", "", ""},
		"overage": {func(s *standIn) {
			s.claims["groups"] = nil
			s.claims["_claim_names"] = map[string]any{"groups": "src1"}
			s.claims["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": s.URL + "/graph"}}
		}, "TOO_MANY_GROUPS", "", ""},
		"overage, the other way": {func(s *standIn) { s.claims["groups"], s.claims["hasgroups"] = nil, "true" }, "TOO_MANY_GROUPS", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			tc.change(s)
			arrival, err := signIn(t, providers(t, s.options()), s)
			if reason(err) != tc.want || arrival.User.Role != tc.role || err == nil && arrival.User.Email != tc.email {
				t.Errorf("got the role %q, the address %q, %v, want %q, %q, %q", arrival.User.Role, arrival.User.Email, err, tc.role, tc.email, tc.want)
			}
			if s.times("/graph") > 0 {
				t.Error("an address from a token was asked")
			}
		})
	}
}

// TestFaults: a provider that answers too much, too late, packed, or from elsewhere. Nobody gets in, and the secret goes to its
// token endpoint alone, once.
func TestFaults(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(make([]byte, 64<<20))
	_ = zip.Close()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	stolen := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.URL.Path }))
	t.Cleanup(thief.Close)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else it is not noticed that the client left
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}
	at := func(path string, handle http.HandlerFunc) func(*standIn) {
		return func(s *standIn) { s.paths[path] = handle }
	}
	describes := func(name string, value any) func(*standIn) {
		return func(s *standIn) { s.described[name] = value }
	}
	const discovery = "/.well-known/openid-configuration"
	huge := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20)) }
	gzipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
	}{
		"control":                    {func(*standIn) {}, ""},
		"huge description":           {at(discovery, huge), "unavailable"},
		"packed description":         {at(discovery, gzipped), "unavailable"},
		"slow description":           {at(discovery, hang), "unavailable"},
		"redirected description":     {at(discovery, http.RedirectHandler(thief.URL+"/x", http.StatusFound).ServeHTTP), "unavailable"},
		"description of another":     {describes("issuer", thief.URL), "unavailable"},
		"no token endpoint":          {describes("token_endpoint", ""), "unavailable"},
		"token endpoint without TLS": {describes("token_endpoint", "http://id.example.com/token"), "unavailable"},
		"key address without TLS":    {describes("jwks_uri", "http://id.example.com/keys"), "unavailable"},
		"userinfo without TLS":       {describes("userinfo_endpoint", "http://id.example.com/me"), "unavailable"},
		"sign-out of another scheme": {describes("end_session_endpoint", "javascript:alert(1)"), "unavailable"},
		"a file for keys":            {describes("jwks_uri", "file:///etc/passwd"), "unavailable"},
		"HS256 alone":                {describes("id_token_signing_alg_values_supported", []string{"HS256", "none"}), "unavailable"},
		"plain challenges alone":     {describes("code_challenge_methods_supported", []string{"plain"}), "unavailable"},
		"secret by assertion alone":  {describes("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}), "unavailable"},
		"huge keys":                  {at("/keys", huge), "unavailable"},
		"packed keys":                {at("/keys", gzipped), "unavailable"},
		"slow keys":                  {at("/keys", hang), "unavailable"},
		"redirected keys":            {at("/keys", http.RedirectHandler(thief.URL+"/x", http.StatusFound).ServeHTTP), "unavailable"},
		"huge token":                 {at("/token", huge), "PROVIDER_ANSWER"},
		"endless token": {at("/token", func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
					return
				}
			}
		}), "PROVIDER_ANSWER"},
		"packed token":                {at("/token", gzipped), "unavailable"},
		"slow token":                  {at("/token", hang), "unavailable"},
		"redirected token":            {at("/token", http.RedirectHandler(thief.URL+"/x", http.StatusTemporaryRedirect).ServeHTTP), "unavailable"},
		"redirected token, same host": {at("/token", http.RedirectHandler("/me", http.StatusTemporaryRedirect).ServeHTTP), "unavailable"},
		"refused secret": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, 401, "invalid_client") }
		}, "PROVIDER_REFUSED_US"},
		"token endpoint fails": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, 500, "server_error") }
		}, "unavailable"},
		"no ID token": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.write(w, map[string]any{"access_token": "access"}) }
		}, "PROVIDER_ANSWER"},
		"no token at all": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.write(w, map[string]any{}) }
		}, "PROVIDER_ANSWER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			tc.change(s)
			_, err := signIn(t, providers(t, s.options()), s)
			if reason(err) != tc.want {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "<script>")) {
				t.Errorf("the error has what is nobody's to see: %v", err)
			}
			if s.times("/token") > 1 {
				t.Errorf("the token endpoint was asked %d times, want once at most", s.times("/token"))
			}
		})
	}
	if len(stolen) > 0 {
		t.Errorf("another host was asked for %s", <-stolen)
	}
}

// TestDownAndUp: a provider that is down at first is asked again; nothing has to be restarted.
func TestDownAndUp(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.paths["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); reason(err) != "unavailable" {
		t.Errorf("down: got %v", err)
	}
	s.change(func(s *standIn) { clear(s.paths) })
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("up again: got %v", err)
	}
	// A client that leaves meanwhile gets no answer, and does no harm.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := providers(t, s.options()).Depart(ctx, "sso", ""); err == nil {
		t.Error("a client that left got an answer")
	}
}

// TestRotatedKeys: a new key is found at once, and a withdrawn one is worth nothing.
func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); err != nil {
		t.Fatal(err)
	}
	next := rsaKey(2048)
	s.change(func(s *standIn) { s.key, s.keyID = next, "two"; s.publish(next.Public(), "two") })
	var err error
	for range 40 { // the keys are read once a second at most
		if _, err = signIn(t, p, s); err == nil {
			break
		}
		<-after(100)
	}
	if err != nil {
		t.Errorf("the new key: %v", err)
	}
	before := s.times("/keys")
	s.change(func(s *standIn) { s.keyID = "unknown" })
	for range 20 {
		if _, err := signIn(t, p, s); reason(err) != "PROVIDER_ANSWER" {
			t.Fatalf("an unknown key: got %v", err)
		}
	}
	if asked := s.times("/keys") - before; asked > 5 {
		t.Errorf("20 tokens of an unknown key had the keys read %d times", asked)
	}
}

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
	base := maps.Clone(s.claims)
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
		"down":            {func(s *standIn) { s.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) } }, "unavailable", ""},
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
	strange := by
	strange.Provider = "gone"
	if _, _, err := p.Refresh(t.Context(), user, strange); reason(err) != "gone" {
		t.Errorf("a provider that is not there any more: got %v", err)
	}
	strange = by
	strange.Secret = []byte("{")
	if _, _, err := p.Refresh(t.Context(), user, strange); reason(err) != "gone" {
		t.Errorf("a broken secret: got %v", err)
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
