package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// health is what the health answer tells a loopback address.
type health struct {
	Status  string
	Dagster struct {
		Ready    bool
		State    string
		PID      int
		Restarts int
		Version  string `json:"dagster_version"`
	}
	Database, Backend, Version string
}

func (k *kit) health() health {
	k.t.Helper()
	resp, err := http.Get(k.url + "/auth/health")
	if err != nil {
		return health{}
	}
	defer resp.Body.Close()
	var h health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		k.t.Fatal(err)
	}
	return h
}

// processes are the IDs and command lines of everything that runs with the kit's DAGSTER_HOME, AuthKit itself aside.
func (k *kit) processes() map[int]string {
	k.t.Helper()
	found := map[int]string{}
	entries, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, entry := range entries {
		environ, err := os.ReadFile(entry)
		if err != nil || !bytes.Contains(environ, []byte("DAGSTER_HOME="+k.home+"\x00")) {
			continue
		}
		dir := filepath.Dir(entry)
		pid, _ := strconv.Atoi(filepath.Base(dir))
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 || pid == k.cmd.Process.Pid { // gone meanwhile, or a zombie
			continue
		}
		found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
	}
	return found
}

// mark makes a file that testdata/defs.py looks for, until clear is called: with "hold" Dagster does not come to the end of its start,
// with "enough" the op wait ends.
func (k *kit) mark(name string) (clear func()) {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		k.t.Fatal(err)
	}
	clear = func() { _ = os.Remove(path) }
	k.t.Cleanup(clear)
	return clear
}

func TestChildIsRestarted(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	viewer := k.signIn("vic")
	first := k.health().Dagster
	goOn := k.mark("hold")
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	k.eventually(time.Minute, "the death is noticed", func() bool { return !k.health().Dagster.Ready })
	// Signing in works meanwhile, documents wait, programs are told when to come back.
	if resp, body := viewer.page("/runs"); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "http-equiv") {
		t.Errorf("a page while Dagster is down: got %d, want 503 with a page that reloads itself\n%s", resp.StatusCode, body)
	}
	if resp, _ := viewer.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a program while Dagster is down: got %d and Retry-After %q, want 503", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	k.signIn("ed")
	goOn()
	k.waitReady()
	t.Logf("ready again %s after kill -9", time.Since(killed).Round(10*time.Millisecond))
	second := k.health().Dagster
	if second.PID == first.PID || second.Restarts != 1 {
		t.Errorf("got pid %d and %d restarts, want another than %d and 1", second.PID, second.Restarts, first.PID)
	}
	if got := viewer.graphql("{ version }", nil); got.Status != http.StatusOK {
		t.Errorf("after the restart: got %d, want 200", got.Status)
	}
}

// TestKillDashNine: kill -9 of AuthKit leaves nothing behind but running runs, and loses nobody who was added.
func TestKillDashNine(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	if len(k.processes()) < 2 {
		t.Fatalf("got the processes %v, want a webserver and a code server", k.processes())
	}
	k.cli("a-password-of-hers\n", "add-user", "newcomer", "--viewer", "--password-stdin")
	k.kill()
	k.eventually(time.Minute, "nothing of it is left", func() bool { return len(k.processes()) == 0 })

	again := start(t, options{from: k})
	c := again.anonymous()
	if resp, _ := c.login("newcomer", "a-password-of-hers"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the user added just before the kill: signing in got %d, want 303", resp.StatusCode)
	}
}

