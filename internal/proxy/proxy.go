// Package proxy carries requests to Dagster and its answers back: it decides nothing, it only makes sure that Dagster gets
// what the server judged, under the names that the server established, and that the page comes back with the user menu in it.
// The server calls it, as an http.Handler, after everything else of the chain.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
)

// ErrUnavailable says that Dagster could not be reached at all, so that nothing of the request has happened: it may be
// sent again. Any other error of the proxy leaves open whether Dagster acted on the request.
var ErrUnavailable = errors.New("dagster is not available")

const (
	// dialTimeout bounds connecting only; a running answer may take as long as it needs.
	dialTimeout = 5 * time.Second
	// handshakeTimeout bounds a WebSocket's handshake, which a busy Dagster answers late.
	handshakeTimeout = 30 * time.Second
	// idleTimeout is below the 5 s after which uvicorn closes a quiet connection (its timeout_keep_alive), so that a POST,
	// which can't be repeated safely, is not sent on a connection that is just being closed.
	idleTimeout = 4 * time.Second
	// idleConnections is how many quiet connections to Dagster are kept.
	idleConnections = 64
	// copyBuffer is the piece in which bodies and messages stream through, in bytes.
	copyBuffer = 32 << 10
	// defaultMessageLimit bounds a WebSocket message from a client, in bytes, as the body of a POST is bounded.
	defaultMessageLimit = 10 << 20
)

// Options are what a Proxy is made of.
type Options struct {
	// Target says where Dagster is now (scheme and host only) and whether it is ready for requests.
	Target func() (base *url.URL, ready bool)
	// Transport is the way to Dagster; nil makes one with a pool of its own. WebSockets need one that can upgrade.
	Transport http.RoundTripper
	// Prefix is Dagster's path prefix, "/dag" or empty; it is part of the paths on both sides.
	Prefix string
	// MenuScript is the address of the user menu's script, "/dag/auth/static/menu.0123.js"; empty: no page is touched.
	MenuScript string
	// CookieNames are the names of AuthKit's own cookies, which never reach Dagster; their __Host- and __Secure- forms and
	// numbered chunks (name_0, name-1) are meant as well.
	CookieNames []string
	// IdentityHeaders are further headers that must not reach Dagster from a client, beside the well-known families:
	// those that the header backend is configured to read.
	IdentityHeaders []string
	// MessageLimit bounds one WebSocket message from a client, in bytes; 0 is 10 MiB.
	MessageLimit int64
	// Error answers a request for which Dagster gave no answer. It is called before anything was written.
	Error func(w http.ResponseWriter, r *http.Request, err error)
	// Log receives what goes wrong after an answer has begun.
	Log zerolog.Logger
}

// Proxy is an http.Handler that forwards a request as the server made it. It is safe for concurrent use.
type Proxy struct {
	target       func() (*url.URL, bool)
	transport    http.RoundTripper
	coalescer    *Coalescer // the transport, when it is one
	prefix       string
	menuScript   string
	cookies      map[string]bool
	identity     map[string]bool
	common       map[string]bool // those of the common headers that nobody made a header of identities
	messageLimit int64
	fail         func(http.ResponseWriter, *http.Request, error)
	log          zerolog.Logger
	errorLog     *log.Logger
	buffers      bufferPool
}

// New checks the options and returns a Proxy that is ready to serve.
func New(o Options) (*Proxy, error) {
	switch {
	case o.Target == nil:
		return nil, errors.New("proxy: Target is missing")
	case o.Error == nil:
		return nil, errors.New("proxy: Error is missing")
	case o.Prefix != "" && (!strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/")):
		return nil, fmt.Errorf("proxy: prefix %q must begin with a slash and not end with one", o.Prefix)
	case o.MessageLimit < 0:
		return nil, fmt.Errorf("proxy: message limit %d is negative", o.MessageLimit)
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.MessageLimit == 0 {
		o.MessageLimit = defaultMessageLimit
	}
	named := make(map[string]bool, len(o.IdentityHeaders))
	for _, name := range o.IdentityHeaders {
		named[identity.HeaderKey(name)] = true
	}
	plain := maps.Clone(common)
	maps.DeleteFunc(plain, func(name string, _ bool) bool { return named[identity.HeaderKey(name)] })
	coalescer, _ := o.Transport.(*Coalescer)
	return &Proxy{
		target: o.Target, transport: o.Transport, coalescer: coalescer, prefix: o.Prefix, menuScript: o.MenuScript,
		cookies: cookieNames(o.CookieNames), identity: named, common: plain, messageLimit: o.MessageLimit, fail: o.Error,
		log: o.Log, errorLog: log.New(debugWriter{o.Log}, "", 0),
	}, nil
}

// newTransport makes the pool of connections to Dagster. It never goes through a proxy of the environment, as HTTP_PROXY is
// meant for Dagster's own calls, and never unpacks an answer on the way.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        idleConnections,
		MaxIdleConnsPerHost: idleConnections,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
	}
}

