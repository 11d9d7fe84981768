package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"dagster-authkit/internal/graphql"
)

// streamGraphQL joins a browser's subscriptions with Dagster's for as long as the session lives as it is. The socket knows what
// its request knew, but is not over when that is.
func (s *Server) streamGraphQL(w http.ResponseWriter, r *http.Request) {
	who := identityFrom(r.Context()).ID
	if !s.sockets.open(who, s.SocketLimit) {
		s.refuse(w, r, refusal{
			status: http.StatusTooManyRequests, code: "RATE_LIMITED", retryAfter: socketRetry,
			message: "You have too many WebSockets open here: close some tabs.",
		})
		return
	}
	ctx, end := context.WithCancel(context.WithoutCancel(r.Context()))
	unbind := context.AfterFunc(stopping(r.Context()), end)
	s.metrics.sockets.Inc()
	s.Dagster.Stream(w, r, sender(r), Socket{
		Context: ctx, Gone: s.watch(ctx),
		Talk: &talk{server: s, request: upgraded(ctx, r), rewritings: map[string]*graphql.Rewriting{}},
		Closed: func() {
			s.sockets.closed(who)
			s.metrics.sockets.Dec()
			unbind()
			end()
		},
	})
}

// upgraded is what is still needed of the request of a socket that is open: who sent it, and what the trail says of it.
func upgraded(ctx context.Context, r *http.Request) *http.Request {
	return (&http.Request{Method: r.Method, URL: r.URL, Host: r.Host, RemoteAddr: r.RemoteAddr}).WithContext(ctx)
}

type stopKey struct{}

// WithStop gives the requests of a listener what ends when AuthKit stops, for what outlives a request. It is their base context.
func WithStop(stop context.Context) context.Context { return context.WithValue(stop, stopKey{}, stop) }

// stopping is what WithStop gave, or never ends.
func stopping(ctx context.Context) context.Context {
	if stop, ok := ctx.Value(stopKey{}).(context.Context); ok {
		return stop
	}
	return context.Background()
}

// maxRewritings bounds how many subscriptions of one socket are rewritten at a time. Dagster's UI has one or two.
const maxRewritings = 100

// talk lets subscriptions pass, rewritten from what was judged. A query or mutation is answered with an error frame here, as it
// would be by Dagster, which runs nothing over its WebSocket but fields of the Subscription type. What can't be read closes
// the socket.
type talk struct {
	server  *Server
	request *http.Request // of the upgrade

	mu sync.Mutex
	// rewritings are those of the subscriptions, by their ID, that ask for what depends on who asks.
	rewritings map[string]*graphql.Rewriting
}

// FromClient judges a message.
func (t *talk) FromClient(_ context.Context, message []byte) (forward, answer []byte, err error) {
	frame, err := graphql.ReadFrame(message, t.server.Limits)
	if err != nil {
		return nil, nil, err
	}
	if frame.Type != graphql.FrameStart {
		return frame.Encode(), nil, nil
	}
	refusal, err := t.start(&frame)
	if problem, ok := errors.AsType[*graphql.Error](err); ok {
		return nil, graphql.ErrorFrame(frame.ID, problem.Message, "BAD_REQUEST"), nil
	}
	if err != nil || refusal != nil {
		return nil, refusal, err
	}
	return frame.Encode(), nil, nil
}

// start turns the frame into the one to send on, or returns what to answer.
func (t *talk) start(frame *graphql.Frame) (refusal []byte, err error) {
	s, r := t.server, t.request
	op, err := s.documents.Parse(frame.Request)
	if err != nil {
		return nil, err
	}
	if op.Type == "mutation" {
		s.recordMisplaced(r, op, "POST_REQUIRED_FOR_MUTATIONS")
	}
	if op.Type != "subscription" {
		return graphql.ErrorFrame(frame.ID, "Only subscriptions are served over the WebSocket.", "BAD_REQUEST"), nil
	}
	schema := s.Upstream.Schema()
	j, err := s.decide(r, judged{Operation: op}, s.Policy.Actions(op, schema)...)
	if err != nil {
		return nil, err
	}
	s.metrics.decision(j.Decision)
	if !j.Decision.Allowed {
		if err := s.Trail.Record(r.Context(), s.accessEvent(r, j)); err != nil {
			return nil, fmt.Errorf("storing the audit event: %w", err)
		}
	}
	if !s.runs(j.Decision) {
		return graphql.ErrorFrame(frame.ID, j.Decision.Message(j.Decision.Refused()[0].Action.ResponseKey), "FORBIDDEN"), nil
	}
	if err := s.prepare(r, &j, schema); err != nil {
		return nil, err
	}
	frame.Request = j.Request
	return nil, t.remember(frame.ID, j.Rewriting)
}

func (t *talk) remember(id string, rewriting *graphql.Rewriting) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Messages of the subscription that had the ID before may still come.
	if t.rewritings[id] != nil {
		return &graphql.Error{Status: http.StatusBadRequest, Message: "A subscription of that id is running: choose another id."}
	}
	if rewriting == nil {
		return nil
	}
	if len(t.rewritings) >= maxRewritings {
		return &graphql.Error{Status: http.StatusBadRequest, Message: "Too many subscriptions run on this socket."}
	}
	t.rewritings[id] = rewriting
	return nil
}

// Rewrites reports whether any subscription asks for what depends on who asks.
func (t *talk) Rewrites() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rewritings) > 0
}

// FromDagster rewrites the data of the subscriptions that need it.
func (t *talk) FromDagster(message []byte) ([]byte, error) {
	var frame struct {
		Type    string          `json:"type"`
		ID      string          `json:"id,omitempty"`
		Payload json.RawMessage `json:"payload,omitempty"`
	}
	if err := json.Unmarshal(message, &frame); err != nil {
		return nil, fmt.Errorf("reading a message of Dagster: %w", err)
	}
	t.mu.Lock()
	rewriting := t.rewritings[frame.ID]
	if frame.Type == "complete" || frame.Type == "error" {
		delete(t.rewritings, frame.ID)
	}
	t.mu.Unlock()
	if rewriting == nil || frame.Type != "data" {
		return message, nil
	}
	var payload bytes.Buffer
	writer := rewriting.Writer(&payload, t.server.judgeOf(t.request.Context()))
	if _, err := writer.Write(frame.Payload); err != nil {
		return nil, fmt.Errorf("rewriting a message of Dagster: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("rewriting a message of Dagster: %w", err)
	}
	frame.Payload = payload.Bytes()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(frame); err != nil {
		return nil, fmt.Errorf("writing a message of Dagster: %w", err)
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
