package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// standIn names the variable that turns this test binary into a stand-in for dagster-webserver, or for one of Dagster's
// other processes. Its value says what it does.
const standIn = "SUPERVISOR_TEST_STANDIN"

func TestMain(m *testing.M) {
	GuardMain()
	if what := os.Getenv(standIn); what != "" {
		os.Exit(runStandIn(what))
	}
	goleak.VerifyTestMain(m)
}

// runStandIn is the stand-in's main; its arguments are those that the real program would get.
func runStandIn(what string) int {
	switch what {
	case "serve":
		return serve(http.StatusOK)
	case "mute":
		return serve(http.StatusServiceUnavailable)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		return serve(http.StatusOK)
	case "family":
		return family()
	case "deaf-family":
		// Who is started from here inherits it.
		signal.Ignore(syscall.SIGTERM)
		return family()
	case "printer":
		return printer()
	case "sleep":
		time.Sleep(10 * time.Minute)
	case "usage":
		fmt.Fprintln(os.Stderr, "Error: No such option '--nope'.")
		return 2
	case "version":
		fmt.Println("dagster-webserver, version 1.13.27")
	case "suicide":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case "taken-once":
		return takenOnce()
	case "taken":
		return taken()
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return 1
	case "long-line":
		_, _ = io.WriteString(os.Stdout, strings.Repeat("é", maxLine)+"\nlast")
		return 1
	case "spy":
		return spy()
	case "keeper":
		return keeper()
	case "authkit":
		return authkit()
	default:
		return 99
	}
	return 0
}

// flagValue is the value of the last flag of that name, as click takes it.
func flagValue(name string) string {
	for i := len(os.Args) - 2; i > 0; i-- {
		if os.Args[i] == name {
			return os.Args[i+1]
		}
	}
	return ""
}

// serve listens and answers /server_info with that status until it is killed, or until SIGTERM unless that is ignored.
func serve(status int) int {
	stop := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTERM) {
		signal.Notify(stop, syscall.SIGTERM)
	}
	l, err := net.Listen("tcp4", net.JoinHostPort(flagValue("-h"), flagValue("-p")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+flagValue("-l")+"/server_info", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
	})
	go func() { _ = http.Serve(l, mux) }()
	<-stop
	fmt.Println("told to stop")
	return 0
}

// family serves with two code servers beside it, one of which has a run, and stays when that is over. It dies of SIGTERM
// at once, as Dagster 1.10.0 does, and tells none of them. The run is a printer when PRINT names its folder.
func family() int {
	idle := exec.Command(os.Args[0], "-m", "dagster", "api", "grpc")
	idle.Env = append(os.Environ(), standIn+"=sleep")
	run := `"$0" --multiprocessing-fork`
	if os.Getenv("PRINT") != "" {
		run = standIn + "=printer " + run
	}
	busy := exec.Command("/bin/sh", "-c", run+` & echo run $! ; wait ; exec "$0" "$@"`, os.Args[0], "api", "grpc")
	busy.Env, busy.Stdout, busy.Stderr = idle.Env, os.Stdout, os.Stderr
	for name, cmd := range map[string]*exec.Cmd{"idle": idle, "busy": busy} {
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(name, cmd.Process.Pid)
	}
	return serveUntilKilled()
}

// printer is a run that prints to both of its outputs until there is a file "over" in the folder that PRINT names. A
// print that fails leaves a file "failed" there and ends it.
func printer() int {
	signal.Ignore(syscall.SIGPIPE)
	folder := os.Getenv("PRINT")
	for {
		_, err := os.Stat(filepath.Join(folder, "over"))
		over := err == nil
		_, outErr := fmt.Fprintln(os.Stdout, "out", over)
		_, errErr := fmt.Fprintln(os.Stderr, "err", over)
		if err := errors.Join(outErr, errErr); err != nil {
			_ = os.WriteFile(filepath.Join(folder, "failed"), []byte(err.Error()), 0o600)
			return 1
		}
		if over {
			return 0
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func serveUntilKilled() int {
	l, err := net.Listen("tcp4", net.JoinHostPort(flagValue("-h"), flagValue("-p")))
	if err != nil {
		return 3
	}
	_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return 1
}

// taken ends as uvicorn does when its port is taken.
func taken() int {
	fmt.Fprintln(os.Stderr, "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 1): address already in use")
	return 3
}

// takenOnce finds the port taken the first time and serves the second time; a file remembers.
func takenOnce() int {
	if f, err := os.OpenFile(os.Getenv("TAKEN_ONCE"), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = f.Close()
		return taken()
	}
	return serve(http.StatusOK)
}

// authkit is AuthKit in a process of its own, to be killed or stopped: it supervises a stand-in and says which process
// that is.
func authkit() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// What AuthKit has open, and nobody else may have.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = l.Close() }()
	o := options(os.Getenv("CHILD"), os.Stderr)
	o.User = os.Getenv("CHILD_USER")
	var s *Supervisor
	o.OnReady = func(context.Context, *url.URL) error {
		fmt.Println(s.State().PID)
		return nil
	}
	s, err = New(o)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := s.Run(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// keeper is a process with a secret in its environment; it starts the spy and ends with the spy's code.
func keeper() int {
	if os.Getenv("CLEAR") != "" {
		if err := ClearDumpable(); err != nil {
			fmt.Println(err)
			return 4
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{standIn + "=spy"}
	cmd.Stdout = os.Stdout
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}

// spy tries to read its parent's environment: code 0 when it could, 5 when it may not.
func spy() int {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
	if errors.Is(err, fs.ErrPermission) {
		return 5
	}
	if !strings.Contains(string(env), "DAGSTER_AUTH_SECRET_KEY=") {
		return 6
	}
	return 0
}

// options are those of a supervisor whose child is the stand-in. What it writes and logs goes to out.
func options(what string, out io.Writer, env ...string) Options {
	return Options{
		Command: os.Args[0],
		// The race detector would have each of them wait a second at its end.
		Env:    append(append(os.Environ(), standIn+"="+what, "GORACE=atexit_sleep_ms=0"), env...),
		Grace:  time.Minute,
		Stderr: out,
		Log:    zerolog.New(out),
	}
}

// running is a supervisor at work.
type running struct {
	*Supervisor
	ready  chan *url.URL
	ended  chan error
	cancel context.CancelFunc
}

// launch runs a supervisor; the end of the test ends it.
func launch(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{ready: make(chan *url.URL, 10), ended: make(chan error, 1)}
	if o.OnReady == nil {
		o.OnReady = func(_ context.Context, base *url.URL) error {
			r.ready <- base
			return nil
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	r.Supervisor = s
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		s.Kill()
		<-done
	})
	return r
}

// patience bounds every wait for a process; only a failure takes so long.
const patience = 90 * time.Second

// awaitReady waits until the supervisor says ready and returns the address.
func (r *running) awaitReady(t *testing.T) *url.URL {
	t.Helper()
	select {
	case base := <-r.ready:
		eventually(t, "phase ready", func() bool { return r.State().Phase == Ready })
		return base
	case err := <-r.ended:
		t.Fatalf("Run ended before the child was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("the child was not ready in time")
	}
	return nil
}

// awaitEnd waits until Run has returned.
func (r *running) awaitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		t.Fatal("Run did not return in time")
	}
	return nil
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
