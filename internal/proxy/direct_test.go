package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wordy is a server that says word for word what a test wants. say is called for each request, with its number on its
// connection, and the connection is closed when it returns false.
type wordy struct {
	address         string
	accepted, asked atomic.Int32
	open            atomic.Int32
}

func startWordy(t *testing.T, say func(w io.Writer, number int, query string) (goOn bool)) *wordy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &wordy{address: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.open.Add(1)
			serving.Go(func() {
				defer s.open.Add(-1)
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for number := 1; ; number++ {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					query, err := io.ReadAll(r.Body)
					if err != nil {
						return
					}
					s.asked.Add(1)
					if !say(conn, number, string(query)) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return s
}

// plainly is an answer of that length.
func plainly(text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
}

func startDirect(t *testing.T) *direct {
	t.Helper()
	d := newDirect(newTransport())
	d.idleTimeout = time.Hour // how often Dagster is called must not depend on how fast the machine is
	t.Cleanup(d.CloseIdleConnections)
	return d
}

// text sends a query as a flight does, and reads the answer.
func (d *direct) text(ctx context.Context, address, query string) (string, error) {
	body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(query)), nil }
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/graphql", strings.NewReader(query))
	if err != nil {
		return "", err
	}
	r.GetBody = body
	resp, err := d.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	return string(content), err
}

// TestDirect asks three queries one after the other, or until one fails, and looks at the answers and at how often Dagster was called and asked.
func TestDirect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		say             func(w io.Writer, number int, query string) bool
		fails           int // the number of the query that gets an error; each other one gets itself as its answer
		accepted, asked int32
	}{
		{"one connection", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, plainly(query))
			return true
		}, 0, 1, 3},
		{"answers in pieces, after words that come before an answer", func(w io.Writer, _ int, query string) bool {
			_, _ = fmt.Fprintf(w, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(query), query)
			return true
		}, 0, 1, 3},
		{"Dagster announces that it hangs up", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, strings.Replace(plainly(query), "\r\n", "\r\nConnection: close\r\n", 1))
			return true
		}, 0, 3, 3},
		{"an answer without a length", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n"+query)
			return false
		}, 0, 3, 3},
		{"Dagster hangs up when it is asked again", func(w io.Writer, number int, query string) bool {
			if number > 1 {
				return false
			}
			_, _ = io.WriteString(w, plainly(query))
			return true
		}, 0, 3, 5},
		{"more comes with an answer than belongs to it", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, plainly(query)+plainly("somebody else's"))
			return true
		}, 0, 3, 3},
		{"a new connection breaks", func(io.Writer, int, string) bool { return false }, 1, 1, 1},
		{"half an answer", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, plainly(query)[:len(plainly(query))-1])
			return false
		}, 1, 1, 1},
		{"half a head", func(w io.Writer, _ int, _ string) bool {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Le")
			return false
		}, 1, 1, 1},
		{"half a head by a connection that was good before", func(w io.Writer, number int, query string) bool {
			_, _ = io.WriteString(w, plainly(query)[:len(plainly(query))/number])
			return number == 1
		}, 2, 1, 2},
		{"a head without end", func(w io.Writer, _ int, _ string) bool {
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nX: ")
			for i := 0; err == nil && i < 2*maxAnswerHeader; i += 1 << 10 {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<10))
			}
			_, _ = io.WriteString(w, "\r\nContent-Length: 0\r\n\r\n")
			return false
		}, 1, 1, 1},
		{"nothing but words that come before an answer", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInformational+1)+plainly(query))
			return false
		}, 1, 1, 1},
		{"another protocol", func(w io.Writer, _ int, _ string) bool {
			_, _ = io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			return false
		}, 1, 1, 1},
		{"no status", func(w io.Writer, _ int, query string) bool {
			_, _ = io.WriteString(w, strings.Replace(plainly(query), "200", "000", 1))
			return true
		}, 1, 1, 1},
		{"no HTTP", func(w io.Writer, _ int, _ string) bool {
			_, _ = io.WriteString(w, "220 mail.example ESMTP\r\n\r\n")
			return false
		}, 1, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, d := startWordy(t, test.say), startDirect(t)
			for number := 1; number <= 3; number++ {
				query := fmt.Sprintf("query %d", number)
				got, err := d.text(t.Context(), s.address, query)
				if number == test.fails {
					if err == nil {
						t.Errorf("%s: got %q, want an error", query, got)
					}
					break
				}
				if err != nil || got != query {
					t.Errorf("got %q and %v, want %q", got, err, query)
				}
			}
			if accepted, asked := s.accepted.Load(), s.asked.Load(); accepted != test.accepted || asked != test.asked {
				t.Errorf("Dagster was called %d times and asked %d times, want %d and %d", accepted, asked, test.accepted, test.asked)
			}
			d.CloseIdleConnections() // before the server waits for its connections to end
		})
	}
}

