package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// judge is a Talk that streams Dagster's messages.
type judge func(ctx context.Context, message []byte) (forward, answer []byte, err error)

func (j judge) FromClient(ctx context.Context, message []byte) (forward, answer []byte, err error) {
	return j(ctx, message)
}
func (judge) Rewrites() bool                             { return false }
func (judge) FromDagster(message []byte) ([]byte, error) { return message, nil }

// forwardAll is the judge that lets everything pass as it is.
func forwardAll(_ context.Context, message []byte) ([]byte, []byte, error) { return message, nil, nil }

// pair is one proxied WebSocket: what stands at both ends of it, and the ways to end it.
type pair struct {
	dagster http.HandlerFunc
	judge   judge
	gone    chan struct{}
	options Options
	// stop, when set, gets the function that ends the request's context.
	stop chan context.CancelFunc
}

// start runs it and returns the address of the proxy's end, and a channel that closes when ServeWebSocket has returned.
func (p pair) start(t *testing.T) (address string, returned <-chan struct{}) {
	t.Helper()
	upstream := httptest.NewServer(p.dagster)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.options.Target = func() (*url.URL, bool) { return target, true }
	if p.judge == nil {
		p.judge = forwardAll
	}
	handler := newTest(t, p.options)
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		ctx, cancel := context.WithCancel(WithForward(r.Context(), Forward{User: "alice", Proto: "https", DropCredentials: true}))
		defer cancel()
		if p.stop != nil {
			p.stop <- cancel
		}
		serveToTheEnd(handler, w, r.WithContext(ctx), p.judge, p.gone)
	}))
	t.Cleanup(server.Close)
	return server.URL, done
}

// serveToTheEnd returns when all of the socket is over, which ends with r's context.
func serveToTheEnd(p *Proxy, w http.ResponseWriter, r *http.Request, talk Talk, gone <-chan struct{}) {
	closed := make(chan struct{})
	p.ServeWebSocket(w, r, Socket{Context: r.Context(), Talk: talk, Gone: gone, Closed: func() { close(closed) }})
	<-closed
}

// dialTest opens the client's end.
func dialTest(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), address+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(-1)
	return conn
}

// accepting is a Dagster that does what serve does with each socket.
func accepting(t *testing.T, serve func(ctx context.Context, conn *websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"graphql-ws"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		serve(r.Context(), conn)
	}
}

// echo sends every message back until the socket closes, and reports how it closed.
func echo(closed chan<- websocket.CloseError) func(context.Context, *websocket.Conn) {
	return func(ctx context.Context, conn *websocket.Conn) {
		for {
			kind, message, err := conn.Read(ctx)
			if err != nil {
				why, _ := errors.AsType[websocket.CloseError](err)
				closed <- why
				return
			}
			if err := conn.Write(ctx, kind, message); err != nil {
				return
			}
		}
	}
}

func exchange(t *testing.T, conn *websocket.Conn, message string) string {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// closeOf reads until the socket closes.
func closeOf(t *testing.T, conn *websocket.Conn) websocket.CloseError {
	t.Helper()
	for {
		if _, _, err := conn.Read(t.Context()); err != nil {
			why, ok := errors.AsType[websocket.CloseError](err)
			if !ok {
				t.Fatalf("got %v, want a close", err)
			}
			return why
		}
	}
}

func TestMessagesAreJudgedOneByOne(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.CloseError, 1)
	address, _ := pair{
		dagster: accepting(t, echo(closed)),
		judge: func(_ context.Context, message []byte) ([]byte, []byte, error) {
			switch string(message) {
			case "bad":
				return nil, []byte("refused"), nil
			case "silent":
				return nil, nil, nil
			}
			return append([]byte("judged "), message...), nil, nil
		},
	}.start(t)
	conn := dialTest(t, address)
	if got := conn.Subprotocol(); got != "graphql-ws" {
		t.Errorf("subprotocol: got %q, want graphql-ws", got)
	}
	for message, want := range map[string]string{"good": "judged good", "bad": "refused", "": "judged "} {
		if got := exchange(t, conn, message); got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("silent")); err != nil {
		t.Fatal(err)
	}
	if got := exchange(t, conn, "next"); got != "judged next" {
		t.Errorf("after a dropped message: got %q, want %q", got, "judged next")
	}
}

