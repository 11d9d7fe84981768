package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// familyLine is what the stand-in "family" writes about each of its processes.
var familyLine = regexp.MustCompile(`(?m)^dagster \| (idle|busy|run) (\d+)$`)

// familyPIDs reads the numbers of the first family; the end of the test ends it.
func familyPIDs(t *testing.T, out fmt.Stringer) map[string]int {
	t.Helper()
	return nthFamily(t, out, 0)
}

// nthFamily reads the numbers of the family of the webserver's nth restart.
func nthFamily(t *testing.T, out fmt.Stringer, n int) map[string]int {
	t.Helper()
	const members = 3
	pids := make(map[string]int)
	eventually(t, "the numbers of the family", func() bool {
		found := familyLine.FindAllStringSubmatch(out.String(), -1)
		if len(found) < members*(n+1) {
			return false
		}
		for _, line := range found[members*n : members*(n+1)] {
			pids[line[1]], _ = strconv.Atoi(line[2])
		}
		return true
	})
	t.Cleanup(func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pids
}

// alivePID reports whether the process is there and no zombie: who adopts orphans here may be slow to bury them.
func alivePID(pid int) bool {
	_, alive := readProcess(pid)
	return alive
}

func TestStopSparesRuns(t *testing.T) {
	var out log
	r := launch(t, options("family", &out))
	r.awaitReady(t)
	pids := familyPIDs(t, &out)
	r.cancel()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	// Who was killed may still need a moment of a busy machine's time.
	eventually(t, "the end of the idle code server", func() bool { return !alivePID(pids["idle"]) })
	if !alivePID(pids["busy"]) || !alivePID(pids["run"]) {
		t.Error("the run or its code server was ended")
	}
	if want := fmt.Sprintf(`"pid":%d,"message":"left running`, pids["busy"]); !strings.Contains(out.String(), want) {
		t.Errorf("that a run was left is not in the log:\n%s", &out)
	}
}

func TestKillSparesRuns(t *testing.T) {
	var out log
	r := launch(t, options("family", &out))
	r.awaitReady(t)
	pids := familyPIDs(t, &out)
	r.Kill()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	eventually(t, "the end of the idle code server", func() bool { return !alivePID(pids["idle"]) })
	if !alivePID(pids["busy"]) || !alivePID(pids["run"]) {
		t.Errorf("alive: busy %v, run %v; want both", alivePID(pids["busy"]), alivePID(pids["run"]))
	}
}

func TestDeathSparesRuns(t *testing.T) {
	var out log
	r := launch(t, options("family", &out))
	r.awaitReady(t)
	pids := familyPIDs(t, &out)
	if err := syscall.Kill(r.State().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the idle code server", func() bool { return !alivePID(pids["idle"]) })
	r.awaitReady(t)
	nthFamily(t, &out, 1)
	if !alivePID(pids["busy"]) || !alivePID(pids["run"]) {
		t.Error("the run or its code server was ended")
	}
	// The run of the earlier child is over now, so the stop has no reason to spare its code server.
	if err := syscall.Kill(pids["run"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the run", func() bool { return !alivePID(pids["run"]) })
	r.cancel()
	if err := r.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	eventually(t, "the end of the code server of an earlier child without a run", func() bool { return !alivePID(pids["busy"]) })
}

// TestClearKillsHoweverLateItIs: the deadline may be long over when the processes are looked at for the first time.
func TestClearKillsHoweverLateItIs(t *testing.T) {
	leader := exec.Command("/bin/sh", "-c", `"$0" & echo $! ; wait`, os.Args[0])
	leader.Env = append(os.Environ(), standIn+"=sleep")
	leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := leader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	left, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(left, syscall.SIGKILL) })
	if err := leader.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = leader.Wait()
	if !alivePID(left) {
		t.Fatal("the control: nobody is left behind")
	}
	sweeper{log: zerolog.Nop()}.clear([]group{{id: leader.Process.Pid, until: bootTicks()}}, time.Now().Add(-time.Hour))
	eventually(t, "the end of who was left", func() bool { return !alivePID(left) })
}

func TestSplit(t *testing.T) {
	t.Parallel()
	// The command lines are those of Dagster 1.13.27 on Python 3.11, cut to what matters.
	var (
		server  = []string{"/v/bin/python3", "-m", "dagster", "api", "grpc", "--lazy-load-user-code", "--socket", "/tmp/tmp9"}
		tracker = []string{"/v/bin/python3", "-B", "-c", "from multiprocessing.resource_tracker import main;main(11)"}
		spawned = []string{"/v/bin/python3", "-B", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=12, pipe_handle=14)", "--multiprocessing-fork"}
		forks   = []string{"/v/bin/python3", "-c", "from multiprocessing.forkserver import main; main(9, 12, ['__main__'])"}
		tail    = []string{"tail", "-F", "-c", "+0", "/h/storage/x/compute_logs/y.out"}
		execute = []string{"/v/bin/python3", "-m", "dagster", "api", "execute_run", "{}"}
	)
	const g = 100
	cases := []struct {
		name          string
		all           []process
		idle, carrier []int
	}{
		{name: "nobody"},
		{name: "idle code server", all: []process{{pid: 101, parent: 1, group: g, args: server}}, idle: []int{101}},
		{
			name: "idle code server that had a run before",
			all:  []process{{pid: 101, parent: 1, group: g, args: server}, {pid: 102, parent: 101, group: g, args: tracker}},
			idle: []int{101, 102},
		},
		{
			name: "run with a step in a process of its own, and its helpers",
			all: []process{
				{pid: 101, parent: 1, group: g, args: server},
				{pid: 102, parent: 101, group: g, args: tracker},
				{pid: 103, parent: 101, group: g, args: spawned},
				{pid: 104, parent: 103, group: g, args: spawned},
				{pid: 105, parent: 104, group: g, args: tail},
				{pid: 201, parent: 1, group: g, args: server},
			},
			idle: []int{201}, carrier: []int{101},
		},
		{
			name:    "run whose code server died",
			all:     []process{{pid: 103, parent: 1, group: g, args: spawned}, {pid: 105, parent: 103, group: g, args: tail}},
			carrier: []int{103},
		},
		{name: "orphaned helper", all: []process{{pid: 105, parent: 1, group: g, args: tail}}, idle: []int{105}},
		{name: "orphaned fork server", all: []process{{pid: 105, parent: 1, group: g, args: forks}}, carrier: []int{105}},
		{name: "another launcher's run", all: []process{{pid: 105, parent: 1, group: g, args: execute}}, carrier: []int{105}},
		{
			name:    "run that left the group",
			all:     []process{{pid: 101, parent: 1, group: g, args: server}, {pid: 103, parent: 101, group: 103, args: spawned}},
			carrier: []int{101},
		},
		{
			name:    "child of a code server between fork and exec, or with a title of its own",
			all:     []process{{pid: 101, parent: 1, group: g, args: server}, {pid: 103, parent: 101, group: g, args: []string{""}}},
			carrier: []int{101},
		},
		{
			name: "the webserver itself, which is still there",
			all:  []process{{pid: g, parent: 1, group: g}, {pid: 101, parent: g, group: g, args: server}, {pid: 201, parent: g, group: g, args: server}, {pid: 103, parent: 201, group: g, args: spawned}},
			idle: []int{101}, carrier: []int{201},
		},
		{
			name: "strangers who got the number later",
			all:  []process{{pid: 101, parent: 1, group: g, started: 5000, args: server}, {pid: 100, parent: 1, group: g, started: 5001}, {pid: 901, parent: 100, group: g, started: 5001}},
			idle: []int{101},
		},
		{name: "a stranger's run", all: []process{{pid: 101, parent: 1, group: g, args: server}, {pid: 900, parent: 1, group: 900, args: spawned}}, idle: []int{101}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			idle, carriers := split(c.all, group{id: g, until: 5000})
			if diff := cmp.Diff([][]int{c.idle, c.carrier}, [][]int{pidsOf(idle), pidsOf(carriers)}); diff != "" {
				t.Errorf("idle and carriers: -want +got:\n%s", diff)
			}
		})
	}
}

func pidsOf(list []process) []int {
	var pids []int
	for _, p := range list {
		pids = append(pids, p.pid)
	}
	return pids
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " 7 100 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 10000 20"
	cases := []struct {
		name, stat string
		want       process
		alive      bool
	}{
		{name: "plain", stat: "42 (python3) S" + rest, want: process{pid: 42, parent: 7, group: 100, started: 987654}, alive: true},
		{name: "name with brackets", stat: "42 (a) Z (b) R" + rest, want: process{pid: 42, parent: 7, group: 100, started: 987654}, alive: true},
		{name: "zombie", stat: "42 (python3) Z" + rest},
		{name: "cut short", stat: "42 (python3) S 7 100"},
		{name: "empty"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, alive := parseStat(42, []byte(c.stat))
			if alive != c.alive || alive && !cmp.Equal(got, c.want, cmp.AllowUnexported(process{})) {
				t.Errorf("got %+v, %v, want %+v, %v", got, alive, c.want, c.alive)
			}
		})
	}
}

