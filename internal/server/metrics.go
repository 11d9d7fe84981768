package server

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dagster-authkit/internal/policy"
)

// metrics counts without naming anybody: no label holds a user, a path or anything else that a client chooses.
type metrics struct {
	handler   http.Handler
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	signIns   *prometheus.CounterVec
	sockets   prometheus.Gauge
}

func newMetrics(registry *prometheus.Registry, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dagster_authkit_requests_total", Help: "Requests answered, by route class, method and status.",
		}, []string{"route", "method", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dagster_authkit_request_duration_seconds", Help: "Time to answer, by route class.",
			// The buckets of OpenTelemetry's http.server.request.duration.
			Buckets: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10},
		}, []string{"route"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dagster_authkit_decisions_total", Help: "Requests judged, by the role held and the outcome.",
		}, []string{"role", "outcome"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dagster_authkit_sign_ins_total", Help: "Sign-in attempts, by outcome.",
		}, []string{"outcome"}),
		sockets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dagster_authkit_websockets", Help: "WebSockets open now.",
		}),
	}
	registry.MustRegister(m.requests, m.durations, m.decisions, m.signIns, m.sockets,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerReadings(registry, s)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

// registerReadings are the values that are looked up when somebody asks for them.
func registerReadings(registry *prometheus.Registry, s *Server) {
	gauge := func(name, help string, read func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("dagster_authkit_child_up", "1 when the dagster-webserver behind is ready.", func() float64 {
		if s.Upstream.Status().Ready {
			return 1
		}
		return 0
	})
	gauge("dagster_authkit_sessions", "Sessions live, -1 when the database does not answer.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
		defer cancel()
		n, err := s.Database.CountSessions(ctx)
		if err != nil {
			return -1
		}
		return float64(n)
	})
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "dagster_authkit_child_restarts_total", Help: "Times that dagster-webserver was started again.",
	}, func() float64 { return float64(s.Upstream.Status().Restarts) }))
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dagster_authkit_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": s.Version, "go": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build)
}

func (m *metrics) request(r *http.Request, route string, status int, took time.Duration) {
	if route == "" {
		route = "refused"
	}
	m.requests.WithLabelValues(route, knownMethod(r.Method), strconv.Itoa(status)).Inc()
	if status != http.StatusSwitchingProtocols { // a WebSocket's hours are no answering time
		m.durations.WithLabelValues(route).Observe(took.Seconds())
	}
}

// knownMethod keeps clients from making up label values.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}

func (m *metrics) decision(d policy.Decision) {
	outcome := "denied"
	if d.Allowed {
		outcome = "allowed"
	}
	m.decisions.WithLabelValues(string(d.Held), outcome).Inc()
}

func (m *metrics) signIn(outcome string) { m.signIns.WithLabelValues(outcome).Inc() }
