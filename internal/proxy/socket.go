package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
)

const (
	// pingEvery is how often an end on which nothing moved is asked whether it is still there. Many load balancers close
	// a connection that was quiet for 60 s.
	pingEvery = 30 * time.Second
	// pongWithin is how long it may take to answer. Dagster's event loop can be busy for a while.
	pongWithin = 60 * time.Second
	// closeGrace is how long an end may take to answer a close before its connection is cut.
	closeGrace = 2 * time.Second
	// statusSessionEnded is what menu.js and programs see when the session is over: 401 in the range that RFC 6455
	// section 7.4.2 leaves to applications.
	statusSessionEnded websocket.StatusCode = 4401
)

// ending is why a socket closes, as both ends are told.
type ending struct {
	code   websocket.StatusCode
	reason string
}

// socket is a client's connection and Dagster's, tied together.
//
//	client ── talk ──> Dagster     one message at a time, each judged whole
//	client <─ (talk) ─ Dagster     streamed, however large; whole where it has to be rewritten
//
// Each arrow is a goroutine; run waits for the end in a third one.
type socket struct {
	client, dagster *websocket.Conn
	talk            Talk
	buffers         *bufferPool
	log             zerolog.Logger
	// ending takes the first reason to close; ended says that there was one: from then on nothing is forwarded, and what
	// still comes is thrown away.
	ending chan ending
	ended  atomic.Bool
	// moved counts bytes in either direction: as long as it grows, nobody needs a ping.
	moved atomic.Int64
}

func newSocket(client, dagster *websocket.Conn, talk Talk, buffers *bufferPool, log zerolog.Logger) *socket {
	return &socket{client: client, dagster: dagster, talk: talk, buffers: buffers, log: log, ending: make(chan ending, 1)}
}

// run works until the socket ends, then closes both connections and waits for the goroutines.
func (s *socket) run(ctx context.Context, gone <-chan struct{}) {
	// The connections outlive ctx by a moment: they are to be closed with a word, not cut.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var workers sync.WaitGroup
	workers.Go(func() { s.fromClient(work) })
	workers.Go(func() { s.fromDagster(work) })
	pinging, stopPings := context.WithCancel(work)
	defer stopPings()

	end := s.wait(ctx, gone, func() { workers.Go(func() { s.pingBoth(pinging) }) })
	s.ended.Store(true)
	stopPings()
	timer := time.AfterFunc(closeGrace, cut)
	defer timer.Stop()
	var closing sync.WaitGroup
	for _, conn := range []*websocket.Conn{s.client, s.dagster} {
		closing.Go(func() { _ = conn.Close(end.code, end.reason) })
	}
	closing.Wait()
	cut()
	workers.Wait()
}

// wait returns when the socket has to end, and with what words. Meanwhile it calls ping whenever nothing moved for a while.
func (s *socket) wait(ctx context.Context, gone <-chan struct{}, ping func()) ending {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for seen := s.moved.Load(); ; {
		select {
		case end := <-s.ending:
			return end
		case <-gone:
			return ending{statusSessionEnded, "session ended"}
		case <-ctx.Done():
			return ending{websocket.StatusGoingAway, "server is stopping"}
		case <-ticker.C:
			now := s.moved.Load()
			if now == seen {
				ping()
			}
			seen = now
		}
	}
}

// end asks run to close the socket. The first reason counts.
func (s *socket) end(why ending) {
	s.ended.Store(true)
	select {
	case s.ending <- why:
	default:
	}
}

// fromClient reads the client's messages and hands them on one by one. After the end it reads on, so that the client's
// answer to the close is seen.
func (s *socket) fromClient(ctx context.Context) {
	for {
		kind, reader, err := s.client.Reader(ctx)
		if err != nil {
			s.end(closedBy(err, ending{websocket.StatusGoingAway, "client went away"}))
			return
		}
		message, err := io.ReadAll(counter{reader, &s.moved})
		if err != nil {
			s.end(closedBy(err, ending{websocket.StatusGoingAway, "client went away"}))
			return
		}
		if !s.ended.Load() {
			s.handle(ctx, kind, message)
		}
	}
}

// handle judges one message of the client and sends on what came of it.
func (s *socket) handle(ctx context.Context, kind websocket.MessageType, message []byte) {
	switch {
	case kind != websocket.MessageText:
		s.end(ending{websocket.StatusUnsupportedData, "only text messages"})
		return
	case !utf8.Valid(message):
		s.end(ending{websocket.StatusInvalidFramePayloadData, "not UTF-8"})
		return
	}
	forward, refuse, err := s.judged(ctx, message)
	if err != nil {
		s.log.Warn().Err(err).Msg("websocket closed for a message that can't be judged")
		s.end(ending{websocket.StatusPolicyViolation, "message refused"})
		return
	}
	if forward != nil && !s.ended.Load() {
		if err := s.dagster.Write(ctx, websocket.MessageText, forward); err != nil {
			s.end(closedBy(err, ending{websocket.StatusServiceRestart, "dagster went away"}))
		}
	}
	if refuse != nil && !s.ended.Load() {
		if err := s.client.Write(ctx, websocket.MessageText, refuse); err != nil {
			s.end(closedBy(err, ending{websocket.StatusGoingAway, "client went away"}))
		}
	}
}

