package oidc_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/identity"
)

// gitHub makes of the stand-in a GitHub Enterprise Server, as its documentation has it. The real one can't be asked in a test.
func gitHub(t *testing.T) (*standIn, oidc.ProviderOptions) {
	t.Helper()
	s := newStandIn(t)
	api := func(path, answer string) {
		s.paths["/api/v3"+path] = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer gho_x" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.URL.Query().Get("page") == "2" {
				answer = `[{"login":"last"}]`
			}
			_, _ = fmt.Fprint(w, answer)
		}
	}
	api("/user", `{"id":583231,"login":"octocat","name":"The Octocat"}`)
	api("/user/emails", `[{"email":"other@evil.com","verified":true,"primary":false},{"email":"octo@company.com","verified":true,"primary":true}]`)
	api("/user/orgs", `[{"login":"acme"}]`)
	api("/user/teams", `[{"slug":"data","organization":{"login":"acme"}}]`)
	s.paths["/login/oauth/access_token"] = func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_secret") != "s3cret" || r.FormValue("code_verifier") == "" {
			_, _ = fmt.Fprint(w, "error=incorrect_client_credentials")
			return
		}
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		_, _ = fmt.Fprint(w, "access_token=gho_x&token_type=bearer&scope=read%3Aorg")
	}
	options := s.options()
	options.Preset, options.GroupsClaim, options.AllowedDomains, options.AllowedGroups = oidc.PresetGitHub, "", []string{"company.com"}, []string{"acme/data"}
	return s, options
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	s, options := gitHub(t)
	options.AllowedGroups = []string{"acme"}
	options.Rules = gitHubRules(t)
	p, err := oidc.New(oidc.Options{
		Providers: []oidc.ProviderOptions{options}, BaseURL: "https://dagster.example.com", Key: make([]byte, 32), Unchecked: 1,
		Used: &memory{used: map[string]time.Time{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arrival, err := signIn(t, p, s)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.User{
		Backend: "oidc", Subject: s.URL + "|583231", Name: "octocat", Email: "octo@company.com", FullName: "The Octocat", Role: "editor",
		Groups: []string{"acme", "acme/data"},
	}
	if diff := cmp.Diff(want, arrival.User); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	// Its access token has no end, and serves for asking again.
	now, secret, err := p.Refresh(t.Context(), arrival.User, arrival.By)
	if err != nil || now.Role != "editor" || len(secret) == 0 {
		t.Errorf("refreshing: got %q, %v", now.Role, err)
	}
	if got := p.Leave(t.Context(), arrival.By); got != "" {
		t.Errorf("there is no page for signing out, got %q", got)
	}
	if _, err := heed(t, p, "x.y.z"); err == nil {
		t.Error("GitHub sends no logout tokens, but one was heeded")
	}
	answer := func(path, text string, status int) func() {
		return func() {
			s.paths["/api/v3"+path] = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = fmt.Fprint(w, text)
			}
		}
	}
	for _, tc := range []struct {
		change func()
		want   string
	}{
		{answer("/user/orgs", `[{"login":"other"}]`, 200), "gone"},
		{answer("/user/orgs", `[{"login":"acme"}]`, 403), "unavailable"},
		{answer("/user/orgs", `[{"login":"acme"}]`, 200), ""},
		{answer("/user/emails", `[{"email":"octo@company.com","verified":false,"primary":true}]`, 200), "gone"},
		{answer("/user/emails", `[{"email":"octo@company.com","verified":false,"primary":true,"Verified":true}]`, 200), "gone"},
		{answer("/user/emails", `[{"email":"octo@company.com","verified":false,"primary":true,"verified":true}]`, 200), "gone"},
		{answer("/user/emails", `[{"email":"octo@company.com","verified":true,"primary":true}]`, 200), ""},
		{answer("/user", `{"id":7,"login":"octocat","id":583231}`, 200), "gone"},
		{answer("/user", `{"id":583231,"login":"octocat","gravatar_id":""}`, 200), ""},
		{answer("/user", `{"id":1,"login":"octocat"}`, 200), "gone"},
		{answer("/user", `{"login":"octocat"}`, 200), "gone"},
		{answer("/user", `{}`, 401), "gone"},
		{answer("/user", `{}`, 502), "unavailable"},
	} {
		s.change(func(*standIn) { tc.change() })
		if _, _, err := p.Refresh(t.Context(), arrival.User, arrival.By); sentinelFirst(err) != tc.want {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
}
