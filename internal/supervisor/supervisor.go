// Package supervisor runs dagster-webserver as AuthKit's child: it starts it on a loopback port, knows when it is ready,
// restarts it when it dies, and stops it so that nothing is left behind but people's runs. The app package starts one
// Supervisor per process and hands its Address to the proxy.
//
// What the code relies on was measured on dagster-webserver 1.13.27 and 1.10.0 (Linux, default run launcher):
//
//   - The webserver starts one code server per location (`python -m dagster api grpc`). With the DefaultRunCoordinator
//     each run is a child of that code server, started by multiprocessing's spawn (`--multiprocessing-fork`), and a step
//     of the multiprocess executor is a child of the run. All of them, and their helpers (`tail -F`), stay in the
//     webserver's process group and session. With the queued coordinator, 1.13's default, runs are dagster-daemon's, in
//     its own process tree, and nothing here ever meets them.
//   - After its first run a code server keeps multiprocessing's resource tracker as a child; that is no run.
//   - Told to stop by SIGTERM, 1.13 asks its code servers to shut down once their runs are over and ends with code 0 in
//     about a second, without waiting for the runs, which end in success. 1.10.0 dies of the signal at once; its code
//     servers live on until they have missed the heartbeat for 45 s.
//   - SIGTERM to an idle code server ends it in a second or two. One with a run never gets it: without being asked it
//     waits for the run and then ends, when it was told to shut down or misses the heartbeat.
//   - On a loaded machine the webserver of 1.13 takes over SIGTERM as long as 13 s.
//   - With NoOpComputeLogManager a step prints straight to our pipe: with nobody at its other end the print fails, and so
//     does the run.
//
// For when AuthKit is killed, two things stand ready. The kernel's parent-death signal asks the webserver to end, whatever
// else is killed with AuthKit. The guard (guardmain_linux.go), a small process beside each child, sees to it that the
// webserver and idle code servers are gone within 5 s, and goes on reading what runs print, after an orderly stop too.
//
// How a run is told from an idle code server is in tree.go. Elsewhere than on Linux nobody can be told from anybody, so
// only the webserver itself is ever ended there.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// defaultGrace is how long a stop waits for the child when Options.Grace is zero: the default of --shutdown-grace.
const defaultGrace = 10 * time.Second

// Options is what a Supervisor needs to know.
type Options struct {
	// Command is the path of the executable, as Find returns it.
	Command string
	// Args are the user's arguments for the child, without host, port and path prefix, which AuthKit owns.
	Args []string
	// Prefix is the path prefix, "" or "/dagster": begins with a slash and does not end with one.
	Prefix string
	// Port is the loopback port the child gets; 0 lets the supervisor pick a free one for each start.
	Port int
	// User is the account, by name or number, that the child runs as; it needs a start as root. "" is our own.
	User string
	// Env is the environment to start from, as os.Environ gives it; secrets and addresses are taken out here.
	Env []string
	// Grace is how long a stop waits before what carries no run is killed; 0 means 10 seconds.
	Grace time.Duration
	// Stderr receives the child's output, one Write per whole line. nil means os.Stderr. If the log goes there too it must
	// be safe for concurrent use and write each line in one piece, as an os.File does. What runs print when Run has
	// returned goes to os.Stderr in any case.
	Stderr io.Writer
	// Log receives the supervisor's own events.
	Log zerolog.Logger
	// OnReady is called each time the child answers, with the address of its root (scheme, host, port and prefix, no
	// slash at the end). The state turns ready only after it returned nil; after an error it is called again.
	OnReady func(ctx context.Context, base *url.URL) error
}

// Supervisor keeps one dagster-webserver running. Run may be called once.
type Supervisor struct {
	opts    Options
	account *account
	env     []string
	out     *lineWriter
	sweeper sweeper
	kill    chan struct{}
	killed  sync.Once

	mu      sync.Mutex
	state   State
	address string
}

// New checks the options and returns a supervisor that has started nothing yet.
func New(o Options) (*Supervisor, error) {
	if o.Command == "" {
		return nil, errors.New("supervisor: no command given")
	}
	if o.Port < 0 || o.Port > 65535 {
		return nil, fmt.Errorf("supervisor: port %d of the child is not between 0 and 65535", o.Port)
	}
	if o.Prefix != "" && (!strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/")) {
		return nil, fmt.Errorf("supervisor: path prefix %q must begin with a slash and not end with one", o.Prefix)
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	s := &Supervisor{
		opts:  o,
		env:   childEnv(o.Env),
		out:   &lineWriter{out: o.Stderr, prefix: linePrefix},
		kill:  make(chan struct{}),
		state: State{Phase: Starting, Since: time.Now()},
	}
	s.sweeper = sweeper{log: o.Log, hurry: s.kill}
	if o.User == "" {
		return s, nil
	}
	a, err := lookupAccount(o.User, os.Geteuid())
	if err != nil {
		return nil, fmt.Errorf("supervisor: child user: %w", err)
	}
	s.account, s.env = a, a.env(s.env)
	return s, nil
}

// Kill ends the child at once, without grace; runs are spared even then. Run returns soon after. It answers the second
// signal of somebody who will not wait.
func (s *Supervisor) Kill() { s.killed.Do(func() { close(s.kill) }) }

// Address returns host and port of the child, and whether requests may go there now.
func (s *Supervisor) Address() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address, s.state.Phase == Ready
}

// State returns what the child is doing now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// change edits the state under its lock; a new phase also sets Since.
func (s *Supervisor) change(edit func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state.Phase
	edit(&s.state)
	if s.state.Phase != before {
		s.state.Since = time.Now()
	}
}
