package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sysProcAttr puts the child into a process group of its own, so that a terminal's Ctrl-C reaches AuthKit alone, and
// asks the kernel for a SIGTERM to it when the thread that started it ends. That is also what the guard relies on, which
// does not ask a second time. Go sets it after the change of user, which would clear it.
func sysProcAttr(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if a != nil {
		attr.Credential = &a.credential
	}
	return attr
}

// ClearDumpable keeps other processes of the same user, Dagster's pipelines above all, from reading this process:
// /proc/PID/environ with our secrets in it, and its memory. Without it a child can read them; root always can. The flag
// does not pass on to what this process starts.
func ClearDumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("clear PR_SET_DUMPABLE: %w", err)
	}
	return nil
}

// bootTicks is the time since boot in the unit and by the clock of a process's start time. A tick is 1/100 s on every
// architecture that Go knows (USER_HZ; proc(5), clock_gettime(2)).
func bootTicks() uint64 {
	var now unix.Timespec
	// It fails only for a clock that the kernel does not have; CLOCK_BOOTTIME came with Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return uint64(now.Nano()) / uint64(10*time.Millisecond) //nolint:gosec // neither is ever negative
}

// processes lists every living process. One that ends while we look is left out; zombies are, too: they do nothing.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, alive := readProcess(pid); alive {
			all = append(all, p)
		}
	}
	return all, nil
}

// readProcess reads /proc/PID/stat and cmdline; proc(5) has the fields.
func readProcess(pid int) (p process, alive bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat") //nolint:gosec // dir is made of a number
	if err != nil {
		return process{}, false
	}
	p, alive = parseStat(pid, stat)
	if !alive {
		return process{}, false
	}
	// A cmdline that can't be read leaves the arguments empty, which the rule for runs takes as unknown.
	line, _ := os.ReadFile(dir + "/cmdline") //nolint:gosec // as above
	p.args = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	return p, true
}

// parseStat reads the fields after the command name, which stands in brackets and may hold anything, brackets too.
func parseStat(pid int, stat []byte) (p process, alive bool) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	// Fields are counted from 3 here: 3 state, 4 parent, 5 group, 22 start time.
	if end < 0 || len(fields) < 20 || bytes.ContainsAny(fields[0], "ZXx") {
		return process{}, false
	}
	p = process{pid: pid}
	var errs [3]error
	p.parent, errs[0] = strconv.Atoi(string(fields[1]))
	p.group, errs[1] = strconv.Atoi(string(fields[2]))
	p.started, errs[2] = strconv.ParseUint(string(fields[19]), 10, 64)
	return p, errors.Join(errs[:]...) == nil
}

// signal sends a signal to exactly that process: the handle (a pidfd where the kernel has them) is taken first and the
// start time compared after, so that no stranger who got the number in between is hit.
func (p process) signal(sig os.Signal) error {
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return fmt.Errorf("find process %d: %w", p.pid, err)
	}
	defer func() { _ = handle.Release() }()
	now, alive := readProcess(p.pid)
	if !alive || now.started != p.started || now.group != p.group {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}
