package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// openFiles is enough for 1,000 WebSockets, each with two descriptors in a proxy.
	openFiles = 16384
	// stopGrace is how long a process may take to end before it is killed.
	stopGrace = 20 * time.Second
	// startPatience is how long one may take to be ready; a busy machine needs a minute for 1,000 assets.
	startPatience = 4 * time.Minute
	// readyPause is how often a front is asked whether it is ready. Each question takes a little of the processor that Dagster's
	// start is waiting for, more from a front that answers "not yet" than from one whose port is closed.
	readyPause = 20 * time.Millisecond
)

// process is a program that the bench started. Its output is in a file of its name.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

// startProcess starts a program in a process group of its own, with room for many connections.
func startProcess(dir, name string, env []string, command ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()                                //nolint:errcheck // The child has its own descriptor.
	p.cmd = exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // The commands are ours; stop ends it politely.
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	limit := unix.Rlimit{Cur: openFiles, Max: openFiles}
	_ = unix.Prlimit(p.pid(), unix.RLIMIT_NOFILE, &limit, nil) // Without the right to it, the case with the WebSockets says so.
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process as Kubernetes would, and what it left behind in its group.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopGrace):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
}

// tail is the end of what the process said.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// waitReady asks until the answer is 200.
func (p *process) waitReady(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if status, err := ask(ctx, client, address); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it was ready:\n%s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in %s: %w\n%s", p.name, startPatience, ctx.Err(), p.tail())
		case <-time.After(readyPause):
		}
	}
}

func ask(ctx context.Context, client *http.Client, address string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// freePort is a loopback port that nobody listens on now.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // Closed at once.
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port, listener.Close()
}

// descendants are the processes below these, without them.
func descendants(pids ...int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields, err := statFields(pid); err == nil {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var found []int
	for queue := slices.Clone(pids); len(queue) > 0; queue = queue[1:] {
		found = append(found, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

// statFields are the fields of /proc/PID/stat after the name, which may hold anything: state, parent, ...
func statFields(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return parseStat(string(raw))
}

func parseStat(line string) ([]string, error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return nil, errors.New("a process's stat without its name")
	}
	fields := strings.Fields(line[end+1:])
	if len(fields) < 13 {
		return nil, fmt.Errorf("a process's stat with %d fields", len(fields))
	}
	return fields, nil
}

// ticksPerSecond is USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuSeconds is what these processes have used, in user space and in the kernel. One that is gone counts nothing.
func cpuSeconds(pids []int) float64 {
	var ticks float64
	for _, pid := range pids {
		fields, err := statFields(pid)
		if err != nil {
			continue
		}
		for _, field := range fields[11:13] { // utime, stime
			value, _ := strconv.ParseFloat(field, 64)
			ticks += value
		}
	}
	return ticks / ticksPerSecond
}

const (
	idleWindow   = 100 * time.Millisecond
	idleShare    = 0.2 // of one core
	idlePatience = 10 * time.Second
)

// waitIdle waits until the processes have nothing to do, or for idlePatience: what a load leaves behind when it ends, and
// files that are being compressed, are nobody else's cost.
func waitIdle(ctx context.Context, pids []int) error {
	before := cpuSeconds(pids)
	for deadline := time.Now().Add(idlePatience); time.Now().Before(deadline); {
		if err := pause(ctx, idleWindow); err != nil {
			return err
		}
		now := cpuSeconds(pids)
		if now-before <= idleShare*idleWindow.Seconds() {
			break
		}
		before = now
	}
	return ctx.Err()
}

// residentMiB is the resident memory of these processes together.
func residentMiB(pids []int) float64 {
	var kib float64
	for _, pid := range pids {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(raw)) {
			if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
				value, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				kib += value
			}
		}
	}
	return kib / 1024
}
