package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tripper is an upstream without a network.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slowly answers after a second, or when the request is given up, and counts what it is asked.
func slowly(asked *atomic.Int32, answer func(r *http.Request) (*http.Response, error)) tripper {
	return func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		select {
		case <-time.After(time.Second):
			return answer(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

func textAnswer(body string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

// sameAgain answers a query with itself.
func sameAgain(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	return textAnswer(string(body)), err
}

// queryRequest is a request that may be shared.
func queryRequest(ctx context.Context, turn Turn) *http.Request {
	r, err := http.NewRequestWithContext(WithTurn(ctx, turn), http.MethodPost, "http://dagster/graphql", bytes.NewReader(turn.Query))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// reply is what somebody got.
type reply struct {
	body     string
	resp     *http.Response
	err      error
	panicked any
	done     atomic.Bool // the rest may be looked at
}

// sendTo asks in the background, reads all of the answer, and returns when nothing moves any more.
func sendTo(c *Coalescer, r *http.Request) *reply {
	a := &reply{}
	go func() {
		defer func() {
			a.panicked = recover()
			a.done.Store(true)
		}()
		if a.resp, a.err = c.RoundTrip(r); a.err != nil {
			return
		}
		body, err := io.ReadAll(a.resp.Body)
		a.body, a.err = string(body), err
		_ = a.resp.Body.Close()
	}()
	synctest.Wait()
	return a
}

// askFor sends the query q in the name of nobody.
func askFor(t *testing.T, c *Coalescer, q string) *reply {
	t.Helper()
	return sendTo(c, queryRequest(t.Context(), Turn{Query: []byte(q)}))
}

func seconds(n float64) {
	time.Sleep(time.Duration(n * float64(time.Second)))
	synctest.Wait()
}

// forgotten checks that nothing is left of what was in flight.
func forgotten(t *testing.T, c *Coalescer) {
	t.Helper()
	synctest.Wait()
	if len(c.flights) != 0 || c.budget != sharedAtOnce*c.maxShared {
		t.Errorf("%d flights are left, and a budget of %d, want 0 and %d", len(c.flights), c.budget, sharedAtOnce*c.maxShared)
	}
}

func TestCoalesceAsksOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain)})
		var all []*reply
		for range 10 {
			all = append(all, askFor(t, c, "same"))
			time.Sleep(10 * time.Millisecond)
		}
		other := askFor(t, c, "other")
		seconds(1)
		for i, a := range append(all, other) {
			if a.err != nil || a.resp.StatusCode != http.StatusOK || a.resp.ContentLength != int64(len(a.body)) {
				t.Errorf("answer %d is %+v", i, a)
			}
		}
		if all[9].body != "same" || other.body != "other" {
			t.Errorf("the queries were answered with %q and %q", all[9].body, other.body)
		}
		if got := asked.Load(); got != 2 {
			t.Errorf("Dagster was asked %d times, want once for each query", got)
		}
		if diff := cmp.Diff(CoalesceCount{Asked: 11, Joined: 9}, c.Count()); diff != "" {
			t.Errorf("count, -want +got:\n%s", diff)
		}
		forgotten(t, c)
	})
}

func TestCoalesceOnlyWhatIsTheSame(t *testing.T) {
	t.Parallel()
	q := func(ctx context.Context, change func(*http.Request)) *http.Request {
		r := queryRequest(ctx, Turn{Query: []byte("same")})
		change(r)
		return r
	}
	for name, test := range map[string]struct {
		second func(ctx context.Context) *http.Request
		apart  bool
		want   int32
	}{
		"the same":     {func(ctx context.Context) *http.Request { return q(ctx, func(*http.Request) {}) }, false, 1},
		"turned off":   {func(ctx context.Context) *http.Request { return q(ctx, func(*http.Request) {}) }, true, 2},
		"another path": {func(ctx context.Context) *http.Request { return q(ctx, func(r *http.Request) { r.URL.Path = "/x" }) }, false, 2},
		"another host": {func(ctx context.Context) *http.Request { return q(ctx, func(r *http.Request) { r.URL.Host = "x" }) }, false, 2},
		"another URL query": {func(ctx context.Context) *http.Request {
			return q(ctx, func(r *http.Request) { r.URL.RawQuery = "x" })
		}, false, 2},
		"another type": {func(ctx context.Context) *http.Request {
			return q(ctx, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
		}, false, 2},
		"another method": {func(ctx context.Context) *http.Request {
			return q(ctx, func(r *http.Request) { r.Method = http.MethodPut })
		}, false, 2},
		"not said to be a query": {func(ctx context.Context) *http.Request { return queryRequest(ctx, Turn{}) }, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain), Apart: test.apart})
				sendTo(c, queryRequest(t.Context(), Turn{Query: []byte("same")}))
				sendTo(c, test.second(t.Context()))
				seconds(2)
				if got := asked.Load(); got != test.want {
					t.Errorf("Dagster was asked %d times, want %d", got, test.want)
				}
				forgotten(t, c)
			})
		})
	}
}

