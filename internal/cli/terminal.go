package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal asks the person who sits there. A function of a test may stand in for it.
type terminal interface {
	// interactive reports whether somebody can answer.
	interactive() bool
	// ask shows the question and reads one line.
	ask(ctx context.Context, question string) (string, error)
	// askHidden is ask without showing what is typed.
	askHidden(ctx context.Context, question string) (string, error)
}

var errInterrupted = errors.New("interrupted")

// osTerminal reads from stdin and writes its questions to stderr, as stdout is for results.
type osTerminal struct{ in, out *os.File }

func (t osTerminal) interactive() bool { return term.IsTerminal(t.descriptor()) }

func (t osTerminal) descriptor() int { return int(t.in.Fd()) } //nolint:gosec // A descriptor is a small number.

func (t osTerminal) ask(ctx context.Context, question string) (string, error) {
	return t.answer(ctx, question, func() (string, error) {
		line, err := bufio.NewReader(t.in).ReadString('\n')
		return strings.TrimRight(line, "\r\n"), err
	})
}

func (t osTerminal) askHidden(ctx context.Context, question string) (string, error) {
	descriptor := t.descriptor()
	before, err := term.GetState(descriptor)
	if err != nil {
		return "", fmt.Errorf("reading the terminal's state: %w", err)
	}
	text, err := t.answer(ctx, question, func() (string, error) {
		typed, err := term.ReadPassword(descriptor)
		return string(typed), err
	})
	if errors.Is(err, errInterrupted) {
		// Ctrl-C ended the question while typing was hidden: the shell must not stay mute.
		err = errors.Join(err, term.Restore(descriptor, before))
	}
	_, _ = fmt.Fprintln(t.out)
	return text, err
}

// answer reads in its own goroutine, as a read from a terminal can't be called off: when ctx ends first, the goroutine
// waits until the program ends, which is at once.
func (t osTerminal) answer(ctx context.Context, question string, read func() (string, error)) (string, error) {
	if _, err := fmt.Fprint(t.out, question); err != nil {
		return "", err
	}
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := read()
		replies <- reply{text, err}
	}()
	select {
	case r := <-replies:
		return r.text, r.err
	case <-ctx.Done():
		return "", errInterrupted
	}
}
