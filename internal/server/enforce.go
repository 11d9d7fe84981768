package server

import (
	"bytes"
	"io"
	"maps"
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
	if path.Route == dagster.GraphQL && isUpgrade(r) {
		s.streamGraphQL(w, r)
		return
	}
	if !s.send(w, r, j, path) {
		s.judgeAgain(w, r)
	}
}

// send writes the request that goes on, and says how it waits its turn. Downloads of any length take nobody's place, nor does
// /server_info, which Dagster answers beside all that it does (a coroutine of its event loop) and which tells nothing.
func (s *Server) send(w http.ResponseWriter, r *http.Request, j judged, path dagster.Path) (answered bool) {
	switch {
	case j.Operation != nil:
		return s.sendGraphQL(w, r, j, path)
	case path.Route == dagster.GraphQL:
		return s.forward(w, r, graphiQLRequest(r, path), nil)
	case path.Route == dagster.Logs || path.Route == dagster.DownloadDebug || path.Route == dagster.ServerInfo:
		s.Dagster.Forward(w, pathRequest(r, path), sender(r))
		return true
	default:
		return s.forward(w, r, pathRequest(r, path), nil)
	}
}

// sendGraphQL has the answer rewritten for whoever asks, after it was shared with those who ask the same.
func (s *Server) sendGraphQL(w http.ResponseWriter, r *http.Request, j judged, path dagster.Path) (answered bool) {
	body := j.Request.Encode()
	query := body
	if j.Operation.Type != "query" {
		query = nil
	}
	out := canonicalRequest(r, path, body)
	if j.Rewriting == nil {
		return s.forward(w, r, out, query)
	}
	answer := &rewrittenAnswer{ResponseWriter: w, rewriting: j.Rewriting, judge: s.judgeOf(r.Context())}
	answered = s.forward(answer, r, out, query)
	answer.close(r.Context())
	return answered
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

// cloned may have its address and its headers set or deleted. It is not as deep as Clone, since the proxy makes a deep one.
func cloned(r *http.Request) *http.Request {
	out, address := *r, *r.URL
	out.URL, out.Header = &address, maps.Clone(r.Header)
	return &out
}

// canonicalRequest is the only form in which GraphQL goes on: written from what was judged.
func canonicalRequest(r *http.Request, path dagster.Path, body []byte) *http.Request {
	out := cloned(r)
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
	out := cloned(r)
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
