package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a TCP proxy that is as slow as a line: a rate that all connections share in each direction, and a delay. A new
// connection waits for a round trip more, as its handshake would. There is no slow start and no loss.
type link struct {
	listener   net.Listener
	target     string
	delay      time.Duration // one way
	up, down   lane
	background sync.WaitGroup
}

// lane is one direction of a link.
type lane struct {
	perByte time.Duration
	bytes   atomic.Int64

	mu   sync.Mutex
	free time.Time // when the last byte that was accepted will have left
}

const (
	// pieceSize is how much of a connection goes on the line before another's turn, 1.6 ms at 20 Mbit/s.
	pieceSize = 4096
	// ahead is how far a connection may reserve, so that a sleep that is too long leaves no gap on the line.
	ahead = 5 * time.Millisecond
)

// openLink listens on loopback for one target.
func openLink(ctx context.Context, target string, bitsPerSecond int64, roundTrip time.Duration) (*link, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	perByte := time.Duration(8 * int64(time.Second) / bitsPerSecond)
	l := &link{listener: listener, target: target, delay: roundTrip / 2}
	l.up.perByte, l.down.perByte = perByte, perByte
	l.background.Go(func() { l.serve(ctx) })
	return l, nil
}

func (l *link) address() string { return "http://" + l.listener.Addr().String() }

// total is how many bytes went over the line, in both directions.
func (l *link) total() int64 { return l.up.bytes.Load() + l.down.bytes.Load() }

// close ends all connections once ctx of openLink is done, too.
func (l *link) close() {
	_ = l.listener.Close()
	l.background.Wait()
}

func (l *link) serve(ctx context.Context) {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.background.Go(func() { l.join(ctx, client) })
	}
}

// join carries one connection until one side has ended or ctx is done.
func (l *link) join(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // Nothing is lost.
	if pause(ctx, 2*l.delay) != nil {
		return
	}
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // Nothing is lost.
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); l.up.carry(ctx, server, client, l.delay) })
	both.Go(func() { defer cancel(); l.down.carry(ctx, client, server, l.delay) })
	both.Wait()
}

// piece is some bytes on their way, and when they arrive.
type piece struct {
	data    []byte
	arrives time.Time
}

// carry reads what the line has room for, and writes it when it arrives.
func (l *lane) carry(ctx context.Context, to io.Writer, from io.Reader, delay time.Duration) {
	onTheWay := make(chan piece, 1024)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(onTheWay)
		for {
			buffer := make([]byte, pieceSize)
			n, err := from.Read(buffer)
			if n > 0 {
				left := l.reserve(n)
				select {
				case onTheWay <- piece{buffer[:n], left.Add(delay)}:
				case <-ctx.Done():
					return
				}
				if pause(ctx, time.Until(left)-ahead) != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range onTheWay {
		if pause(ctx, time.Until(p.arrives)) != nil {
			break
		}
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	if closer, ok := from.(io.Closer); ok {
		_ = closer.Close() // ends a read that nobody waits for
	}
	reading.Wait()
}

// reserve takes the line for n bytes and says when the last of them will have left.
func (l *lane) reserve(n int) time.Time {
	l.bytes.Add(int64(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * l.perByte)
	return l.free
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