func TestCoalesceLongQueriesAreNotCompared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain)})
		long := strings.Repeat("q", maxQuery+1)
		first, second := askFor(t, c, long), askFor(t, c, long)
		seconds(1)
		if asked.Load() != 2 || first.body != long || second.body != long {
			t.Errorf("Dagster was asked %d times, and answered %d and %d bytes", asked.Load(), len(first.body), len(second.body))
		}
	})
}

// What is in flight is of before the write; what the reader was told is of after it.
func TestCoalesceNobodyReadsFromBeforeTheirOwnWrite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		between func(t *testing.T, c *Coalescer) // half a second in all, 0.2 s after the first query was sent
		want    int32                            // how often the query is asked
	}{
		"nothing happens":              {func(*testing.T, *Coalescer) { seconds(0.5) }, 1},
		"a write ended":                {func(t *testing.T, c *Coalescer) { writing(t, c, 0.3); seconds(0.2) }, 2},
		"a write is under way":         {func(t *testing.T, c *Coalescer) { go writing(t, c, 1); seconds(0.5) }, 1},
		"one ended, one is under way":  {func(t *testing.T, c *Coalescer) { go writing(t, c, 1); writing(t, c, 0.3); seconds(0.2) }, 2},
		"a write failed":               {func(t *testing.T, c *Coalescer) { writing(t, c, -0.3); seconds(0.2) }, 2},
		"its client left, it goes on":  {func(t *testing.T, c *Coalescer) { leaving(t, c, 0.1, 1); seconds(0.4) }, 1},
		"its client left, it ended":    {func(t *testing.T, c *Coalescer) { leaving(t, c, 0.1, 0.3); seconds(0.4) }, 2},
		"its client left, it failed":   {func(t *testing.T, c *Coalescer) { leaving(t, c, 0.1, -0.3); seconds(0.4) }, 2},
		"a page was read":              {func(t *testing.T, c *Coalescer) { readPage(t, c); seconds(0.5) }, 1},
		"a page of nobody's was read":  {func(t *testing.T, c *Coalescer) { readPageOfNobody(t, c); seconds(0.5) }, 1},
		"a longer query was answered":  {func(t *testing.T, c *Coalescer) { longQuery(t, c); seconds(0.5) }, 1},
		"something unknown was posted": {func(t *testing.T, c *Coalescer) { untold(t, c); seconds(0.5) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				queries := slowly(&asked, sameAgain)
				c := NewCoalescer(CoalesceOptions{Transport: tripper(func(r *http.Request) (*http.Response, error) {
					if turn, _ := r.Context().Value(turnKey{}).(Turn); turn.Identity != "" {
						return lasting(r.Context(), turn.Identity)
					}
					if r.URL.Path != "/graphql" || r.ContentLength > maxQuery {
						return textAnswer("at once"), nil
					}
					return queries(r)
				}), Acquire: func(context.Context, string) (func(), error) { return func() {}, nil }})
				first := askFor(t, c, "runs")
				seconds(0.2)
				test.between(t, c)
				second := askFor(t, c, "runs")
				seconds(2)
				if first.body != "runs" || second.body != "runs" {
					t.Errorf("answers: %q, %q", first.body, second.body)
				}
				if got := asked.Load(); got != test.want {
					t.Errorf("Dagster was asked %d times, want %d", got, test.want)
				}
				forgotten(t, c)
			})
		})
	}
}