func TestHandshakeAtDagster(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 1)
	address, _ := pair{
		dagster: func(w http.ResponseWriter, r *http.Request) {
			requests <- r
			http.Error(w, "no", http.StatusForbidden)
		},
		options: Options{Prefix: "/dag", CookieNames: []string{"dagster_authkit"}},
	}.start(t)
	r := request(t, http.MethodGet, address+"/elsewhere?query=x", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade, X-Hop", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Extensions": "permessage-deflate", "Sec-WebSocket-Protocol": "graphql-transport-ws", "X-Hop": "1",
		"Cookie": "dagster_authkit=secret; a=1", "Authorization": "Bearer secret", "Origin": "https://public.example",
		"X_Forwarded_User": "mallory", "X-Forwarded-User": "mallory", "User-Agent": "test", "Accept-Encoding": "gzip",
	} {
		r.Header[name] = []string{value}
	}
	resp, _ := do(t, r)
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d, want what Error answers, 502", resp.StatusCode)
	}
	got := <-requests
	key := got.Header.Get("Sec-Websocket-Key")
	got.Header.Del("Sec-Websocket-Key")
	want := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"graphql-ws"},
		"Cookie": {"a=1"}, "X-Forwarded-User": {"alice"}, "X-Forwarded-Proto": {"https"}, "User-Agent": {"test"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" || key == "AAAAAAAAAAAAAAAAAAAAAA==" {
		t.Errorf("headers (-want +got), key %s:\n%s", key, diff)
	}
	if got.RequestURI != "/dag/graphql" {
		t.Errorf("got %s, want /dag/graphql", got.RequestURI)
	}
}

func TestOrdinaryRequestIsNotUpgraded(t *testing.T) {
	t.Parallel()
	address, returned := pair{dagster: accepting(t, echo(make(chan websocket.CloseError, 1)))}.start(t)
	resp, _ := do(t, request(t, http.MethodGet, address+"/graphql", nil))
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %d, want 426", resp.StatusCode)
	}
	<-returned
}

func TestDagsterNotReady(t *testing.T) {
	t.Parallel()
	var got error
	p := newTest(t, Options{Error: func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusServiceUnavailable)
	}})
	w := httptest.NewRecorder()
	serveToTheEnd(p, w, httptest.NewRequest(http.MethodGet, "/graphql", nil), judge(forwardAll), nil)
	if !errors.Is(got, ErrUnavailable) || w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %v, %d, want ErrUnavailable and 503", got, w.Code)
	}
}

// TestClosesPassThrough in both directions, word for word.
func TestClosesPassThrough(t *testing.T) {
	t.Parallel()
	for name, why := range map[string]websocket.CloseError{
		"normal":      {Code: 1000, Reason: "done"},
		"going away":  {Code: 1001},
		"application": {Code: 4400, Reason: "Ünlesbar"},
		"no status":   {Code: 1005},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan websocket.CloseError, 1)
			address, returned := pair{dagster: accepting(t, echo(closed))}.start(t)
			conn := dialTest(t, address)
			exchange(t, conn, "hello")
			_ = conn.Close(why.Code, why.Reason)
			if got := <-closed; got != why {
				t.Errorf("client to Dagster: got %v, want %v", got, why)
			}
			<-returned

			address, returned = pair{dagster: accepting(t, func(_ context.Context, conn *websocket.Conn) {
				_ = conn.Close(why.Code, why.Reason)
			})}.start(t)
			if got := closeOf(t, dialTest(t, address)); got != why {
				t.Errorf("Dagster to client: got %v, want %v", got, why)
			}
			<-returned
		})
	}
}

