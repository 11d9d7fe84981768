package server

import (
	"crypto/rand"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth/token"
)

// trace gives the request its ID, client address and logger, and counts its answer.
func (s *Server) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := s.origin.client(r)
		// The text form of 130 random bits; a client's own X-Request-Id is not taken over, so that no one can forge the
		// link between an answer and the audit trail.
		c.RequestID = strings.ToLower(rand.Text())
		w.Header().Set("X-Request-Id", c.RequestID)
		log := s.log.With().Str("request_id", c.RequestID).Logger()
		ctx := log.WithContext(with(r.Context(), clientKey, c))

		recorder := &recorder{ResponseWriter: w}
		if r.Body != nil && r.Body != http.NoBody {
			// A body that does not come must not hold a connection, whoever answers; who read it all takes this off.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
		}
		defer func() {
			if recorder.code == 0 && r.Context().Err() != nil {
				recorder.code = statusClientLeft
			}
			s.metrics.request(r, recorder.routeName, recorder.status(), time.Since(start))
			s.logRequest(&log, r, recorder, c.Address, time.Since(start))
		}()
		next.ServeHTTP(recorder, r.WithContext(ctx))
	})
}

func (s *Server) logRequest(log *zerolog.Logger, r *http.Request, w *recorder, address netip.Addr, took time.Duration) {
	level := zerolog.DebugLevel
	// 503 is how we say "not yet", to probes every second; what is behind it is logged where it is found.
	if w.status() >= http.StatusInternalServerError && w.status() != http.StatusServiceUnavailable {
		level = zerolog.WarnLevel
	}
	event := log.WithLevel(level)
	if !event.Enabled() {
		return // before anything is made for it
	}
	// The path only: a query string can hold run configuration.
	event.Str("method", r.Method).Str("path", token.Mask(r.URL.Path)).Int("status", w.status()).Int64("bytes", w.bytes).
		Stringer("ip", address).Dur("took_ms", took).Msg("request")
}

// statusClientLeft is nginx's word for a client that did not wait for its answer.
const statusClientLeft = 499

// recorder notes what was answered. Unwrap keeps flushing, hijacking and deadlines of the real writer in reach.
type recorder struct {
	http.ResponseWriter
	code      int
	bytes     int64
	routeName string
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(code int) {
	// 1xx answers come before the real one; 101 is the last word of an upgraded connection.
	if w.code == 0 && (code >= http.StatusOK || code == http.StatusSwitchingProtocols) {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *recorder) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// origin knows by which addresses a browser may reach us and whom to believe about it.
type origin struct {
	trusted  []netip.Prefix
	external *url.URL // nil: the request's own host counts
}

// client sees through trusted proxies. X-Forwarded-For is read from the right, past trusted hops only; the leftmost value
// is whatever the client wrote.
func (o origin) client(r *http.Request) client {
	peer := hostAddress(r.RemoteAddr)
	c := client{Address: peer, Secure: r.TLS != nil, Host: r.Host}
	if o.trusts(peer) {
		c.Address = o.forwardedFor(r.Header.Values("X-Forwarded-For"), peer)
		if proto := lastValue(r.Header.Values("X-Forwarded-Proto")); proto != "" {
			// Traefik says wss of an upgrade that came by TLS.
			c.Secure = strings.EqualFold(proto, "https") || strings.EqualFold(proto, "wss")
		}
		if host := lastValue(r.Header.Values("X-Forwarded-Host")); host != "" {
			c.Host = host
		}
	}
	if o.external != nil {
		c.Secure = o.external.Scheme == "https"
		c.Host = o.external.Host
	}
	return c
}

func (o origin) forwardedFor(headers []string, peer netip.Addr) netip.Addr {
	hops := strings.Split(strings.Join(headers, ","), ",")
	address := peer
	for _, written := range slices.Backward(hops) {
		hop, ok := hopAddress(strings.TrimSpace(written))
		if !ok {
			return address
		}
		address = hop
		if !o.trusts(address) {
			return address
		}
	}
	return address
}

// hopAddress reads one entry of X-Forwarded-For, which some proxies write with a port.
func hopAddress(written string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.Trim(written, "[]"))
	if err != nil {
		withPort, portErr := netip.ParseAddrPort(written)
		if portErr != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}

func (o origin) trusts(address netip.Addr) bool {
	for _, prefix := range o.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// lastValue is the value that the nearest proxy wrote.
func lastValue(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	values := strings.Split(headers[len(headers)-1], ",")
	return strings.TrimSpace(values[len(values)-1])
}

func hostAddress(hostport string) netip.Addr {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
