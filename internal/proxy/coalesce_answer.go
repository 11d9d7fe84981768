package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
)

// outcome is how a request ended: with an answer, an error or a panic.
type outcome struct {
	resp *http.Response // without its body: that is whole, or, for one alone, stream
	// whole is all of the body, shared by those who read it, who change nothing in it.
	whole    []byte
	stream   io.ReadCloser
	err      error
	panicked any
}

// failure is the error of an outcome without an answer. A panic goes on in whoever waited.
func (o outcome) failure() error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

// guarded keeps a panic in a goroutine of ours from ending the program.
func guarded(ask func() outcome) (o outcome) {
	defer func() {
		p := recover()
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			o = outcome{panicked: http.ErrAbortHandler}
		} else if p != nil {
			o = outcome{panicked: fmt.Errorf("panic while asking dagster: %v\n%s", p, debug.Stack())}
		}
	}()
	return ask()
}

// sharedPart is what of an answer may be given to somebody who did not send the request: what describes its bytes. It
// keeps the body.
func sharedPart(resp *http.Response) *http.Response {
	shared := &http.Response{
		Status: resp.Status, StatusCode: resp.StatusCode, Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
		Header: make(http.Header, 3), ContentLength: resp.ContentLength, Body: resp.Body,
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Length"} {
		if values, ok := resp.Header[name]; ok {
			shared.Header[name] = values
		}
	}
	return shared
}

// readAtMost reads all of a body of that size, -1 for unknown, but stops when it is found to be longer than limit.
func readAtMost(body io.Reader, size, limit int64) ([]byte, error) {
	var whole bytes.Buffer
	if size > 0 {
		whole.Grow(int(size) + bytes.MinRead) // ReadFrom wants room to see the end
	}
	_, err := whole.ReadFrom(io.LimitReader(body, limit+1))
	return whole.Bytes(), err
}

// still asks whether the answer may be given out yet.
func still(turn Turn, resp *http.Response) (*http.Response, error) {
	if turn.Still == nil {
		return resp, nil
	}
	if err := turn.Still(); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// endsWith calls end once, when all of the body is read, reading fails, or the body is closed. What becomes of a connection
// that changes its protocol is not known here.
func endsWith(resp *http.Response, end func()) *http.Response {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		end()
		return resp
	}
	resp.Body = &endingBody{ReadCloser: resp.Body, end: end}
	return resp
}

type endingBody struct {
	io.ReadCloser
	once sync.Once
	end  func()
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.once.Do(b.end)
	}
	return n, err
}

func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.end)
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
