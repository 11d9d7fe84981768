package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kit is the stand-in for AuthKit in a process of its own, with its child and its guard.
type kit struct {
	cmd       *exec.Cmd
	stderr    *log
	reader    *os.File      // of stderr
	silent    chan struct{} // closed when nobody has stderr open any more
	webserver int
	guard     process
}

// startKit starts a kit and waits until its child is ready. The end of the test ends all of it.
func startKit(t *testing.T, child, user string, env ...string) *kit {
	t.Helper()
	o := options("authkit", io.Discard, append(env, "CHILD="+child, "CHILD_USER="+user, "DAGSTER_AUTH_SECRET_KEY=s3cret")...)
	if user != "" {
		asNobody(t, &o)
	}
	k := &kit{cmd: exec.Command(o.Command), stderr: new(log), silent: make(chan struct{})}
	k.cmd.Env = o.Env
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k.cmd.Stderr, k.reader = writer, reader
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	go func() {
		defer close(k.silent)
		_, _ = io.Copy(k.stderr, reader)
	}()
	t.Cleanup(func() {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
		<-k.silent
		_ = reader.Close()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the child was never ready: %v\n%s", err, k.stderr)
	}
	k.webserver, _ = strconv.Atoi(strings.TrimSpace(line))
	k.guard = theGuard(t, k.cmd.Process.Pid)
	return k
}

// guards lists the guards that a process has started.
func guards(t *testing.T, parent int) []process {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(p process) bool { return p.parent != parent || p.args[0] != guardName })
}

// theGuard waits until a process has exactly one guard. The guard's first moments are before its exec.
func theGuard(t *testing.T, parent int) process {
	t.Helper()
	var found []process
	eventually(t, "one guard", func() bool {
		found = guards(t, parent)
		return len(found) == 1
	})
	return found[0]
}

// kill is kill -9 of AuthKit alone.
func (k *kit) kill() time.Time {
	_ = k.cmd.Process.Kill()
	killed := time.Now()
	_ = k.cmd.Wait()
	return killed
}

// run is a printing run and the folder that it looks into.
type run struct {
	k      *kit
	folder string
	pids   map[string]int
}

// startRun starts a kit whose child has a code server with a printing run.
func startRun(t *testing.T, child, user string) *run {
	t.Helper()
	folder, err := os.MkdirTemp("", "supervisor-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o777); err != nil { // another user's run leaves its mark there
		t.Fatal(err)
	}
	r := &run{k: startKit(t, child, user, "PRINT="+folder), folder: folder}
	r.pids = familyPIDs(t, r.k.stderr)
	r.awaitLines(t)
	return r
}

// awaitLines waits until more lines of the run have come, from both of its outputs.
func (r *run) awaitLines(t *testing.T) {
	t.Helper()
	count := func(text string) int { return strings.Count(r.k.stderr.String(), text) }
	out, err := count("dagster | out false\n"), count("dagster | err false\n")
	eventually(t, "more lines of the run", func() bool {
		return count("dagster | out false\n") > out+1 && count("dagster | err false\n") > err+1
	})
}

// finish ends the run as runs end, by itself, and checks that it could print to the last. Its code server ends as Dagster
// 1.13's does, which was told to; settled leaves that to the guard, as with a code server that was not told.
func (r *run) finish(t *testing.T, settled bool) {
	t.Helper()
	if !alivePID(r.pids["run"]) || !alivePID(r.pids["busy"]) {
		t.Error("the run or its code server was ended")
	}
	if err := os.WriteFile(filepath.Join(r.folder, "over"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.folder, "over"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the run", func() bool { return !alivePID(r.pids["run"]) })
	if failed, err := os.ReadFile(filepath.Join(r.folder, "failed")); err == nil {
		t.Errorf("the run could not print: %s", failed)
	}
	if !alivePID(r.k.guard.pid) {
		t.Error("the guard ended before the code server that could still write")
	}
	if !settled {
		_ = syscall.Kill(r.pids["busy"], syscall.SIGKILL)
	}
	eventually(t, "the end of the guard", func() bool { return !alivePID(r.k.guard.pid) })
}

func TestGuardEndsOrphansAndSparesRuns(t *testing.T) {
	cases := []struct {
		name, child, user string
		settled           bool
	}{
		{name: "webserver that dies of SIGTERM at once, as in Dagster 1.10.0", child: "family", settled: true},
		{name: "nobody heeds SIGTERM", child: "deaf-family"},
		{name: "of another user", child: "deaf-family", user: "nobody"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := startRun(t, c.child, c.user)
			killed := r.k.kill()
			eventually(t, "the end of all but the run", func() bool {
				return !alivePID(r.k.webserver) && !alivePID(r.pids["idle"])
			})
			t.Logf("it took %v", time.Since(killed).Round(time.Millisecond)) // issue 3 allows 5 s, on a machine that has nothing else to do
			left := fmt.Sprintf(`"pid":%d,"time":`, r.pids["busy"])
			eventually(t, "a word about who was left", func() bool { return strings.Contains(r.k.stderr.String(), left) })
			r.awaitLines(t)
			r.finish(t, c.settled)
			<-r.k.silent
			for _, want := range []string{"dagster | out true\n", "dagster | err true\n", "AuthKit ended without stopping dagster-webserver"} {
				if !strings.Contains(r.k.stderr.String(), want) {
					t.Errorf("stderr lacks %q:\n%s", want, r.k.stderr)
				}
			}
		})
	}
}

func TestRunPrintsWhenNobodyReads(t *testing.T) {
	r := startRun(t, "family", "")
	r.k.kill()
	_ = r.k.reader.Close()
	// Long enough for many lines; the first that could not be written would end the run.
	time.Sleep(300 * time.Millisecond)
	r.finish(t, false)
}

func TestGuardCarriesLinesAfterStop(t *testing.T) {
	r := startRun(t, "family", "")
	if err := r.k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.k.cmd.Wait(); err != nil {
		t.Errorf("AuthKit: %v", err)
	}
	r.awaitLines(t)
	r.finish(t, false)
	<-r.k.silent
	if got := r.k.stderr.String(); !strings.Contains(got, "dagster | out true\n") || strings.Contains(got, "AuthKit ended") {
		t.Errorf("want the run's last line, and no complaint after an orderly stop, in:\n%s", got)
	}
}

func TestGuardEndsWithStop(t *testing.T) {
	k := startKit(t, "serve", "")
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("AuthKit: %v", err)
	}
	if alivePID(k.webserver) {
		t.Error("the webserver is alive")
	}
	eventually(t, "the end of the guard", func() bool { return !alivePID(k.guard.pid) }) // it is waited for, but not for long
	<-k.silent
}

