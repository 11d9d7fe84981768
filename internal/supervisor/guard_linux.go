package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// guardName is the guard's argv[0], by which GuardMain knows itself and people know it in a list of processes.
const guardName = "dagster-authkit: guard"

// The guard's options. Flags rather than bare words, so that a program which starts us without calling GuardMain, such as
// a test binary, refuses them instead of doing all that it does once more.
const (
	guardGroup = "--group="
	guardLevel = "--log-level="
)

// The guard's open files, besides our stderr.
const (
	controlFD = 3 + iota
	stdoutFD
	stderrFD
)

// startGuard starts the guard of a child: this same program, by the link that holds even when its file was replaced.
//
// It is in a session of its own, so that what a terminal or somebody sends to our group passes it by; it stays our user,
// which may signal the child's; and it gets neither our environment nor any other open file of ours.
func startGuard(c *child, log zerolog.Logger) (*guard, error) {
	files, control, err := guardFiles(c.relays)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("make the guard's pipes: %w", err)
	}
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // it must outlive every context
	cmd.Args = []string{guardName, guardGroup + strconv.Itoa(c.pid), guardLevel + log.GetLevel().String()}
	// One thread that runs code is plenty, and saves the Go runtime its looks at the machine's limits.
	cmd.Env, cmd.Dir = []string{"GOMAXPROCS=1"}, "/"
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = control.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	g := &guard{control: control, ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		if err := cmd.Wait(); err != nil {
			log.Warn().Err(err).Msg("the guard failed: should AuthKit be killed, idle code servers may stay for up to 45 s")
		}
	}()
	return g, nil
}

// guardFiles makes the pipe to the guard and a second descriptor for the reading end of each of the child's pipes.
//
// An os.File that is given to a process turns blocking, and then Close no longer interrupts its Read. One that was made
// of a non-blocking descriptor does not.
func guardFiles(relays []*relay) (files []*os.File, control *os.File, err error) {
	theirs, control, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	files = append(files, theirs)
	for _, r := range relays {
		raw, err := r.pipe.SyscallConn()
		if err != nil {
			return files, nil, errors.Join(err, control.Close())
		}
		var second int
		var dupErr error
		err = raw.Control(func(fd uintptr) { second, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		if err := errors.Join(err, dupErr); err != nil {
			return files, nil, errors.Join(err, control.Close())
		}
		files = append(files, os.NewFile(uintptr(second), r.pipe.Name())) //nolint:gosec // a descriptor is never negative
	}
	return files, control, nil
}