// TestSocketEnds for each reason of ours, with the code that the client sees and the one that Dagster sees.
func TestSocketEnds(t *testing.T) {
	t.Parallel()
	send := func(kind websocket.MessageType, message string) func(*testing.T, *websocket.Conn, pair) {
		return func(t *testing.T, conn *websocket.Conn, _ pair) {
			if err := conn.Write(t.Context(), kind, []byte(message)); err != nil {
				t.Error(err)
			}
		}
	}
	for name, test := range map[string]struct {
		judge judge
		act   func(*testing.T, *websocket.Conn, pair)
		want  websocket.StatusCode
	}{
		"session ended":  {nil, func(_ *testing.T, _ *websocket.Conn, p pair) { close(p.gone) }, 4401},
		"server stops":   {nil, func(_ *testing.T, _ *websocket.Conn, p pair) { (<-p.stop)() }, 1001},
		"binary message": {nil, send(websocket.MessageBinary, "{}"), 1003},
		"not UTF-8":      {nil, send(websocket.MessageText, "\xff"), 1007},
		"too big":        {nil, send(websocket.MessageText, strings.Repeat("x", 1025)), 1009},
		"judge fails":    {func(context.Context, []byte) ([]byte, []byte, error) { return []byte("x"), nil, io.ErrNoProgress }, send(websocket.MessageText, "{}"), 1008},
		"judge panics":   {func(context.Context, []byte) ([]byte, []byte, error) { panic("oh") }, send(websocket.MessageText, "{}"), 1008},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan websocket.CloseError, 1)
			p := pair{
				dagster: accepting(t, echo(closed)), judge: test.judge, gone: make(chan struct{}),
				stop: make(chan context.CancelFunc, 1), options: Options{MessageLimit: 1024},
			}
			address, returned := p.start(t)
			conn := dialTest(t, address)
			if test.judge == nil {
				exchange(t, conn, strings.Repeat("x", 1024)) // the control: all is well before
			}
			test.act(t, conn, p)
			if got := closeOf(t, conn); got.Code != test.want {
				t.Errorf("client: got %v, want %d", got, test.want)
			}
			if got := <-closed; got.Code != test.want {
				t.Errorf("Dagster: got %v, want %d", got, test.want)
			}
			<-returned
		})
	}
}

func TestDagsterDies(t *testing.T) {
	t.Parallel()
	address, returned := pair{dagster: accepting(t, func(context.Context, *websocket.Conn) {})}.start(t)
	if got := closeOf(t, dialTest(t, address)); got.Code != websocket.StatusServiceRestart {
		t.Errorf("got %v, want 1012, after which a client tries again", got)
	}
	<-returned
}

// TestNothingPassesAfterTheEnd: a message that was being judged when the session ended is not forwarded.
func TestNothingPassesAfterTheEnd(t *testing.T) {
	t.Parallel()
	judging, ended := make(chan struct{}), make(chan struct{})
	var received []string
	var mu sync.Mutex
	p := pair{
		dagster: accepting(t, func(ctx context.Context, conn *websocket.Conn) {
			for {
				_, message, err := conn.Read(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				received = append(received, string(message))
				mu.Unlock()
			}
		}),
		judge: func(_ context.Context, message []byte) ([]byte, []byte, error) {
			if string(message) == "late" {
				close(judging)
				<-ended
			}
			return message, nil, nil
		},
		gone: make(chan struct{}),
	}
	address, returned := p.start(t)
	conn := dialTest(t, address)
	for _, message := range []string{"early", "late", "later"} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	<-judging
	close(p.gone)
	if got := closeOf(t, conn); got.Code != 4401 {
		t.Errorf("got %v, want 4401", got)
	}
	close(ended)
	<-returned
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"early"}, received); diff != "" {
		t.Errorf("messages at Dagster (-want +got):\n%s", diff)
	}
}

// TestNothingIsJudgedAfterTheEnd: a client that goes on sending instead of answering the close is not listened to, and
// its connection is cut.
func TestNothingIsJudgedAfterTheEnd(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.CloseError, 1)
	judged := make(chan string, 10)
	p := pair{
		dagster: accepting(t, echo(closed)),
		judge: func(_ context.Context, message []byte) ([]byte, []byte, error) {
			judged <- string(message)
			return message, nil, nil
		},
		gone: make(chan struct{}),
	}
	address, returned := p.start(t)
	conn := dialTest(t, address)
	exchange(t, conn, "early")
	close(p.gone)
	<-closed
	for range 3 {
		_ = conn.Write(t.Context(), websocket.MessageText, []byte("late"))
	}
	<-returned
	close(judged)
	var got []string
	for message := range judged {
		got = append(got, message)
	}
	if diff := cmp.Diff([]string{"early"}, got); diff != "" {
		t.Errorf("judged (-want +got):\n%s", diff)
	}
}

