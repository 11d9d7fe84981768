package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// log collects what the child wrote and what the supervisor logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestRunServesAndStops(t *testing.T) {
	var out log
	o := options("serve", &out)
	o.Prefix = "/team"
	r := launch(t, o)
	base := r.awaitReady(t)
	address, ready := r.Address()
	if !ready || base.String() != "http://"+address+"/team" {
		t.Errorf("base %s, address %s, ready %v; want the base to be the address with the prefix", base, address, ready)
	}
	resp, err := http.Get(base.JoinPath("server_info").String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	pid := r.State().PID
	r.cancel()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v, want nil after a stop", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child %d is still there: %v", pid, err)
	}
	if !strings.Contains(out.String(), "dagster | told to stop\n") {
		t.Errorf("the child's last line is missing in:\n%s", &out)
	}
	if s := r.State(); s.Phase != Stopped || s.PID != 0 || s.Restarts != 0 {
		t.Errorf("got state %+v, want stopped, no child, no restarts", s)
	}
}

func TestRunEndsWithChildThatWasNeverReady(t *testing.T) {
	cases := []struct {
		what   string
		code   int
		output string
	}{
		{what: "usage", code: 2, output: "dagster | Error: No such option '--nope'.\n"},
		{what: "version", code: 0, output: "dagster | dagster-webserver, version 1.13.27\n"},
		// A shell has 128+9 for a process that SIGKILL ended.
		{what: "suicide", code: 137},
		{what: "taken", code: 3, output: "address already in use\n"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			var out log
			err := launch(t, options(c.what, &out)).awaitEnd(t)
			var exit *ExitError
			if !errors.As(err, &exit) || exit.Code != c.code {
				t.Fatalf("got %v, want an ExitError with code %d", err, c.code)
			}
			if !strings.Contains(err.Error(), "-h 127.0.0.1 -p ") {
				t.Errorf("the command line is missing in %q", err)
			}
			if !strings.Contains(out.String(), c.output) {
				t.Errorf("got output %q, want %q in it", &out, c.output)
			}
		})
	}
}

func TestRunFailsWithoutExecutable(t *testing.T) {
	o := options("serve", io.Discard)
	o.Command = filepath.Join(t.TempDir(), "none")
	err := launch(t, o).awaitEnd(t)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no such file", err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()

	t.Run("picked: another one", func(t *testing.T) {
		var out log
		r := launch(t, options("taken-once", &out, "TAKEN_ONCE="+filepath.Join(t.TempDir(), "once")))
		r.awaitReady(t)
		if got := r.State().Restarts; got != 0 {
			t.Errorf("got %d restarts, want 0: the first start was never over", got)
		}
	})
	t.Run("picked and always taken: a few tries", func(t *testing.T) {
		var out log
		_ = launch(t, options("taken", &out)).awaitEnd(t)
		if got := strings.Count(out.String(), "Errno 98"); got != 5 {
			t.Errorf("got %d tries, want 5", got)
		}
	})
	t.Run("fixed: a clear error", func(t *testing.T) {
		o := options("serve", io.Discard)
		o.Port = l.Addr().(*net.TCPAddr).Port
		err := launch(t, o).awaitEnd(t)
		if err == nil || !strings.Contains(err.Error(), "--child-port") {
			t.Errorf("got %v, want an error that names --child-port", err)
		}
	})
	t.Run("fixed and free: used", func(t *testing.T) {
		port, err := pickPort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o := options("serve", io.Discard)
		o.Port = port
		if base := launch(t, o).awaitReady(t); base.Port() != strconv.Itoa(port) {
			t.Errorf("got %s, want port %d", base, port)
		}
	})
}

func TestRestart(t *testing.T) {
	var out log
	o := options("serve", &out)
	r := launch(t, o)
	first := r.awaitReady(t)
	pid := r.State().PID
	begun := time.Now() // before the kill: on a busy machine the pause may be half over when this goes on
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := r.awaitReady(t)
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("the restart took %v, want a pause of 0.5 s first", took)
	}
	s := r.State()
	if s.Restarts != 1 || s.LastExit != "signal: killed" || s.PID == pid {
		t.Errorf("got %+v, want one restart after a kill, with a new process", s)
	}
	if first.Host == second.Host {
		t.Errorf("the second child has the port of the first, %s; want a new one, which nobody could have taken meanwhile", first.Host)
	}
}

