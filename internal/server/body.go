package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// readTimeout bounds how long a client may take to send a request's body.
const readTimeout = 60 * time.Second

// maxLargeBodies is how many requests with bodies of more than heavyBody, or of unknown length, one identity may have at a time. Each
// may take as much memory as the greatest body, for as long as its sender likes to take, and several times that until it is answered.
const maxLargeBodies = 8

// body takes in what the client sends, and then asks anew who the client is: somebody who opened a request, lost their
// account, and only then sends the body is judged as they are now.
func (s *Server) body(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if safeMethod(r.Method) || r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		who, large := identityFrom(r.Context()).ID, r.ContentLength < 0 || r.ContentLength > heavyBody
		if large && !s.bodies.open(who, maxLargeBodies) {
			s.refuse(w, r, refusal{
				status: http.StatusTooManyRequests, code: "RATE_LIMITED", retryAfter: storeRetry,
				message: "You are sending too many large requests at once: send them one after the other.",
			})
			return
		}
		if large {
			defer s.bodies.closed(who)
		}
		content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.Limits.Body))
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			s.refuse(w, r, refusal{
				status: http.StatusRequestEntityTooLarge, code: "BAD_REQUEST",
				message: "The request's body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes.",
			})
			return
		}
		if err != nil {
			s.refuse(w, r, refusal{status: http.StatusBadRequest, code: "BAD_REQUEST", message: "The request's body did not arrive whole."})
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		whole := r.WithContext(r.Context())
		whole.Body, whole.ContentLength, whole.TransferEncoding, whole.Trailer = wholeBody{bytes.NewReader(content)}, int64(len(content)), nil, nil
		if s.unchanged(whole) {
			next.ServeHTTP(w, whole)
			return
		}
		s.again.ServeHTTP(w, whole)
	})
}

// wholeBody is a body that is here, and may be read again.
type wholeBody struct{ *bytes.Reader }

// Close does nothing.
func (wholeBody) Close() error { return nil }
