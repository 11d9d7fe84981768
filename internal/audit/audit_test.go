package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dagster-authkit/internal/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rows is the record, kept in memory.
type rows struct {
	mu     sync.Mutex
	events []audit.Event
	append func(context.Context) error
}

func (r *rows) AppendAudit(ctx context.Context, event audit.Event) error {
	if r.append != nil {
		if err := r.append(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
	return nil
}

// output keeps every Write apart from the others.
type output struct {
	mu     sync.Mutex
	writes []string
	write  func() error
}

func (o *output) Write(p []byte) (int, error) {
	if o.write != nil {
		if err := o.write(); err != nil {
			return 0, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, string(p))
	return len(p), nil
}

type counter struct{ atomic.Int64 }

func (c *counter) drop() { c.Add(1) }

func open(t *testing.T, out io.Writer, o audit.Options) *audit.Trail {
	t.Helper()
	o.Out, o.Enabled = out, true
	if o.Rows == nil {
		o.Rows = &rows{}
	}
	trail, err := audit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

func event(name string) audit.Event {
	return audit.Event{Type: audit.EventLoginAttempt, Username: name, Status: audit.StatusSuccess}
}

func TestRecordStoresAndWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stored, out := &rows{}, &output{}
		trail := open(t, out, audit.Options{Rows: stored})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- trail.Run(ctx) }()
		if err := trail.Record(ctx, event("a\x00b")); err != nil {
			t.Fatal(err)
		}
		trail.Line(event("line only"))
		synctest.Wait()
		if got := len(out.writes); got != 2 {
			t.Errorf("got %d writes while running, want 2: %q", got, out.writes)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := trail.Record(ctx, event("after the end of Run")); err != nil {
			t.Errorf("Record with a context that ended: %v", err)
		}
		if err := trail.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		checkLines(t, out.writes, "a\uFFFDb", "line only", "after the end of Run")
		if len(stored.events) != 2 || stored.events[0].Username != "a\uFFFDb" || stored.events[0].Timestamp.IsZero() {
			t.Errorf("stored %+v, want the first cleaned and stamped, and none of the line only", stored.events)
		}
	})
}

func checkLines(t *testing.T, writes []string, names ...string) {
	t.Helper()
	if len(writes) != len(names) {
		t.Fatalf("got %d writes, want %d: %q", len(writes), len(names), writes)
	}
	for i, line := range writes {
		var got struct{ Username, Timestamp string }
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got.Username != names[i] || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "}\n") {
			t.Errorf("write %d is %q, want one line for %q", i, line, names[i])
		}
		if _, err := time.Parse(time.RFC3339, got.Timestamp); err != nil {
			t.Error(err)
		}
	}
}

func TestRecordNotStored(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	out := &output{}
	trail := open(t, out, audit.Options{Rows: &rows{append: func(context.Context) error { return full }}})
	if err := trail.Record(t.Context(), event("alice")); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(out.writes) != 0 {
		t.Errorf("got the line %q of an event that was not stored", out.writes)
	}
}

// Who sends a refused mutation and hangs up at once must not keep it out of the record; and a store that hangs must not
// keep the request for ever.
func TestRecordOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stored := &rows{append: func(ctx context.Context) error { return ctx.Err() }}
		trail := open(t, nil, audit.Options{Rows: stored})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := trail.Record(ctx, event("alice")); err != nil || len(stored.events) != 1 {
			t.Errorf("got %v and %d rows, want it stored", err, len(stored.events))
		}
		stored.append = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		start := time.Now()
		if err := trail.Record(t.Context(), event("alice")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v from a store that hangs, want %v", err, context.DeadlineExceeded)
		}
		if waited := time.Since(start); waited > time.Minute {
			t.Errorf("waited %v for a store that hangs", waited)
		}
	})
}

func TestDisabledSilencesLinesOnly(t *testing.T) {
	t.Parallel()
	stored, out, dropped := &rows{}, &output{}, &counter{}
	trail, err := audit.New(audit.Options{Rows: stored, Out: out, Dropped: dropped.drop})
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Record(t.Context(), event("alice")); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(stored.events) != 1 || len(out.writes) != 0 || dropped.Load() != 0 {
		t.Errorf("got %d rows, %d lines, %d dropped, want 1, 0, 0", len(stored.events), len(out.writes), dropped.Load())
	}
}