func TestNeverReady(t *testing.T) {
	t.Run("bad answer", func(t *testing.T) {
		r := launch(t, options("mute", io.Discard))
		eventually(t, "a child", func() bool { return r.State().PID != 0 })
		select {
		case <-r.ready:
			t.Error("a child that answers 503 counts as ready")
		case <-time.After(500 * time.Millisecond):
		}
		if _, ready := r.Address(); ready {
			t.Error("Address says ready")
		}
		r.cancel()
		if err := r.awaitEnd(t); err != nil {
			t.Errorf("Run: %v, want nil after a stop before it was ready", err)
		}
	})
	t.Run("OnReady fails first", func(t *testing.T) {
		calls := make(chan Phase, 10)
		var r *running
		o := options("serve", io.Discard)
		o.OnReady = func(context.Context, *url.URL) error {
			calls <- r.State().Phase
			if len(calls) < 2 {
				return errors.New("no schema yet")
			}
			return nil
		}
		started := make(chan struct{})
		inner := o.OnReady
		o.OnReady = func(ctx context.Context, u *url.URL) error {
			<-started
			return inner(ctx, u)
		}
		r = launch(t, o)
		close(started)
		eventually(t, "ready", func() bool { return r.State().Phase == Ready })
		if got := []Phase{<-calls, <-calls}; !cmp.Equal(got, []Phase{Starting, Starting}) {
			t.Errorf("OnReady saw the phases %v, want starting twice", got)
		}
	})
}

