package supervisor

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// linePrefix tells the child's lines from AuthKit's own log on the same stderr.
	linePrefix = "dagster | "
	// maxLine is the most of one line that is held in memory, in bytes; a longer line is cut into several.
	maxLine = 64 << 10
	// drainFor is how long the last lines of an ended child may take to come out.
	drainFor = time.Second
)

// lineWriter writes whole lines, each with the prefix and in one Write, so that lines from several pipes never mix.
type lineWriter struct {
	mu     sync.Mutex
	out    io.Writer
	prefix string
	buf    []byte
}

// line writes one line. An error is dropped: a child must not hang or die because nobody reads its log.
func (w *lineWriter) line(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], w.prefix...)
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, '\n')
	_, _ = w.out.Write(w.buf)
}

// relay carries one pipe of a child to the line writer until everybody who holds the other end has closed it. That can
// be long after the child's death: a code server that finishes a run holds it too.
type relay struct {
	pipe *os.File
	done chan struct{}
}

// newRelay starts carrying; inUse is set when a line says that the port was taken.
func newRelay(pipe *os.File, w *lineWriter, inUse *atomic.Bool) *relay {
	r := &relay{pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		copyLines(pipe, func(text []byte) {
			if saysInUse(text) {
				inUse.Store(true)
			}
			w.line(text)
		})
	}()
	return r
}

// drain waits for the end of the pipe, at most until that moment.
func (r *relay) drain(until time.Time) {
	select {
	case <-r.done:
	case <-time.After(time.Until(until)):
	}
}

// saysInUse recognises asyncio's message about a taken port, as uvicorn logs it.
func saysInUse(text []byte) bool {
	return bytes.Contains(bytes.ToLower(text), []byte("address already in use"))
}

// copyLines calls line for each line of r without its line feed, and for what is left at the end. It never holds more
// than maxLine bytes.
func copyLines(r io.Reader, line func([]byte)) {
	buf := make([]byte, 0, maxLine)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			text, after, found := bytes.Cut(rest, []byte{'\n'})
			if !found {
				break
			}
			line(text)
			rest = after
		}
		if len(rest) == maxLine {
			cut := cutAt(rest)
			line(rest[:cut])
			rest = rest[cut:]
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		if err != nil {
			if len(buf) > 0 {
				line(buf)
			}
			return
		}
	}
}

// cutAt returns where a full buffer can be cut without splitting a character.
func cutAt(full []byte) int {
	for back := 1; back < utf8.UTFMax; back++ {
		at := len(full) - back
		if utf8.RuneStart(full[at]) {
			if utf8.FullRune(full[at:]) {
				break
			}
			return at
		}
	}
	return len(full)
}
