package supervisor

import (
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// After AuthKit was killed everything but running runs must be gone within 5 s, so both of these end well before.
const (
	// orphanGrace is how long the webserver, to which the kernel has sent SIGTERM, may take to end. It takes about one
	// second when it is well and many when the machine is loaded.
	orphanGrace = 2 * time.Second
	// orphansGrace is how long all the others may take, counted from the same moment.
	orphansGrace = 3500 * time.Millisecond
)

// settle is how long a group must have been without a run before what is left of it is ended. A code server looks every
// half second whether a run has crashed and says so in Dagster's database (CLEANUP_TICK, Dagster 1.13.27), which it must
// have had the time to do.
const settle = 3 * time.Second

// GuardMain is the guard's main, and returns at once in every other process. Whoever runs a Supervisor calls it first of
// all in main, as the guard is the same program started once more.
//
// A guard stands beside each child and sleeps until AuthKit has ended, by itself or by kill -9, or has nothing more to do
// with that child. Then it ends whatever of the child's group carries no run, the webserver too, and carries the lines of
// the others to stderr until the last of them is over: a run that prints would fail if nobody held the other end. When
// the runs are over it ends their code servers, which would otherwise wait 45 to 90 s for a heartbeat.
func GuardMain() {
	if os.Args[0] != guardName || !isPipe(controlFD) {
		return
	}
	os.Exit(guardMain(os.Args[1:]))
}

func isPipe(fd int) bool {
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO
}

func guardMain(args []string) int {
	// It ends when its work is done; a supervisor such as systemd, which tells the whole service to end at once, does not
	// hasten that. A stderr that nobody reads is no reason to end either.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE)
	// The kernel would call it "exe", after the link it was started by. Not "dagster-authkit": who ends all processes of
	// that name means AuthKit.
	_ = os.WriteFile("/proc/self/comm", []byte("authkit-guard"), 0)
	if err := ClearDumpable(); err != nil {
		return 1
	}
	var id int
	level := zerolog.InfoLevel
	for _, arg := range args {
		if text, is := strings.CutPrefix(arg, guardGroup); is {
			id, _ = strconv.Atoi(text)
		}
		if text, is := strings.CutPrefix(arg, guardLevel); is {
			level, _ = zerolog.ParseLevel(text)
		}
	}
	if id <= 1 {
		return 2
	}
	g, orderly := awaitEnd(os.NewFile(controlFD, "control"), id)
	// Not before: a file that is known to Go's poller would wake us with each of the child's lines.
	pipes := []*os.File{os.NewFile(stdoutFD, "stdout"), os.NewFile(stderrFD, "stderr")}
	takeOver(g, orderly, pipes, guardLog(level))
	return 0
}

// guardLog writes as AuthKit's own log does, to the same place.
func guardLog(level zerolog.Level) zerolog.Logger {
	var out io.Writer = os.Stderr
	if term.IsTerminal(unix.Stderr) {
		out = zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// awaitEnd sleeps until AuthKit has let go of the other end, and says until when the webserver had the number of its
// group, and whether AuthKit saw its end.
func awaitEnd(control *os.File, id int) (g group, orderly bool) {
	var note [1]byte
	for {
		n, err := control.Read(note[:])
		if n == 1 {
			g, orderly = group{id: id, until: bootTicks()}, true
		}
		if err != nil {
			break
		}
	}
	if !orderly {
		// AuthKit had not buried it, so the number can't have been anybody else's.
		g = group{id: id, until: bootTicks()}
	}
	return g, orderly
}

// takeOver does the guard's work.
func takeOver(g group, orderly bool, pipes []*os.File, log zerolog.Logger) {
	begun := time.Now()
	out := &lineWriter{out: os.Stderr, prefix: linePrefix}
	var relays []*relay
	for _, pipe := range pipes {
		relays = append(relays, newRelay(pipe, out, new(atomic.Bool)))
	}
	w := sweeper{log: log}
	if !orderly {
		log.Warn().Msg("AuthKit ended without stopping dagster-webserver, which is ended now")
		w.awaitOrphan(g, begun.Add(orphanGrace))
	}
	carriers := w.clear([]group{g}, begun.Add(orphansGrace))
	if !orderly {
		w.report(carriers)
	}
	runsBefore := true
	for !drained(relays, settle) {
		idle, carriers := members([]group{g})
		runs := len(idle) == 0 || len(carriers) > 0
		if !runs && !runsBefore {
			w.clear([]group{g}, time.Now().Add(leftoverGrace))
		}
		runsBefore = runs
	}
}

// drained waits, at most that long, until nobody is left who could write a line.
func drained(relays []*relay, most time.Duration) bool {
	until := time.Now().Add(most)
	for _, r := range relays {
		if r.drain(until); !closed(r.done) {
			return false
		}
	}
	return true
}

// awaitOrphan waits for the end of the webserver and kills it at the deadline. It is not asked to end: the kernel has
// done that when AuthKit ended (sysProcAttr), and does even where the guard was killed too.
func (w sweeper) awaitOrphan(g group, deadline time.Time) {
	for {
		webserver, alive := readProcess(g.id)
		if !alive || !g.has(webserver) {
			return
		}
		if time.Now().After(deadline) {
			w.send(webserver, syscall.SIGKILL)
			return
		}
		time.Sleep(stopTick)
	}
}