func TestImpostorIsNotReady(t *testing.T) {
	// Another program of this machine (this test) holds the port and answers as Dagster would.
	impostor := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer impostor.Close()
	port := impostor.Listener.Addr().(*net.TCPAddr).Port
	s, err := New(options("sleep", io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.start(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.signal(syscall.SIGKILL)
		<-c.exited
		closeRelays(c.relays)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if s.awaitReady(ctx, c) {
		t.Error("a child counts as ready though somebody else answers at its port")
	}
	// The control is TestRunServesAndStops: there the child itself answers.
}

func TestStopKillsPastGrace(t *testing.T) {
	var out log
	o := options("deaf", &out)
	o.Grace = 200 * time.Millisecond
	r := launch(t, o)
	r.awaitReady(t)
	pid := r.State().PID
	begun := time.Now()
	r.cancel()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begun); took < o.Grace {
		t.Errorf("the stop took %v, want at least the grace, %v", took, o.Grace)
	}
	eventually(t, "the end of the deaf child", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

func TestKillEndsAtOnce(t *testing.T) {
	o := options("deaf", io.Discard)
	o.Grace = time.Hour
	r := launch(t, o)
	r.awaitReady(t)
	r.cancel()
	eventually(t, "stopping", func() bool { return r.State().Phase == Stopping })
	r.Kill()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestBlockedStderrDoesNotHoldTheStop(t *testing.T) {
	reader, writer := io.Pipe()
	o := options("serve", writer)
	o.Log = o.Log.Output(io.Discard)
	r := launch(t, o)
	r.awaitReady(t)
	r.cancel()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	_ = reader.Close()
}

func TestLongLineIsCut(t *testing.T) {
	var out log
	o := options("long-line", &out)
	o.Log = o.Log.Output(io.Discard)
	_ = launch(t, o).awaitEnd(t)
	var lengths []int
	for line := range strings.Lines(out.String()) {
		text, ours := strings.CutPrefix(line, "dagster | ")
		if !ours {
			t.Fatalf("a line without the prefix: %.40q", line)
		}
		lengths = append(lengths, len(text)-1)
	}
	// 65,536 times "é" are two full pieces, after which only the line feed is left; then the line without one.
	if want := []int{65536, 65536, 0, 4}; !cmp.Equal(lengths, want) {
		t.Errorf("got pieces of %v bytes, want %v", lengths, want)
	}
}

func TestChildNeverSeesOurSettings(t *testing.T) {
	var out log
	secret := []string{
		"DAGSTER_AUTH_SECRET_KEY=s3cret", "DAGSTER_AUTH_ADMIN_PASSWORD=s3cret", "NOTIFY_SOCKET=/run/s3cret",
		"DAGSTER_WEBSERVER_HOST=s3cret", "DAGSTER_WEBSERVER_PORT=s3cret", "DAGSTER_WEBSERVER_PATH_PREFIX=s3cret",
		"DAGIT_HOST=s3cret", "DAGIT_PORT=s3cret", "DAGIT_PATH_PREFIX=s3cret",
	}
	env := append(secret, "DAGSTER_HOME=/kept", "DAGSTER_WEBSERVER_LOG_LEVEL=kept", "DAGIT_READ_ONLY=kept", "dagster_auth_x=kept")
	_ = launch(t, options("environment", &out, env...)).awaitEnd(t)
	if strings.Contains(out.String(), "s3cret") {
		t.Errorf("a variable of ours reached the child:\n%s", &out)
	}
	if got := strings.Count(out.String(), "kept\n"); got != 4 {
		t.Errorf("got %d of the user's variables, want 4, in:\n%s", got, &out)
	}
}

func TestChildArgs(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, prefix string
		user, want   []string
	}{
		{name: "none", want: []string{"-h", "127.0.0.1", "-p", "4000"}},
		{
			name: "after the user's, in order, repeated ones too", prefix: "/d",
			user: []string{"-f", "a.py", "-f", "b.py", "--use-ssl", "-m", "version"},
			want: []string{"-f", "a.py", "-f", "b.py", "--use-ssl", "-m", "version", "-h", "127.0.0.1", "-p", "4000", "-l", "/d"},
		},
		{
			name: "before a double dash", user: []string{"-f", "a.py", "--", "-h", "0.0.0.0"},
			want: []string{"-f", "a.py", "-h", "127.0.0.1", "-p", "4000", "--", "-h", "0.0.0.0"},
		},
		{
			name: "a smuggled host comes before ours", user: []string{"-h", "0.0.0.0"},
			want: []string{"-h", "0.0.0.0", "-h", "127.0.0.1", "-p", "4000"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, childArgs(c.user, 4000, c.prefix)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b backoff
	var got []time.Duration
	for _, ready := range []time.Duration{time.Second, 0, 0, 0, 0, 0, 0, 0, 59 * time.Second, time.Minute, 0} {
		got = append(got, b.next(ready))
	}
	ms := time.Millisecond
	want := []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16000 * ms, 30000 * ms, 30000 * ms, 30000 * ms, 500 * ms, 1000 * ms}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSettlePausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(options("serve", io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var at []time.Duration
		s.opts.OnReady = func(context.Context, *url.URL) error {
			if at = append(at, time.Since(begun)); len(at) == 4 {
				return nil
			}
			return errors.New("not yet")
		}
		if !s.settle(t.Context(), &url.URL{}) {
			t.Error("settle gave up")
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms}; !cmp.Equal(at, want) {
			t.Errorf("OnReady was called after %v, want %v", at, want)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		edit func(*Options)
		fine bool
	}{
		{name: "control", edit: func(*Options) {}, fine: true},
		{name: "no command", edit: func(o *Options) { o.Command = "" }},
		{name: "negative port", edit: func(o *Options) { o.Port = -1 }},
		{name: "port too large", edit: func(o *Options) { o.Port = 65536 }},
		{name: "prefix without slash", edit: func(o *Options) { o.Prefix = "team" }},
		{name: "prefix with a slash at the end", edit: func(o *Options) { o.Prefix = "/team/" }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options("serve", io.Discard)
			c.edit(&o)
			if _, err := New(o); (err == nil) != c.fine {
				t.Errorf("got %v, want success: %v", err, c.fine)
			}
		})
	}
}

func TestCopyLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine-1)
	cases := []struct {
		name, in string
		want     []string
	}{
		{name: "empty", in: ""},
		{name: "lines", in: "a\n\nb\n", want: []string{"a", "", "b"}},
		{name: "no line feed at the end", in: "a\nb", want: []string{"a", "b"}},
		{name: "cut not within a character", in: long + "é!\n", want: []string{long, "é!"}},
		{name: "bytes that are no characters", in: strings.Repeat("\x80", maxLine+1), want: []string{strings.Repeat("\x80", maxLine), "\x80"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, r := range map[string]io.Reader{"whole": strings.NewReader(c.in), "in pieces": &smallReads{strings.NewReader(c.in)}} {
				var got []string
				copyLines(r, func(line []byte) { got = append(got, string(line)) })
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s: -want +got:\n%.300s", name, diff)
				}
			}
		})
	}
}

// smallReads gives at most seven bytes at a time, as a slow writer would.
type smallReads struct{ r io.Reader }

func (s *smallReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 7)]) }

func TestLinesDoNotMix(t *testing.T) {
	t.Parallel()
	// As in the program: AuthKit's log and the child's lines go to one file by two ways. What is longer than a pipe takes
	// at once (4 KiB, pipe(7)) would be torn if they were not kept apart.
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const lines, length = 50, 40_000
	w := &lineWriter{out: writer}
	var writers sync.WaitGroup
	for _, letter := range []string{"a", "b"} {
		writers.Go(func() {
			for range lines {
				w.line([]byte(strings.Repeat(letter, length)))
			}
		})
	}
	writers.Go(func() {
		own := zerolog.New(writer)
		for range lines {
			own.Log().Msg(strings.Repeat("c", length))
		}
	})
	go func() {
		writers.Wait()
		_ = writer.Close()
	}()
	got := make(map[string]int)
	copyLines(reader, func(line []byte) { got[string(line)]++ })
	want := map[string]int{
		strings.Repeat("a", length): lines, strings.Repeat("b", length): lines,
		`{"message":"` + strings.Repeat("c", length) + `"}`: lines,
	}
	if !cmp.Equal(got, want) {
		t.Errorf("got %d different lines, want 3, each whole", len(got))
	}
	_ = reader.Close()
}
