// Package app puts the program together: New builds the parts in order, Run runs them and stops them in the reverse
// order. It is called by the server command, and by nothing else.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
	"dagster-authkit/internal/supervisor"
)

// Options of an App.
type Options struct {
	Config   config.Config
	Warnings []config.Warning
	Version  string
	Stdout   io.Writer // audit events only
	Stderr   io.Writer // AuthKit's log and the child's output
}

// App is the program, built and not yet running.
type App struct {
	cfg      config.Config
	log      zerolog.Logger
	store    *store.Store
	ways     *backends
	sessions *session.Manager
	trail    *audit.Trail
	webserver
	roles    *roleCheck
	handler  http.Handler
	listener net.Listener
}

// Serve builds the program and runs it until ctx ends; a value on atOnce cuts stopping short.
func Serve(ctx context.Context, o Options, atOnce <-chan struct{}) error {
	// First of all: from here on, no process of the same user can read our memory or environment.
	if err := supervisor.ClearDumpable(); err != nil {
		return fmt.Errorf("keeping other processes out of this one: %w", err)
	}
	// Whoever read our stdout or stderr may leave: then lines are lost, and counted. Without this Go would end the program.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	return a.Run(ctx, atOnce)
}

// ExitCode is the one place that turns the end of Serve into an exit code: the child's own when it was never ready.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*supervisor.ExitError](err); ok {
		return exit.Code
	}
	if _, ok := errors.AsType[misfitError](err); ok || errors.Is(err, store.ErrNewerSchema) || errors.Is(err, store.ErrPooler) {
		return 2
	}
	return 1
}

// New builds every part in order. When one fails, those before it are closed again and nothing has been started.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{cfg: o.Config, log: newLog(o.Stderr, o.Config.LogLevel)}
	for _, warning := range o.Warnings {
		a.log.Warn().Msg(string(warning))
	}
	if err := a.build(ctx, o); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// headerTimeout bounds how long a client may take over its request line and headers (Slowloris), idleTimeout how long a
// silent connection is kept, and maxHeader how much it may send before anybody knows who it is. Answers have no limit in
// time: a log download or a subscription may run for hours.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Run serves until ctx ends, then stops in the order of design.md: no new requests, drain, close WebSockets, stop the child,
// flush the audit trail, close the database. A value on atOnce cuts the waiting short. It returns the child's ExitError when
// the child failed before it was ever ready.
func (a *App) Run(ctx context.Context, atOnce <-chan struct{}) error {
	defer a.close()
	// Each group of goroutines ends when its context does; they are ended one after the other.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	child, endChild := context.WithCancel(context.WithoutCancel(ctx))
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	defer endChild()
	defer endBackground()

	front := &http.Server{
		Handler: a.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return server.WithStop(requests) },
		ErrorLog:    serverLog(a.log),
	}
	var helpers errgroup.Group
	helpers.Go(func() error { return a.trail.Run(background) })
	helpers.Go(func() error { return a.sessions.Run(background) })
	helpers.Go(func() error { return a.sweepAttempts(background) })
	helpers.Go(func() error { return a.sweepTokens(background) })
	helpers.Go(func() error { return tidyUp(background) })
	helpers.Go(func() error { return collectLate(background) })
	helpers.Go(func() error { return a.sweepAudit(background) })
	ended := make(chan error, 2)
	go func() { ended <- a.webserver.Run(child) }()
	served := make(chan error, 1)
	go func() { served <- front.Serve(a.listener) }()
	a.announce()

	var failure error
	childEnded := false
	select {
	case <-ctx.Done():
		a.log.Info().Dur("grace_ms", a.cfg.ShutdownGrace).Msg("stopping")
	case failure = <-ended:
		childEnded = true
	case failure = <-served:
	case failure = <-a.roles.misfit:
	}
	go func() {
		select {
		case <-atOnce:
			_ = front.Close()
			a.Kill()
		case <-background.Done():
		}
	}()
	drain(front, a.cfg.ShutdownGrace/2)
	endRequests()
	endChild()
	if !childEnded {
		failure = errors.Join(failure, <-ended)
	}
	endBackground()
	failure = errors.Join(failure, ignoreCancelled(helpers.Wait()))
	return failure
}

// drain lets running answers end, and cuts those that take longer than the time given.
func drain(front *http.Server, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := front.Shutdown(ctx); err != nil {
		_ = front.Close()
	}
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// close gives back what New opened, last first. The trail is flushed while the database still stands.
func (a *App) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.ways != nil && a.ways.close != nil {
		a.ways.close()
	}
	if a.trail != nil {
		if err := a.trail.Close(ctx); err != nil {
			a.log.Warn().Err(err).Msg("flushing the audit trail failed")
		}
	}
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Warn().Err(err).Msg("closing the database failed")
		}
	}
}

// newLog writes for people on a terminal and JSON elsewhere, always to stderr: stdout belongs to the audit events.
func newLog(stderr io.Writer, level zerolog.Level) zerolog.Logger {
	out := stderr
	if file, ok := stderr.(*os.File); ok && isTerminal(file) {
		out = zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
