package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/config"
)

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
		return p.badSettings(err)
	}
	ctx, atOnce, release := stopSignals()
	defer release()
	options := app.Options{Config: cfg, Warnings: warnings, Version: p.build().Version, Stdout: p.out, Stderr: p.err}
	if err = p.serve(ctx, options, atOnce); err != nil {
		p.complain(err)
	}
	return app.ExitCode(err)
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
