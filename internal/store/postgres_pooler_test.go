package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/e2e/pgtest"
	"dagster-authkit/internal/identity"
)

// TestPoolers: a PgBouncer that does not leave connections to whoever made them is refused, with a line that says what to do,
// and nothing is left behind that others would wait for. One that does is warned of, and works.
func TestPoolers(t *testing.T) {
	t.Parallel()
	const ignore = "ignore_startup_parameters=search_path,statement_timeout,lock_timeout,idle_in_transaction_session_timeout,tcp_user_timeout"
	for i, tc := range []struct {
		name     string
		settings []string
		path     bool // the login has the search_path, since the pooler ignores ours
		want     string
	}{
		{"as it comes", []string{"pool_mode=session"}, false, "is that a pooler?"},
		{"no search_path", []string{"pool_mode=session", ignore}, false, "it ignores the search_path"},
		{"transaction", []string{"pool_mode=transaction", ignore}, true, "pool_mode=transaction"},
		{"transaction, in turn", []string{"pool_mode=transaction", "server_round_robin=1", "min_pool_size=3", ignore}, true, "pool_mode=transaction"},
		{"transaction, one connection", []string{"pool_mode=transaction", "default_pool_size=1", ignore}, true, "pool_mode=transaction"},
		{"statement", []string{"pool_mode=statement", ignore}, true, "pool_mode=transaction, or statement"},
		{"session", []string{"pool_mode=session", ignore}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			login := fmt.Sprint("pooled_", i)
			o, through := pooled(t, login, tc.path, tc.settings...)
			if tc.want == "" {
				worksPooled(t, through)
				return
			}
			s, err := Open(t.Context(), through)
			if err == nil {
				t.Fatalf("got no error, want one with %q (closed: %v)", tc.want, s.Close())
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, tc.want)
			}
			if refused := tc.name != "as it comes"; errors.Is(err, ErrPooler) != refused {
				t.Errorf("the error is ErrPooler: %t, want %t", !refused, refused)
			}
			check(t, "the control: without it", openOptions(t, o).Ping(t.Context()))
		})
	}
}

// pooled makes a login with its schema, and gives the ways to it without a pooler and through one of its own.
func pooled(t *testing.T, login string, path bool, settings ...string) (direct, through Options) {
	t.Helper()
	s, err := server()
	needServer(t, s, err)
	statements := fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'x'; CREATE SCHEMA %[1]s AUTHORIZATION %[1]s`, login)
	if path {
		statements += fmt.Sprintf(`; ALTER ROLE %[1]s SET search_path = %[1]s`, login)
	}
	check(t, "make the login", s.Exec(t.Context(), "postgres", statements))
	pooler, err := s.StartPooler(map[string]string{login: "x"}, settings...)
	if errors.Is(err, pgtest.ErrNoPooler) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, "stop", pooler.Stop()) })
	direct = Options{URL: s.URL(login, "x", "postgres"), Schema: login, MaxConnections: 5, Log: zerolog.Nop()}
	through = direct
	through.URL = pooler.URL(login, "x", "postgres")
	return direct, through
}

// worksPooled: with connections of one's own through a pooler, changes are heard of as without.
func worksPooled(t *testing.T, o Options) {
	t.Helper()
	var log bytes.Buffer
	var mu sync.Mutex
	o.Log = zerolog.New(lockedWriter{&mu, &log})
	stores := []*Store{openOptions(t, o), openOptions(t, o)}
	acrossVersionOf(t, stores, add(t, stores[0], "alice", identity.Viewer))
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "a pooler stands before PostgreSQL"); n != 2 {
		t.Errorf("%d warnings of a pooler from two starts:\n%s", n, &log)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// TestFirstConnection: the first connection may take as long as the URL says, be it one of a database that has to wake up.
func TestFirstConnection(t *testing.T) {
	t.Parallel()
	o := newSchema(t)
	o.URL += "&connect_timeout=100"
	var dials atomic.Int32
	o.tweak = func(c *postgresConfig) {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			end, bounded := ctx.Deadline()
			if left := time.Until(end); dials.Add(1) == 1 && (!bounded || left <= poolerTimeout || left > c.ConnectTimeout) {
				t.Errorf("the first connection is given %v (%t), want what the URL says, %v", left, bounded, c.ConnectTimeout)
			}
			return dial(ctx, network, address)
		}
	}
	check(t, "the control: it works", openOptions(t, o).Ping(t.Context()))
	if dials.Load() == 0 {
		t.Error("nothing was seen of the connections")
	}
}