func TestSignalSparesStranger(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), standIn+"=sleep")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, alive := readProcess(cmd.Process.Pid)
	if !alive {
		t.Fatal("the process is not there")
	}
	stranger := p
	stranger.started--
	if err := stranger.signal(syscall.SIGKILL); err != nil {
		t.Errorf("signal: %v", err)
	}
	if now, alive := readProcess(p.pid); !alive || now.started != p.started {
		t.Error("a process that only has the number of the one meant was hit")
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Errorf("signal: %v", err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("control: got %v, want that the right one was killed", err)
	}
}

func TestBootTicks(t *testing.T) {
	t.Parallel()
	before := bootTicks()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), standIn+"=sleep")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, alive := readProcess(cmd.Process.Pid)
	after := bootTicks()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// The kernel rounds both down, each by itself.
	if !alive || p.started+1 < before || p.started > after {
		t.Errorf("a process that was started between %d and %d has the start time %d", before, after, p.started)
	}
}

func TestFindListener(t *testing.T) {
	t.Parallel()
	// From a little-endian machine; the columns are those of Linux 6.
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5551 1 0000000000000000 100 0 0 10 0
   1: 00000000:0FA1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5552 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0FA2 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 5553 1 0000000000000000 100 0 0 10 0
`
	cases := []struct {
		name  string
		port  int
		inode string
		owner int
		found bool
	}{
		{name: "listening", port: 4000, inode: "5551", owner: 1000, found: true},
		{name: "on every address, which the child must never do", port: 4001},
		{name: "only connected", port: 4002},
		{name: "nobody", port: 4003},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inode, owner, found := findListener(strings.NewReader(table), c.port)
			if inode != c.inode || owner != c.owner || found != c.found {
				t.Errorf("got %q %d %v, want %q %d %v", inode, owner, found, c.inode, c.owner, c.found)
			}
		})
	}
}

// asNobody changes options so that the stand-in runs as nobody, from a copy of this binary that nobody may run.
func asNobody(t *testing.T, o *Options) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can change users")
	}
	o.Command, o.User = publicCopy(t), "nobody"
}

// publicCopy copies this test binary to where every user may run it.
func publicCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "supervisor-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "stand-in")
	if err := errors.Join(os.WriteFile(path, binary, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestChildUser(t *testing.T) {
	var out log
	o := options("serve", &out)
	asNobody(t, &o)
	r := launch(t, o)
	r.awaitReady(t)
	dir := "/proc/" + strconv.Itoa(r.State().PID)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	// nobody is 65534 wherever there is one; Debian, Alpine and Fedora agree.
	if !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534\n") {
		t.Errorf("the child does not run as nobody:\n%s", status)
	}
	for line := range strings.Lines(string(status)) {
		if groups, is := strings.CutPrefix(line, "Groups:"); is && strings.Contains(" "+strings.TrimSpace(groups)+" ", " 0 ") {
			t.Errorf("the child kept root's group: %s", line)
		}
	}
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(env), "USER=nobody\x00") || strings.Contains(string(env), "HOME=/root\x00") {
		t.Errorf("USER and HOME are not nobody's in %q", env)
	}
}

func TestChildUserNeedsRoot(t *testing.T) {
	t.Parallel()
	if _, err := lookupAccount("nobody", 1000); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("got %v, want that it needs root", err)
	}
	byName, err := lookupAccount("nobody", 0)
	if err != nil {
		t.Fatalf("control: %v", err)
	}
	byNumber, err := lookupAccount(strconv.Itoa(int(byName.credential.Uid)), 0)
	if err != nil || byNumber.name != "nobody" {
		t.Errorf("got %+v, %v by number, want nobody", byNumber, err)
	}
	if _, err := lookupAccount("no-such-user", 0); err == nil {
		t.Error("an unknown user was found")
	}
}

func TestClearDumpable(t *testing.T) {
	for clear, want := range map[string]int{"": 0, "yes": 5} {
		o := options("keeper", io.Discard, "DAGSTER_AUTH_SECRET_KEY=x", "CLEAR="+clear)
		cmd := exec.CommandContext(t.Context(), o.Command)
		if os.Geteuid() == 0 {
			// Root may read everything, so both are somebody else.
			cmd = exec.CommandContext(t.Context(), publicCopy(t))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		cmd.Env = o.Env
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("with CLEAR=%q the spy ended with %d, want %d: %s", clear, got, want, out)
		}
	}
}