// TestRunsSurvive: a run goes on to its success whether AuthKit is stopped or killed, and is seen after the next start.
func TestRunsSurvive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(k *kit)
	}{
		{"SIGTERM", func(k *kit) { k.stop() }},
		{"SIGKILL", func(k *kit) { k.kill() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := start(t, options{})
			launcher := k.signIn("larry")
			run := launchWait(t, launcher, 1800)
			k.eventually(3*time.Minute, "the run is under way", func() bool { return k.runStatus(run) == "STARTED" })
			test.end(k)
			time.Sleep(time.Second) // what would end it has the time to
			if status := k.runStatus(run); status != "STARTED" {
				t.Fatalf("after %s the run is %s, want STARTED", test.name, status)
			}
			again := start(t, options{from: k})
			again.mark("enough")
			again.eventually(2*time.Minute, "the run succeeds", func() bool { return again.runStatus(run) == "SUCCESS" })
			got := again.signIn("vic").graphql(`{ runOrError(runId: "`+run+`") { __typename ... on Run { status } } }`, nil)
			if !strings.Contains(got.Body, "SUCCESS") {
				t.Errorf("asked about the run: got %s, want SUCCESS", got.Body)
			}
			again.eventually(2*time.Minute, "the old code server is gone", func() bool {
				for _, line := range again.processes() {
					if strings.Contains(line, "multiprocessing") {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	if len(k.processes()) < 2 {
		t.Fatalf("got the processes %v, want a webserver and a code server", k.processes())
	}
	k.stop()
	if k.exitErr != nil {
		t.Errorf("the exit after SIGTERM: got %v, want code 0", k.exitErr)
	}
	k.eventually(time.Minute, "nothing is left", func() bool { return len(k.processes()) == 0 })
}

// TestChildThatFailsAtOnce: its own message and exit code are AuthKit's.
func TestChildThatFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		code    int
		message string
	}{
		{"an option it does not know", []string{"--nope"}, 2, "No such option"},
		{"its version", []string{"--version"}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := start(t, options{args: test.args, noUsers: true, noWait: true})
			select {
			case <-k.exited:
			case <-time.After(3 * time.Minute):
				t.Fatal("still running after three minutes")
			}
			if code := k.cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("got exit code %d, want %d\n%s", code, test.code, k.stderr)
			}
			if !strings.Contains(k.stderr.String(), test.message) {
				t.Errorf("stderr has not %q:\n%s", test.message, k.stderr)
			}
		})
	}
}

// TestSecretsStayOurs: nothing of ours is in the environment of the child or its children, where pipeline code could read it.
func TestSecretsStayOurs(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: []string{
		"DAGSTER_AUTH_SECRET_KEY=" + strings.Repeat("s", 48), "DAGSTER_WEBSERVER_HOST=0.0.0.0", "DAGSTER_AUTH_METRICS_TOKEN=metrics-token-1",
		"A_PIPELINES_OWN=kept",
	}, args: []string{"-h", "127.0.0.1"}})
	processes, looked := k.processes(), 0
	for pid, line := range processes {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || len(environ) == 0 { // Dagster starts helpers that live for a moment
			continue
		}
		looked++
		for entry := range strings.SplitSeq(string(environ), "\x00") {
			name, _, _ := strings.Cut(entry, "=")
			if strings.HasPrefix(name, "DAGSTER_AUTH_") || name == "DAGSTER_WEBSERVER_HOST" {
				t.Errorf("%s has %s in its environment", line, name)
			}
		}
		if !strings.Contains(string(environ), "A_PIPELINES_OWN=kept") {
			t.Errorf("%s has lost the rest of the environment", line)
		}
	}
	if looked < 2 {
		t.Errorf("looked at %d of the processes %v, want a webserver and a code server", looked, processes)
	}
}

// childAddress is where the dagster-webserver behind AuthKit listens, from its command line.
func (k *kit) childAddress() string {
	k.t.Helper()
	for _, line := range k.processes() {
		words := strings.Fields(line)
		for i, word := range words {
			if word == "-p" && strings.Contains(line, "dagster-webserver") {
				return "http://127.0.0.1:" + words[i+1]
			}
		}
	}
	k.t.Fatalf("no dagster-webserver among %v", k.processes())
	return ""
}

// TestReaderOfStdoutLeaves: whoever collected the audit lines is gone, or does not read; requests go on, rows are stored, and
// the lost lines are counted.
func TestReaderOfStdoutLeaves(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, options{stdout: writer})
	if err := errors.Join(writer.Close(), reader.Close()); err != nil {
		t.Fatal(err)
	}
	editor := k.signIn("ed")
	if got := editor.addPartition("unread"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("with nobody at stdout: got %s", got.Body)
	}
	dropped := regexp.MustCompile(`(?m)^dagster_authkit_audit_lines_dropped_total [1-9]`)
	k.eventually(time.Minute, "the lost lines are counted", func() bool {
		_, metrics := editor.do("GET", "/auth/metrics", "")
		return dropped.MatchString(metrics)
	})
}
