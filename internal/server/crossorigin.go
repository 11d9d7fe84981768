package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dagster-authkit/internal/dagster"
)

// crossOrigin keeps foreign pages from acting for a signed-in person. Everything unsafe is checked by the standard
// library's CrossOriginProtection; it lets GET pass, so the two GETs that can do something are checked here: a WebSocket
// upgrade (browsers apply no same-origin rule to it) and a query on /graphql. A program that presents a token needs no origin:
// nobody can send it in its name.
func (s *Server) crossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.explicit(r) {
			next.ServeHTTP(w, r)
			return
		}
		c := clientFrom(r.Context())
		if err := s.protection.Check(withHost(r, c.Host)); err != nil {
			s.refuse(w, r, refusal{status: http.StatusForbidden, code: "CROSS_ORIGIN", message: "This request came from another site."})
			return
		}
		if pathFrom(r.Context()).Route == dagster.GraphQL && r.Method == http.MethodGet && !s.sameOriginGet(r, c) {
			s.refuse(w, r, refusal{status: http.StatusForbidden, code: "CROSS_ORIGIN", message: "This request came from another site."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withHost shows the check the host that the browser asked for, which behind a trusted proxy is not the Host header.
func withHost(r *http.Request, host string) *http.Request {
	if host == r.Host {
		return r
	}
	shown := *r
	shown.Host = host
	return &shown
}

func (s *Server) sameOriginGet(r *http.Request, c client) bool {
	if isUpgrade(r) {
		return s.sameOrigin(r, c)
	}
	// Browsers send Sec-Fetch-Site with every request; programs do not.
	return slices.Contains([]string{"", "same-origin", "none"}, r.Header.Get("Sec-Fetch-Site"))
}

// sameOrigin compares the Origin header with the host that the browser used, as http.CrossOriginProtection does: without
// the scheme, which behind a proxy that is not trusted we only know when the external address was given. Browsers always send Origin with an upgrade; a
// program that sends none has no ambient cookie to abuse.
func (s *Server) sameOrigin(r *http.Request, c client) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "same-origin"
	}
	origin, err := url.Parse(values[0])
	if external := s.ExternalURL; err == nil && external != nil && origin.Scheme != external.Scheme {
		return false
	}
	return len(values) == 1 && err == nil && origin.Host != "" && strings.EqualFold(origin.Host, c.Host)
}

func isUpgrade(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Upgrade"), func(v string) bool {
		return strings.Contains(strings.ToLower(v), "websocket")
	})
}
