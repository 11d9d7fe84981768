package server

import (
	"errors"
	"net/http"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/session"
)

// showLogout asks with a button: signing out by a mere link would let any page do it.
func (s *Server) showLogout(w http.ResponseWriter, r *http.Request) {
	who, err := s.ask(r)
	switch {
	case err == nil && who.presented != nil && (s.LogoutURL == "" || who.presented.Token):
		s.pages.Elsewhere(w, who.Identity)
	case err == nil:
		s.pages.SignOut(w, who.Identity)
	case errors.Is(err, session.ErrNone) && s.proxiedOnly():
		s.unnamed(w, r)
	case errors.Is(err, session.ErrNone):
		s.Sessions.Clear(w, r)
		s.pages.SignedOut(w)
	default:
		s.unknown(w, r, err)
	}
}

// logout ends the session, if there is one, and leads those whom a proxy names to where that one signs them out. It is done
// whatever the proxy says: somebody whose word is refused may sign out as well.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	id, err := s.Sessions.End(w, r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		s.storeFault(w, r, err, "ending the session")
		return
	}
	next := s.prefix + "/auth/logout"
	if presented, err := s.present(r); err == nil && presented != nil && !presented.Token {
		id = presented.Identity
		if s.LogoutURL != "" {
			next = s.LogoutURL
		}
	}
	if !id.Nobody() {
		if err := s.Trail.Record(r.Context(), signInEvent(r, audit.EventLogout, audit.StatusSuccess, id)); err != nil {
			// The session is gone, which is what was asked for: the missing row is told to the log.
			logFrom(r.Context()).Error().Err(err).Msg("storing the audit event failed")
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, next, http.StatusSeeOther)
}
