package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Turn says how a request goes to Dagster beside the others. The zero value is a request that waits for nobody and that
// nobody waits for, as long streams are.
type Turn struct {
	// Identity is in whose name the request waits for its place.
	Identity string
	// Query is the whole body of a GraphQL query, whose answer may be shared with everyone who asks the same. A request
	// that could change something has none.
	Query []byte
	// Still is asked before a change is sent, and before any other answer is given out. Its error comes back to
	// UpstreamFailed. nil: nothing can have changed.
	Still func() error
}

// errChanged says that somebody's session or rights are not any more what their request was judged by.
var errChanged = errors.New("the rights of whoever asks have changed meanwhile")

// forward sends out, which was written from r, in its turn. It is not answered when the rights of whoever asks have
// changed while it waited, in which case nothing of it was done or given out.
func (s *Server) forward(w http.ResponseWriter, r, out *http.Request, query []byte) (answered bool) {
	answered = true
	from := sender(r)
	from.Turn = Turn{Identity: identityFrom(r.Context()).ID, Query: query, Still: func() error {
		if s.unchanged(r) {
			return nil
		}
		answered = false
		return errChanged
	}}
	s.Dagster.Forward(w, out, from)
	return answered
}

// judgeAgain gives whoever waited what they would get if they asked now: an answer, a refusal or the sign-in.
func (s *Server) judgeAgain(w http.ResponseWriter, r *http.Request) {
	if body, ok := r.Body.(wholeBody); ok {
		_, _ = body.Seek(0, io.SeekStart) // of a reader in memory: it can't fail
	}
	s.again.ServeHTTP(w, r)
}

// UpstreamFailed answers when Dagster gave no answer; untouched says that nothing of the request reached it, so that it may
// be sent again. The proxy calls it.
func (s *Server) UpstreamFailed(w http.ResponseWriter, r *http.Request, err error, untouched bool) {
	switch {
	case r.Context().Err() != nil || errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the client left
	case errors.Is(err, errChanged):
		return // the one who forwards answers
	}
	logFrom(r.Context()).Warn().Err(err).Msg("forwarding to Dagster failed")
	if untouched || safeMethod(r.Method) {
		s.refuse(w, r, notReady())
		return
	}
	s.refuse(w, r, refusal{
		status: http.StatusBadGateway, code: "UPSTREAM",
		message: "The connection to Dagster broke before it answered. Look whether it did what you asked before you try again.",
	})
}

// overloadRetry is what a client is told to wait when too many wait already.
const overloadRetry = 5 * time.Second

// Overloaded answers a request that found too many others waiting for Dagster. The proxy calls it. The log hears of it once
// a minute: it is told by every tab that polls.
func (s *Server) Overloaded(w http.ResponseWriter, r *http.Request) {
	if s.limited.Allow("overloaded", time.Now()) <= 0 {
		logFrom(r.Context()).Warn().Str("identity", identityFrom(r.Context()).ID).
			Msg("too many requests wait for Dagster: this one, and perhaps others, got 503")
	}
	s.refuse(w, r, refusal{
		status: http.StatusServiceUnavailable, code: "OVERLOADED", retryAfter: overloadRetry,
		message: "Dagster has too much to do just now, so nothing was done. Try again in a moment.",
	})
}
