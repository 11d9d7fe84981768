package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// signIn is all that a sign-in at a provider is written to, by somebody whose session there may end meanwhile.
type signIn struct {
	Accounts
	Sessions
	Trail
	Providers

	lasts, ending error
	log           []string
}

func (s *signIn) SignedIn(_ context.Context, user identity.User) (identity.User, error) {
	return user, nil
}
func (s *signIn) Record(context.Context, audit.Event) error { return nil }
func (s *signIn) Start(_ http.ResponseWriter, _ *http.Request, _ identity.User, _ string, _ identity.Voucher) (identity.Session, error) {
	s.log = append(s.log, "started")
	return identity.Session{}, nil
}

func (s *signIn) Lasts(_ context.Context, by identity.Voucher) error {
	s.log = append(s.log, "asked about "+by.ProviderSession+" of "+by.Provider)
	return s.lasts
}

func (s *signIn) SignedOutAtProvider(_ context.Context, _ string, notice auth.Notice, _, _ string) (int, error) {
	s.log = append(s.log, "ended "+notice.Session+" of "+notice.Provider)
	return 1, s.ending
}

// TestSignedOutMeanwhile: a logout token that comes while a sign-in is written down finds no session yet. The sign-in finds the token.
func TestSignedOutMeanwhile(t *testing.T) {
	t.Parallel()
	asked := []string{"started", "asked about 7 of sso"}
	ended := append(asked[:2:2], "ended 7 of sso")
	for _, test := range []struct {
		name          string
		session       string // at the provider
		lasts, ending error
		status        int
		log           []string
	}{
		{"it lasts", "7", nil, nil, http.StatusSeeOther, asked},
		{"the provider names no session", "", nil, nil, http.StatusSeeOther, asked[:1]},
		{"it is over", "7", auth.ErrStale, nil, http.StatusBadRequest, ended},
		{"nobody can say", "7", errors.New("the database is away"), nil, http.StatusServiceUnavailable, ended},
		{"it is over, and can't be ended here", "7", auth.ErrStale, errors.New("the database is away"), http.StatusServiceUnavailable, ended},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all := &signIn{lasts: test.lasts, ending: test.ending}
			s := &Server{Options: Options{Accounts: all, Sessions: all, Trail: all, Providers: all, Endings: all}, pages: testPages(t, "")}
			s.metrics = newMetrics(prometheus.NewRegistry(), s)
			w := httptest.NewRecorder()
			s.begin(w, httptest.NewRequest(http.MethodGet, "/auth/oidc/sso/callback", nil), identity.User{Name: "ada"},
				identity.Voucher{Provider: "sso", ProviderSession: test.session}, "/")
			if w.Code != test.status {
				t.Errorf("got %d, want %d\n%s", w.Code, test.status, w.Body)
			}
			if diff := cmp.Diff(test.log, all.log); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
