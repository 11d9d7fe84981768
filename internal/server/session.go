package server

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/ratelimit"
	"dagster-authkit/internal/session"
)

// storeRetry is what a client is told to wait when the database does not answer.
const storeRetry = 2 * time.Second

// session finds out who asks, by what the request says or else by its session. A store that does not answer is 503 with the
// cookie kept: it says nothing about the person.
func (s *Server) session(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.ask(r)
		switch {
		case errors.Is(err, session.ErrNone):
			s.clearStale(w, r)
			if s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
				s.nobody(w, r)
			}
			return
		case err != nil:
			s.unknown(w, r, err)
			return
		}
		ctx := who.in(r.Context())
		if isActivity(r) {
			if err := s.touch(ctx); err != nil {
				logFrom(ctx).Warn().Err(err).Msg("noting the session's activity failed")
			}
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// clearStale has a browser forget a cookie that names nothing any more, when it opens a page. The answers to what pages ask in
// the background clear nothing: they may come after a sign-in in another tab, whose new cookie they would take away.
func (s *Server) clearStale(w http.ResponseWriter, r *http.Request) {
	if wantsDocument(r) && safeMethod(r.Method) {
		s.Sessions.Clear(w, r)
	}
}

// unchanged reports whether the request's sender is still the one that was found behind it, with the same rights.
func (s *Server) unchanged(r *http.Request) bool {
	ctx := r.Context()
	who := identityFrom(ctx)
	if presentedFrom(ctx) == nil && s.Activity.Holds(ctx, sessionFrom(ctx), who) {
		return true
	}
	now, err := s.ask(r)
	return err == nil && now.Equal(who)
}

// isActivity tells a person's doing from a tab that polls: documents count here, mutations where they are judged, and
// menu.js sends a beat on pointer or key use.
func isActivity(r *http.Request) bool {
	return safeMethod(r.Method) && wantsDocument(r) && pathFrom(r.Context()).Route != dagster.Static
}

// nobody answers a request without a session. The probes of Dagster's Helm chart ask /server_info without one.
func (s *Server) nobody(w http.ResponseWriter, r *http.Request) {
	switch {
	case pathFrom(r.Context()).Route == dagster.ServerInfo && safeMethod(r.Method):
		if !s.Upstream.Status().Ready || !s.Upstream.Answers(r.Context()) {
			s.refuse(w, r, notReady())
			return
		}
		writeJSON(w, http.StatusOK, []byte("{}"))
	case s.proxiedOnly():
		s.unnamed(w, r)
	case wantsDocument(r) && safeMethod(r.Method):
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, s.loginURL(r), http.StatusSeeOther)
	default:
		s.refuse(w, r, refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: "Sign in first, at " + s.prefix + "/auth/login."})
	}
}

func (s *Server) loginURL(r *http.Request) string {
	next := safeRedirect(r.URL.RequestURI(), s.prefix)
	login := s.prefix + "/auth/login"
	if next == s.prefix+"/" {
		return login
	}
	return login + "?next=" + url.QueryEscape(next)
}

// storeFault answers when something fails that the request needs: mostly the database, but a backend's settings too, so that the
// page names neither. The log does.
func (s *Server) storeFault(w http.ResponseWriter, r *http.Request, err error, doing string) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client left; nobody reads the answer and nothing is wrong with the store
	}
	logFrom(r.Context()).Error().Err(err).Msg(doing + " failed")
	message := "Something that AuthKit needs does not work just now; its log says what. Whoever is signed in stays so; try again in a moment."
	if errors.Is(err, session.ErrUnconfirmed) {
		message = "The server that knows your account has not answered for a while. You are still signed in; try again in a moment."
	}
	s.refuse(w, r, refusal{status: http.StatusServiceUnavailable, code: "UNAVAILABLE", retryAfter: storeRetry, message: message})
}

// rateLimit bounds what one identity may ask.
func (s *Server) rateLimit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.mayAsk(w, r, identityFrom(r.Context()).ID) {
			next.ServeHTTP(w, r)
		}
	})
}

// mayAsk counts a request for an identity, or for an address that nobody signed in from, and answers it when it is one too
// many.
func (s *Server) mayAsk(w http.ResponseWriter, r *http.Request, key string) bool {
	wait := s.Requests.Allow(key, time.Now())
	if wait > 0 {
		s.refuse(w, r, refusal{status: http.StatusTooManyRequests, code: "RATE_LIMITED", message: "Too many requests: slow down.", retryAfter: wait})
	}
	return wait <= 0
}

// addressKey is the client's address as limits count it.
func addressKey(c client) string { return ratelimit.AddressKey(c.Address) }

// ready answers for Dagster while it starts.
func (s *Server) ready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := s.Upstream.Status()
		switch {
		case status.Ready:
			next.ServeHTTP(w, r)
		case wantsDocument(r) && safeMethod(r.Method):
			s.pages.Waiting(w, WaitingData{
				Username: identityFrom(r.Context()).Username, Restarting: status.Restarts > 0, Elapsed: time.Since(status.Since),
			})
		default:
			s.refuse(w, r, notReady())
		}
	})
}

const readyRetry = 2 * time.Second

func notReady() refusal {
	return refusal{status: http.StatusServiceUnavailable, code: "STARTING", message: "Dagster is starting. Try again in a moment.", retryAfter: readyRetry}
}
