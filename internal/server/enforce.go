package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
)

// enforce answers a refused request as Dagster itself would, and sends an allowed one on in the form that was judged.
func (s *Server) enforce(w http.ResponseWriter, r *http.Request) {
	j, path := judgedFrom(r.Context()), pathFrom(r.Context())
	if !s.runs(j.Decision) {
		s.answerRefused(w, r, j)
		return
	}
	switch {
	case path.Route == dagster.GraphQL && isUpgrade(r):
		s.streamGraphQL(w, r)
	case path.Route == dagster.GraphQL && j.Operation == nil:
		s.Dagster.Forward(w, graphiQLRequest(r, path), sender(r))
	case path.Route == dagster.GraphQL:
		s.forwardGraphQL(w, canonicalRequest(r, path, j.Request), j.Rewriting)
	default:
		s.Dagster.Forward(w, pathRequest(r, path), sender(r))
	}
}

func (s *Server) forwardGraphQL(w http.ResponseWriter, r *http.Request, rewriting *graphql.Rewriting) {
	if rewriting == nil {
		s.Dagster.Forward(w, r, sender(r))
		return
	}
	answer := &rewrittenAnswer{ResponseWriter: w, rewriting: rewriting, judge: s.judgeOf(r.Context())}
	s.Dagster.Forward(answer, r, sender(r))
	answer.close(r.Context())
}

// answerRefused answers a query as it answers a mutation, HTTP 200 and errors, since that is what GraphQL clients read.
func (s *Server) answerRefused(w http.ResponseWriter, r *http.Request, j judged) {
	if j.Operation == nil {
		s.answerForbidden(w, r, j.Decision)
		return
	}
	messages := map[string]string{}
	for _, field := range j.Operation.Fields {
		messages[field.ResponseKey] = j.Decision.Message(field.ResponseKey)
	}
	writeJSON(w, http.StatusOK, graphql.Refuse(j.Operation, s.Upstream.Schema(), messages))
}

func (s *Server) answerForbidden(w http.ResponseWriter, r *http.Request, d policy.Decision) {
	if wantsDocument(r) {
		s.pages.Forbidden(w, ForbiddenData{Username: identityFrom(r.Context()).Username, Held: d.Held, Needed: d.Needed})
		return
	}
	s.refuse(w, r, refusal{status: http.StatusForbidden, code: "FORBIDDEN", message: d.Message("")})
}

// canonicalRequest is the only form in which GraphQL goes on: written from what was judged.
func canonicalRequest(r *http.Request, path dagster.Path, request graphql.Request) *http.Request {
	body := request.Encode()
	out := r.Clone(r.Context())
	out.Method = http.MethodPost
	out.URL.RawPath, out.URL.RawQuery, out.URL.ForceQuery = path.Escaped, "", false
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	out.Trailer = nil
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	// The audit trail reads the answers to mutations, and compressing is not the child's work.
	out.Header.Del("Accept-Encoding")
	out.Header.Del("Content-Encoding")
	return out
}

// graphiQLRequest asks for the GraphiQL page in a way that leaves Dagster no choice: nothing to run, HTML wanted.
func graphiQLRequest(r *http.Request, path dagster.Path) *http.Request {
	out := withoutBody(r)
	out.URL.RawPath, out.URL.RawQuery, out.URL.ForceQuery = path.Escaped, "", false
	out.Header.Set("Accept", "text/html")
	return out
}

// pathRequest sends anything else on below the path that was judged, with the body that the body layer has read.
func pathRequest(r *http.Request, path dagster.Path) *http.Request {
	out := withoutBody(r)
	if !safeMethod(r.Method) {
		out.Body, out.ContentLength = r.Body, r.ContentLength
	}
	out.URL.RawPath = path.Escaped
	return out
}

// withoutBody drops what a GET has no use for: Dagster reads no body of one.
func withoutBody(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.Body, out.ContentLength, out.TransferEncoding, out.Trailer = http.NoBody, 0, nil, nil
	return out
}

func sender(r *http.Request) Sender {
	id, c := identityFrom(r.Context()), clientFrom(r.Context())
	proto := "http"
	if c.Secure {
		proto = "https"
	}
	presented := presentedFrom(r.Context())
	return Sender{
		DropCredentials: presented != nil && presented.Token,
		User:            id.Username, Email: id.Email, Groups: []string{string(id.Role)},
		For: c.Address.String(), Proto: proto, Host: c.Host,
	}
}

// UpstreamFailed answers when Dagster gave no answer; untouched says that nothing of the request reached it, so that it may
// be sent again. The proxy calls it.
func (s *Server) UpstreamFailed(w http.ResponseWriter, r *http.Request, err error, untouched bool) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the client left
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
