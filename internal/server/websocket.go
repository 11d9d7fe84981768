package server

import (
	"context"
	"errors"
	"net/http"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
)

// streamGraphQL joins a browser's subscriptions with Dagster's for as long as the session lives as it is.
func (s *Server) streamGraphQL(w http.ResponseWriter, r *http.Request) {
	gone := s.Activity.Watch(r.Context(), sessionFrom(r.Context()), identityFrom(r.Context()))
	s.metrics.sockets.Inc()
	defer s.metrics.sockets.Dec()
	s.Dagster.Stream(w, r, sender(r), s.judgeMessage(r), gone)
}

// judgeMessage lets subscriptions pass, rewritten from what was judged. Dagster runs nothing else over its WebSocket; a
// query or mutation is answered with an error frame here, as it would be there. What can't be read closes the socket.
func (s *Server) judgeMessage(r *http.Request) Judge {
	id := identityFrom(r.Context())
	return func(_ context.Context, message []byte) (forward, answer []byte, err error) {
		frame, err := graphql.ReadFrame(message, s.Limits)
		if err != nil {
			return nil, nil, err
		}
		if frame.Type != graphql.FrameStart {
			return frame.Encode(), nil, nil
		}
		op, err := graphql.Parse(frame.Request, s.Limits)
		if err != nil {
			problem, ok := errors.AsType[*graphql.Error](err)
			if !ok {
				return nil, nil, err
			}
			return nil, graphql.ErrorFrame(frame.ID, problem.Message, "BAD_REQUEST"), nil
		}
		if op.Type == "mutation" {
			s.recordMisplaced(r, op, "POST_REQUIRED_FOR_MUTATIONS")
		}
		if op.Type != "subscription" {
			return nil, graphql.ErrorFrame(frame.ID, "Only subscriptions are served over the WebSocket.", "BAD_REQUEST"), nil
		}
		decision := policy.Decide(id, []policy.Action{policy.Read()})
		s.metrics.decision(decision)
		if !decision.Allowed {
			return nil, graphql.ErrorFrame(frame.ID, decision.Message(policy.Read()), "FORBIDDEN"), nil
		}
		frame.Request = op.Request
		return frame.Encode(), nil, nil
	}
}
