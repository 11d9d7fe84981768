package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// write sends a request that may change something, and notes its end. When the client leaves, its place is free at once, but
// the request goes on as Dagster does: only its answer says when the change is made.
func (c *Coalescer) write(req *http.Request, turn Turn) (*http.Response, error) {
	ctx := req.Context()
	release, err := c.placeOf(ctx, turn.Identity)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	if turn.Still != nil {
		if err := turn.Still(); err != nil {
			release()
			closeBody(req)
			return nil, err
		}
	}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	own := req.Clone(detached)
	if err := takeBody(own); err != nil {
		cancel()
		release()
		return nil, err
	}
	answers := make(chan outcome)
	go func() {
		o := guarded(func() outcome {
			resp, err := c.transport.RoundTrip(own) //nolint:bodyclose // whoever takes the outcome closes it
			return outcome{resp: resp, err: err}
		})
		c.wrote()
		select {
		case answers <- o:
		case <-ctx.Done():
			o.discard()
			cancel()
		}
	}()
	select {
	case o := <-answers:
		if o.resp == nil {
			cancel()
			release()
			return nil, o.failure()
		}
		o.resp.Body = &writtenBody{ReadCloser: o.resp.Body, wrote: c.wrote}
		stop := context.AfterFunc(ctx, cancel)
		return endsWith(o.resp, func() {
			stop()
			cancel()
			release()
		}), nil
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}

// takeBody makes the body the request's own. ReverseProxy closes its body when the client leaves, and Transport, which looks
// for more behind the last byte, would then give the connection up: Dagster goes on, and nobody would hear of the end.
func takeBody(req *http.Request) error {
	if req.ContentLength == 0 || req.Body == nil {
		return nil
	}
	content, err := io.ReadAll(req.Body)
	closeBody(req)
	if err != nil {
		return fmt.Errorf("read the request's body: %w", err)
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	if len(content) == 0 {
		req.Body = emptyBody{} // see neverTwice
	}
	return nil
}

// wrote notes that a write has ended, or has done some of its work: what was asked before may be out of date.
func (c *Coalescer) wrote() {
	c.mu.Lock()
	c.generation++
	c.mu.Unlock()
}

// writtenBody is the answer to a write. Each piece of it is given out after the generation has moved, since it may say that
// something is done.
type writtenBody struct {
	io.ReadCloser
	wrote func()
}

func (b *writtenBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.wrote()
	return n, err
}

// discard closes an answer that nobody waits for.
func (o outcome) discard() {
	if o.resp != nil {
		_ = o.resp.Body.Close()
	}
}