// judged asks the judge. A panic of its would end the whole program from this goroutine, where no handler recovers.
func (s *socket) judged(ctx context.Context, message []byte) (forward, refuse []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			forward, refuse, err = nil, nil, fmt.Errorf("judge panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return s.talk.FromClient(ctx, message)
}

// fromDagster streams Dagster's messages to the client.
func (s *socket) fromDagster(ctx context.Context) {
	for {
		kind, reader, err := s.dagster.Reader(ctx)
		if err != nil {
			s.end(closedBy(err, ending{websocket.StatusServiceRestart, "dagster went away"}))
			return
		}
		if !s.ended.Load() {
			s.toClient(ctx, kind, reader)
		}
		// Of a message that was not passed on the rest has to be read before the next one.
		if _, err := io.Copy(io.Discard, reader); err != nil {
			s.end(closedBy(err, ending{websocket.StatusServiceRestart, "dagster went away"}))
			return
		}
	}
}

// maxRewritten bounds a message of Dagster that has to be rewritten, in bytes: those that are streamed have no limit.
const maxRewritten = 32 << 20

// rewritten passes one message on as talk rewrites it.
func (s *socket) rewritten(ctx context.Context, kind websocket.MessageType, reader io.Reader) {
	message, err := io.ReadAll(io.LimitReader(counter{reader, &s.moved}, maxRewritten+1))
	if err != nil {
		s.end(closedBy(err, ending{websocket.StatusServiceRestart, "dagster went away"}))
		return
	}
	if len(message) > maxRewritten {
		s.end(ending{websocket.StatusMessageTooBig, "message too big"})
		return
	}
	if message, err = s.fromDagsterRewritten(message); err != nil {
		s.log.Warn().Err(err).Msg("websocket closed for a message that can't be rewritten")
		s.end(ending{websocket.StatusInternalError, "message can't be rewritten"})
		return
	}
	if err := s.client.Write(ctx, kind, message); err != nil {
		s.end(closedBy(err, ending{websocket.StatusGoingAway, "client went away"}))
	}
}

// fromDagsterRewritten asks talk, whose panic would end the whole program from this goroutine.
func (s *socket) fromDagsterRewritten(message []byte) (rewritten []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			rewritten, err = nil, fmt.Errorf("rewriting panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return s.talk.FromDagster(message)
}

// toClient passes one message on: a short one in one frame, a long one piece by piece in the same buffer.
func (s *socket) toClient(ctx context.Context, kind websocket.MessageType, reader io.Reader) {
	if s.talk.Rewrites() {
		s.rewritten(ctx, kind, reader)
		return
	}
	buffer := s.buffers.Get()
	defer s.buffers.Put(buffer)
	var writer io.WriteCloser
	for {
		n, err := fill(reader, buffer)
		if err != nil {
			s.end(closedBy(err, ending{websocket.StatusServiceRestart, "dagster went away"}))
			return
		}
		last := n < len(buffer)
		if writer, err = s.send(ctx, kind, writer, buffer[:n], last); err != nil {
			s.end(closedBy(err, ending{websocket.StatusGoingAway, "client went away"}))
			return
		}
		s.moved.Add(int64(n))
		if last {
			return
		}
	}
}

// send writes a piece of a message to the client and returns the writer for the next one, if there is to be one.
func (s *socket) send(
	ctx context.Context, kind websocket.MessageType, writer io.WriteCloser, piece []byte, last bool,
) (io.WriteCloser, error) {
	if writer == nil && last {
		return nil, s.client.Write(ctx, kind, piece)
	}
	if writer == nil {
		var err error
		if writer, err = s.client.Writer(ctx, kind); err != nil {
			return nil, err
		}
	}
	if _, err := writer.Write(piece); err != nil {
		return nil, err
	}
	if last {
		return nil, writer.Close()
	}
	return writer, nil
}

// fill reads until the buffer is full or the message ends; fewer bytes than the buffer has are the whole message.
func fill(reader io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) {
		more, err := reader.Read(buffer[n:])
		n += more
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pingBoth asks both ends whether they are still there.
func (s *socket) pingBoth(ctx context.Context) {
	s.ping(ctx, s.client, ending{websocket.StatusGoingAway, "client does not answer"})
	s.ping(ctx, s.dagster, ending{websocket.StatusServiceRestart, "dagster does not answer"})
}

// ping ends the socket when one of its ends does not answer.
func (s *socket) ping(ctx context.Context, conn *websocket.Conn, dead ending) {
	wait, cancel := context.WithTimeout(ctx, pongWithin)
	defer cancel()
	err := conn.Ping(wait)
	// A connection that is closed already has a reader that knows why.
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		s.end(dead)
	}
}

// closedBy is what the other end is told when one has ended with err: the close that it sent, word for word, or otherwise.
func closedBy(err error, otherwise ending) ending {
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		return ending{closed.Code, closed.Reason}
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return ending{websocket.StatusMessageTooBig, "message too big"}
	}
	return otherwise
}

// counter counts the bytes that are read through it.
type counter struct {
	io.Reader
	bytes *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}