// TestDirectUnasked: what Dagster has said on an idle connection is nobody's answer.
func TestDirectUnasked(t *testing.T) {
	t.Parallel()
	said := make(chan struct{}, 1)
	speak := make(chan struct{})
	s := startWordy(t, func(w io.Writer, _ int, query string) bool {
		_, _ = io.WriteString(w, plainly(query))
		if query == "first" {
			<-speak
			_, _ = io.WriteString(w, plainly("somebody else's"))
			said <- struct{}{}
		}
		return true
	})
	d := startDirect(t)
	if got, err := d.text(t.Context(), s.address, "first"); err != nil || got != "first" {
		t.Fatalf("got %q and %v, want the answer to the query", got, err)
	}
	close(speak)
	<-said
	for _, query := range []string{"second", "third"} {
		if got, err := d.text(t.Context(), s.address, query); err != nil || got != query {
			t.Errorf("got %q and %v, want %q", got, err, query)
		}
	}
	if got := s.accepted.Load(); got != 2 {
		t.Errorf("Dagster was called %d times, want 2: once more after the first connection was given up", got)
	}
	d.CloseIdleConnections()
}

// TestDirectGivenUp: the end of a request ends the wait for its answer, and its connection.
func TestDirectGivenUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, begin string }{
		{"before the answer", ""},
		{"within the answer", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			s := startWordy(t, func(w io.Writer, _ int, _ string) bool {
				_, _ = io.WriteString(w, test.begin)
				cancel()
				return true
			})
			if got, err := startDirect(t).text(ctx, s.address, "a query"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %q and %v, want the context's error", got, err)
			}
			waitUntil(t, "the connection is closed", func() bool { return s.open.Load() == 0 })
		})
	}
}

// TestDirectIdle: connections that nobody uses are closed, at the latest before Dagster would do it, and when Dagster is somewhere else.
func TestDirectIdle(t *testing.T) {
	t.Parallel()
	echo := func(w io.Writer, _ int, query string) bool {
		_, _ = io.WriteString(w, plainly(query))
		return true
	}
	before, after := startWordy(t, echo), startWordy(t, echo)
	d := startDirect(t)
	d.idleTimeout = idleTimeout
	for _, s := range []*wordy{before, after} {
		if got, err := d.text(t.Context(), s.address, "a query"); err != nil || got != "a query" {
			t.Fatalf("got %q and %v, want the query", got, err)
		}
	}
	waitUntil(t, "the connection to the one before is closed", func() bool { return before.open.Load() == 0 })
	waitUntil(t, "the idle connection is closed", func() bool { return after.open.Load() == 0 })
	if got, err := d.text(t.Context(), after.address, "again"); err != nil || got != "again" {
		t.Errorf("after that: got %q and %v, want the query", got, err)
	}
	d.CloseIdleConnections()
}

// TestDirectUnreachable: the error says that nothing reached Dagster.
func TestDirectUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := startDirect(t).text(t.Context(), l.Addr().String(), "a query"); !errors.Is(unavailable(err), ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain: %s", what)
		}
	}
}
