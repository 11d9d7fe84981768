package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// maxOutcome bounds the answers that are read for their outcome.
const maxOutcome = 1 << 20

// audit stores the decision before anything is forwarded, since "done" must be in the trail even after a kill, and then what
// came of it. When the trail can't be written nothing is done.
func (s *Server) audit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j := judgedFrom(r.Context())
		if !j.Audited && j.Decision.Allowed {
			next.ServeHTTP(w, r)
			return
		}
		event := s.accessEvent(r, j)
		if err := s.Trail.Record(r.Context(), event); err != nil {
			s.storeFault(w, r, err, "storing the audit event")
			return
		}
		if !s.runs(j.Decision) {
			next.ServeHTTP(w, r)
			return
		}
		answer := &answerCopy{ResponseWriter: w, overflow: j.Operation == nil} // only GraphQL's answers are read
		defer func() { s.recordOutcome(r.Context(), event, j, answer) }()
		next.ServeHTTP(answer, r)
	})
}

func (s *Server) accessEvent(r *http.Request, j judged) audit.Event {
	id, c := identityFrom(r.Context()), clientFrom(r.Context())
	event := audit.Event{
		Type: audit.EventAccessControl, Username: id.Username, Identity: id.ID, Session: id.SessionID, Token: id.TokenID, TokenName: id.TokenName,
		Action: r.Method, Resource: token.Mask(pathFrom(r.Context()).Decoded), Status: audit.StatusDenied,
		Roles: []string{string(id.Role)}, Reason: j.Decision.Reason(), IP: c.Address.String(), RequestID: c.RequestID,
		Timestamp: time.Now(), Targets: masked(j.Targets),
	}
	switch {
	case j.Decision.Allowed:
		event.Status = audit.StatusAllowed
	case s.ReportOnly:
		event.Status = audit.StatusWouldDeny
	}
	if j.Operation != nil {
		event.OperationName = token.Mask(j.Operation.Name)
		event.Mutations = mutationNames(j.Operation)
	}
	return event
}

func mutationNames(op *graphql.Operation) []string {
	if op.Type != "mutation" {
		return nil
	}
	names := make([]string, 0, len(op.Fields))
	for _, field := range op.Fields {
		names = append(names, token.Mask(field.Name))
	}
	return names
}

// masked are the targets without the tokens that somebody wrote there.
func masked(targets map[string][]string) map[string][]string {
	for _, values := range targets {
		for i, value := range values {
			values[i] = token.Mask(value)
		}
	}
	return targets
}

func (s *Server) recordOutcome(ctx context.Context, event audit.Event, j judged, answer *answerCopy) {
	event.Type, event.Timestamp = audit.EventAccessOutcome, time.Now()
	event.Outcome = outcome(j.Operation, answer)
	event.Targets = nil
	if err := s.Trail.Record(ctx, event); err != nil {
		logFrom(ctx).Error().Err(err).Msg("storing the audit outcome failed")
	}
}

// outcome is the __typename of each mutation's answer where the client selected it, else OK or what went wrong.
func outcome(op *graphql.Operation, answer *answerCopy) string {
	switch {
	case answer.code == 0:
		return "UNKNOWN" // the client left, or the connection broke, before Dagster answered: it may have done it
	case answer.code >= http.StatusBadRequest:
		return fmt.Sprintf("HTTP_%d", answer.code)
	case op == nil || answer.overflow:
		return "OK"
	}
	var result struct {
		Data   map[string]json.RawMessage `json:"data"`
		Errors []json.RawMessage          `json:"errors"`
	}
	if err := json.Unmarshal(answer.body.Bytes(), &result); err != nil {
		return "UNREADABLE"
	}
	if len(result.Errors) > 0 && len(result.Data) == 0 {
		return "ERROR"
	}
	outcomes := make([]string, 0, len(op.Fields))
	for _, field := range op.Fields {
		outcomes = append(outcomes, fieldOutcome(result.Data[field.ResponseKey]))
	}
	if !slices.ContainsFunc(outcomes, func(o string) bool { return o != "OK" }) {
		return "OK"
	}
	return strings.Join(outcomes, ",")
}

func fieldOutcome(value json.RawMessage) string {
	if string(value) == "null" || len(value) == 0 {
		return "ERROR"
	}
	var object map[string]json.RawMessage
	var name string
	if json.Unmarshal(value, &object) == nil && json.Unmarshal(object["__typename"], &name) == nil && name != "" {
		return name
	}
	return "OK"
}

// answerCopy keeps the first maxOutcome bytes of an answer while it passes.
type answerCopy struct {
	http.ResponseWriter
	code     int
	body     bytes.Buffer
	overflow bool
}

func (w *answerCopy) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerCopy) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *answerCopy) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	if !w.overflow && w.body.Len()+len(p) <= maxOutcome {
		w.body.Write(p)
	} else {
		w.overflow, w.body = true, bytes.Buffer{}
	}
	return w.ResponseWriter.Write(p)
}

// recordMisplaced writes down that somebody tried a mutation where none is taken. The answer is an error either way, so a
// trail that can't be written is told to the log only.
func (s *Server) recordMisplaced(r *http.Request, op *graphql.Operation, reason string) {
	event := s.accessEvent(r, judged{Operation: op, Targets: targets(op)})
	event.Status, event.Reason = audit.StatusDenied, reason
	if err := s.Trail.Record(r.Context(), event); err != nil {
		logFrom(r.Context()).Error().Err(err).Msg("storing the audit event failed")
	}
}

// signInEvent is LOGIN_ATTEMPT, LOGOUT or RATE_LIMITED.
func signInEvent(r *http.Request, kind, status string, id identity.Identity) audit.Event {
	c := clientFrom(r.Context())
	return audit.Event{
		Type: kind, Username: id.Username, Identity: id.ID, Session: id.SessionID, Token: id.TokenID, TokenName: id.TokenName, Status: status,
		IP: c.Address.String(), RequestID: c.RequestID, Timestamp: time.Now(),
	}
}
