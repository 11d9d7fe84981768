package server

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// unknown answers a request of which it can't be said who sent it, but for ErrNone, which it leaves to the caller.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request, err error) {
	refused, isRefused := errors.AsType[*auth.RefusedError](err)
	none, isNone := errors.AsType[*auth.NoRoleError](err)
	switch {
	case isRefused && refused.Token:
		s.refuseToken(w, r, refused)
	case isRefused:
		s.refusePresented(w, r, refused)
	case isNone:
		s.rolelessPresented(w, r, none)
	case errors.Is(err, auth.ErrUnavailable):
		s.backendDown(w, r, err)
	default:
		s.storeFault(w, r, err, "finding out who asks")
	}
}

// refusePresented refuses what a request says of its sender.
func (s *Server) refusePresented(w http.ResponseWriter, r *http.Request, refused *auth.RefusedError) {
	if !s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
		return
	}
	s.metrics.signIn("refused")
	if !s.noteRefused(w, r, refused.Identity, refused.Reason, refused) {
		return
	}
	answer := refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: refused.Message}
	if wantsDocument(r) {
		s.pages.Error(w, ErrorData{
			Status: answer.status, Title: "You are not signed in", Message: answer.message, RequestID: clientFrom(r.Context()).RequestID,
		})
		return
	}
	s.refuse(w, r, answer)
}

// rolelessPresented tells somebody who is known why they may not enter.
func (s *Server) rolelessPresented(w http.ResponseWriter, r *http.Request, none *auth.NoRoleError) {
	if !s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
		return
	}
	s.metrics.signIn("no_role")
	if err := s.Accounts.LostRole(r.Context(), none.ID); err != nil {
		s.storeFault(w, r, err, "taking a role away")
		return
	}
	if !s.noteRefused(w, r, identity.Identity{ID: none.ID, Username: shortName(none.Username)}, "NO_ROLE", none) {
		return
	}
	if wantsDocument(r) {
		s.pages.NoRole(w, NoRoleData{Username: none.Username, Groups: none.Groups, Contact: s.Contact})
		return
	}
	s.refuse(w, r, refusal{status: http.StatusForbidden, code: "NO_ROLE", message: "None of your groups gives you a role in this Dagster."})
}

// noteRefused writes down, once a minute for each address and reason, that somebody was refused. It answers the request itself,
// and is false, when the trail can't be written.
func (s *Server) noteRefused(w http.ResponseWriter, r *http.Request, id identity.Identity, reason string, cause error) bool {
	if s.limited.Allow(reason+" "+addressKey(clientFrom(r.Context())), time.Now()) > 0 {
		return true
	}
	logFrom(r.Context()).Warn().Err(cause).Str("peer", r.RemoteAddr).Stringer("ip", clientFrom(r.Context()).Address).
		Msg("what a request says of who sent it was refused")
	event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, id)
	event.Reason = reason
	if err := s.Trail.Record(r.Context(), event); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return false
	}
	return true
}

// proxiedOnly says that there is no way to sign in but by what a proxy says.
func (s *Server) proxiedOnly() bool { return slices.Equal(s.Backends, []string{"header"}) }

// unnamed tells somebody whom the proxy in front did not name. It is a page of its own and leads nowhere: AuthKit has no form
// for them, and sending them on would send them round in circles.
func (s *Server) unnamed(w http.ResponseWriter, r *http.Request) {
	const message = "The proxy in front of this Dagster did not say who you are."
	if !wantsDocument(r) {
		s.refuse(w, r, refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: message})
		return
	}
	whom := s.Contact
	if whom == "" {
		whom = "whoever looks after it"
	}
	s.pages.Error(w, ErrorData{
		Status: http.StatusUnauthorized, Title: "You are not signed in", RequestID: clientFrom(r.Context()).RequestID,
		Message: message + " Open Dagster by the address at which you sign in, or ask " + whom + ".",
	})
}

// How often an address may present what is no good, before it is told to wait. What is good is taken from there all the same:
// nobody can guess 256 bits, and a broken script must not lock out the office that it runs in.
const (
	refusalsPerSecond = 5.0 / 60
	refusalsAtOnce    = 20
)

// refuseToken answers a token that is no good: in JSON whatever the client would like to read, since whoever sends one is a
// program.
func (s *Server) refuseToken(w http.ResponseWriter, r *http.Request, refused *auth.RefusedError) {
	address := addressKey(clientFrom(r.Context()))
	wait := s.refusals.Allow(address, time.Now())
	event := signInEvent(r, audit.EventTokenRefused, audit.StatusFailure, refused.Identity)
	event.Reason = refused.Reason
	record := wait <= 0
	if !record {
		event.Type, event.Status = audit.EventRateLimited, audit.StatusDenied
		// Once a minute and address: what a flood is refused must not fill the disk.
		record = s.limited.Allow("tokens "+address, time.Now()) <= 0
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
