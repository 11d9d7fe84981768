package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"dagster-authkit/internal/config"
)

// serving is all that the server needs to know.
type serving struct {
	config   config.Config
	warnings []config.Warning
	version  string
	out, err io.Writer
	// atOnce gets a value when stopping shall no longer wait for anything.
	atOnce <-chan struct{}
}

// runServer reads the settings, refuses bad ones all at once, and serves until it is told to stop.
func (p program) runServer(args []string, asWebserver bool) int {
	given, err := split(args, config.Settings(), asWebserver)
	switch {
	case err != nil:
		return p.usage(err, programName)
	case given.help:
		return p.runCommand(p.root(), []string{"help"})
	case given.version:
		return p.runCommand(p.root(), []string{"version"})
	}
	source := p.source(given.flags)
	source.ChildArgs = given.child
	cfg, warnings, err := config.Load(source)
	if err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			p.say("%s: %s", programName, problem)
		}
		return exitUsage
	}
	ctx, atOnce, release := stopSignals()
	defer release()
	err = p.serve(ctx, serving{config: cfg, warnings: warnings, version: p.build().Version, out: p.out, err: p.err, atOnce: atOnce})
	if err != nil {
		p.complain(err)
	}
	return p.exitCode(err)
}

// stopSignals gives a context that the first SIGINT or SIGTERM ends, and a channel that the second one closes.
func stopSignals() (ctx context.Context, atOnce <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	second := make(chan struct{})
	done := make(chan struct{})
	go func() {
		for _, act := range []func(){cancel, func() { close(second) }} {
			select {
			case <-signals:
				act()
			case <-done:
				return
			}
		}
	}()
	return ctx, second, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
