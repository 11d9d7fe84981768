package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// child is one process of dagster-webserver, from its start to its end.
type child struct {
	pid  int // also the number of its process group
	port int
	args []string
	// begun is when it was started.
	begun time.Time
	// exited is closed when the process has ended; state and endedAt (in clock ticks since boot) may be read then.
	exited  chan struct{}
	state   *os.ProcessState
	endedAt uint64
	relays  []*relay
	// guard takes over from us when we end; nil where there is none.
	guard *guard
	// inUse is set when its output said that the port was taken.
	inUse atomic.Bool
}

// start runs the command on that port. Its standard input is empty.
func (s *Supervisor) start(ctx context.Context, port int) (*child, error) {
	c := &child{
		port: port, args: childArgs(s.opts.Args, port, s.opts.Prefix),
		begun: time.Now(), exited: make(chan struct{}),
	}
	// Ending the child is the business of stop, which gives it time; the context must not kill it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.opts.Command, c.args...) //nolint:gosec // running the user's command is the purpose
	cmd.Env = s.env
	cmd.SysProcAttr = sysProcAttr(s.account)
	writers, err := c.pipes(cmd, s.out)
	if err != nil {
		return nil, fmt.Errorf("make the child's pipes: %w", err)
	}
	started := make(chan error)
	go s.own(c, cmd, started)
	err = <-started
	for _, w := range writers {
		_ = w.Close()
	}
	if err != nil {
		closeRelays(c.relays)
		return nil, fmt.Errorf("start %s: %w", s.opts.Command, err)
	}
	go c.releaseGuard()
	return c, nil
}

// own starts the command and stays until it has ended.
//
// The kernel sends the parent-death signal when the thread that started the child ends, not the process (Go issue
// 27505), so this goroutine holds its thread all the while.
func (s *Supervisor) own(c *child, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.pid = cmd.Process.Pid
	s.setGuard(c)
	started <- nil
	// Its result is in the state; there is nothing to copy that could fail besides.
	_ = cmd.Wait()
	c.state, c.endedAt = cmd.ProcessState, bootTicks()
	c.guard.webserverEnded()
	close(c.exited)
}

// setGuard gives the child its guard. Without one AuthKit does its work all the same.
func (s *Supervisor) setGuard(c *child) {
	g, err := startGuard(c, s.opts.Log)
	if err != nil {
		s.opts.Log.Warn().Err(err).Msg("there is no guard: should AuthKit be killed, idle code servers stay for up to 45 s, and a run that prints may fail")
		return
	}
	c.guard = g
}

// releaseGuard lets the guard take over when the child has ended and we no longer read its pipes: because nobody writes
// to them, and then there is nothing left to guard, or because we are about to end.
func (c *child) releaseGuard() {
	<-c.exited
	for _, r := range c.relays {
		<-r.done
	}
	c.guard.release()
}

// letGo ends our part of a child: its guard goes on carrying the lines of those that finish a run. When there are none
// the guard ends, and is waited for so that nothing of ours outlives us.
func (c *child) letGo() {
	over := c.over()
	closeRelays(c.relays)
	if over {
		c.guard.await(guardEnds)
	}
}

// over reports whether the child has ended and nobody is left who could write a line for it.
func (c *child) over() bool {
	for _, r := range c.relays {
		if !closed(r.done) {
			return false
		}
	}
	return c.dead()
}

// group is the child's process group.
func (c *child) group() group {
	if c.dead() {
		return group{id: c.pid, until: c.endedAt}
	}
	return group{id: c.pid, until: bootTicks()}
}

// pipes gives the command one pipe for each of its outputs and starts carrying their lines. They are our own pipes, not
// exec's: that one's Wait would wait for all who hold the other end, code servers with a run among them.
func (c *child) pipes(cmd *exec.Cmd, out *lineWriter) ([]*os.File, error) {
	stdout, outEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stderr, errEnd, err := os.Pipe()
	if err != nil {
		_, _ = stdout.Close(), outEnd.Close()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	c.relays = []*relay{newRelay(stdout, out, &c.inUse), newRelay(stderr, out, &c.inUse)}
	return []*os.File{outEnd, errEnd}, nil
}

// drain waits a moment for the last lines of an ended child.
func (c *child) drain() {
	until := time.Now().Add(drainFor)
	for _, r := range c.relays {
		r.drain(until)
	}
}

// dead reports whether the process has ended.
func (c *child) dead() bool { return closed(c.exited) }

// signal sends a signal to the webserver alone. Its group is not signalled as one: a run in it would end.
func (c *child) signal(sig syscall.Signal) {
	if c.dead() {
		return
	}
	// The process is ours and waited for by one goroutine, so an error only says that it has just ended.
	_ = syscall.Kill(c.pid, sig)
}

// exitError describes the end of a child that was never ready.
func (c *child) exitError(command string) *ExitError {
	e := &ExitError{Code: c.state.ExitCode(), Reason: c.state.String(), Command: commandLine(command, c.args)}
	if status, ok := c.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Code = 128 + int(status.Signal())
	}
	return e
}

// commandLine shows a command with its arguments; those that a shell would take apart are quoted.
func commandLine(command string, args []string) string {
	words := []string{command}
	for _, arg := range args {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$&|;<>()*?") {
			arg = fmt.Sprintf("%q", arg)
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// closeRelays ends the carrying of lines at once. A relay that is stuck in a write to a blocked stderr is left behind.
func closeRelays(relays []*relay) {
	until := time.Now().Add(drainFor)
	for _, r := range relays {
		_ = r.pipe.Close()
		r.drain(until)
	}
}
