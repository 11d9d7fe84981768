package server

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"dagster-authkit/internal/identity"
)

// pingTimeout bounds how long a probe waits for the database.
const pingTimeout = 2 * time.Second

// healthAnswer is the whole health answer; strangers see the status alone.
type healthAnswer struct {
	Status   string          `json:"status"`
	Version  string          `json:"version,omitempty"`
	Uptime   float64         `json:"uptime_seconds,omitempty"`
	Dagster  *UpstreamStatus `json:"dagster,omitempty"`
	Database string          `json:"database,omitempty"`
	Backend  string          `json:"backend,omitempty"`
	// ReportOnly is told to everybody who asks: an operator must not take this for protection.
	ReportOnly bool `json:"report_only,omitempty"`
}

// health answers probes. ?type=live asks for this process alone, since restarting it mends neither Dagster nor the
// database; ?type=ready, and no type, ask whether a request would be served now.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	switch kind := r.URL.Query().Get("type"); kind {
	case "live":
		s.writeHealth(w, http.StatusOK, healthAnswer{Status: "ok"})
		return
	case "", "ready":
	default:
		s.refuse(w, r, refusal{status: http.StatusBadRequest, code: "BAD_REQUEST", message: "type must be live or ready."})
		return
	}
	answer, status := healthAnswer{Status: "ok", ReportOnly: s.ReportOnly}, http.StatusOK
	upstream := s.Upstream.Status()
	database := s.database(r.Context())
	switch {
	case database != databaseOK:
		answer.Status, status = "database "+database, http.StatusServiceUnavailable
	case !upstream.Ready:
		answer.Status, status = "dagster not ready", http.StatusServiceUnavailable
	case !s.Upstream.Answers(r.Context()):
		answer.Status, status = "dagster does not answer", http.StatusServiceUnavailable
	}
	if s.mayLookInside(r) {
		answer.Version, answer.Uptime = s.Version, time.Since(s.started).Seconds()
		answer.Dagster, answer.Database, answer.Backend = &upstream, database, strings.Join(s.Backends, ",")
	}
	s.writeHealth(w, status, answer)
}

func (s *Server) writeHealth(w http.ResponseWriter, status int, answer healthAnswer) {
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"status":"error"}`)
	}
	if status != http.StatusOK {
		setRetryAfter(w, readyRetry)
	}
	writeJSON(w, status, body)
}

// What the health answer says of the database.
const (
	databaseOK         = "ok"
	databaseAway       = "unavailable"
	databaseUnwritable = "takes no changes" // it can be read: who is signed in may go on reading
)

func (s *Server) database(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err := s.Database.Ping(ctx)
	switch {
	case err == nil:
		return databaseOK
	case errors.Is(err, identity.ErrUnwritable):
		logFrom(ctx).Warn().Err(err).Msg("nobody can sign in and nothing can be changed until the database takes changes again")
		return databaseUnwritable
	}
	logFrom(ctx).Warn().Err(err).Msg("the database does not answer")
	return databaseAway
}

// mayLookInside allows loopback peers (not those behind a proxy, which may stand on this machine too) and admins.
func (s *Server) mayLookInside(r *http.Request) bool {
	if s.fromLoopback(r) {
		return true
	}
	who, err := s.ask(r)
	return err == nil && who.Role.Includes(identity.Admin)
}

// fromLoopback is about the real peer: a request that any proxy forwarded is not a local one, and where a trusted proxy
// stands on this machine none is, since a proxy may leave no trace.
func (s *Server) fromLoopback(r *http.Request) bool {
	peer := hostAddress(r.RemoteAddr)
	if s.origin.trusts(peer) {
		return false
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if lower == "forwarded" || lower == "via" || strings.HasPrefix(lower, "x-forwarded") || lower == "x-real-ip" {
			return false
		}
	}
	return peer.IsLoopback()
}

func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	allowed := s.MetricsToken == "" && s.fromLoopback(r)
	if s.MetricsToken != "" {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		allowed = bearer && subtle.ConstantTimeCompare([]byte(token), []byte(s.MetricsToken)) == 1
	}
	if !allowed {
		s.refuse(w, r, refusal{
			status: http.StatusForbidden, code: "FORBIDDEN",
			message: "Metrics are for loopback addresses, or for the bearer of DAGSTER_AUTH_METRICS_TOKEN.",
		})
		return
	}
	s.metrics.handler.ServeHTTP(w, r)
}
