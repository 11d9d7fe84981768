package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
)

// server is one of the directory's, and when it last could not be reached.
type server struct {
	url  *url.URL
	down atomic.Int64 // Unix nanoseconds; 0: it could be reached
}

// restTime is how long a server that could not be reached is asked last, so that not every sign-in waits for it.
const restTime = 30 * time.Second

func (s *server) rests(now time.Time) bool {
	since := s.down.Load()
	return since != 0 && now.Sub(time.Unix(0, since)) < restTime
}

// conn is one connection, for one user at a time.
type conn struct {
	*ldap.Conn
	frames  *frames
	server  *server
	timeout time.Duration
	made    time.Time
	used    time.Time
	broken  bool
	kept    bool // it was used before, and may have died since without a fault of the server
}

// do asks one question. The deadline is the connection's own: go-ldap knows no context, and bounds neither writing nor what it
// reads before a message is whole. Its decoder has panicked on malformed answers before, and a refresh runs where nobody else
// would catch that.
func (c *conn) do(ctx context.Context, ask func() error) (err error) {
	deadline := time.Now().Add(c.timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	c.frames.allow()
	if err := c.frames.SetDeadline(deadline); err != nil {
		c.broken = true
		return unavailable(c.server, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.frames.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if fault := recover(); fault != nil {
			err = ldap.NewError(ldap.ErrorNetwork, fmt.Errorf("reading the answer: %v", fault))
		}
		if !stop() || isNetwork(err) {
			c.broken = true
		}
		if isNetwork(err) {
			if ctx.Err() == nil && !c.kept {
				c.server.down.Store(time.Now().UnixNano())
			}
			err = unavailable(c.server, err)
		}
		_ = c.frames.SetDeadline(time.Time{}) // when it fails, the next question finds out
	}()
	return ask()
}

// isNetwork tells what the directory did not say from what it said: every result code of LDAP's own is below those of go-ldap.
func isNetwork(err error) bool {
	if err == nil {
		return false
	}
	said, ok := errors.AsType[*ldap.Error](err)
	return !ok || said.ResultCode >= ldap.ErrorNetwork
}

// downError is an auth.ErrUnavailable of one server, so that another one may be asked.
type downError struct {
	host string
	err  error
}

func (e *downError) Error() string {
	return fmt.Sprintf("%v: %s: %v", auth.ErrUnavailable, e.host, e.err)
}

// Unwrap makes it an auth.ErrUnavailable with a cause.
func (e *downError) Unwrap() []error { return []error{auth.ErrUnavailable, e.err} }

func unavailable(s *server, err error) error { return &downError{s.url.Host, err} }

func isDown(err error) bool {
	_, is := errors.AsType[*downError](err)
	return is
}

// connect gives a connection to the first server that takes it, with nobody bound.
func (b *Backend) connect(ctx context.Context) (*conn, error) {
	var problems []error
	for _, resting := range []bool{false, true} {
		for _, s := range b.servers {
			if s.rests(time.Now()) != resting {
				continue
			}
			c, err := b.connectTo(ctx, s)
			if err == nil {
				s.down.Store(0)
				return c, nil
			}
			if ctx.Err() != nil {
				return nil, unavailable(s, err) // it was not the server's doing
			}
			s.down.Store(time.Now().UnixNano())
			b.Log.Warn().Err(err).Str("server", s.url.Host).Msg("a directory server can't be used, and is asked last for a while")
			problems = append(problems, unavailable(s, err))
		}
	}
	return nil, fmt.Errorf("%w: %w", errAllDown, errors.Join(problems...))
}

// errAllDown says that every server was tried.
var errAllDown = errors.New("no server of the directory can be used")

func (b *Backend) connectTo(ctx context.Context, s *server) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.url.Host)
	if err != nil {
		return nil, err
	}
	secured, err := b.secure(ctx, raw, s)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	f := newFrames(secured)
	_, isTLS := secured.(*tls.Conn)
	c := &conn{Conn: ldap.NewConn(f, isTLS), frames: f, server: s, timeout: b.Timeout, made: time.Now(), used: time.Now()}
	c.SetTimeout(b.Timeout)
	c.Start()
	return c, nil
}

// secure begins TLS where the settings want it. go-ldap's own StartTLS has no deadline for the handshake, and would read what
// came in clear after the answer as if it had come by TLS.
func (b *Backend) secure(ctx context.Context, raw net.Conn, s *server) (net.Conn, error) {
	if s.url.Scheme == "ldap" && !b.StartTLS {
		return raw, nil
	}
	if s.url.Scheme == "ldap" {
		if err := askForTLS(ctx, raw); err != nil {
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	cfg := b.tls.Clone()
	cfg.ServerName = s.url.Hostname()
	secured := tls.Client(raw, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secured, nil
}

// startTLS is the extended request 1.3.6.1.4.1.1466.20037 (RFC 4511, section 4.14), with the message ID 1.
const startTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"

func askForTLS(ctx context.Context, raw net.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := raw.Write([]byte(startTLS)); err != nil {
		return err
	}
	message, err := readMessage(raw)
	if err != nil {
		return err
	}
	if elements, err := countElements(message, 0); err != nil || elements > 20 {
		return errMalformed
	}
	packet, err := ber.DecodePacketErr(message)
	if err != nil {
		return errMalformed
	}
	if err := ldap.GetLDAPError(packet); err != nil {
		return err
	}
	return raw.SetDeadline(time.Time{})
}

// bind gives the connection a name. The result may hold a password policy's controls.
func (c *conn) bind(ctx context.Context, dn, password string) (*ldap.SimpleBindResult, error) {
	var result *ldap.SimpleBindResult
	err := c.do(ctx, func() (err error) {
		request := ldap.NewSimpleBindRequest(dn, password, []ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
		result, err = c.SimpleBind(request)
		return err
	})
	return result, err
}

// close waits for nobody: go-ldap's own Close does, for as long as the connection's reader does.
func (c *conn) close() {
	_ = c.frames.SetDeadline(time.Now())
	go func() { _ = c.Close() }()
}