// A stdout that nobody reads is a pipe whose Write does not return.
func TestBlockedOutBlocksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		unblock := make(chan struct{})
		out, stored, dropped, log := &output{write: func() error { <-unblock; return nil }}, &rows{}, &counter{}, &bytes.Buffer{}
		trail := open(t, out, audit.Options{Rows: stored, Dropped: dropped.drop, Log: zerolog.New(log)})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- trail.Run(ctx) }()
		start := time.Now()
		for i := range 5000 {
			if err := trail.Record(ctx, event(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				synctest.Wait() // the writer has taken the first line and is blocked with it
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("requests waited %v for a blocked stdout", waited)
		}
		if got := dropped.Load(); got != 5000-4096-1 || len(stored.events) != 5000 {
			t.Errorf("got %d dropped and %d rows, want %d and 5000", got, len(stored.events), 5000-4096-1)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run did not end for a blocked stdout: %v", err)
		}
		ending, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := trail.Close(ending); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a blocked stdout: got %v, want %v", err, context.DeadlineExceeded)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("Close waited %v, want the second that it was given", waited)
		}
		if got := dropped.Load(); got != 4999 {
			t.Errorf("got %d dropped after Close, want all but the line being written", got)
		}
		close(unblock)
		synctest.Wait()
		if !strings.Contains(log.String(), `"lines":4999`) {
			t.Errorf("the log does not tell of the loss: %s", log)
		}
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		big := event("alice")
		long := strings.Repeat("x", 1024)
		for range 100 {
			big.Mutations = append(big.Mutations, long)
		}
		out, dropped := &output{}, &counter{}
		trail := open(t, out, audit.Options{Dropped: dropped.drop})
		for range 250 {
			trail.Line(big)
		}
		if err := trail.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, line := range out.writes {
			bytes += len(line)
		}
		if bytes > 16<<20 || bytes < 15<<20 || int(dropped.Load()) != 250-len(out.writes) {
			t.Errorf("%d bytes in %d lines waited, %d were dropped; want 16 MiB and the rest", bytes, len(out.writes), dropped.Load())
		}
	})
}

// What has been written waits no longer: a program that runs for a year may write any amount.
func TestQueueIsFreedByWriting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		big := event(strings.Repeat("x", 1024))
		for range 100 {
			big.Roles = append(big.Roles, big.Username)
		}
		out, dropped := &output{}, &counter{}
		trail := open(t, out, audit.Options{Dropped: dropped.drop})
		ran := make(chan error)
		go func() { ran <- trail.Run(t.Context()) }()
		for range 250 {
			trail.Line(big)
			synctest.Wait()
		}
		if err := trail.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if len(out.writes) != 250 || dropped.Load() != 0 {
			t.Errorf("%d lines were written and %d dropped, want 250 and 0", len(out.writes), dropped.Load())
		}
	})
}

func TestFailingOutIsCountedAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		out, dropped, log := &output{}, &counter{}, &bytes.Buffer{}
		out.write = func() error {
			if broken.Load() {
				return syscall.EPIPE
			}
			return nil
		}
		trail := open(t, out, audit.Options{Dropped: dropped.drop, Log: zerolog.New(log)})
		ran := make(chan error)
		go func() { ran <- trail.Run(t.Context()) }()
		broken.Store(true)
		for range 10 {
			trail.Line(event("lost"))
		}
		synctest.Wait()
		broken.Store(false)
		trail.Line(event("written"))
		if err := trail.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ran; err != nil {
			t.Errorf("a failing stdout ended Run: %v", err)
		}
		if got := dropped.Load(); got != 10 {
			t.Errorf("got %d dropped, want 10", got)
		}
		checkLines(t, out.writes, "written")
		if got := strings.Count(log.String(), "broken pipe"); got != 1 {
			t.Errorf("the log tells %d times of the broken pipe, want once: %s", got, log)
		}
		if !strings.Contains(log.String(), `"lines":10`) {
			t.Errorf("the log does not tell how many were lost: %s", log)
		}
	})
}

func TestCloseTwiceAndLinesAfter(t *testing.T) {
	t.Parallel()
	out, dropped := &output{}, &counter{}
	trail := open(t, out, audit.Options{Dropped: dropped.drop})
	for range 2 {
		if err := trail.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	trail.Line(event("late"))
	if len(out.writes) != 0 || dropped.Load() != 1 {
		t.Errorf("got %d writes and %d dropped after Close, want 0 and 1", len(out.writes), dropped.Load())
	}
}

func TestConcurrentRecords(t *testing.T) {
	t.Parallel()
	stored, out := &rows{}, &output{}
	trail := open(t, out, audit.Options{Rows: stored})
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			for j := range 20 {
				if err := trail.Record(t.Context(), event(fmt.Sprint(i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(stored.events) != 1000 || len(out.writes) != 1000 {
		t.Errorf("got %d rows and %d lines, want 1000 and 1000", len(stored.events), len(out.writes))
	}
}

func TestNewNeedsRows(t *testing.T) {
	t.Parallel()
	if _, err := audit.New(audit.Options{}); err == nil {
		t.Error("a trail without rows was made")
	}
}

func BenchmarkRecord(b *testing.B) {
	trail, err := audit.New(audit.Options{Rows: discard{}, Out: io.Discard, Enabled: true})
	if err != nil {
		b.Fatal(err)
	}
	access := audit.Event{
		Type: audit.EventAccessControl, Username: "ed", Action: "POST", Resource: "/graphql", Status: audit.StatusAllowed,
		Roles: []string{"editor"}, RequestID: "r2", IP: "10.0.0.1", Mutations: []string{"launchRun"},
		Targets: map[string][]string{"job": {"daily"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := trail.Record(b.Context(), access); err != nil {
			b.Fatal(err)
		}
	}
	_ = trail.Close(b.Context())
}

type discard struct{}

func (discard) AppendAudit(context.Context, audit.Event) error { return nil }
