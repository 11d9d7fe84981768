package cli

import (
	"context"

	"dagster-authkit/internal/app"
)

// serve runs the program until ctx ends.
func serve(ctx context.Context, s serving) error {
	return app.Serve(ctx, app.Options{Config: s.config, Warnings: s.warnings, Version: s.version, Stdout: s.out, Stderr: s.err}, s.atOnce)
}

// serverExitCode is the app's: it knows the child's.
func serverExitCode(err error) int { return app.ExitCode(err) }
