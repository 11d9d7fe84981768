package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCoalesceNothingShared is what the way to Dagster costs when all queries differ, without a network and with
// answers of 10 KB. "none" is the floor.
func BenchmarkCoalesceNothingShared(b *testing.B) {
	body := strings.Repeat("x", 10<<10)
	transport := tripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return textAnswer(body), nil
	})
	queue := NewQueue(QueueOptions{})
	for _, test := range []struct {
		name  string
		way   http.RoundTripper
		write bool
	}{
		{"none", transport, false},
		{"queue", NewCoalescer(CoalesceOptions{Transport: transport, Acquire: queue.Acquire, Apart: true}), false},
		{"coalesce", NewCoalescer(CoalesceOptions{Transport: transport}), false},
		{"both", NewCoalescer(CoalesceOptions{Transport: transport, Acquire: queue.Acquire}), false},
		{"write", NewCoalescer(CoalesceOptions{Transport: transport, Acquire: queue.Acquire}), true},
	} {
		b.Run(test.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			query := bytes.Repeat([]byte("q"), 2000)
			turn := Turn{Identity: "a", Query: query, Still: func() error { return nil }}
			if test.write {
				turn.Query = nil
			}
			r := queryRequest(ctx, turn)
			buffer := make([]byte, copyBuffer)
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(bytes.NewReader(query))
				resp, err := test.way.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buffer)
				_ = resp.Body.Close()
			}
		})
	}
}

// BenchmarkCoalesceShared is one of sixteen who ask the same of a Dagster that takes 2 ms, over loopback and through the
// proxy; asks/op is how often Dagster is asked for each.
func BenchmarkCoalesceShared(b *testing.B) {
	var asked atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		time.Sleep(2 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"version":"1.13.27"}}`)
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	for _, apart := range []bool{true, false} {
		b.Run("apart="+strconv.FormatBool(apart), func(b *testing.B) {
			c := NewCoalescer(CoalesceOptions{Acquire: NewQueue(QueueOptions{}).Acquire, Apart: apart})
			defer c.CloseIdleConnections()
			p, err := New(Options{Transport: c, Target: func() (*url.URL, bool) { return target, true }, Error: func(http.ResponseWriter, *http.Request, error) {}})
			if err != nil {
				b.Fatal(err)
			}
			query := []byte(`{"query":"query V { version }"}`)
			asked.Store(0)
			b.SetParallelism(8) // times the cores
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequestWithContext(WithTurn(b.Context(), Turn{Identity: "a", Query: query}), http.MethodPost, "/graphql", bytes.NewReader(query))
					r.Header.Set("Content-Type", "application/json")
					p.ServeHTTP(httptest.NewRecorder(), r)
				}
			})
			b.ReportMetric(float64(asked.Load())/float64(b.N), "asks/op")
		})
	}
}

// BenchmarkCoalesceFastUpstream is a whole pass through the proxy, over loopback, to a server that answers at once: what the
// way costs where Dagster is not what one waits for.
func BenchmarkCoalesceFastUpstream(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"version":"1.13.27"}}`)
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	pool := newTransport()
	defer pool.CloseIdleConnections()
	for _, test := range []struct {
		name string
		way  http.RoundTripper
	}{
		{"none", pool},
		{"queue", NewCoalescer(CoalesceOptions{Transport: pool, Acquire: NewQueue(QueueOptions{}).Acquire, Apart: true})},
		{"coalesce", NewCoalescer(CoalesceOptions{Transport: pool})},
		{"both", NewCoalescer(CoalesceOptions{Transport: pool, Acquire: NewQueue(QueueOptions{}).Acquire})},
	} {
		b.Run(test.name, func(b *testing.B) {
			p, err := New(Options{Transport: test.way, Target: func() (*url.URL, bool) { return target, true }, Error: func(http.ResponseWriter, *http.Request, error) {}})
			if err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			b.SetParallelism(8) // times the cores
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					query := []byte(`{"query":"query V { version }","variables":{"n":` + strconv.FormatInt(n.Add(1), 10) + `}}`)
					ctx, cancel := context.WithCancel(b.Context())
					r := httptest.NewRequestWithContext(WithTurn(ctx, Turn{Identity: "a", Query: query}), http.MethodPost, "/graphql", bytes.NewReader(query))
					r.Header.Set("Content-Type", "application/json")
					p.ServeHTTP(httptest.NewRecorder(), r)
					cancel()
				}
			})
		})
	}
}