// writing is a write that takes so many seconds, and fails when they are negative.
func writing(t *testing.T, c *Coalescer, takes float64) {
	if resp, err := c.RoundTrip(queryRequest(t.Context(), Turn{Identity: fmt.Sprint(takes)})); err == nil {
		_ = resp.Body.Close()
	}
}

func lasting(ctx context.Context, takes string) (*http.Response, error) {
	d, err := time.ParseDuration(strings.TrimPrefix(takes, "-") + "s")
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if strings.HasPrefix(takes, "-") {
		err = io.ErrUnexpectedEOF
	}
	return textAnswer("done"), err
}

// leaving is a write whose client leaves before Dagster answers.
func leaving(t *testing.T, c *Coalescer, after, takes float64) {
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(time.Duration(after*float64(time.Second)), leave)
	if _, err := c.RoundTrip(queryRequest(ctx, Turn{Identity: fmt.Sprint(takes)})); !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose client left returned %v, want %v", err, context.Canceled)
	}
}

func readPage(t *testing.T, c *Coalescer)         { sendGet(c, WithTurn(t.Context(), Turn{})) }
func readPageOfNobody(t *testing.T, c *Coalescer) { sendGet(c, t.Context()) }
func untold(t *testing.T, c *Coalescer)           { sendPost(c, t.Context()) }
func longQuery(t *testing.T, c *Coalescer) {
	sendTo(c, queryRequest(t.Context(), Turn{Query: bytes.Repeat([]byte("q"), maxQuery+1)}))
}

func sendGet(c *Coalescer, ctx context.Context)  { sendPlain(c, ctx, http.MethodGet) }
func sendPost(c *Coalescer, ctx context.Context) { sendPlain(c, ctx, http.MethodPost) }
func sendPlain(c *Coalescer, ctx context.Context, method string) {
	r, err := http.NewRequestWithContext(ctx, method, "http://dagster/report_asset_materialization/x", http.NoBody)
	if err != nil {
		panic(err)
	}
	sendTo(c, r)
}

// Somebody may act on the first byte of a write's answer, long before the last.
func TestCoalesceAWriteCountsBeforeItsAnswerIsGivenOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		queries := slowly(&asked, sameAgain)
		more, pipe := io.Pipe()
		defer func() { _ = pipe.Close() }()
		c := NewCoalescer(CoalesceOptions{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			if turn, _ := r.Context().Value(turnKey{}).(Turn); turn.Identity == "" {
				return queries(r)
			}
			resp := textAnswer("")
			resp.Body, resp.ContentLength = more, -1
			return resp, nil
		}), Acquire: func(context.Context, string) (func(), error) { return func() {}, nil }})
		want := int32(0)
		asks := func(when string) {
			t.Helper()
			want++
			askFor(t, c, "runs")
			if got := asked.Load(); got != want {
				t.Errorf("%s: Dagster was asked %d times, want %d", when, got, want)
			}
		}
		asks("before the write")
		resp, err := c.RoundTrip(queryRequest(t.Context(), Turn{Identity: "writer"}))
		if err != nil {
			t.Fatal(err)
		}
		asks("after the headers of its answer")
		for range 2 {
			go func() { _, _ = pipe.Write([]byte("x")) }()
			if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			asks("after a piece of its answer")
		}
		_ = resp.Body.Close()
		seconds(2)
		forgotten(t, c)
	})
}

func TestCoalesceSharesNothingOfAnyone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var sent http.Header
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			if r.Context().Value(forwardKey{}) != nil {
				t.Error("the shared request's context says who asked")
			}
			resp, err := sameAgain(r)
			resp.Header = http.Header{
				"Content-Type": {"text/plain"}, "Content-Encoding": {"br"}, "Set-Cookie": {"a=b"}, "X-Request-Id": {"1"}, "Etag": {"x"},
			}
			resp.StatusCode = http.StatusTeapot
			return resp, err
		})})
		person := func(name string) *reply {
			r := queryRequest(WithForward(t.Context(), Forward{User: name}), Turn{Query: []byte("same")})
			r.Header.Set("X-Forwarded-User", name)
			r.Header.Set("Cookie", name)
			return sendTo(c, r)
		}
		larry, vic := person("larry"), person("vic")
		seconds(1)
		want := http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"br"}, "Content-Length": {"4"}}
		for _, a := range []*reply{larry, vic} {
			if diff := cmp.Diff(want, a.resp.Header); diff != "" || a.resp.StatusCode != http.StatusTeapot {
				t.Errorf("status %d, header, -want +got:\n%s", a.resp.StatusCode, diff)
			}
		}
		larry.resp.Header.Set("Content-Type", "changed")
		if vic.resp.Header.Get("Content-Type") != "text/plain" {
			t.Error("two answers have one header map")
		}
		want = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {""}}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("the shared request's header, -want +got:\n%s", diff)
		}
	})
}

