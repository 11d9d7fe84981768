// Package remote asks identity providers over HTTP. What comes back decides who gets in, so nothing is taken that is too
// large, comes too late, is packed, or comes from another place than the one that was asked. The backends that speak
// OpenID Connect or read signed headers make their clients here, and have the keys looked at that come back; the directory's
// TLS is that of the others.
package remote

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// timeout bounds one question with its answer.
	timeout = 10 * time.Second
	// maxAnswer bounds an answer, in bytes. Entra ID's keys, the largest in use, have some 20 KB.
	maxAnswer = 1 << 20
	// maxHeader bounds an answer's headers, in bytes.
	maxHeader = 64 << 10
	// maxRedirects are followed on one host.
	maxRedirects = 3
)

// ErrTooLarge says that an answer is larger than any that is in use.
var ErrTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)

// Options of a client.
type Options struct {
	// CAFile is that of TLS.
	CAFile string
	// Timeout bounds one question with its answer; 0 is 10 s.
	Timeout time.Duration
}

// NewClient returns a client that refuses answers of more than 1 MiB and packed ones, which could be a thousand times that,
// and follows a redirect only on the host that was asked, and never one of anything but a GET: a secret goes nowhere else,
// and is not sent twice.
func NewClient(o Options) (*http.Client, error) {
	if o.Timeout == 0 {
		o.Timeout = timeout
	}
	settings, err := TLS(o.CAFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment, // companies reach their provider by one
		DialContext:            (&net.Dialer{Timeout: o.Timeout}).DialContext,
		TLSClientConfig:        settings,
		TLSHandshakeTimeout:    o.Timeout,
		ResponseHeaderTimeout:  o.Timeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{Transport: limited{transport}, CheckRedirect: sameHost, Timeout: o.Timeout}, nil
}

func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0]
	switch {
	case len(before) > maxRedirects:
		return errors.New("too many redirects")
	case first.Method != http.MethodGet || next.Method != http.MethodGet:
		return errors.New("a redirect of a request with secrets is not followed")
	case !sameOrigin(first.URL, next.URL):
		return fmt.Errorf("a redirect to another host, %q, is not followed", next.URL.Host)
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Host, b.Host)
}

// limited bounds the answers that pass it.
type limited struct{ next http.RoundTripper }

// RoundTrip refuses what is packed and what is known to be too large, and cuts off what turns out to be.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if coding := response.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the answer is packed as %.20q, which was not asked for", coding)
	}
	if response.ContentLength > maxAnswer {
		_ = response.Body.Close()
		return nil, ErrTooLarge
	}
	response.Body = &bounded{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// bounded is a body that fails, rather than ends, where it becomes too long: half an answer must not look whole.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		return 0, ErrTooLarge
	}
	b.left -= n
	return n, err
}
