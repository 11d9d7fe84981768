package server

import (
	"errors"
	"net/http"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

// showLogout asks with a button: signing out by a mere link would let any page do it.
func (s *Server) showLogout(w http.ResponseWriter, r *http.Request) {
	who, err := s.ask(r)
	switch {
	case err == nil && who.presented != nil && (s.LogoutURL == "" || who.presented.Token):
		s.pages.Presented(w, PresentedData{Username: who.Username, Token: who.presented.Token})
	case err == nil, errors.Is(err, session.ErrUnconfirmed):
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

// logout ends the session, if there is one, and leads on: those whom a proxy names to where that one signs them out, whatever
// the proxy says, as somebody whose word is refused may sign out as well; and those whom a provider signed in to where their
// session ends there.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	by, err := s.voucher(r)
	if err != nil {
		s.storeFault(w, r, err, "loading the session")
		return
	}
	ended, err := s.Sessions.End(w, r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		s.storeFault(w, r, err, "ending the session")
		return
	}
	s.signedOut(r, ended)
	next := s.prefix + "/auth/logout"
	// Whom the proxy names beside the cookie of a session is somebody else, and signs out as well.
	if presented, err := s.present(r); err == nil && presented != nil && !presented.Token {
		s.signedOut(r, presented.Identity)
		if s.LogoutURL != "" {
			next = s.LogoutURL
		}
	}
	if onward := s.onward(r, by, ended); onward != "" {
		s.pages.Leaving(w, LeavingData{Onward: onward})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// signedOut writes down who signed out.
func (s *Server) signedOut(r *http.Request, id identity.Identity) {
	if id.Nobody() {
		return
	}
	if err := s.Trail.Record(r.Context(), signInEvent(r, audit.EventLogout, audit.StatusSuccess, id)); err != nil {
		// The session is gone, which is what was asked for: the missing row is told to the log.
		logFrom(r.Context()).Error().Err(err).Msg("storing the audit event failed")
	}
}

// onward is where somebody's session at their provider ends. It is led to by a page and no redirect: the policy of the page with
// the button (form-action) holds for redirects too, and a provider may lead on to others.
func (s *Server) onward(r *http.Request, by identity.Voucher, ended identity.Identity) string {
	if by.Provider == "" || ended.Nobody() || !wantsDocument(r) {
		return ""
	}
	return s.Providers.Leave(r.Context(), by)
}