func TestCoalesceOneWhoLeavesStopsNobodyElse(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"the one who asked first": true, "one who joined": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain)})
				ctx, leave := context.WithCancel(t.Context())
				ctxs := []context.Context{t.Context(), ctx}
				if first {
					ctxs[0], ctxs[1] = ctxs[1], ctxs[0]
				}
				answers := map[context.Context]*reply{}
				for _, ctx := range ctxs {
					answers[ctx] = sendTo(c, queryRequest(ctx, Turn{Query: []byte("same")}))
				}
				leave()
				synctest.Wait()
				if gone := answers[ctx]; !gone.done.Load() || !errors.Is(gone.err, context.Canceled) {
					t.Errorf("whoever left still waits, or got %v", gone.err)
				}
				seconds(1)
				if stays := answers[t.Context()]; stays.err != nil || stays.body != "same" {
					t.Errorf("whoever stayed got %q, %v", stays.body, stays.err)
				}
				forgotten(t, c)
			})
		})
	}
}

func TestCoalesceAfterTheLastHasLeftTheRequestIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked, given atomic.Int32
		c := NewCoalescer(CoalesceOptions{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			<-r.Context().Done()
			given.Add(1)
			time.Sleep(time.Second) // it takes a while to give up
			return nil, r.Context().Err()
		})})
		ctx, leave := context.WithCancel(t.Context())
		sendTo(c, queryRequest(ctx, Turn{Query: []byte("same")}))
		sendTo(c, queryRequest(ctx, Turn{Query: []byte("same")}))
		leave()
		synctest.Wait()
		if asked.Load() != 1 || given.Load() != 1 {
			t.Errorf("%d requests were sent and %d given up, want 1 and 1", asked.Load(), given.Load())
		}
		// The next one joins nothing that is being given up.
		later, stop := context.WithCancel(t.Context())
		sendTo(c, queryRequest(later, Turn{Query: []byte("same")}))
		if asked.Load() != 2 {
			t.Error("a query joined a flight that all others had left")
		}
		stop()
		seconds(1)
		forgotten(t, c)
	})
}

func TestCoalesceAFailureIsNotSharedWithLaterOnes(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	panics := func(p any) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { panic(p) }
	}
	for name, test := range map[string]struct {
		first func(*http.Request) (*http.Response, error)
		check func(a *reply) bool
	}{
		"an error":             {func(*http.Request) (*http.Response, error) { return nil, broken }, func(a *reply) bool { return errors.Is(a.err, broken) }},
		"an answer that broke": {cut, func(a *reply) bool { return a.resp == nil && errors.Is(a.err, io.ErrUnexpectedEOF) }},
		"an abort":             {panics(http.ErrAbortHandler), func(a *reply) bool { return a.panicked == any(http.ErrAbortHandler) }},
		"a panic":              {panics("oh"), func(a *reply) bool { return strings.Contains(fmt.Sprint(a.panicked), "oh") }},
		"a panic while it is read": {func(*http.Request) (*http.Response, error) {
			resp := textAnswer("")
			resp.Body, resp.ContentLength = panicking{}, 4
			return resp, nil
		}, func(a *reply) bool { return strings.Contains(fmt.Sprint(a.panicked), "in the middle") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked, released atomic.Int32
				c := NewCoalescer(CoalesceOptions{
					Transport: slowly(&asked, func(r *http.Request) (*http.Response, error) {
						if asked.Load() > 1 {
							return sameAgain(r)
						}
						return test.first(r)
					}),
					Acquire: func(context.Context, string) (func(), error) {
						return sync.OnceFunc(func() { released.Add(1) }), nil
					},
				})
				var waiting []*reply
				for range 3 {
					waiting = append(waiting, sendTo(c, queryRequest(t.Context(), Turn{Query: []byte("same"), Identity: "a"})))
				}
				seconds(1)
				for _, a := range waiting {
					if !test.check(a) {
						t.Errorf("somebody who waited got %+v", a)
					}
				}
				later := sendTo(c, queryRequest(t.Context(), Turn{Query: []byte("same"), Identity: "a"}))
				seconds(1)
				if later.body != "same" {
					t.Errorf("whoever came later got %+v", later)
				}
				if released.Load() != 2 {
					t.Errorf("%d of 2 places were given back", released.Load())
				}
				forgotten(t, c)
			})
		})
	}
}

