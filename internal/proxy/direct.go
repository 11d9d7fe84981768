package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxAnswerHeader bounds the head of an answer, in bytes; Dagster's have some 200.
	maxAnswerHeader = 1 << 20
	// maxInformational bounds the 1xx answers before the real one, as net/http does.
	maxInformational = 5
)

// direct is the way of the queries that may be shared, to a Dagster that speaks HTTP without TLS, which is each that AuthKit
// starts. It does in the goroutine of whoever asks what http.Transport does with two more for each connection: that is a sixth
// of the work that a quick query makes (decision 13). It leaves out what such queries don't need: their bodies are in memory, they may be sent
// twice, and they upgrade nothing. What does not fit goes by the Transport. The parsing is net/http's.
type direct struct {
	transport   *http.Transport
	idleTimeout time.Duration // after which an idle connection is closed

	mu    sync.Mutex
	host  string
	idle  []*dagsterConn // the one that was used last is the last
	sweep *time.Timer    // runs while there are idle ones
}

// dagsterConn is one connection to Dagster. At any time it belongs to one query, or is idle.
type dagsterConn struct {
	net.Conn
	raw     syscall.RawConn // nil: it can't be looked at
	bounded io.LimitedReader
	in      *bufio.Reader
	out     *bufio.Writer
	since   time.Time // when it became idle
}

func newDirect(t *http.Transport) *direct {
	return &direct{transport: t, idleTimeout: t.IdleConnTimeout}
}

// RoundTrip sends a request that changes nothing. A connection that Dagster closed while nobody used it is no reason to fail:
// the request is sent again by a new one.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" || req.GetBody == nil {
		return d.transport.RoundTrip(req)
	}
	ctx := req.Context()
	for c := d.take(req.URL.Host); c != nil; c = d.take(req.URL.Host) {
		resp, began, err := d.ask(c, req)
		if err == nil || began || ctx.Err() != nil {
			return resp, err
		}
		if req.Body, err = req.GetBody(); err != nil {
			return nil, fmt.Errorf("read the query again: %w", err)
		}
	}
	c, err := d.dial(ctx, req.URL.Host)
	if err != nil {
		return nil, err
	}
	resp, _, err := d.ask(c, req)
	return resp, err
}

// take gives an idle connection that is still open and on which nothing was said since; nil: there is none.
func (d *direct) take(host string) *dagsterConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.host != host { // Dagster was started anew, somewhere else
		d.drop(len(d.idle))
		d.host = host
	}
	for n := len(d.idle); n > 0; n = len(d.idle) {
		c := d.idle[n-1]
		if time.Since(c.since) >= d.idleTimeout {
			d.drop(n) // the others are idle for longer
			break
		}
		d.idle = d.idle[:n-1]
		if c.quiet() {
			return c
		}
		_ = c.Close()
	}
	return nil
}

// drop closes the first n idle connections.
func (d *direct) drop(n int) {
	for _, c := range d.idle[:n] {
		_ = c.Close()
	}
	d.idle = slices.Delete(d.idle, 0, n)
}

// quiet reports whether there is nothing to read. What has come unasked by now, the end or a byte, is not taken for the next answer.
func (c *dagsterConn) quiet() bool {
	if c.raw == nil {
		return false
	}
	var err error
	var one [1]byte
	looked := c.raw.Read(func(fd uintptr) bool {
		_, err = syscall.Read(int(fd), one[:]) //nolint:gosec // a file descriptor
		return true
	})
	return looked == nil && errors.Is(err, syscall.EAGAIN)
}

func (d *direct) dial(ctx context.Context, host string) (*dagsterConn, error) {
	conn, err := d.transport.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &dagsterConn{Conn: conn, out: bufio.NewWriter(conn)}
	if s, ok := conn.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	c.bounded.R = conn
	c.in = bufio.NewReader(&c.bounded)
	return c, nil
}

// ask says whether an answer began, after which the request must not be sent again: whatever came may be half of it.
func (d *direct) ask(c *dagsterConn, req *http.Request) (resp *http.Response, began bool, err error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	fail := func(doing string, err error) (*http.Response, bool, error) {
		stop()
		_ = c.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, began, fmt.Errorf("%s dagster: %w", doing, err)
	}
	if err = req.Write(c.out); err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		return fail("write to", err)
	}
	c.bounded.N = maxAnswerHeader
	if _, err = c.in.Peek(1); err != nil {
		return fail("wait for", err)
	}
	began = true
	if resp, err = c.answer(req); err != nil {
		return fail("read from", err)
	}
	c.bounded.N = math.MaxInt64
	resp.Body = &directBody{ReadCloser: resp.Body, ctx: ctx, end: func(whole bool) {
		if stop() && whole && !resp.Close && c.in.Buffered() == 0 {
			d.keep(c, req.URL.Host)
			return
		}
		_ = c.Close()
	}}
	return resp, true, nil
}

// answer reads the head of the answer, past what is said before it.
func (c *dagsterConn) answer(req *http.Request) (*http.Response, error) {
	for range maxInformational + 1 {
		resp, err := http.ReadResponse(c.in, req)
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("it changes the protocol")
		case resp.StatusCode < http.StatusContinue:
			return nil, errNoStatus
		}
		if resp.StatusCode >= http.StatusOK {
			return resp, nil
		}
	}
	return nil, errors.New("it does not come to an answer")
}

// keep leaves a connection to the next query.
func (d *direct) keep(c *dagsterConn, host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if host != d.host || len(d.idle) >= idleConnections {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	d.idle = append(d.idle, c)
	if d.sweep == nil {
		d.sweep = time.AfterFunc(d.idleTimeout, d.expire)
	}
}

// expire closes what nobody has used for so long.
func (d *direct) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, now := 0, time.Now()
	for n < len(d.idle) && now.Sub(d.idle[n].since) >= d.idleTimeout {
		n++
	}
	d.drop(n)
	d.sweep = nil
	if len(d.idle) > 0 {
		d.sweep = time.AfterFunc(d.idleTimeout-now.Sub(d.idle[0].since), d.expire)
	}
}

// CloseIdleConnections passes on what http.Client asks of a transport.
func (d *direct) CloseIdleConnections() {
	d.mu.Lock()
	d.drop(len(d.idle))
	d.mu.Unlock()
	d.transport.CloseIdleConnections()
}

// directBody gives its connection back at its end. Its own Close would first read what is left.
type directBody struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // the request's: it says why reading failed
	end   func(whole bool)
	ended atomic.Bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.finish(errors.Is(err, io.EOF))
		if cause := b.ctx.Err(); cause != nil && !errors.Is(err, io.EOF) {
			err = cause
		}
	}
	return n, err
}

// Close gives a connection up whose answer was not read to its end.
func (b *directBody) Close() error {
	b.finish(false)
	return nil
}

func (b *directBody) finish(whole bool) {
	if b.ended.CompareAndSwap(false, true) {
		b.end(whole)
	}
}
