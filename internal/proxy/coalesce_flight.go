package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// flight is one request to Dagster, for all who ask the same. What is not said to be otherwise is under Coalescer.mu.
type flight struct {
	key flightKey
	url url.URL
	// ctx is nobody's: it carries no one's identity and ends when nobody is aboard any more.
	ctx    context.Context
	cancel context.CancelFunc

	aboard     int      // those who wait for the answer or are reading it
	names      []string // in which it waits, or waited, for its place
	queued     int      // how many of the names still wait
	sent       bool     // the request is on its way
	generation uint64   // of when it was sent
	kept       int64    // bytes of the budget
	stream     io.ReadCloser

	landed  chan struct{} // closed when outcome is there, which does not change afterwards
	outcome outcome
}

// flightKey is what two requests must have in common to be the same.
type flightKey struct{ host, path, search, mime, query string }

func newFlight(key flightKey, address *url.URL) *flight {
	ctx, cancel := context.WithCancel(context.Background())
	return &flight{key: key, url: *address, ctx: ctx, cancel: cancel, landed: make(chan struct{})}
}

// flightHeader is what every flight's request has beside its type. The values are shared by all of them, and nobody changes one.
var flightHeader = http.Header{
	"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {""}, // none, rather than Go's
}

// request is written afresh, so that nothing of the one who asked first goes with it.
func (f *flight) request() *http.Request {
	body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(f.key.query)), nil }
	content, _ := body()
	address := f.url
	header := maps.Clone(flightHeader)
	header["Content-Type"] = []string{f.key.mime}
	return (&http.Request{
		Method: http.MethodPost, URL: &address, Host: address.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: content, ContentLength: int64(len(f.key.query)), GetBody: body,
	}).WithContext(f.ctx)
}

// board finds a flight that the query may join, or starts one.
func (c *Coalescer) board(req *http.Request, turn Turn) *flight {
	mime := req.Header.Get("Content-Type")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Asked++
	// Written out, the key of a look-up needs no copy of the query.
	f := c.flights[flightKey{req.URL.Host, req.URL.Path, req.URL.RawQuery, mime, string(turn.Query)}]
	if f == nil || f.sent && f.generation != c.generation {
		f = newFlight(flightKey{req.URL.Host, req.URL.Path, req.URL.RawQuery, mime, string(turn.Query)}, req.URL)
		c.flights[f.key] = f
	} else {
		c.count.Joined++
	}
	f.aboard++
	// Whoever joins a flight that still waits for its place waits in their own name too: it is sent at the first turn that
	// any of them has, so that nobody waits longer than by themselves.
	if !f.sent && !slices.Contains(f.names, turn.Identity) {
		f.names = append(f.names, turn.Identity)
		f.queued++
		go c.fly(f, turn.Identity)
	}
	return f
}

// fly waits for a place in one of the names aboard, and sends the request if none of the others did.
func (c *Coalescer) fly(f *flight, identity string) {
	release, err := c.place(f.ctx, identity)
	if err != nil {
		release = func() {}
	}
	if !c.send(f, err != nil) {
		release()
		return
	}
	if err != nil {
		c.land(f, outcome{err: err})
		return
	}
	o := guarded(func() outcome { return c.fetch(f, release) })
	if o.stream == nil {
		release()
	}
	c.land(f, o)
}

// send says whether the caller is to go on with f: as the first that has a place, or as the last that got none.
func (c *Coalescer) send(f *flight, refused bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.queued--
	if f.sent || refused && f.queued > 0 {
		return false
	}
	f.sent, f.generation = true, c.generation
	if refused {
		c.close(f)
	}
	return true
}

// fetch asks Dagster. The answer is read here when there is somebody to share it with, and streams to the one aboard else.
func (c *Coalescer) fetch(f *flight, release func()) outcome {
	resp, err := c.queries.RoundTrip(f.request()) //nolint:bodyclose // whoever takes the outcome closes it
	if err != nil {
		return outcome{err: err}
	}
	size := resp.ContentLength
	resp = endsWith(sharedPart(resp), release)
	if !c.keep(f, size) {
		return outcome{resp: resp, stream: resp.Body}
	}
	whole, err := readAtMost(resp.Body, size, c.maxShared)
	switch {
	case err != nil:
		_ = resp.Body.Close()
		return outcome{err: fmt.Errorf("read dagster's answer: %w", err)}
	case int64(len(whole)) > c.maxShared:
		return outcome{resp: resp, stream: readCloser{io.MultiReader(bytes.NewReader(whole), resp.Body), resp.Body}}
	}
	_ = resp.Body.Close()
	resp.ContentLength = int64(len(whole))
	resp.Header.Set("Content-Length", strconv.Itoa(len(whole)))
	return outcome{resp: resp, whole: whole}
}

// keep says whether an answer of that size, -1 for unknown, is to be kept and shared. One that is not has its last
// passengers now.
func (c *Coalescer) keep(f *flight, size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size < 0 {
		size = c.maxShared
	}
	if f.aboard < 2 || size > c.maxShared || size > c.budget {
		c.close(f)
		return false
	}
	c.budget -= size
	f.kept = size
	return true
}

// land gives the outcome to all aboard. Nobody joins any more.
func (c *Coalescer) land(f *flight, o outcome) {
	c.mu.Lock()
	c.close(f)
	if o.stream == nil {
		c.budget += f.kept - int64(len(o.whole))
		f.kept = int64(len(o.whole))
	}
	f.outcome, f.stream = o, o.stream
	empty := f.aboard == 0
	close(f.landed)
	c.mu.Unlock()
	if empty {
		c.end(f)
	}
}

// take gives the answer to one of those aboard. A stream goes to the first; it is nil for the others.
func (c *Coalescer) take(f *flight, req *http.Request) *http.Response {
	c.mu.Lock()
	stream := f.stream
	f.stream = nil
	c.mu.Unlock()
	resp := *f.outcome.resp
	resp.Request = req
	switch {
	case stream != nil:
		resp.Body = stream
		stop := context.AfterFunc(req.Context(), f.cancel)
		return endsWith(&resp, func() {
			stop()
			c.leave(f)
		})
	case f.outcome.stream != nil:
		return nil
	}
	resp.Header = resp.Header.Clone() // each proxy changes its own
	resp.Body = io.NopCloser(bytes.NewReader(f.outcome.whole))
	return endsWith(&resp, func() { c.leave(f) })
}

// leave is called once for each one aboard, when they need the flight no more. Nobody joins one that the last has left.
func (c *Coalescer) leave(f *flight) {
	c.mu.Lock()
	f.aboard--
	empty := f.aboard == 0
	if empty {
		c.close(f)
	}
	c.mu.Unlock()
	if empty {
		c.end(f)
	}
}

// end gives back what a flight with nobody aboard has; it is called again if it lands after that.
func (c *Coalescer) end(f *flight) {
	f.cancel()
	c.mu.Lock()
	stream := f.stream
	f.stream = nil
	c.budget += f.kept
	f.kept = 0
	c.mu.Unlock()
	if stream != nil {
		_ = stream.Close()
	}
}

// close lets nobody else join f.
func (c *Coalescer) close(f *flight) {
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
}
