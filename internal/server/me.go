package server

import (
	"encoding/json"
	"errors"
	"net/http"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
)

// whoami is the answer of {prefix}/auth/me, which the user menu shows.
type whoami struct {
	Username string           `json:"username"`
	FullName string           `json:"full_name,omitempty"`
	Email    string           `json:"email"`
	Role     identity.Role    `json:"role"`
	Backend  string           `json:"backend"`
	Grants   []identity.Grant `json:"grants"`
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	id, ok := s.signedIn(w, r)
	if !ok {
		return
	}
	grants := id.Grants
	if grants == nil {
		grants = []identity.Grant{}
	}
	body, err := json.Marshal(whoami{id.Username, id.FullName, id.Email, id.Role, id.Backend, grants})
	if err != nil {
		s.refuse(w, r, refusal{status: http.StatusInternalServerError, code: "INTERNAL", message: "Something went wrong here."})
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// beat is menu.js saying that a person uses the page; it keeps the idle timeout off.
func (s *Server) beat(w http.ResponseWriter, r *http.Request) {
	who, ok := s.signedIn(w, r)
	if !ok {
		return
	}
	if err := s.touch(who.in(r.Context())); err != nil {
		s.storeFault(w, r, err, "noting the session's activity")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// signedIn is who sent a request to one of our own routes for programs; it answers itself when there is none.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request) (asker, bool) {
	who, err := s.ask(r)
	switch {
	case errors.Is(err, session.ErrNone) && s.proxiedOnly():
		s.unnamed(w, r)
		return who, false
	case errors.Is(err, session.ErrNone):
		s.refuse(w, r, refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: "Sign in first, at " + s.prefix + "/auth/login."})
		return who, false
	case err != nil:
		s.unknown(w, r, err)
		return who, false
	}
	return who, true
}
