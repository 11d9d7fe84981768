// Package audit keeps what happened: each Event becomes a row of the database, which is the record, and a line of JSON
// on stdout, which is for those who collect logs. A row that can't be stored is an error; a line that can't be written
// is dropped and counted, because nobody's request may wait for whoever reads stdout.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// queueLines and queueBytes bound what waits for stdout, whichever is reached first. A reader that pauses for a few
	// seconds on a busy day loses nothing, one that stopped costs no more memory than this.
	queueLines = 4096
	queueBytes = 16 << 20
	// storeTimeout bounds the storing of a row. It is longer than SQLite's busy timeout of 5 s, which ought to decide.
	storeTimeout = 10 * time.Second
	// tellInterval keeps a slow reader of stdout from filling the log with the news that it is slow.
	tellInterval = 10 * time.Second
)

// Rows is where the record is kept.
type Rows interface {
	// AppendAudit stores the event durably: after nil, it survives a kill.
	AppendAudit(ctx context.Context, event Event) error
}

// Options are what a Trail needs.
type Options struct {
	// Rows stores the events; needed.
	Rows Rows
	// Out gets the lines, one Write each; nil: no lines.
	Out io.Writer
	// Enabled is DAGSTER_AUTH_AUDIT_LOG. False silences the lines only: the rows are AuthKit's own record, and are
	// always stored.
	Enabled bool
	// Log hears when lines were lost. It is only ever called by the goroutine that writes lines.
	Log zerolog.Logger
	// Dropped is called once for every line that was not written; nil: nobody counts. It must not block.
	Dropped func()
}

// Trail takes events from any goroutine. It is made by New, writes lines while Run or Close runs, and ends with Close.
type Trail struct {
	rows    Rows
	out     io.Writer
	log     zerolog.Logger
	dropped func()

	start   sync.Once     // starts write
	written chan struct{} // closed when write has returned
	waiting atomic.Int64  // bytes in queue
	lost    atomic.Int64  // lines not written and not yet told of in the log

	mu     sync.Mutex // guards closed, and sending on queue against its close
	closed bool
	queue  chan []byte
}

// New makes a Trail.
func New(o Options) (*Trail, error) {
	if o.Rows == nil {
		return nil, errors.New("audit: rows are needed")
	}
	if !o.Enabled {
		o.Out = nil
	}
	if o.Dropped == nil {
		o.Dropped = func() {}
	}
	return &Trail{
		rows: o.Rows, out: o.Out, log: o.Log, dropped: o.Dropped,
		written: make(chan struct{}), queue: make(chan []byte, queueLines),
	}, nil
}

// Record stores the event, then queues its line. An error means that it was not stored; no line is written then, so that
// stdout never says of something that it was allowed when the caller, on this error, must not allow it.
//
// The row is stored even if ctx ends meanwhile: who hangs up at once must not thereby keep a refusal out of the record.
func (t *Trail) Record(ctx context.Context, event Event) error {
	event = stamped(event).Clean()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := t.rows.AppendAudit(ctx, event); err != nil {
		return fmt.Errorf("store audit event %s: %w", event.Type, err)
	}
	t.Line(event)
	return nil
}

// Line queues the line of an event whose row is stored already, by the transaction that made the change. It never blocks.
func (t *Trail) Line(event Event) {
	if t.out == nil {
		return
	}
	line, err := stamped(event).MarshalJSON()
	if err != nil || !t.enqueue(append(line, '\n')) {
		t.lose(1)
	}
}

func stamped(event Event) Event {
	if event.Timestamp.IsZero() {
		event.Timestamp = time.Now().UTC()
	}
	return event
}

func (t *Trail) enqueue(line []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := int64(len(line))
	if t.closed || t.waiting.Load()+size > queueBytes {
		return false
	}
	select {
	case t.queue <- line:
		t.waiting.Add(size)
		return true
	default:
		return false
	}
}

func (t *Trail) lose(lines int) {
	for range lines {
		t.lost.Add(1)
		t.dropped()
	}
}

// Run writes lines until ctx ends or Close is done. What is recorded between the end of ctx and Close is still written:
// ctx ends the waiting, not the writing, because a Write may be blocked and can't be interrupted.
func (t *Trail) Run(ctx context.Context) error {
	t.begin()
	select {
	case <-ctx.Done():
	case <-t.written:
	}
	return nil
}

func (t *Trail) begin() { t.start.Do(func() { go t.write() }) }

// Close takes no more lines and waits until those queued are written, or until ctx ends: then it returns with an error, and
// the lines left are counted as dropped. A Write that is blocked then keeps its goroutine until it returns.
func (t *Trail) Close(ctx context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.queue)
	}
	t.mu.Unlock()
	t.begin()
	select {
	case <-t.written:
		return nil
	case <-ctx.Done():
	}
	left := 0
	for range t.queue {
		left++
	}
	t.lose(left)
	return fmt.Errorf("flush the audit lines, %d left unwritten: %w", left, ctx.Err())
}

// write is the only one who writes to out, and ends when Close was called and the queue is empty.
func (t *Trail) write() {
	defer close(t.written)
	failing, told := false, time.Time{}
	for line := range t.queue {
		t.waiting.Add(-int64(len(line)))
		_, err := t.out.Write(line)
		switch {
		case err != nil:
			t.lose(1)
			if !failing {
				t.log.Error().Err(err).Msg("audit lines can't be written; the rows in the database are complete")
			}
		case time.Since(told) > tellInterval:
			if t.tell() {
				told = time.Now()
			}
		}
		failing = err != nil
	}
	t.tell()
}

// tell logs how many lines were lost. Only the writing goroutine does, because the log may be blocked as well as stdout.
func (t *Trail) tell() bool {
	lost := t.lost.Swap(0)
	if lost > 0 {
		t.log.Warn().Int64("lines", lost).Msg("audit lines were dropped; the rows in the database are complete")
	}
	return lost > 0
}
