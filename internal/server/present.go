package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// Presenter knows people or programs by what each of their requests presents, in place of a session's cookie.
type Presenter interface {
	// Present says whom the request's credentials stand for; found is false when it has none of this kind. Are there some that
	// are no good, the error is an auth.ErrInvalid, and the request is refused whatever else it carries. Every other error is a
	// fault.
	Present(r *http.Request) (who auth.Presented, found bool, err error)
	// Explicit reports whether the request presents credentials that no browser adds by itself, good or not.
	Explicit(r *http.Request) bool
}

// asker is who asks, and by what: a session, or what the request presents.
type asker struct {
	identity.Identity
	session   identity.Session
	presented *auth.Presented
}

// in puts who asks into the context.
func (a asker) in(ctx context.Context) context.Context {
	return with(with(with(ctx, identityKey, a.Identity), sessionKey, a.session), presentedKey, a.presented)
}

// asks finds out who asks. Presented credentials come first, and once there are some no cookie is read. The error is
// session.ErrNone for nobody, an auth.ErrInvalid for credentials that are no good, or a fault.
func (s *Server) asks(r *http.Request) (asker, error) {
	for _, presenter := range s.Presented {
		who, found, err := presenter.Present(r)
		switch {
		case err != nil:
			return asker{}, err
		case found:
			return asker{Identity: who.Identity, presented: &who}, nil
		}
	}
	id, current, err := s.Sessions.Load(r)
	return asker{Identity: id, session: current}, err
}

// explicit reports whether a request stands for itself: it presents credentials that no foreign page can make a browser send,
// and no cookie.
func (s *Server) explicit(r *http.Request) bool {
	if len(r.Header["Cookie"]) > 0 {
		return false
	}
	for _, presenter := range s.Presented {
		if presenter.Explicit(r) {
			return true
		}
	}
	return false
}

// How often an address may present what is no good, before it is told to wait. What is good is taken from there all the same:
// nobody can guess 256 bits, and a broken script must not lock out the office that it runs in.
const (
	refusalsPerSecond = 5.0 / 60
	refusalsAtOnce    = 20
)

// refuseCredentials answers what was presented and is no good: in JSON whatever the client would like to read, since whoever
// sends a token is a program.
func (s *Server) refuseCredentials(w http.ResponseWriter, r *http.Request, err error) {
	address := addressKey(clientFrom(r.Context()))
	refused, known := errors.AsType[*auth.RefusedError](err)
	if !known {
		refused = &auth.RefusedError{Reason: "CREDENTIALS_REFUSED", Message: "The credentials of this request are not valid."}
	}
	wait := s.refusals.Allow(address, time.Now())
	event := signInEvent(r, audit.EventTokenRefused, audit.StatusFailure, refused.Identity)
	event.Reason = refused.Reason
	record := wait <= 0
	if !record {
		event.Type, event.Status = audit.EventRateLimited, audit.StatusDenied
		// Once a minute and address: what a flood is refused must not fill the disk.
		record = s.limited.Allow(address, time.Now()) <= 0
	}
	if record {
		if err := s.Trail.Record(r.Context(), event); err != nil {
			s.storeFault(w, r, err, "storing the audit event")
			return
		}
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="dagster-authkit", error="invalid_token"`)
	if wait > 0 {
		s.metrics.signIn("token_limited")
		setRetryAfter(w, wait)
		writeJSON(w, http.StatusTooManyRequests, graphql.ErrorBody("Too many tokens that are not valid came from this address: wait, and check yours.", "RATE_LIMITED"))
		return
	}
	s.metrics.signIn("token_refused")
	writeJSON(w, http.StatusUnauthorized, graphql.ErrorBody(refused.Message, "UNAUTHENTICATED"))
}

// watch returns a channel that is closed when what the request was let in by no longer counts as it did.
func (s *Server) watch(ctx context.Context) <-chan struct{} {
	if presented := presentedFrom(ctx); presented != nil {
		return s.Activity.WatchUser(ctx, presented.Look, presented.Identity)
	}
	return s.Activity.Watch(ctx, sessionFrom(ctx), identityFrom(ctx))
}

// touch notes that a person did something. What has no session has no idle timeout either.
func (s *Server) touch(ctx context.Context) error {
	if presentedFrom(ctx) != nil {
		return nil
	}
	return s.Activity.Touch(ctx, sessionFrom(ctx))
}