// cut answers less than it announced.
func cut(*http.Request) (*http.Response, error) {
	resp := textAnswer("half")
	resp.ContentLength = 8
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{}))
	return resp, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("in the middle") }
func (panicking) Close() error             { return nil }

func TestCoalesceTheRightToAnAnswerIsAskedAnew(t *testing.T) {
	t.Parallel()
	revoked := errors.New("the session has ended")
	for name, crowd := range map[string]int{"alone": 1, "with others": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked, inTime atomic.Int32
				began := time.Now()
				c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain)})
				still := func(err error) func() error {
					return func() error {
						if time.Since(began) == time.Second {
							inTime.Add(1)
						}
						return err
					}
				}
				gone := sendTo(c, queryRequest(t.Context(), Turn{Query: []byte("same"), Still: still(revoked)}))
				var others []*reply
				for range crowd - 1 {
					others = append(others, sendTo(c, queryRequest(t.Context(), Turn{Query: []byte("same"), Still: still(nil)})))
				}
				seconds(1)
				if !errors.Is(gone.err, revoked) || gone.resp != nil {
					t.Errorf("whoever lost the right got %+v", gone)
				}
				for _, a := range others {
					if a.body != "same" {
						t.Errorf("whoever has the right got %+v", a)
					}
				}
				if got := int(inTime.Load()); got != crowd {
					t.Errorf("%d of %d were asked when the answer was there", got, crowd)
				}
				forgotten(t, c)
			})
		})
	}
}

// Credentials that go on may be meant for a server between us and Dagster, which may show others other things.
func TestCoalesceCredentialsThatGoOnAreNotShared(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int32{"Authorization": 2, "Dagster-Cloud-Api-Token": 2, "X-Whatever": 1} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int32
			c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, func(r *http.Request) (*http.Response, error) {
				return textAnswer(r.Header.Get(name)), nil
			})})
			var all []*reply
			for _, value := range []string{"Bearer one", "Bearer two"} {
				r := queryRequest(t.Context(), Turn{Query: []byte("same")})
				r.Header.Set(name, value)
				all = append(all, sendTo(c, r))
			}
			seconds(1)
			if got := asked.Load(); got != want || want == 2 && (all[0].body != "Bearer one" || all[1].body != "Bearer two") {
				t.Errorf("%s: asked %d times, want %d; got %q and %q", name, got, want, all[0].body, all[1].body)
			}
			forgotten(t, c)
		})
	}
}

// What is not shared is asked about too: a page when it is there, as it may be for other eyes by then, and a change before
// it is made, as it could not be taken back.
func TestCoalesceTheRightToOtherRequestsIsAskedAnew(t *testing.T) {
	t.Parallel()
	revoked := errors.New("the session has ended")
	for method, askedOfRevoked := range map[string]int32{http.MethodGet: 1, http.MethodPost: 0} {
		synctest.Test(t, func(t *testing.T) {
			for _, want := range []error{revoked, nil} {
				var asked atomic.Int32
				c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain)})
				r := queryRequest(t.Context(), Turn{Still: func() error { return want }})
				r.Method = method
				a := sendTo(c, r)
				seconds(1)
				wantAsked := int32(1)
				if want != nil {
					wantAsked = askedOfRevoked
				}
				if !errors.Is(a.err, want) || a.resp != nil && want != nil || asked.Load() != wantAsked {
					t.Errorf("%s: got %+v and Dagster was asked %d times, want %v and %d", method, a, asked.Load(), want, wantAsked)
				}
			}
		})
	}
}

