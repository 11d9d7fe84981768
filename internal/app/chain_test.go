package app

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/identity"
)

// slowDagster says of itself what Dagster 1.13.27 does, and answers everything else when the test says so. It stands in for
// Dagster where that would have to be slow on purpose.
type slowDagster struct {
	schema []byte
	// arrived has each request that came, until the test takes it.
	arrived chan *visit
	held    atomic.Int32 // requests that came and were not answered
}

// visit is a request that waits for its answer.
type visit struct {
	method, path, body string
	header             http.Header
	answer             chan string // an empty one breaks the connection
	left               <-chan struct{}
}

func newSlowDagster(tb testing.TB) *slowDagster {
	tb.Helper()
	file, err := os.Open("../graphql/testdata/schema-1.13.27.json.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	schema, err := io.ReadAll(unpacked)
	if err != nil {
		tb.Fatal(err)
	}
	return &slowDagster{schema: schema, arrived: make(chan *visit, 1000)}
}

// ServeHTTP answers what AuthKit itself asks at once.
func (d *slowDagster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch {
	case strings.Contains(string(body), "__schema"):
		_, _ = w.Write(d.schema)
		return
	case strings.Contains(string(body), "AuthKitPermissions"):
		_, _ = w.Write([]byte(`{"data":{"permissions":[{"permission":"wipe_assets"}]}}`))
		return
	case r.URL.Path == "/server_info":
		_, _ = w.Write([]byte(`{"dagster_version":"1.13.27"}`))
		return
	}
	v := &visit{method: r.Method, path: r.URL.Path, body: string(body), header: r.Header, answer: make(chan string, 1), left: r.Context().Done()}
	d.held.Add(1)
	defer d.held.Add(-1)
	d.arrived <- v
	select {
	case answer := <-v.answer:
		if answer == "" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Set-Cookie", "somebody=1")
		_, _ = io.WriteString(w, answer)
	case <-r.Context().Done():
	}
}

// next is the request that came next.
func (d *slowDagster) next(t *testing.T) *visit {
	t.Helper()
	select {
	case v := <-d.arrived:
		return v
	case <-time.After(time.Minute):
		t.Fatal("no request came to Dagster")
		return nil
	}
}

// quiet is an error when a request came that nobody expects. It gives one some time to come.
func (d *slowDagster) quiet(t *testing.T, why string) {
	t.Helper()
	select {
	case v := <-d.arrived:
		t.Errorf("%s: a request came to Dagster: %s %s", why, v.method, v.body)
		v.answer <- `{"data":{}}`
	case <-time.After(50 * time.Millisecond):
	}
}

// chainKit is the whole program before a slow Dagster.
type chainKit struct {
	t       testing.TB
	app     *App
	dagster *slowDagster
	handler http.Handler
}

func startChain(tb testing.TB, settings ...string) *chainKit {
	tb.Helper()
	dagster := newSlowDagster(tb)
	upstream := httptest.NewServer(dagster)
	tb.Cleanup(upstream.Close)
	return startBefore(tb, dagster, upstream.URL, settings...)
}

func startBefore(tb testing.TB, dagster *slowDagster, upstream string, settings ...string) *chainKit {
	tb.Helper()
	cfg, _, err := config.Load(config.Source{
		Flags: config.Values{"port": "0"},
		Environ: append([]string{
			"DAGSTER_AUTH_DB=" + filepath.Join(tb.TempDir(), "auth.db"), "DAGSTER_AUTH_UPSTREAM=" + upstream,
			"DAGSTER_AUTH_REQUEST_LIMIT=0", "DAGSTER_AUTH_LOG_LEVEL=error",
		}, settings...),
	})
	if err != nil {
		tb.Fatal(err)
	}
	a, err := New(tb.Context(), Options{Config: cfg, Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, make(chan struct{})) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("the program ended with %v", err)
		}
	})
	k := &chainKit{t: tb, app: a, dagster: dagster, handler: a.handler}
	for deadline := time.Now().Add(time.Minute); !a.Status().Ready; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("the stand-in is not ready")
		}
	}
	return k
}

// person is somebody who is signed in.
type person struct {
	k      *chainKit
	user   identity.User
	cookie *http.Cookie
}

func (k *chainKit) person(name string, role identity.Role) *person {
	k.t.Helper()
	event := audit.Event{Type: "USER_CREATED", Timestamp: time.Now()}
	user, err := k.app.store.CreateUser(k.t.Context(), identity.User{Backend: "local", Subject: name, Name: name, Role: role}, "", event)
	if err != nil {
		k.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if _, err := k.app.sessions.Start(w, httptest.NewRequest(http.MethodPost, "/auth/login", nil), user, "127.0.0.1", identity.Voucher{}); err != nil {
		k.t.Fatal(err)
	}
	return &person{k, user, w.Result().Cookies()[0]}
}

// reply is what somebody gets, once done is closed.
type reply struct {
	*httptest.ResponseRecorder
	cut  bool // the connection was broken
	done chan struct{}
}

func (p *person) request(ctx context.Context, method, path, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.AddCookie(p.cookie)
	return r
}

// send sends a request in the background.
func (p *person) send(r *http.Request) *reply {
	a := &reply{ResponseRecorder: httptest.NewRecorder(), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer func() { a.cut = recover() != nil }()
		p.k.handler.ServeHTTP(a, r)
	}()
	return a
}

// asks sends a GraphQL document.
func (p *person) asks(document string) *reply {
	return p.send(p.request(p.k.t.Context(), http.MethodPost, "/graphql", graphQL(document)))
}

func graphQL(document string) string {
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		panic(err) // a string can always be written
	}
	return string(body)
}

// wait returns the answer once it is there.
func (a *reply) wait(t *testing.T) string {
	t.Helper()
	select {
	case <-a.done:
		return a.Body.String()
	case <-time.After(time.Minute):
		t.Fatal("no answer")
		return ""
	}
}
