package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/e2e/jwt"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// standIn is a provider that makes what a real one would not: the end-to-end tests have a real one. It keeps to the standards
// unless a test changes one of its parts.
type standIn struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	key       *rsa.PrivateKey
	keyID     string
	described map[string]any
	keys      []any
	// claims and userinfo are what the next tokens and answers say; header what the token's header has beside alg and kid.
	claims, userinfo map[string]any
	header           map[string]any
	// sign makes a token of claims; nil: RS256 with key.
	sign func(claims map[string]any) string
	// answer answers in place of the token endpoint when it is not nil, and others by path.
	answer http.HandlerFunc
	paths  map[string]http.HandlerFunc

	codes   map[string]url.Values // the authorization requests, by code
	refresh string
	asked   map[string]int
}

var bigKey = sync.OnceValue(func() *rsa.PrivateKey { return rsaKey(2048) })

func rsaKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{t: t, key: bigKey(), keyID: "one", codes: map[string]url.Values{}, asked: map[string]int{}, paths: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.keys = []any{jose.JSONWebKey{Key: s.key.Public(), KeyID: "one", Use: "sig", Algorithm: "RS256"}}
	s.described = map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys",
		"userinfo_endpoint": s.URL + "/me", "end_session_endpoint": s.URL + "/end?ui=1",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}
	s.claims = map[string]any{
		"iss": s.URL, "sub": "42", "aud": "dagster", "exp": inSeconds(600), "iat": inSeconds(0), "sid": "there-1",
		"email": "ada@company.com", "email_verified": true, "preferred_username": "ada", "name": "Ada L", "groups": []string{"admins"},
	}
	return s
}

func inSeconds(n int) int64 { return time.Now().Unix() + int64(n) }

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	handle := s.paths[r.URL.Path]
	s.mu.Unlock()
	if handle != nil {
		handle(w, r) // without the lock: it may take for ever
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		s.write(w, s.described)
	case "/keys":
		s.write(w, map[string]any{"keys": s.keys})
	case "/me":
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.write(w, s.userinfo)
	case "/token":
		s.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *standIn) token(w http.ResponseWriter, r *http.Request) {
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	if id, secret, _ := r.BasicAuth(); id != "dagster" || secret != "s3cret" {
		s.refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	all := maps.Clone(s.claims)
	switch r.FormValue("grant_type") {
	case "authorization_code":
		request, found := s.codes[r.FormValue("code")]
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !found || request.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			s.refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		delete(s.codes, r.FormValue("code"))
		if _, given := all["nonce"]; !given {
			all["nonce"] = request.Get("nonce")
		}
	case "refresh_token":
		if s.refresh == "" || r.FormValue("refresh_token") != s.refresh {
			s.refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
	}
	s.refresh = rand.Text()
	s.write(w, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "refresh_token": s.refresh, "id_token": s.signed(all)})
}

func (s *standIn) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"<script>alert(1)</script>"}`, code)
}

func (s *standIn) write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		s.t.Error(err)
	}
}

// signed is a token of the claims; those that are nil are left out.
func (s *standIn) signed(all map[string]any) string {
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	if s.sign != nil {
		return s.sign(all)
	}
	return jwt.SignWith(s.t, jose.JSONWebKey{Key: s.key, KeyID: s.keyID}, jose.RS256, s.header, all)
}

// unsigned is a token of alg none, which no library makes.
func unsigned(all map[string]any) string {
	payload, _ := json.Marshal(all)
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
}

// authorize is what the provider's page does: it sends the browser back with a code.
func (s *standIn) authorize(location string) url.Values {
	s.t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		s.t.Fatal(err)
	}
	code := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = u.Query()
	return url.Values{"code": {code}, "state": {u.Query().Get("state")}, "iss": {s.URL}}
}

// times is how often a path was asked for.
func (s *standIn) times(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// change alters what the provider does, between its answers.
func (s *standIn) change(do func(s *standIn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s)
}

func (s *standIn) options() oidc.ProviderOptions {
	return oidc.ProviderOptions{ID: "sso", Issuer: s.URL, ClientID: "dagster", ClientSecret: "s3cret", GroupsClaim: "groups"}
}

func rules(t *testing.T) *auth.RoleRules {
	t.Helper()
	roles, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := auth.NewRoleRules(auth.RoleRulesOptions{
		Roles: roles, Normal: func(group string) string { return group },
		Rules: []identity.GroupRule{{Group: "admins", Role: "admin"}, {Group: "viewers", Role: "viewer"}, {Group: "analysts", Role: "editor", Location: "analytics"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func providers(t *testing.T, list ...oidc.ProviderOptions) *oidc.Providers {
	t.Helper()
	return patient(t, time.Minute, list...) // the machine may have other things to do
}

// patient waits that long for an answer.
func patient(t *testing.T, patience time.Duration, list ...oidc.ProviderOptions) *oidc.Providers {
	t.Helper()
	for i := range list {
		if list[i].Rules == nil {
			list[i].Rules = rules(t)
		}
	}
	p, err := oidc.New(oidc.Options{
		Providers: list, BaseURL: "https://dagster.example.com/dag", Key: []byte(strings.Repeat("k", 32)),
		Unchecked: time.Hour, Timeout: patience, Used: &memory{used: map[string]time.Time{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn walks through a whole sign-in.
func signIn(t *testing.T, p *oidc.Providers, s *standIn) (auth.Arrival, error) {
	t.Helper()
	departure, err := p.Depart(t.Context(), "sso", "/dag/runs")
	if err != nil {
		return auth.Arrival{}, err
	}
	return p.Arrive(t.Context(), "sso", s.authorize(departure.Location), departure.Ticket)
}

// reason is what was refused, or which sentinel the error is.
func reason(err error) string {
	if refusal, is := errorsAs(err); is {
		return refusal.Reason
	}
	return sentinel(err)
}

func gitHubRules(t *testing.T) *auth.RoleRules {
	t.Helper()
	roles, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := auth.NewRoleRules(auth.RoleRulesOptions{Roles: roles, Rules: []identity.GroupRule{{Group: "acme/data", Role: "editor"}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