// Whoever lost the right while the write waited for its place has nothing written, and holds no place.
func TestCoalesceAWriteThatWaitedIsNotSentForTheRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var gone atomic.Bool
		revoked := errors.New("the session has ended")
		q := NewQueue(QueueOptions{Places: 1})
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain), Acquire: q.Acquire})
		sendTo(c, queryRequest(t.Context(), Turn{Identity: "somebody"}))
		waits := sendTo(c, queryRequest(t.Context(), Turn{Identity: "me", Still: func() error {
			if gone.Load() {
				return revoked
			}
			return nil
		}}))
		gone.Store(true)
		seconds(3)
		if !errors.Is(waits.err, revoked) || asked.Load() != 1 {
			t.Errorf("got %+v, and %d writes were sent, want 1", waits, asked.Load())
		}
		if got := q.Load(); got != (QueueLoad{}) {
			t.Errorf("at the end the load is %+v", got)
		}
	})
}

func TestCoalesceLargeAnswers(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for name, test := range map[string]struct {
		size      int
		announced bool
		want      int32 // requests for three who ask
	}{
		"as large as may be":            {limit, true, 1},
		"as large as may be, unknown":   {limit, false, 1},
		"empty":                         {0, true, 1},
		"empty, unknown":                {0, false, 1},
		"larger":                        {limit + 1, true, 3},
		"larger, found when it is read": {limit + 1, false, 3},
		"much larger":                   {100 * limit, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				whole := strings.Repeat("x", test.size)
				c := NewCoalescer(CoalesceOptions{MaxShared: limit, Transport: slowly(&asked, func(*http.Request) (*http.Response, error) {
					resp := textAnswer(whole)
					if !test.announced {
						resp.ContentLength = -1
					}
					return resp, nil
				})})
				all := []*reply{askFor(t, c, "graph"), askFor(t, c, "graph"), askFor(t, c, "graph")}
				seconds(1)
				quick := 0
				for _, a := range all {
					if a.done.Load() {
						quick++
					}
				}
				if quick == 0 {
					t.Error("nobody has the answer that is there")
				}
				seconds(1)
				for _, a := range all {
					if a.err != nil || a.body != whole {
						t.Errorf("somebody got %d bytes and %v, want %d", len(a.body), a.err, len(whole))
					}
				}
				if got := asked.Load(); got != test.want {
					t.Errorf("Dagster was asked %d times, want %d", got, test.want)
				}
				forgotten(t, c)
			})
		})
	}
}

// An answer that nobody shares is not kept: it comes as Dagster sends it, and Dagster waits for a slow reader.
func TestCoalesceAnAnswerForOneStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		more, pipe := io.Pipe()
		defer func() { _ = pipe.Close() }()
		c := NewCoalescer(CoalesceOptions{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			resp := textAnswer("")
			resp.Body, resp.ContentLength = more, -1
			context.AfterFunc(r.Context(), func() { _ = more.Close() })
			return resp, nil
		})})
		ctx, leave := context.WithCancel(t.Context())
		resp, err := c.RoundTrip(queryRequest(ctx, Turn{Query: []byte("same")}))
		if err != nil {
			t.Fatal(err)
		}
		piece := make([]byte, 4)
		for range 3 {
			go func() { _, _ = pipe.Write([]byte("part")) }()
			if n, err := resp.Body.Read(piece); err != nil || string(piece[:n]) != "part" {
				t.Fatalf("read %q, %v", piece[:n], err)
			}
		}
		leave()
		synctest.Wait()
		if _, err := resp.Body.Read(piece); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the reader has left, and Dagster's answer is not given up: %v", err)
		}
		_ = resp.Body.Close()
		forgotten(t, c)
	})
}

