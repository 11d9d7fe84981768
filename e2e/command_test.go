package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// once runs a program in the kit's folder to its end, with more environment than the kit's, and returns what it wrote.
func (k *kit) once(binary string, env []string, args ...string) (stdout, stderr string, code int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = k.dir, append(append([]string{}, k.env...), env...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		k.t.Fatalf("%s %s: %v", binary, strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		k.t.Fatalf("%s %s: still running after three minutes\n%s", binary, strings.Join(args, " "), &problems)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// linkedFirst makes a folder with AuthKit under the name dagster-webserver, to stand first on PATH as in an image for
// Dagster's own Helm chart.
func linkedFirst(t *testing.T) (link, folder string) {
	t.Helper()
	folder = t.TempDir()
	link = filepath.Join(folder, "dagster-webserver")
	if err := os.Symlink(authkit, link); err != nil {
		t.Fatal(err)
	}
	return link, folder
}

// TestCalledAsWebserver: under Dagster's own name AuthKit does the same, starts the real one further down PATH, hands it its
// flags in order, and is not put off by what Kubernetes sets for a service of that name.
func TestCalledAsWebserver(t *testing.T) {
	t.Parallel()
	link, folder := linkedFirst(t)
	real := filepath.Join(venv, "bin", "dagster-webserver")
	o := options{
		binary: link,
		args:   []string{"-f", "more.py", "--log-level", "warning"},
		env: []string{
			"PATH=" + folder + ":" + folder + ":" + filepath.Dir(real) + ":" + os.Getenv("PATH"),
			"DAGSTER_WEBSERVER_PORT=tcp://10.3.0.1:80", "DAGSTER_WEBSERVER_SERVICE_HOST=10.3.0.1",
			"DAGSTER_WEBSERVER_SERVICE_PORT=80", "DAGSTER_WEBSERVER_PORT_80_TCP=tcp://10.3.0.1:80",
		},
	}
	k := prepare(t, o)
	more := "import dagster as dg\n\n@dg.asset\ndef another_asset():\n    return 2\n\ndefs = dg.Definitions(assets=[another_asset])\n"
	if err := os.WriteFile(filepath.Join(k.dir, "more.py"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(o)
	t.Cleanup(k.stop)
	k.waitReady()

	line := k.childLine()
	if !strings.Contains(line, real+" ") || strings.Contains(line, folder) {
		t.Errorf("the child is %q, want the real one, %s", line, real)
	}
	var flags []string
	words := strings.Fields(line)
	for i, word := range words {
		if word == "-f" || word == "--log-level" {
			flags = append(flags, word, words[i+1])
		}
	}
	want := []string{"-f", "defs.py", "-f", "more.py", "--log-level", "warning"}
	if !cmp.Equal(flags, want) {
		t.Errorf("the child's flags: got %q, want %q", flags, want)
	}
	viewer := k.signIn("vic")
	got := viewer.graphql(`{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { location { name } } } } }`, nil)
	for _, file := range []string{"defs.py", "more.py"} {
		if !strings.Contains(got.Body, `"name":"`+file+`"`) && !strings.Contains(got.Body, `"name": "`+file+`"`) {
			t.Errorf("%s is not among the code locations: %s", file, got.Body)
		}
	}
	if resp, _ := k.anonymous().do("GET", "/runs", ""); resp.StatusCode != 401 {
		t.Errorf("nobody: got %d, want 401 whatever AuthKit is called", resp.StatusCode)
	}
}

// childLine is the command line of the dagster-webserver behind AuthKit.
func (k *kit) childLine() string {
	k.t.Helper()
	pid := k.health().Dagster.PID
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.ReplaceAll(string(line), "\x00", " ")
}

// TestWebserversOwnVersion: scripts that ask dagster-webserver for its version get Dagster's answer and exit code.
func TestWebserversOwnVersion(t *testing.T) {
	t.Parallel()
	link, folder := linkedFirst(t)
	k := prepare(t, options{noUsers: true})
	bare, _, code := k.once(filepath.Join(venv, "bin", "dagster-webserver"), nil, "--version")
	if code != 0 || !strings.Contains(bare, "version") {
		t.Fatalf("the bare dagster-webserver --version: exit code %d, %q", code, bare)
	}
	path := "PATH=" + folder + ":" + filepath.Join(venv, "bin") + ":" + os.Getenv("PATH")
	_, stderr, code := k.once(link, []string{path}, "-p", fmt.Sprint(freePort(t)), "--version")
	if code != 0 || !strings.Contains(stderr, strings.TrimSpace(bare)) {
		t.Errorf("called as dagster-webserver: got exit code %d, want 0 and %q\n%s", code, bare, stderr)
	}
}

// TestNoWebserver: where Dagster is not installed, one line says how to install it. AuthKit never takes itself for it.
func TestNoWebserver(t *testing.T) {
	t.Parallel()
	link, folder := linkedFirst(t)
	empty := t.TempDir()
	k := prepare(t, options{noUsers: true})
	for _, test := range []struct {
		name, binary, path string
		args               []string
		message            string
	}{
		{"nothing on PATH", authkit, empty, nil, "pip install dagster-webserver"},
		{"only itself on PATH", link, folder, nil, "pip install dagster-webserver"},
		{"only itself on PATH, called by its own name", authkit, folder, nil, "pip install dagster-webserver"},
		{"itself by name", authkit, empty, []string{"--webserver-command", link}, "AuthKit itself"},
		{"a path that is not there", authkit, empty, []string{"--webserver-command", empty + "/missing"}, "missing"},
	} {
		args := append([]string{"-f", "defs.py", "-p", fmt.Sprint(freePort(t))}, test.args...)
		stdout, stderr, code := k.once(test.binary, []string{"PATH=" + test.path}, args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, test.message) {
			t.Errorf("%s: got exit code %d, want 1 and %q\nstdout: %s\nstderr: %s", test.name, code, test.message, stdout, stderr)
		}
		if last := lastLine(stderr); !strings.Contains(last, test.message) || !strings.HasPrefix(last, "dagster-authkit: ") {
			t.Errorf("%s: the last line is %q, want the error alone", test.name, last)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// TestPortBusy: a port that is taken is found out before Dagster is started.
func TestPortBusy(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	stdout, stderr, code := k.once(authkit, nil, "-f", "defs.py", "-p", port)
	last := lastLine(stderr)
	if code != 1 || stdout != "" || !strings.Contains(last, port) || !strings.Contains(last, "in use") || !strings.Contains(last, "-p") {
		t.Errorf("got exit code %d, want 1 and a last line that names the port and says what to do\nstdout: %s\nstderr: %s", code, stdout, stderr)
	}
	if strings.Contains(stderr, "Serving dagster-webserver") {
		t.Errorf("Dagster was started all the same:\n%s", stderr)
	}
}

// TestKubernetesPort: DAGSTER_WEBSERVER_PORT as Kubernetes makes it from a service's name is no port. That the default, 3000,
// counts then shows in a start that finds 3000 taken: by us, or by whoever has it already.
func TestKubernetesPort(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	if listener, err := net.Listen("tcp", "127.0.0.1:3000"); err == nil {
		defer listener.Close()
	}
	for _, value := range []string{"tcp://10.3.0.1:80", "udp://10.3.0.1:80"} {
		_, stderr, code := k.once(authkit, []string{"DAGSTER_WEBSERVER_PORT=" + value}, "-f", "defs.py")
		if code != 1 || !strings.Contains(lastLine(stderr), "127.0.0.1:3000") {
			t.Errorf("%s: got exit code %d, want 1 because port 3000 is taken\n%s", value, code, stderr)
		}
		if !strings.Contains(stderr, "DAGSTER_WEBSERVER_PORT="+value+" is ignored") || !strings.Contains(stderr, "Kubernetes") {
			t.Errorf("%s: stderr has no warning that says why it is ignored:\n%s", value, stderr)
		}
	}
	// The control: a port that is meant counts, and one that is merely wrong is an error.
	if _, stderr, code := k.once(authkit, []string{"DAGSTER_WEBSERVER_PORT=eighty"}, "-f", "defs.py"); code != 2 {
		t.Errorf("eighty: got exit code %d, want 2\n%s", code, stderr)
	}
}

// TestAllProblemsAtOnce: every mistake in the settings is named in one go, before anything starts, and no secret is shown.
func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	env := []string{
		"DAGSTER_AUTH_RATE_LIMIT=maybe", "DAGSTER_AUTH_SECRET_KEY=hush-hush", "DAGSTER_AUTH_SESSION_MAX_AGE=soon",
		"DAGSTER_AUTH_TRUSTED_PROXIES=everybody", "DAGSTER_AUTH_EXTERNAL_URL=ftp://dagster.example.com",
	}
	stdout, stderr, code := k.once(authkit, env, "-p", "eighty", "-l", "team/", "--max-body", "much", "-f", "defs.py")
	if code != 2 || stdout != "" {
		t.Errorf("got exit code %d and stdout %q, want 2 and nothing", code, stdout)
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for _, name := range []string{
		"--port", "--path-prefix", "--max-body", "DAGSTER_AUTH_RATE_LIMIT", "DAGSTER_AUTH_SECRET_KEY",
		"DAGSTER_AUTH_SESSION_MAX_AGE", "DAGSTER_AUTH_TRUSTED_PROXIES", "DAGSTER_AUTH_EXTERNAL_URL",
	} {
		var about []string
		for _, line := range lines {
			if strings.HasPrefix(line, "dagster-authkit: "+name+":") {
				about = append(about, line)
			}
		}
		if len(about) != 1 {
			t.Errorf("%s: got the lines %q, want one", name, about)
		}
	}
	if len(lines) != 8 || strings.Contains(stderr, "hush-hush") {
		t.Errorf("want one line for each of the 8 problems, and no secret:\n%s", stderr)
	}
	for _, file := range []string{k.db, k.db + ".secret"} {
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s was made by a start that failed", file)
		}
	}
}