// ServeHTTP forwards r and streams the answer back: one of unknown length is passed on piece by piece as Dagster sends it, which
// is how ReverseProxy treats those. The caller has judged r: its method, URL, body and headers go on as
// they are, but for identities, credentials and upgrades (see rewrite).
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, ready := p.target()
	if !ready || target == nil {
		p.fail(w, r, ErrUnavailable)
		return
	}
	if p.serveShared(w, r, target) {
		return
	}
	forward := httputil.ReverseProxy{
		Transport:      p.transport,
		Rewrite:        func(pr *httputil.ProxyRequest) { p.rewrite(pr, target) },
		ModifyResponse: p.modifyResponse,
		BufferPool:     &p.buffers,
		ErrorLog:       p.errorLog,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			p.fail(w, r, unavailable(err))
		},
	}
	forward.ServeHTTP(w, r)
}

// rewrite turns the request into the one that Dagster gets.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest, target *url.URL) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host, out.URL.Opaque = target.Scheme, target.Host, ""
	// ReverseProxy drops query parameters that Go can't parse; Dagster reads the query in its own way.
	out.URL.RawQuery = pr.In.URL.RawQuery
	// Dagster sees its own address, not a Host of the client's choice; modifyResponse makes redirects fit again.
	out.Host = target.Host

	p.cleanHeaders(out.Context(), out.Header)
	// ReverseProxy would tunnel whatever protocol the two ends agree on (h2c: golang/go#80416). The only upgrade is the
	// WebSocket, and it does not come this way.
	for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
		out.Header.Del(name)
	}
	// Go's server answers an Expect itself when the body is first read.
	out.Header.Del("Expect")
	if !p.static(out.URL.Path) {
		// Pages are read for the menu, and GraphQL answers for the audit, so they must come unpacked.
		out.Header.Set("Accept-Encoding", "identity")
	}
	neverTwice(out)
}

// neverTwice keeps Transport from sending a request a second time after the connection broke. It would do so for any
// request with an Idempotency-Key, which Dagster's UI sends with every mutation and Dagster 1.10 to 1.13 does not look at:
// a run could be launched twice.
func neverTwice(out *http.Request) {
	switch out.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return
	}
	out.GetBody = nil
	if out.Body == nil || out.Body == http.NoBody {
		// A body that is there but empty can't be repeated in Transport's eyes; it is sent as no body.
		out.Body = emptyBody{}
	}
}

// static tells Dagster's build files, which nobody reads on the way, from pages and answers.
func (p *Proxy) static(path string) bool {
	return strings.HasPrefix(path, p.prefix+"/_next/")
}

// unavailable marks the errors after which certainly nothing reached Dagster: those of connecting to it.
func unavailable(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("forward to dagster: %w", err)
}

// bufferPool lends the buffers in which ReverseProxy and the WebSockets copy.
type bufferPool struct{ pool sync.Pool }

// Get lends a buffer of copyBuffer bytes.
func (b *bufferPool) Get() []byte {
	if buffer, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return buffer[:]
	}
	return make([]byte, copyBuffer)
}

// Put takes a buffer back.
func (b *bufferPool) Put(buffer []byte) {
	if len(buffer) == copyBuffer {
		b.pool.Put((*[copyBuffer]byte)(buffer))
	}
}

// emptyBody is a request body with nothing in it.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// debugWriter logs what ReverseProxy says, which is about broken connections and rarely news.
type debugWriter struct{ log zerolog.Logger }

func (d debugWriter) Write(line []byte) (int, error) {
	d.log.Debug().Str("detail", strings.TrimSpace(string(line))).Msg("proxy")
	return len(line), nil
}
