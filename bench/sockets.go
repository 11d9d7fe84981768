package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	socketPatience = 2 * time.Minute
	// socketsAtOnce is how many are being opened at the same time.
	socketsAtOnce = 8
	// settleTime is how long a process is left alone before its memory is read.
	settleTime = 2 * time.Second
)

// openSockets opens idle WebSockets as Dagster's UI does and returns when the server has acknowledged all of them.
func openSockets(ctx context.Context, f *front, n int) (closeAll func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, socketPatience)
	defer cancel()
	var (
		mu     sync.Mutex
		conns  []*websocket.Conn
		failed error
		turns  = make(chan struct{}, socketsAtOnce)
		all    sync.WaitGroup
	)
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			conn, err := openSocket(ctx, f, i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			conns = append(conns, conn)
		})
	}
	all.Wait()
	closeAll = func() {
		for _, conn := range conns {
			_ = conn.CloseNow()
		}
	}
	if len(conns) < n {
		closeAll()
		return nil, fmt.Errorf("%d of %d WebSockets were opened: %w", len(conns), n, failed)
	}
	return closeAll, nil
}

func openSocket(ctx context.Context, f *front, i int) (*websocket.Conn, error) {
	header := http.Header{"Origin": {f.address}}
	if len(f.cookies) > 0 {
		header.Set("Cookie", f.cookies[i%len(f.cookies)])
	}
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(f.address, "http")+"/graphql",
		&websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{"graphql-ws"}})
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"type":"connection_init","payload":{}}`)); err != nil {
		return nil, errors.Join(err, conn.CloseNow())
	}
	if _, message, err := conn.Read(ctx); err != nil || !strings.Contains(string(message), "connection_ack") {
		return nil, errors.Join(fmt.Errorf("no acknowledgement but %q", message), err, conn.CloseNow())
	}
	return conn, nil
}

// memory is what a front's own processes hold, in MiB.
type memory struct {
	Idle      float64 `json:"idle_mib"`
	Sockets   int     `json:"sockets"`
	Connected float64 `json:"connected_mib"` // with so many idle WebSockets, before any load
	After     float64 `json:"after_mib"`     // after the run
}

// perSocket is in KiB.
func (m memory) perSocket() float64 { return ratio((m.Connected-m.Idle)*1024, float64(m.Sockets)) }

// measureSockets reads the memory of a front that has done nothing yet, then with idle WebSockets.
func measureSockets(ctx context.Context, f *front, n int) (memory, error) {
	if err := pause(ctx, settleTime); err != nil {
		return memory{}, err
	}
	m := memory{Idle: residentMiB(f.own())}
	closeAll, err := openSockets(ctx, f, n)
	if err != nil {
		return m, err
	}
	defer closeAll()
	if err := pause(ctx, settleTime); err != nil {
		return m, err
	}
	m.Sockets, m.Connected = n, residentMiB(f.own())
	return m, nil
}
