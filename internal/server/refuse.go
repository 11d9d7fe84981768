package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
)

// refusal is an answer of ours instead of what was asked for. The message is for people and shows no insides.
type refusal struct {
	status     int
	code       string // extensions.code for programs
	message    string
	retryAfter time.Duration // 0: no Retry-After
}

// refuse answers a person's browser with a page and a program with GraphQL-shaped JSON, which Dagster's UI and its
// clients can show.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, answer refusal) {
	if wantsDocument(r) {
		s.pages.Error(w, ErrorData{Status: answer.status, Message: answer.message, RequestID: clientFrom(r.Context()).RequestID, RetryAfter: answer.retryAfter})
		return
	}
	setRetryAfter(w, answer.retryAfter)
	writeJSON(w, answer.status, graphql.ErrorBody(answer.message, answer.code))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client may have left; the recorder has the status either way.
	_, _ = w.Write(body)
}

// wantsDocument tells a person's navigation from a program's or a script's request.
func wantsDocument(r *http.Request) bool {
	if isUpgrade(r) {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Mode") {
	case "navigate", "nested-navigate":
		return true
	case "":
	default:
		return false
	}
	if route := pathFrom(r.Context()).Route; route == dagster.Static || route == dagster.GraphQL && !safeMethod(r.Method) {
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
