package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"dagster-authkit/internal/identity"
)

// subprotocol is the one that Dagster speaks. It answers it whatever was offered (1.10 to 1.13).
const subprotocol = "graphql-ws"

// Talk is what is said on one socket. Each of the two directions is called for one message at a time; an error closes the
// socket.
type Talk interface {
	// FromClient looks at one message of the client. What it returns as forward goes to Dagster in the message's place, what
	// it returns as answer is sent back to the client; either may be nil.
	FromClient(ctx context.Context, message []byte) (forward, answer []byte, err error)
	// Rewrites says whether the next message of Dagster goes through FromDagster, whole. Otherwise it is streamed.
	Rewrites() bool
	FromDagster(message []byte) ([]byte, error)
}

// Socket is what a WebSocket needs for as long as it is open, which is longer than its request.
type Socket struct {
	// Context ends when AuthKit stops: both ends are told so, 1001.
	Context context.Context
	// Every message goes through Talk, and only what it returned is sent on.
	Talk Talk
	// Gone is closed when the session ended: 4401. nil: it does not end.
	Gone <-chan struct{}
	// Closed is called once, when the socket is closed and its goroutines have ended, or when it could not be opened.
	Closed func()
}

// ServeWebSocket upgrades r and returns. Messages are carried between the client and Dagster until one of them closes or the
// Socket ends, and at most closeGrace longer. The request's own goroutine is not kept, since its stack, grown by all the layers
// that it went through, and its response are half of the memory that an idle socket needs.
//
// The caller has let only a request for Dagster's one WebSocket path come here, and has checked its Origin.
func (p *Proxy) ServeWebSocket(w http.ResponseWriter, r *http.Request, s Socket) {
	opened := false
	defer func() {
		if !opened {
			s.Closed()
		}
	}()
	dagster, err := p.dial(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	client, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol},
		// The library's own check of the Origin compares it with the Host header, which behind a proxy is not the one
		// that the browser sees. The server has compared it with the address that it is known under.
		InsecureSkipVerify: true,
		// A compression window costs more memory than all else of a socket.
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		// Accept has answered the client.
		p.log.Debug().Err(err).Msg("websocket not accepted")
		_ = dagster.CloseNow()
		return
	}
	client.SetReadLimit(p.messageLimit)
	dagster.SetReadLimit(-1) // an event log comes in messages of tens of MB, and streams through
	opened = true
	joined := newSocket(client, dagster, s.Talk, &p.buffers, p.log)
	go func() {
		defer s.Closed()
		joined.run(s.Context, s.Gone)
	}()
}

// dial opens the other half at Dagster, before the client's is accepted, so that a failure is an HTTP answer.
func (p *Proxy) dial(r *http.Request) (*websocket.Conn, error) {
	target, ready := p.target()
	if !ready || target == nil {
		return nil, ErrUnavailable
	}
	address := *target
	address.Path, address.RawPath, address.RawQuery = p.prefix+"/graphql", "", ""
	header := r.Header.Clone()
	p.cleanHeaders(r.Context(), header)
	dropHandshake(header)

	ctx, cancel := context.WithTimeout(r.Context(), handshakeTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, address.String(), &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: p.transport, CheckRedirect: neverFollow},
		HTTPHeader:      header,
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close()
		}
		if r.Context().Err() != nil {
			return nil, fmt.Errorf("open a websocket: %w", err)
		}
		// Whatever went wrong, a handshake runs nothing: it may be tried again.
		return nil, fmt.Errorf("%w: open a websocket: %w", ErrUnavailable, err)
	}
	return conn, nil
}

// neverFollow keeps the handshake at Dagster: a redirect is its answer, and not one to a WebSocket.
func neverFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// dropHandshake removes what belongs to the client's own connection: the other one makes its own handshake (RFC 6455
// section 4.1), and its Origin was checked against our address, not Dagster's.
func dropHandshake(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for name := range h {
		if strings.HasPrefix(identity.HeaderKey(name), "sec-websocket-") {
			delete(h, name)
		}
	}
	for _, name := range []string{
		"Connection", "Upgrade", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Expect", "Content-Length", "Accept-Encoding", "Origin",
	} {
		h.Del(name)
	}
}
