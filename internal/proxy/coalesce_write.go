package proxy

import (
	"context"
	"io"
	"net/http"
)

// write sends a request that may change something, and notes its end. When the client leaves, its place is free at once, but
// the request goes on as Dagster does: only its answer says when the change is made.
func (c *Coalescer) write(req *http.Request, turn Turn) (*http.Response, error) {
	ctx := req.Context()
	release, err := c.place(ctx, turn.Identity)
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
