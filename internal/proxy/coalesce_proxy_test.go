package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// slowDagster answers queries when it is told to, with what it knew when it was asked, and mutations at once. It sends what
// no one else may get.
type slowDagster struct {
	runs   atomic.Int64
	asked  chan struct{} // one for each query that has read its answer
	answer chan struct{} // one for each query that may go on
	mu     sync.Mutex
	seen   []http.Header
}

func (d *slowDagster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Set-Cookie", "theirs=1")
	if strings.HasPrefix(string(body), "mutation") {
		_, _ = fmt.Fprintf(w, "launched %d", d.runs.Add(1))
		return
	}
	runs := d.runs.Load()
	d.mu.Lock()
	d.seen = append(d.seen, r.Header)
	d.mu.Unlock()
	d.asked <- struct{}{}
	select {
	case <-d.answer:
		_, _ = fmt.Fprintf(w, "%d runs", runs)
	case <-r.Context().Done():
	}
}

// coalescing starts a slow Dagster and a proxy that coalesces before it. X-Person says who asks, and X-Gone that they may
// not have the answer any more.
func coalescing(t *testing.T) (*slowDagster, *Coalescer, string) {
	t.Helper()
	dagster := &slowDagster{asked: make(chan struct{}, 10), answer: make(chan struct{}, 10)}
	upstream := httptest.NewServer(dagster)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCoalescer(CoalesceOptions{Acquire: NewQueue(QueueOptions{}).Acquire})
	t.Cleanup(c.CloseIdleConnections)
	gone := errors.New("gone")
	p := newTest(t, Options{
		Transport: c, Target: func() (*url.URL, bool) { return target, true },
		Error: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, gone) {
				http.Error(w, "not yours any more", http.StatusUnauthorized)
				return
			}
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		person := r.Header.Get("X-Person")
		turn := Turn{Identity: person}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if strings.HasPrefix(string(body), "query") {
			turn.Query = body
		}
		if r.Header.Get("X-Gone") != "" {
			turn.Still = func() error { return gone }
		}
		p.ServeHTTP(w, r.WithContext(WithTurn(WithForward(r.Context(), Forward{User: person}), turn)))
	}))
	t.Cleanup(server.Close)
	return dagster, c, server.URL
}

// told is what came back.
type told struct {
	status int
	body   string
	header http.Header
}

// inBackground asks without waiting for the answer.
func inBackground(t *testing.T, address, person, body string, gone bool) <-chan told {
	t.Helper()
	r := request(t, http.MethodPost, address+"/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Person", person)
	if gone {
		r.Header.Set("X-Gone", "1")
	}
	answers := make(chan told, 1)
	go func() {
		defer close(answers)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		answers <- told{resp.StatusCode, string(text), resp.Header}
	}()
	return answers
}

// untilJoined waits until so many queries found another one under way.
func untilJoined(c *Coalescer, n uint64) {
	for c.Count().Joined < n {
		// Nothing tells a test that a request has come as far as this; it takes microseconds.
		runtime.Gosched()
	}
}

func TestProxyCoalescesAndNobodyMissesTheirOwnRun(t *testing.T) {
	t.Parallel()
	dagster, c, address := coalescing(t)
	const q = "query { runs }"

	vic := inBackground(t, address, "vic", q, false)
	<-dagster.asked
	// The control: while nothing is written, others get the answer that vic waits for.
	eve := inBackground(t, address, "eve", q, false)
	untilJoined(c, 1)

	if launched := <-inBackground(t, address, "larry", "mutation { launch }", false); launched.body != "launched 1" {
		t.Fatalf("the mutation was answered %+v", launched)
	}
	larry := inBackground(t, address, "larry", q, false)
	<-dagster.asked // vic's query is not answered, and larry's is asked
	gone := inBackground(t, address, "ex", q, true)
	untilJoined(c, 2)

	for range 2 {
		dagster.answer <- struct{}{}
	}
	for name, test := range map[string]struct {
		answer <-chan told
		want   string
		status int
	}{
		"vic": {vic, "0 runs", 200}, "eve": {eve, "0 runs", 200}, "larry": {larry, "1 runs", 200},
		"ex": {gone, "not yours any more\n", 401},
	} {
		got := <-test.answer
		if got.body != test.want || got.status != test.status {
			t.Errorf("%s got %d %q, want %d %q", name, got.status, got.body, test.status, test.want)
		}
		if got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s got a cookie that Dagster meant for another: %q", name, got.header)
		}
	}
	for _, h := range dagster.seen {
		h.Del("Content-Length")
		want := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("a shared request's header, -want +got:\n%s", diff)
		}
	}
}

// An answer that is too large to be kept is asked for by each: also then nothing of a client's headers goes on, since a query
// that may be shared does not pass through what cleans them.
func TestProxySharedQueriesCarryNobodysHeaders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ limit, asked int64 }{"shared": {1000, 1}, "too large to share": {10, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var seen []http.Header
			first, answer := make(chan struct{}, 10), make(chan struct{})
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen = append(seen, r.Header)
				mu.Unlock()
				first <- struct{}{}
				<-answer
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, strings.Repeat("x", 100))
			}))
			t.Cleanup(upstream.Close)
			target, err := url.Parse(upstream.URL)
			if err != nil {
				t.Fatal(err)
			}
			c := NewCoalescer(CoalesceOptions{MaxShared: test.limit})
			t.Cleanup(c.CloseIdleConnections)
			p := newTest(t, Options{
				Transport: c, Target: func() (*url.URL, bool) { return target, true },
				Error: func(_ http.ResponseWriter, _ *http.Request, err error) { t.Error(err) },
			})
			ask := func() <-chan string {
				r := request(t, http.MethodPost, "http://authkit/graphql", strings.NewReader("query"))
				for name, value := range map[string]string{
					"Content-Type": "application/json", "Cookie": "dagster_authkit=secret; theirs=1", "X-Forwarded-User": "root",
					"Remote-User": "root", "Idempotency-Key": "1", "User-Agent": "a client",
				} {
					r.Header.Set(name, value)
				}
				body := make(chan string, 1)
				go func() {
					w := httptest.NewRecorder()
					p.ServeHTTP(w, r.WithContext(WithTurn(WithForward(t.Context(), Forward{User: "vic"}), Turn{Query: []byte("query")})))
					body <- w.Body.String()
				}()
				return body
			}
			one := ask()
			<-first
			two := ask()
			untilJoined(c, 1)
			close(answer)
			for _, got := range []string{<-one, <-two} {
				if len(got) != 100 {
					t.Errorf("got %d bytes of 100", len(got))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if int64(len(seen)) != test.asked {
				t.Errorf("Dagster was asked %d times, want %d", len(seen), test.asked)
			}
			want := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/json"}, "Content-Length": {"5"}}
			for _, got := range seen {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the headers that went on, -want +got:\n%s", diff)
				}
			}
		})
	}
}
