package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dagster-authkit/e2e/freeport"
)

// The people of the tests and their passwords, one for each role.
var passwords = map[string]string{
	"vic":   "viewer-of-things",   // viewer
	"larry": "launcher-of-things", // launcher
	"ed":    "editor-of-things",   // editor
	"ada":   "admin-of-things",    // admin
}

var roles = map[string]string{"vic": "viewer", "larry": "launcher", "ed": "editor", "ada": "admin"}

// kit is one running dagster-authkit in front of a real dagster-webserver, with folders of its own.
type kit struct {
	t       testing.TB
	url     string // scheme, host, port and prefix, no trailing slash
	dir     string // working directory, holds defs.py
	home    string // DAGSTER_HOME
	db      string // AuthKit's database
	env     []string
	cmd     *exec.Cmd
	stdout  *output
	stderr  *output
	exited  chan struct{}
	exitErr error
}

// options of a kit; the zero value serves defs.py with the four people.
type options struct {
	binary  string // instead of authkit
	args    []string
	env     []string
	prefix  string
	noUsers bool
	noWait  bool // don't wait until Dagster is ready
	from    *kit // take over this kit's folders and port
	stdout  *os.File
	oracle  bool // serve testdata/oracle.py, where runs are queued
}

// start runs dagster-authkit and ends it with the test.
func start(t testing.TB, o options) *kit {
	t.Helper()
	k := prepare(t, o)
	k.run(o)
	t.Cleanup(k.stop)
	if !o.noWait {
		k.waitReady()
	}
	return k
}

func prepare(t testing.TB, o options) *kit {
	t.Helper()
	if o.from != nil {
		k := *o.from
		k.t = t
		return &k
	}
	dir := t.TempDir()
	k := &kit{t: t, dir: dir, home: filepath.Join(dir, "home"), db: filepath.Join(dir, "auth.db")}
	defs, settings := "testdata/defs.py", "testdata/dagster.yaml"
	if o.oracle {
		defs, settings = "testdata/oracle.py", "testdata/oracle.yaml"
	}
	copyFile(t, defs, filepath.Join(dir, "defs.py"))
	if err := os.Mkdir(k.home, 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, settings, filepath.Join(k.home, "dagster.yaml"))
	k.env = append(cleanEnv(),
		"PATH="+filepath.Join(venv, "bin")+":"+os.Getenv("PATH"), "DAGSTER_HOME="+k.home,
		"DAGSTER_AUTH_DB="+k.db, "DAGSTER_DISABLE_TELEMETRY=yes")
	k.env = append(k.env, o.env...)
	k.url = fmt.Sprintf("http://127.0.0.1:%d%s", freePort(t), o.prefix)
	if !o.noUsers {
		for name, role := range roles {
			k.cli(passwords[name]+"\n", "add-user", name, "--role", role, "--email", name+"@example.com", "--password-stdin")
		}
	}
	return k
}

// cleanEnv is the environment without what would change AuthKit or Dagster.
func cleanEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DAGSTER_") && !strings.HasPrefix(entry, "DAGIT_") && !strings.HasPrefix(entry, "PATH=") {
			env = append(env, entry)
		}
	}
	return env
}

func (k *kit) run(o options) {
	k.t.Helper()
	address := strings.TrimPrefix(k.url, "http://")
	hostport, prefix, _ := strings.Cut(address, "/")
	_, port, _ := net.SplitHostPort(hostport)
	args := []string{"-f", "defs.py", "-p", port}
	if prefix != "" {
		args = append(args, "-l", "/"+prefix)
	}
	binary := authkit
	if o.binary != "" {
		binary = o.binary
	}
	k.cmd = exec.Command(binary, append(args, o.args...)...)
	k.cmd.Dir, k.cmd.Env = k.dir, k.env
	k.stdout, k.stderr = &output{}, &output{}
	k.cmd.Stdout, k.cmd.Stderr = k.stdout, k.stderr
	if o.stdout != nil {
		k.cmd.Stdout = o.stdout
	}
	k.exited = make(chan struct{})
	// A run that is left behind keeps stderr open for as long as it takes, by way of the guard that reads its output.
	k.cmd.WaitDelay = time.Second
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	go func() {
		if k.exitErr = k.cmd.Wait(); errors.Is(k.exitErr, exec.ErrWaitDelay) {
			k.exitErr = nil
		}
		close(k.exited)
	}()
}

// stop ends AuthKit as Kubernetes would and waits for it.
func (k *kit) stop() {
	select {
	case <-k.exited:
		return
	default:
	}
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-k.exited:
	case <-time.After(2 * time.Minute):
		_ = k.cmd.Process.Kill()
		<-k.exited
		k.t.Errorf("dagster-authkit did not stop within two minutes of SIGTERM\n%s", k.stderr)
	}
	if k.t.Failed() {
		k.t.Logf("stderr of dagster-authkit:\n%s", k.stderr)
	}
}

// kill is kill -9.
func (k *kit) kill() {
	_ = k.cmd.Process.Kill()
	<-k.exited
}

// waitReady waits until Dagster answers through AuthKit and its code location is loaded.
func (k *kit) waitReady() {
	k.t.Helper()
	k.eventually(5*time.Minute, "AuthKit is ready", func() bool {
		select {
		case <-k.exited:
			k.t.Fatalf("dagster-authkit ended before it was ready: %v\n%s", k.exitErr, k.stderr)
		default:
		}
		resp, err := http.Get(k.url + "/auth/health?type=ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// eventually polls until ok or fails the test.
func (k *kit) eventually(within time.Duration, what string, ok func() bool) {
	k.t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			k.t.Fatalf("not within %s: %s\nstderr:\n%s", within, what, k.stderr)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tells waits until stdout has each of the texts. Its lines are written behind the answers, for which nobody waits.
func (k *kit) tells(texts ...string) {
	k.t.Helper()
	for _, text := range texts {
		k.eventually(time.Minute, "stdout has "+text, func() bool { return strings.Contains(k.stdout.String(), text) })
	}
}

// cli runs a command of dagster-authkit on the kit's database and fails the test unless it succeeds.
func (k *kit) cli(stdin string, args ...string) string {
	k.t.Helper()
	out, code := k.cliCode(stdin, args...)
	if code != 0 {
		k.t.Fatalf("dagster-authkit %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (k *kit) cliCode(stdin string, args ...string) (string, int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, authkit, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = k.env, k.dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		k.t.Fatalf("dagster-authkit %s: %v", strings.Join(args, " "), err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// output collects a stream and can be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Next()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
