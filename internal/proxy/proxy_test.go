package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func noTarget() (*url.URL, bool) { return nil, false }

// front starts dagster, an upstream, and a proxy before it, and returns the proxy's address.
func front(t *testing.T, dagster http.Handler, o Options) string {
	t.Helper()
	upstream := httptest.NewServer(dagster)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Target = func() (*url.URL, bool) { return target, true }
	server := httptest.NewServer(newTest(t, o))
	t.Cleanup(server.Close)
	return server.URL
}

// do sends one request as it is written and follows nothing.
func do(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func request(t *testing.T, method, address string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewChecksItsOptions(t *testing.T) {
	t.Parallel()
	fail := func(http.ResponseWriter, *http.Request, error) {}
	for name, test := range map[string]struct {
		options Options
		ok      bool
	}{
		"complete":       {Options{Target: noTarget, Error: fail, Prefix: "/dag"}, true},
		"no target":      {Options{Error: fail}, false},
		"no error":       {Options{Target: noTarget}, false},
		"bare prefix":    {Options{Target: noTarget, Error: fail, Prefix: "dag"}, false},
		"slash at end":   {Options{Target: noTarget, Error: fail, Prefix: "/dag/"}, false},
		"negative limit": {Options{Target: noTarget, Error: fail, MessageLimit: -1}, false},
	} {
		if _, err := New(test.options); (err == nil) != test.ok {
			t.Errorf("%s: got %v, want success %v", name, err, test.ok)
		}
	}
}

// TestRequestGoesOnAsItCame: method, path in its own spelling, query with what Go can't parse, body and headers.
func TestRequestGoesOnAsItCame(t *testing.T) {
	t.Parallel()
	type seen struct {
		Method, URI, Body, Type, Encoding, Host, Key string
		Length                                       int64
	}
	got := make(chan seen, 1)
	address := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, string(body), r.Header.Get("Content-Type"), r.Header.Get("Accept-Encoding"), r.Host, r.Header.Get("Idempotency-Key"), r.ContentLength}
	}), Options{})
	r := request(t, http.MethodPost, address+"/assets/a%2Fb%20c?x=1;y=%zz&z", strings.NewReader(`{"query":"{a}"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip, br")
	r.Header.Set("Idempotency-Key", "k")
	r.Host = "evil.example"
	do(t, r)
	seenRequest := <-got
	if seenRequest.Host == "evil.example" {
		t.Errorf("the client's Host reached Dagster")
	}
	seenRequest.Host = ""
	want := seen{"POST", "/assets/a%2Fb%20c?x=1;y=%zz&z", `{"query":"{a}"}`, "application/json", "identity", "", "k", 15}
	if diff := cmp.Diff(want, seenRequest); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// TestNothingUpgrades: ReverseProxy would tunnel any protocol; the WebSocket has a way of its own.
func TestNothingUpgrades(t *testing.T) {
	t.Parallel()
	var sent atomic.Value
	address := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Store(r.Header.Clone())
		if r.URL.Path == "/switch" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+strings.ReplaceAll(r.Header.Get("X-Answer"), "|", "\r\n")+"\r\nraw")
			_ = conn.Close()
		}
	}), Options{})
	for _, upgrade := range []string{"websocket", "h2c", "WebSocket", "TLS/1.0"} {
		r := request(t, http.MethodGet, address+"/graphql", nil)
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", upgrade)
		r.Header.Set("HTTP2-Settings", "AAMAAABkAAQAAP__")
		resp, _ := do(t, r)
		header := sent.Load().(http.Header)
		if resp.StatusCode != http.StatusOK || header.Get("Upgrade") != "" || header.Get("Connection") != "" || header.Get("HTTP2-Settings") != "" {
			t.Errorf("%s: got %d and %v at Dagster, want a plain request", upgrade, resp.StatusCode, header)
		}
	}
	for _, upgrade := range []string{"", "h2c"} {
		r := request(t, http.MethodGet, address+"/switch", nil)
		if upgrade != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", upgrade)
			r.Header.Set("X-Answer", "Connection: Upgrade|Upgrade: "+upgrade+"|")
		}
		if resp, _ := do(t, r); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("a 101 for %q: got %d, want 502", upgrade, resp.StatusCode)
		}
	}
}

// TestAMutationIsSentOnce: a connection that breaks after the request was written must not make Transport try again.
func TestAMutationIsSentOnce(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"with a body": "{}", "without a body": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls, warm atomic.Int64
			address := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					warm.Add(1)
					return
				}
				calls.Add(1)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_ = conn.Close()
				}
			}), Options{})
			do(t, request(t, http.MethodGet, address+"/", nil)) // leaves a connection that Transport reuses
			r := request(t, http.MethodPost, address+"/graphql", strings.NewReader(body))
			r.Header.Set("Idempotency-Key", "11111111-2222-3333-4444-555555555555")
			resp, _ := do(t, r)
			if calls.Load() != 1 || warm.Load() != 1 || resp.StatusCode != http.StatusBadGateway {
				t.Errorf("got %d calls and status %d, want 1 and 502", calls.Load(), resp.StatusCode)
			}
		})
	}
}

func TestErrorsSayWhetherAnythingHappened(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	breaks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	t.Cleanup(breaks.Close)
	for name, test := range map[string]struct {
		host        string
		ready       bool
		unavailable bool
	}{
		"not ready":       {"", false, true},
		"refused":         {closed.Addr().String(), true, true},
		"broke in answer": {strings.TrimPrefix(breaks.URL, "http://"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got error
			p := newTest(t, Options{
				Target: func() (*url.URL, bool) { return &url.URL{Scheme: "http", Host: test.host}, test.ready },
				Error: func(w http.ResponseWriter, r *http.Request, err error) {
					got = err
					if r.Header.Get("X-Mine") != "1" {
						t.Error("Error got another request than the client's")
					}
					w.WriteHeader(http.StatusTeapot)
				},
			})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("X-Mine", "1")
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if errors.Is(got, ErrUnavailable) != test.unavailable || got == nil || w.Code != http.StatusTeapot {
				t.Errorf("got %v and %d, want unavailable %v and the status of Error", got, w.Code, test.unavailable)
			}
		})
	}
}

// page is an upstream that serves one page with these headers.
func page(status int, body string, header http.Header) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		if status == http.StatusOK {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// The policy that every Dagster from 1.10 to 1.13 sends with its page (facts/dagster.md section 6).
const dagsterPolicy = "base-uri 'none'; object-src 'none'; script-src 'nonce-9f8e7d' 'unsafe-inline' https: http: 'strict-dynamic'; style-src 'unsafe-inline' 'self' 'unsafe-eval';"

func TestMenuIsInjected(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("testdata/index-1.13.27.html")
	if err != nil {
		t.Fatal(err)
	}
	dagster := string(index)
	html := func(more ...string) http.Header {
		h := http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Etag": {`"1"`}, "Content-Security-Policy": {dagsterPolicy}}
		for i := 0; i+1 < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	large := dagster + strings.Repeat("<!-- -->", 1<<18)
	for name, test := range map[string]struct {
		path, body string
		status     int
		header     http.Header
		injected   bool
	}{
		"dagster's page":     {"/runs", dagster, 200, html(), true},
		"upper case type":    {"/", dagster, 200, html("Content-Type", "TEXT/HTML"), true},
		"odd parameters":     {"/", dagster, 200, html("Content-Type", "text/html; charset=a; charset=b"), true},
		"not found":          {"/", dagster, 404, html(), false},
		"partial":            {"/", dagster, 206, html(), false},
		"other html":         {"/", "<html><head></head></html>", 200, html(), false},
		"json":               {"/", dagster, 200, html("Content-Type", "application/json"), false},
		"packed":             {"/", dagster, 200, html("Content-Encoding", "gzip"), false},
		"policy, no nonce":   {"/", dagster, 200, html("Content-Security-Policy", "script-src 'self'"), false},
		"large":              {"/", large, 200, html(), false},
		"notebook":           {"/notebook", dagster, 200, html(), false},
		"log named as page":  {"/logs/x/compute_logs/y.html", dagster, 200, html(), false},
		"page named as logs": {"/logs", dagster, 200, html(), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := front(t, page(test.status, test.body, test.header), Options{MenuScript: "/auth/static/menu.1.js"})
			resp, body := do(t, request(t, http.MethodGet, address+test.path, nil))
			want := test.body
			if test.injected {
				want = strings.Replace(want, "</head>", `<script src="/auth/static/menu.1.js" nonce="9f8e7d" defer></script></head>`, 1)
			}
			if body != want {
				t.Errorf("got %.3000q, want %.3000q", body, want)
			}
			if etag := resp.Header.Get("Etag"); (etag == "") != test.injected {
				t.Errorf("ETag: got %q, want it dropped: %v", etag, test.injected)
			}
			if resp.ContentLength != int64(len(want)) && resp.ContentLength != -1 {
				t.Errorf("Content-Length: got %d, want %d", resp.ContentLength, len(want))
			}
		})
	}
}

// TestHeadOfAPageHasNoLength: what a GET would get is longer than Dagster says, by how much only the page itself tells.
func TestHeadOfAPageHasNoLength(t *testing.T) {
	t.Parallel()
	address := front(t, page(200, "0123456789", http.Header{"Content-Type": {"text/html"}}), Options{MenuScript: "/m.js"})
	resp, _ := do(t, request(t, http.MethodHead, address+"/", nil))
	if got, there := resp.Header["Content-Length"]; there {
		t.Errorf("page: got Content-Length %v, want none", got)
	}
	address = front(t, page(200, "0123456789", http.Header{"Content-Type": {"text/javascript"}}), Options{MenuScript: "/m.js"})
	resp, _ = do(t, request(t, http.MethodHead, address+"/_next/x.js", nil))
	if got := resp.Header.Get("Content-Length"); got != "10" {
		t.Errorf("script: got Content-Length %q, want 10", got)
	}
}

func TestPoliciesOfPages(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	withPolicy := func(policies ...string) http.Header {
		return http.Header{"Content-Type": {"text/html"}, "Content-Security-Policy": policies}
	}
	for name, test := range map[string]struct {
		prefix, path string
		header       http.Header
		policy       []string
		nosniff      string
	}{
		"dagster's page":         {"", "/", withPolicy(dagsterPolicy), []string{strings.TrimSuffix(dagsterPolicy, ";") + "; frame-ancestors 'self'"}, ""},
		"graphiql":               {"", "/graphql", html, []string{"frame-ancestors 'self'"}, ""},
		"own frame rule stays":   {"", "/", withPolicy("frame-ancestors 'none'"), []string{"frame-ancestors 'none'"}, ""},
		"json":                   {"", "/server_info", http.Header{"Content-Type": {"application/json"}}, nil, ""},
		"notebook":               {"", "/notebook", html, []string{"sandbox allow-scripts"}, "nosniff"},
		"old notebook":           {"", "/dagit/notebook", html, []string{"sandbox allow-scripts"}, "nosniff"},
		"logs":                   {"", "/logs/a/compute_logs/b.out", http.Header{"Content-Type": {"text/plain"}}, []string{"sandbox allow-scripts"}, "nosniff"},
		"notebook under prefix":  {"/dag", "/dag/notebook", html, []string{"sandbox allow-scripts"}, "nosniff"},
		"notebook, no prefix":    {"/dag", "/notebook", html, []string{"frame-ancestors 'self'"}, ""},
		"notebooks":              {"", "/notebooks", html, []string{"frame-ancestors 'self'"}, ""},
		"its own policy is kept": {"", "/notebook", withPolicy("default-src 'self'"), []string{"default-src 'self'", "sandbox allow-scripts"}, "nosniff"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := front(t, page(200, "x", test.header), Options{Prefix: test.prefix})
			resp, _ := do(t, request(t, http.MethodGet, address+test.path, nil))
			if diff := cmp.Diff(test.policy, resp.Header["Content-Security-Policy"]); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if got := resp.Header.Get("X-Content-Type-Options"); got != test.nosniff {
				t.Errorf("X-Content-Type-Options: got %q, want %q", got, test.nosniff)
			}
		})
	}
}

func TestRedirectsStayOnTheSite(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"http://HOST/dag/?a=1#b":     "/dag/?a=1#b",
		"https://HOST/dag/":          "/dag/",
		"//HOST/dag/":                "/dag/",
		"http://HOST":                "/",
		"http://HOST//evil.example/": "/.//evil.example/",
		"/dag":                       "/dag",
		"https://dagster.io/docs":    "https://dagster.io/docs",
		"http://user@HOST/x":         "/x",
	} {
		dagster := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", strings.Replace(location, "HOST", r.Host, 1))
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		resp, _ := do(t, request(t, http.MethodGet, front(t, dagster, Options{})+"/", nil))
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("%s: got %q, want %q", location, got, want)
		}
	}
}

// TestAnswersComeAsTheyAreSent: the first part is there while Dagster still works on the second.
func TestAnswersComeAsTheyAreSent(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	address := front(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-goOn
		_, _ = io.WriteString(w, "second\n")
	}), Options{})
	resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, address+"/logs/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Fatalf("got %q, %v, want the first line", line, err)
	}
	close(goOn)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Fatalf("got %q, %v, want the second line", line, err)
	}
}

func TestAClientThatLeavesEndsTheRequestAtDagster(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan struct{})
	address := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	}), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, address+"/", nil).WithContext(ctx)); err == nil {
		_ = resp.Body.Close()
		t.Fatal("got an answer, want none")
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("Dagster still works for a client that left")
	}
}

// TestBodiesAreNotKeptInMemory sends 512 MiB each way and looks at the heap meanwhile.
func TestBodiesAreNotKeptInMemory(t *testing.T) {
	const size, allowed = 512 << 20, 32 << 20
	var received atomic.Int64
	address := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		received.Store(n)
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, io.LimitReader(zeros{}, size))
	}), Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodPost, address+"/", io.LimitReader(zeros{}, size)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	runtime.ReadMemStats(&after)
	if n != size || received.Load() != size || err != nil {
		t.Errorf("got %d bytes back and %d there, %v, want %d", n, received.Load(), err, size)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > allowed {
		t.Errorf("the heap grew by %d MiB, want at most %d", grown>>20, allowed>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestAnAnswerThatBreaksIsNotCompleted: the client must see that it was cut, whether its length was known or not.
func TestAnAnswerThatBreaksIsNotCompleted(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"", "1000"} {
		address := front(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}), Options{})
		resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, address+"/logs/x", nil))
		if err != nil {
			continue // nothing had been passed on yet
		}
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("length %q: got %d bytes and no error, want an error", length, len(body))
		}
		_ = resp.Body.Close()
	}
}