func TestCoalesceSlowReadersHoldNobodyAndLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 1000
		var asked atomic.Int32
		c := NewCoalescer(CoalesceOptions{MaxShared: limit, Transport: slowly(&asked, func(*http.Request) (*http.Response, error) {
			return textAnswer(strings.Repeat("x", limit)), nil
		})})
		unread := make(chan *http.Response, sharedAtOnce)
		for i := range sharedAtOnce {
			q := fmt.Sprint(i)
			go func() {
				resp, err := c.RoundTrip(queryRequest(t.Context(), Turn{Query: []byte(q)}))
				if err != nil {
					t.Error(err)
				}
				unread <- resp
			}()
			synctest.Wait()
			beside := askFor(t, c, q)
			seconds(1)
			if len(beside.body) != limit {
				t.Errorf("beside somebody who does not read, another got %+v", beside)
			}
		}
		// No more is kept than was agreed: what cannot be shared now is asked for each.
		before := asked.Load()
		first, second := askFor(t, c, "more"), askFor(t, c, "more")
		seconds(2)
		if asked.Load() != before+2 || len(first.body) != limit || len(second.body) != limit {
			t.Errorf("with nothing left to share with, %d requests got %d and %d bytes", asked.Load()-before, len(first.body), len(second.body))
		}
		for range sharedAtOnce {
			_ = (<-unread).Body.Close()
		}
		before = asked.Load()
		askFor(t, c, "more")
		askFor(t, c, "more")
		seconds(1)
		if asked.Load() != before+1 {
			t.Error("the slow readers are gone, and nothing is shared")
		}
		forgotten(t, c)
	})
}

// With a queue: whoever waits for the same, waits in everybody's name, and for nobody's write.
func TestCoalesceInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		q := NewQueue(QueueOptions{Places: 1})
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain), Acquire: q.Acquire})
		in := func(identity, text string) *reply {
			return sendTo(c, queryRequest(t.Context(), Turn{Identity: identity, Query: []byte(text)}))
		}
		first := in("crowd", "1")
		in("crowd", "2")
		in("crowd", "3")
		theirs := in("crowd", "same")
		c.wrote() // whatever is not sent yet will be sent after it
		mine, again := in("me", "same"), in("me", "same")
		if got, want := q.Load(), (QueueLoad{Running: 1, Waiting: 4}); got != want {
			t.Errorf("three flights, one of them in two names, make a load of %+v, want %+v", got, want)
		}
		seconds(1) // "1" is over, and it is the crowd's turn once more
		seconds(1)
		seconds(1)
		if !first.done.Load() || theirs.body != "same" || mine.body != "same" || again.body != "same" {
			t.Errorf("my turn was after the crowd's second query, but %+v, %+v, %+v", theirs, mine, again)
		}
		seconds(5)
		if got := asked.Load(); got != 4 {
			t.Errorf("Dagster was asked %d times, want 4", got)
		}
		if got := q.Load(); got != (QueueLoad{}) || len(q.owners) != 0 {
			t.Errorf("at the end the queue's load is %+v", got)
		}
		forgotten(t, c)
	})
}

func TestCoalesceOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		q := NewQueue(QueueOptions{Places: 1, WaitingEach: 1})
		c := NewCoalescer(CoalesceOptions{Transport: slowly(&asked, sameAgain), Acquire: q.Acquire})
		for _, text := range []string{"1", "2"} {
			sendTo(c, queryRequest(t.Context(), Turn{Identity: "crowd", Query: []byte(text)}))
		}
		if a := sendTo(c, queryRequest(t.Context(), Turn{Identity: "crowd", Query: []byte("3")})); !errors.Is(a.err, ErrOverloaded) {
			t.Errorf("a query too many got %v, want %v", a.err, ErrOverloaded)
		}
		if a := sendTo(c, queryRequest(t.Context(), Turn{Identity: "crowd"})); !errors.Is(a.err, ErrOverloaded) {
			t.Errorf("a write too many got %v, want %v", a.err, ErrOverloaded)
		}
		r := queryRequest(t.Context(), Turn{Identity: "crowd"})
		r.Method = http.MethodGet
		if a := sendTo(c, r); !errors.Is(a.err, ErrOverloaded) {
			t.Errorf("a page too many got %v, want %v", a.err, ErrOverloaded)
		}
		mine := sendTo(c, queryRequest(t.Context(), Turn{Identity: "me", Query: []byte("4")}))
		theirs := sendTo(c, queryRequest(t.Context(), Turn{Identity: "crowd", Query: []byte("4")}))
		seconds(5)
		if mine.body != "4" || theirs.body != "4" {
			t.Errorf("somebody whose own queue is full, but who asks what another waits for, got %+v; the other %+v", theirs, mine)
		}
		forgotten(t, c)
	})
}

