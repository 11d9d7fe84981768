package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

// maxForm bounds the sign-in form: a name of 64 characters, a password of 1,024 and an address of 4 KiB, all escaped.
const maxForm = 64 << 10

// showLogin is the sign-in form. Whoever is signed in already is sent on.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) {
	next := safeRedirect(r.URL.Query().Get("next"), s.prefix)
	_, err := s.ask(r)
	switch {
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // safeRedirect has kept it on this site
	case errors.Is(err, session.ErrNone) && s.proxiedOnly():
		s.unnamed(w, r)
	case errors.Is(err, session.ErrNone):
		s.Sessions.Clear(w, r)
		s.loginForm(w, r, http.StatusOK, LoginData{Next: next})
	case errors.Is(err, session.ErrUnconfirmed):
		// Somebody else may sign in in its place, such as a local admin while the directory is down.
		s.loginForm(w, r, http.StatusOK, LoginData{Next: next})
	default:
		s.unknown(w, r, err)
	}
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request, status int, data LoginData) {
	has, err := s.Accounts.HasUsers(r.Context())
	if err != nil {
		s.storeFault(w, r, err, "asking for users")
		return
	}
	data.NoUsers = !has && slices.Equal(s.Backends, []string{"local"})
	data.NoPassword = s.Backend == nil
	if s.Providers != nil {
		data.Providers = s.Providers.List()
	}
	data.Dummy = slices.Contains(s.Backends, "dummy")
	s.pages.Login(w, status, data)
}

// login checks a password. The attempt is counted before the password is looked at, so that parallel guesses can't outrun
// the counter; an unknown name, a wrong password and a disabled account look and last the same.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if s.proxiedOnly() {
		s.unnamed(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, refusal{status: http.StatusBadRequest, code: "BAD_REQUEST", message: "The form could not be read."})
		return
	}
	if s.Backend == nil {
		s.refuse(w, r, refusal{status: http.StatusNotFound, code: "NOT_FOUND", message: "Nobody signs in with a password here."})
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // waiting for the hash is not the client's doing
	// People paste a token of ours here. From here on it is not the token: not for directories, counters, the trail or the page. No
	// account made here can be given such a name; one that a directory, a provider, a proxy or the Python AuthKit's database gave
	// can't sign in here with a password.
	credentials := auth.Credentials{Username: token.Mask(r.PostForm.Get("username")), Password: r.PostForm.Get("password")}
	data := LoginData{Next: safeRedirect(r.PostForm.Get("next"), s.prefix), Username: credentials.Username}
	account, address := identity.NameKey(credentials.Username), addressKey(clientFrom(r.Context()))

	wait, err := s.Attempts.Take(r.Context(), account, address)
	if err != nil {
		s.storeFault(w, r, err, "counting the sign-in attempt")
		return
	}
	if wait > 0 {
		s.tooManyAttempts(w, r, data, wait)
		return
	}
	user, err := s.Backend.Authenticate(r.Context(), credentials)
	if err != nil {
		s.notAuthenticated(w, r, err, data, account, address)
		return
	}
	s.signIn(w, r, user, account, address, data.Next)
}

// notAuthenticated answers for the backends, and takes back attempts that say nothing about guessing.
func (s *Server) notAuthenticated(w http.ResponseWriter, r *http.Request, err error, data LoginData, account, address string) {
	none, isNone := errors.AsType[*auth.NoRoleError](err)
	switch {
	case errors.Is(err, auth.ErrInvalid):
		if refused, explained := errors.AsType[*auth.ExplainedError](err); explained {
			data.Error = refused.Message
		}
		s.failedLogin(w, r, data)
	case isNone:
		s.giveBack(r, account, address)
		s.withoutRole(w, r, none)
	case errors.Is(err, auth.ErrBusy):
		s.metrics.signIn("busy")
		if !s.settleUnasked(w, r, err, data, account, address) {
			return
		}
		s.refuse(w, r, refusal{
			status: http.StatusServiceUnavailable, code: "BUSY", retryAfter: storeRetry,
			message: "Many people are signing in at this moment. Try again in a few seconds.",
		})
	case errors.Is(err, auth.ErrUnavailable):
		if s.settleUnasked(w, r, err, data, account, address) {
			s.backendDown(w, r, err)
		}
	default:
		s.storeFault(w, r, err, "checking the password")
	}
}

// settleUnasked takes back the attempt of somebody about whom nobody could be asked. Where another backend has judged the
// password the attempt counts, and is written down: guessing must not be free while a directory is down. It answers the
// request itself, and is false, when the trail can't be written.
func (s *Server) settleUnasked(w http.ResponseWriter, r *http.Request, err error, data LoginData, account, address string) bool {
	if _, guessed := errors.AsType[*auth.GuessedError](err); !guessed {
		s.giveBack(r, account, address)
		return true
	}
	event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, identity.Identity{Username: shortName(data.Username)})
	if err := s.Trail.Record(r.Context(), event); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return false
	}
	return true
}

// giveBack takes back an attempt that says nothing about guessing.
func (s *Server) giveBack(r *http.Request, account, address string) {
	if err := s.Attempts.GiveBack(r.Context(), account, address); err != nil {
		logFrom(r.Context()).Warn().Err(err).Msg("taking back a sign-in attempt failed")
	}
}

