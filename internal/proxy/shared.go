package proxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
)

// serveShared answers a query that may be shared, and reports whether r is one. As nothing of such a request goes on but its
// body, and nothing of the answer comes back but its type and bytes, there is nothing for ReverseProxy to copy and
// to clean: of a query that takes Dagster no time, that would be a quarter of the work.
func (p *Proxy) serveShared(w http.ResponseWriter, r *http.Request, target *url.URL) (served bool) {
	turn, _ := r.Context().Value(turnKey{}).(Turn)
	if p.coalescer == nil || !p.coalescer.mayShare(r, turn) {
		return false
	}
	ask := *r
	ask.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	resp, err := p.coalescer.join(&ask, turn)
	if err == nil {
		err = p.modifyResponse(resp)
	}
	if err != nil {
		if resp != nil {
			_ = resp.Body.Close()
		}
		p.fail(w, r, unavailable(err))
		return true
	}
	p.give(w, resp)
	return true
}

// give writes an answer out. One that ends early is cut off, as ReverseProxy does, so that nobody takes it for whole.
func (p *Proxy) give(w http.ResponseWriter, resp *http.Response) {
	defer func() { _ = resp.Body.Close() }()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if resp.ContentLength < 0 {
		w = flushed{w, http.NewResponseController(w)} // as it comes: nobody knows when there will be more
	}
	buffer := p.buffers.Get()
	defer p.buffers.Put(buffer)
	// The plain types keep io.CopyBuffer from finding ways of its own, without the buffer.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{resp.Body}, buffer); err != nil {
		p.log.Debug().Err(err).Msg("an answer was cut off")
		panic(http.ErrAbortHandler)
	}
}

// flushed sends each piece on at once.
type flushed struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write flushes where that is possible.
func (f flushed) Write(piece []byte) (int, error) {
	n, err := f.ResponseWriter.Write(piece)
	if err == nil {
		if err = f.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err != nil {
		return n, fmt.Errorf("send the answer: %w", err)
	}
	return n, nil
}