// A write whose client left gives its place back at once.
func TestCoalesceAWriteWithoutItsClientHoldsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{Places: 1})
		c := NewCoalescer(CoalesceOptions{Acquire: q.Acquire, Transport: tripper(func(r *http.Request) (*http.Response, error) {
			return lasting(r.Context(), "10")
		})})
		ctx, leave := context.WithCancel(t.Context())
		sendTo(c, queryRequest(ctx, Turn{Identity: "a"}))
		if got := q.Load().Running; got != 1 {
			t.Errorf("%d places are taken by one write", got)
		}
		leave()
		synctest.Wait()
		if got := q.Load(); got != (QueueLoad{}) {
			t.Errorf("its client left, and the load is %+v", got)
		}
		seconds(10)
	})
}

// TestCoalesceCrowd lets many ask, write and leave as they like, of a Dagster whose answers say how many writes it had seen
// when they were asked for. Nobody reads less than what they were told before they asked.
func TestCoalesceCrowd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written, told, asked, answered, left atomic.Int64
		var together sync.Map // query and generation, while it is asked
		var c *Coalescer
		upstream := tripper(func(r *http.Request) (*http.Response, error) {
			d := dice(asked.Add(1))
			took := time.Duration(1+d.roll(3000)) * time.Millisecond
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) == "" {
				time.Sleep(took)
				return textAnswer(fmt.Sprint(written.Add(1))), nil
			}
			c.mu.Lock()
			key := fmt.Sprint(string(body), c.generation)
			c.mu.Unlock()
			if _, twice := together.LoadOrStore(key, true); twice {
				t.Errorf("%s is asked twice at a time", key)
			}
			defer together.Delete(key)
			seen := written.Load()
			select {
			case <-time.After(took):
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			return textAnswer(string(body) + fmt.Sprintf(" %06d %s", seen, strings.Repeat("x", 10000))), nil
		})
		c = NewCoalescer(CoalesceOptions{
			Transport: upstream, MaxShared: 1 << 20, Acquire: NewQueue(QueueOptions{Places: 6, Waiting: 1 << 20, WaitingEach: 1 << 20}).Acquire,
		})
		read := func(ctx context.Context, who int, q string) {
			before := told.Load()
			resp, err := c.RoundTrip(queryRequest(ctx, Turn{Identity: fmt.Sprint(who), Query: []byte(q)}))
			if err != nil {
				left.Add(1)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			var name string
			var seen int64
			if _, scan := fmt.Sscanf(string(body), "%s %d", &name, &seen); scan != nil || err != nil || name != q || len(body) != len(q)+8+10000 {
				t.Errorf("asked %q, got %d bytes %.20q, %v", q, len(body), body, err)
			}
			if seen < before {
				t.Errorf("somebody who knew of %d writes read an answer from before write %d", before, seen+1)
			}
			answered.Add(1)
		}
		change := func(ctx context.Context, who int) {
			resp, err := c.RoundTrip(queryRequest(ctx, Turn{Identity: fmt.Sprint(who)}))
			if err != nil {
				return
			}
			defer func() { _ = resp.Body.Close() }()
			body, _ := io.ReadAll(resp.Body)
			var n int64
			_, _ = fmt.Sscan(string(body), &n)
			for old := told.Load(); old < n && !told.CompareAndSwap(old, n); old = told.Load() {
			}
		}
		for i := range 600 {
			d := dice(i)
			go func() {
				time.Sleep(time.Duration(d.roll(60000)) * time.Millisecond)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if d.roll(5) == 0 {
					time.AfterFunc(time.Duration(d.roll(3000))*time.Millisecond, leave)
				}
				if who := d.roll(9); d.roll(12) == 0 {
					change(ctx, who)
				} else {
					read(ctx, who, []string{"runs", "assets", "jobs"}[d.roll(3)])
				}
			}()
		}
		time.Sleep(time.Hour)
		if answered.Load() == 0 || left.Load() == 0 || written.Load() == 0 || c.Count().Joined == 0 {
			t.Errorf("%d answered, %d left, %d written, %+v: want some of each", answered.Load(), left.Load(), written.Load(), c.Count())
		}
		forgotten(t, c)
	})
}