func TestGuardEndsWithItsChild(t *testing.T) {
	r := launch(t, options("serve", io.Discard))
	r.awaitReady(t)
	first := theGuard(t, os.Getpid())
	if err := syscall.Kill(r.State().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.awaitReady(t)
	eventually(t, "the end of the first guard", func() bool { return !alivePID(first.pid) })
	if now := theGuard(t, os.Getpid()); now.pid == first.pid {
		t.Errorf("the guard is still %d, want one for the new child", now.pid)
	}
}

func TestParentDeathEndsChildWithoutGuard(t *testing.T) {
	for _, user := range []string{"", "nobody"} {
		t.Run("as "+user, func(t *testing.T) {
			k := startKit(t, "serve", user)
			if err := k.guard.signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a word about the guard's end", func() bool { return strings.Contains(k.stderr.String(), "the guard failed") })
			// A moment longer than any thread of the Go runtime idles: the signal comes when a thread ends.
			time.Sleep(100 * time.Millisecond)
			if !alivePID(k.webserver) {
				t.Error("the child ended before its parent")
			}
			k.kill()
			eventually(t, "the end of the child", func() bool { return !alivePID(k.webserver) })
		})
	}
}

func TestGuardHoldsNothingOfOurs(t *testing.T) {
	k := startKit(t, "serve", "")
	dir := "/proc/" + strconv.Itoa(k.guard.pid)
	if env, err := os.ReadFile(dir + "/environ"); err != nil || string(env) != "GOMAXPROCS=1\x00" {
		t.Errorf("got the environment %q, %v, want GOMAXPROCS alone", env, err)
	}
	if want := []string{guardName, fmt.Sprintf("--group=%d", k.webserver), "--log-level=trace"}; !cmp.Equal(k.guard.args, want) {
		t.Errorf("got the arguments %q, want %q", k.guard.args, want)
	}
	if k.guard.group != k.guard.pid {
		t.Errorf("got the process group %d, want one of its own", k.guard.group)
	}
	eventually(t, "its name", func() bool {
		comm, _ := os.ReadFile(dir + "/comm")
		return string(comm) == "authkit-guard\n"
	})
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, entry := range entries {
		target, _ := os.Readlink(filepath.Join(dir, "fd", entry.Name()))
		kind, _, _ := strings.Cut(target, ":")
		if len(entry.Name()) == 1 && entry.Name() < "6" {
			got[entry.Name()] = kind
		} else if kind == "socket" { // the rest is the Go runtime's, or comes from whoever started these tests
			t.Errorf("the guard holds the socket %s", target)
		}
	}
	want := map[string]string{"0": "/dev/null", "1": "/dev/null", "2": "pipe", "3": "pipe", "4": "pipe", "5": "pipe"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("its open files: -want +got:\n%s", diff)
	}
}

func TestGuardIgnoresSignals(t *testing.T) {
	k := startKit(t, "deaf", "")
	status := "/proc/" + strconv.Itoa(k.guard.pid) + "/status"
	eventually(t, "that it ignores what would end it", func() bool {
		text, _ := os.ReadFile(status)
		_, after, _ := strings.Cut(string(text), "SigIgn:\t")
		mask, _ := strconv.ParseUint(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 16, 64)
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE} {
			if mask&(1<<(sig-1)) == 0 {
				return false
			}
		}
		return true
	})
	_ = syscall.Kill(k.guard.pid, syscall.SIGTERM)
	k.kill()
	eventually(t, "the end of the deaf child", func() bool { return !alivePID(k.webserver) })
}

func TestGuardMainIsOnlyTheGuards(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dagster-authkit", guardName} {
		// Whoever calls the program by that name does not have the pipe.
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Args = []string{name}
		cmd.Env = append(os.Environ(), standIn+"=version")
		if out, err := cmd.Output(); err != nil || string(out) != "dagster-webserver, version 1.13.27\n" {
			t.Errorf("called %q: got %q, %v, want the program itself", name, out, err)
		}
	}
}

func TestAwaitEnd(t *testing.T) {
	t.Parallel()
	for _, orderly := range []bool{true, false} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		g := &guard{control: writer}
		before := bootTicks()
		if orderly {
			g.webserverEnded()
		}
		g.release()
		got, saw := awaitEnd(reader, 4711)
		_ = reader.Close()
		if saw != orderly || got.id != 4711 || got.until < before || got.until > bootTicks() {
			t.Errorf("got %+v, %v, want group 4711 until now, %v", got, saw, orderly)
		}
	}
}