// backendDown answers a sign-in about which nobody could be asked.
func (s *Server) backendDown(w http.ResponseWriter, r *http.Request, err error) {
	s.metrics.signIn("unavailable")
	logFrom(r.Context()).Error().Err(err).Msg("asking a backend about a sign-in failed")
	s.refuse(w, r, refusal{
		status: http.StatusServiceUnavailable, code: "UNAVAILABLE", retryAfter: storeRetry,
		message: "The server that knows your account does not answer just now. Try again in a moment.",
	})
}

// withoutRole tells somebody who proved who they are why they may not enter. It is a page of its own and leads nowhere, so
// that no browser goes round in circles between a provider and us.
func (s *Server) withoutRole(w http.ResponseWriter, r *http.Request, none *auth.NoRoleError) {
	s.metrics.signIn("no_role")
	if err := s.Accounts.LostRole(r.Context(), none.ID); err != nil {
		s.storeFault(w, r, err, "taking a role away")
		return
	}
	event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, identity.Identity{ID: none.ID, Username: shortName(none.Username)})
	event.Reason = "NO_ROLE"
	if err := s.Trail.Record(r.Context(), event); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return
	}
	s.pages.NoRole(w, NoRoleData{Username: none.Username, Groups: none.Groups, Contact: s.Contact})
}

func (s *Server) tooManyAttempts(w http.ResponseWriter, r *http.Request, data LoginData, wait time.Duration) {
	s.metrics.signIn("limited")
	// Once a minute and address: what a flood is refused must not fill the disk. The metrics count each.
	if s.limited.Allow("attempts "+addressKey(clientFrom(r.Context())), time.Now()) <= 0 {
		event := signInEvent(r, audit.EventRateLimited, audit.StatusDenied, identity.Identity{Username: shortName(data.Username)})
		if err := s.Trail.Record(r.Context(), event); err != nil {
			s.storeFault(w, r, err, "storing the audit event")
			return
		}
	}
	data.RetryAfter = wait
	s.loginForm(w, r, http.StatusTooManyRequests, data)
}

// shortName cuts what was typed as a name for the trail: names of accounts have at most 64 characters.
func shortName(typed string) string {
	const longest = 64
	if runes := []rune(typed[:min(len(typed), longest*utf8.UTFMax)]); len(runes) > longest {
		return string(runes[:longest])
	}
	return typed[:min(len(typed), longest*utf8.UTFMax)]
}

func (s *Server) failedLogin(w http.ResponseWriter, r *http.Request, data LoginData) {
	s.metrics.signIn("failure")
	event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, identity.Identity{Username: shortName(data.Username)})
	if err := s.Trail.Record(r.Context(), event); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return
	}
	if data.Error == "" {
		data.Error = "Wrong name or password."
	}
	s.loginForm(w, r, http.StatusUnauthorized, data)
}

// signIn begins a session after a right password.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, user identity.User, account, address, next string) {
	if err := s.forgetAttempts(r.Context(), user, account, address); err != nil {
		s.giveBack(r, account, address) // a right password is no guess: who tries again until the fault is over is not kept out then
		s.storeFault(w, r, err, "clearing the sign-in attempts")
		return
	}
	var by identity.Voucher
	if slices.Contains(s.Vouching, user.Backend) {
		by.RefreshedAt = time.Now()
	}
	s.begin(w, r, user, by, next)
}

// forgetAttempts forgets the failures before a sign-in, unless they may have been guesses at a local account of the same name:
// whoever has that name in a directory must not get new guesses by signing in there.
func (s *Server) forgetAttempts(ctx context.Context, user identity.User, account, address string) error {
	if user.Backend != "local" && slices.Contains(s.Backends, "local") {
		shared, err := s.Accounts.HasLocal(ctx, account)
		if err != nil {
			return err
		}
		if shared {
			return s.Attempts.GiveBack(ctx, account, address)
		}
	}
	return s.Attempts.Succeeded(ctx, account, address)
}

// begin makes the session last of all: what was answered with a cookie is in the trail.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, user identity.User, by identity.Voucher, next string) {
	ctx := r.Context()
	user, err := s.Accounts.SignedIn(ctx, user)
	if err != nil {
		s.storeFault(w, r, err, "noting the sign-in")
		return
	}
	if err := s.Trail.Record(ctx, signInEvent(r, audit.EventLoginAttempt, audit.StatusSuccess, user.Identity(""))); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return
	}
	_, err = s.Sessions.Start(w, r, user, clientFrom(ctx).Address.String(), by)
	switch {
	case errors.Is(err, identity.ErrNotFound) && by.Provider != "":
		s.refusedByProvider(w, r, by.Provider, &auth.DeclinedError{
			Reason: "DISABLED", Username: user.Name, Message: "Your account in this Dagster is disabled. Ask an administrator of this Dagster.",
		})
		return
	case errors.Is(err, identity.ErrNotFound):
		// Disabled, deleted or given a new password between the check and now.
		s.failedLogin(w, r, LoginData{Next: next, Username: user.Name})
		return
	case err != nil:
		s.storeFault(w, r, err, "starting the session")
		return
	case s.overMeanwhile(w, r, by):
		return
	}
	s.metrics.signIn("success")
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, next, http.StatusSeeOther)
}
