package cli

import (
	"context"
	"errors"
)

func serve(context.Context, serving) error { return errors.New("not yet") }

func serverExitCode(err error) int {
	if err != nil {
		return exitFailure
	}
	return exitOK
}