// TestLargeMessagesStream sends 64 MiB from Dagster and looks at the heap meanwhile.
func TestLargeMessagesStream(t *testing.T) {
	const size, allowed = 64 << 20, 16 << 20
	for _, length := range []int{0, 1, copyBuffer - 1, copyBuffer, copyBuffer + 1, size} {
		address, _ := pair{dagster: accepting(t, func(ctx context.Context, conn *websocket.Conn) {
			w, err := conn.Writer(ctx, websocket.MessageText)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := io.Copy(w, io.LimitReader(zeros{}, int64(length))); err != nil {
				t.Error(err)
			}
			_ = w.Close()
			_ = conn.Write(ctx, websocket.MessageText, []byte("next"))
			_, _, _ = conn.Read(ctx)
		})}.start(t)
		conn := dialTest(t, address)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, reader, err := conn.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, reader)
		runtime.ReadMemStats(&after)
		if n != int64(length) || err != nil {
			t.Errorf("got %d bytes, %v, want %d", n, err, length)
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > allowed {
			t.Errorf("the heap grew by %d MiB, want at most %d", grown>>20, allowed>>20)
		}
		if _, next, err := conn.Read(t.Context()); string(next) != "next" {
			t.Errorf("got %q, %v, want the next message", next, err)
		}
		_ = conn.CloseNow()
	}
}

// TestDeadClientsAreNoticed by pings that nobody answers, while one that answers stays.
func TestDeadClientsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ answers, ended bool }{
		"dead":  {false, true},
		"alive": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newPipes()
				go serve(t, network, "dagster", accepting(t, echo(make(chan websocket.CloseError, 1))))
				p := newTest(t, Options{
					Target:    func() (*url.URL, bool) { return &url.URL{Scheme: "http", Host: "dagster"}, true },
					Transport: &http.Transport{DialContext: network.dial},
				})
				returned := make(chan struct{})
				go serve(t, network, "proxy", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(returned)
					serveToTheEnd(p, w, r, judge(forwardAll), nil)
				}))
				client := &http.Client{Transport: &http.Transport{DialContext: network.dial}}
				conn, _, err := websocket.Dial(t.Context(), "ws://proxy/graphql", &websocket.DialOptions{
					HTTPClient:     client,
					OnPingReceived: func(context.Context, []byte) bool { return test.answers },
				})
				if err != nil {
					t.Fatal(err)
				}
				reading, stop := context.WithCancel(t.Context())
				go func() { _, _, _ = conn.Read(reading) }()
				select {
				case <-returned:
					if !test.ended {
						t.Error("a client that answers was cut")
					}
				case <-time.After(10 * time.Minute):
					if test.ended {
						t.Error("a client that does not answer was kept for ten minutes")
					}
				}
				stop()
				_ = conn.CloseNow()
				<-returned
				network.close()
				synctest.Wait()
			})
		})
	}
}

// pipes is a network within the process, so that time can be false.
type pipes struct {
	listeners map[string]chan net.Conn
	closed    chan struct{}
}

func newPipes() *pipes {
	return &pipes{closed: make(chan struct{}), listeners: map[string]chan net.Conn{"dagster": make(chan net.Conn), "proxy": make(chan net.Conn)}}
}

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	select {
	case p.listeners[host] <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) close() { close(p.closed) }

// listener is one host of the network.
type listener struct {
	*pipes
	host string
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.listeners[l.host]:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

func serve(t *testing.T, network *pipes, host string, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	if err := server.Serve(listener{network, host}); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestFill reads pieces of any size into a buffer.
func TestFill(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]int{0: 0, 3: 3, 4: 4, 9: 4} {
		buffer := make([]byte, 4)
		n, err := fill(oneByOne{bytes.NewReader(make([]byte, length))}, buffer)
		if n != want || err != nil {
			t.Errorf("%d bytes: got %d, %v, want %d", length, n, err, want)
		}
	}
	if _, err := fill(io.MultiReader(strings.NewReader("a"), failing{}), make([]byte, 4)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
