package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal gives a real pseudo-terminal: what is written to person is typed, what is read from it is shown.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The person hangs up first, which ends whatever still reads.
		person.Close()
		program.Close()
	})
	return person, program
}

// readUntil reads what the person sees until mark is there.
func readUntil(t *testing.T, file *os.File, mark string) string {
	t.Helper()
	var seen strings.Builder
	for !strings.Contains(seen.String(), mark) {
		buffer := make([]byte, 256)
		n, err := file.Read(buffer)
		if err != nil {
			t.Fatalf("after %q: %v", seen.String(), err)
		}
		seen.Write(buffer[:n])
	}
	return seen.String()
}

func TestHiddenAnswerIsNotShown(t *testing.T) {
	t.Parallel()
	person, program := openTerminal(t)
	tty := osTerminal{in: program, out: program}
	if !tty.interactive() {
		t.Fatal("interactive: got false on a terminal")
	}
	answers := make(chan string)
	ask := func(ask func(context.Context, string) (string, error)) {
		text, err := ask(t.Context(), "Question: ")
		if err != nil {
			t.Error(err)
		}
		answers <- text
	}
	answer := func() string {
		seen := readUntil(t, person, "Question: ")
		if _, err := person.WriteString("hunter2\n"); err != nil {
			t.Fatal(err)
		}
		if got := <-answers; got != "hunter2" {
			t.Errorf("got the answer %q, want hunter2", got)
		}
		if _, err := program.WriteString("END"); err != nil {
			t.Fatal(err)
		}
		return seen + readUntil(t, person, "END")
	}
	go ask(tty.askHidden)
	waitFor(t, func() bool { return !echoes(t, program) })
	if seen := answer(); strings.Contains(seen, "hunter2") {
		t.Errorf("askHidden: the screen shows %q", seen)
	}
	// The control: an ordinary question shows the answer, and typing is visible again.
	go ask(tty.ask)
	if seen := answer(); !strings.Contains(seen, "hunter2") {
		t.Errorf("ask: the screen shows %q, want the answer too", seen)
	}
}

func TestInterruptMakesTypingVisibleAgain(t *testing.T) {
	t.Parallel()
	_, program := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := osTerminal{in: program, out: program}.askHidden(ctx, "Question: ")
		ended <- err
	}()
	waitFor(t, func() bool { return !echoes(t, program) })
	cancel()
	if err := <-ended; !errors.Is(err, errInterrupted) {
		t.Errorf("askHidden: got error %v, want errInterrupted", err)
	}
	if !echoes(t, program) {
		t.Error("typing is still hidden")
	}
}

func TestNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if (osTerminal{in: null, out: null}).interactive() || term.IsTerminal(int(null.Fd())) {
		t.Error("interactive: got true for /dev/null")
	}
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// waitFor looks until it is so. The kernel's terminal is outside of synctest's time.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for a minute")
		}
	}
}
