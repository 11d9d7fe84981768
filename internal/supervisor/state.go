package supervisor

import (
	"fmt"
	"time"
)

// Phase is what the child is doing.
type Phase string

// The phases in the order in which they come; Backoff goes back to Starting.
const (
	// Starting: the process runs (or is about to) but does not answer yet.
	Starting Phase = "starting"
	// Ready: it answers, and OnReady is done with it.
	Ready Phase = "ready"
	// Backoff: it died and waits for its next start.
	Backoff Phase = "backoff"
	// Stopping: it was told to stop.
	Stopping Phase = "stopping"
	// Stopped: Run has returned or is about to.
	Stopped Phase = "stopped"
)

// State is a snapshot for the health answer.
type State struct {
	Phase Phase
	// PID is the child's process, 0 while there is none.
	PID int
	// Restarts counts the starts after the first one.
	Restarts int
	// Since is when Phase began.
	Since time.Time
	// LastExit says how the last child ended, "exit status 1" or "signal: killed"; "" when none did.
	LastExit string
}

// ExitError says that the child ended before it was ever ready, which ends AuthKit too. The child's own words are on
// stderr already.
type ExitError struct {
	// Code is the child's exit code, or 128 plus the number of the signal that killed it, as a shell has it.
	Code int
	// Reason is "exit status 2", "signal: killed", or that the fixed port was taken.
	Reason string
	// Command is the command line it was started with.
	Command string
}

// Error describes the end and the command line, in which a user's option without its value shows at once.
func (e *ExitError) Error() string {
	return fmt.Sprintf("dagster-webserver ended before it was ready (%s); it was started as: %s", e.Reason, e.Command)
}
