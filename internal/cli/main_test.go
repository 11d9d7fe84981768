package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/app"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/supervisor"
)

// person is a terminal with somebody at it, who gives these answers in turn.
type person struct {
	answers []string
	asked   []string
	hidden  []string
}

func (p *person) interactive() bool { return p != nil }

func (p *person) ask(_ context.Context, question string) (string, error) {
	p.asked = append(p.asked, question)
	return p.next()
}

func (p *person) askHidden(_ context.Context, question string) (string, error) {
	p.hidden = append(p.hidden, question)
	return p.next()
}

func (p *person) next() (string, error) {
	if len(p.answers) == 0 {
		return "", io.EOF
	}
	answer := p.answers[0]
	p.answers = p.answers[1:]
	return answer, nil
}

// call is one run of the program in a test.
type call struct {
	name     string // what it is called by
	environ  []string
	stdin    string
	terminal *person
	serve    func(context.Context, app.Options, <-chan struct{}) error
}

type result struct {
	code     int
	out, err string
}

func (c call) run(t *testing.T, args ...string) result {
	t.Helper()
	if c.name == "" {
		c.name = "/usr/bin/dagster-authkit"
	}
	if c.serve == nil {
		c.serve = func(context.Context, app.Options, <-chan struct{}) error {
			t.Errorf("%q started the server", args)
			return nil
		}
	}
	var out, errOut bytes.Buffer
	code := program{
		args: append([]string{c.name}, args...), environ: c.environ, executable: "/usr/bin/dagster-authkit", version: "v1.2.3",
		terminal: c.terminal, in: strings.NewReader(c.stdin), out: &out, err: &errOut, serve: c.serve,
	}.run()
	return result{code, out.String(), errOut.String()}
}

func TestServerGetsItsConfiguration(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		call call
		args []string
		want []string // the child's arguments
	}{
		"flags":                       {args: []string{"-f", "x.py", "-p", "80"}, want: []string{"-f", "x.py"}},
		"a command's name is a value": {args: []string{"--use-ssl", "-m", "version", "-p", "80"}, want: []string{"--use-ssl", "-m", "version"}},
		"the webserver's name":        {call: call{name: "/opt/bin/dagster-webserver"}, args: []string{"version", "-p", "80"}, want: []string{"version"}},
		"the webserver's version":     {call: call{name: "dagster-webserver"}, args: []string{"--version", "-p", "80"}, want: []string{"--version"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got app.Options
			tc.call.serve = func(_ context.Context, o app.Options, _ <-chan struct{}) error {
				got = o
				return nil
			}
			if r := tc.call.run(t, tc.args...); r.code != 0 || r.err != "" || r.out != "" {
				t.Fatalf("run: got %+v, want a silent success", r)
			}
			if got.Config.Port != 80 || !slices.Equal(got.Config.ChildArgs, tc.want) || got.Version != "v1.2.3" || got.Config.Executable == "" {
				t.Errorf("serve: got %+v, want port 80 and child arguments %q", got, tc.want)
			}
		})
	}
}

func TestServerPassesWarningsOn(t *testing.T) {
	t.Parallel()
	var got app.Options
	c := call{environ: []string{"DAGSTER_WEBSERVER_PORT=tcp://10.0.0.1:80"}, serve: func(_ context.Context, o app.Options, _ <-chan struct{}) error {
		got = o
		return nil
	}}
	if r := c.run(t); r.code != 0 || len(got.Warnings) != 1 || got.Config.Port != 3000 {
		t.Errorf("run: got %+v and %+v, want port 3000 and a warning", r, got)
	}
}

func TestServerExitCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("boom"), 1},
		{&supervisor.ExitError{Code: 2, Reason: "exit status 2"}, 2},
	} {
		c := call{serve: func(context.Context, app.Options, <-chan struct{}) error { return tc.err }}
		r := c.run(t)
		if r.code != tc.want || (tc.err != nil) != strings.HasPrefix(r.err, "dagster-authkit: ") {
			t.Errorf("the server ended with %v: got %+v, want code %d", tc.err, r, tc.want)
		}
	}
}

// TestSignals sends real ones to this process, so it runs alone.
func TestSignals(t *testing.T) {
	send := func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	c := call{serve: func(ctx context.Context, _ app.Options, atOnce <-chan struct{}) error {
		send()
		<-ctx.Done()
		select {
		case <-atOnce:
			return errors.New("one signal was taken for two")
		case <-time.After(20 * time.Millisecond):
		}
		send()
		select {
		case <-atOnce:
			return nil
		case <-time.After(time.Minute):
			return errors.New("the second signal was not heard")
		}
	}}
	if r := c.run(t); r.code != 0 {
		t.Errorf("run: got %+v, want success", r)
	}
}

func TestPasswordIsAskedForTwice(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery"
	for name, tc := range map[string]struct {
		answers []string
		want    string // on stderr
		code    int
	}{
		"the same":        {[]string{secret, secret}, "alice was added as viewer\n", 0},
		"another":         {[]string{secret, secret + "!"}, "not the same: nothing was changed", 1},
		"too short":       {[]string{"short", "short"}, "too short", 1},
		"nobody answered": {nil, "asking for the password: EOF", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := filepath.Join(t.TempDir(), "x.db")
			(call{}).run(t, "init-db", "--db", db)
			somebody := &person{answers: tc.answers}
			r := call{terminal: somebody}.run(t, "add-user", "alice", "--db", db)
			if r.code != tc.code || !strings.Contains(r.err, tc.want) || r.out != "" {
				t.Errorf("add-user: got %+v, want code %d and %q", r, tc.code, tc.want)
			}
			if strings.Contains(r.err+r.out, secret) || len(somebody.asked) > 0 {
				t.Errorf("add-user: got %+v and visible questions %q, want all of it hidden", r, somebody.asked)
			}
		})
	}
}

func TestInitDBAsksForTheAdminsPassword(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "x.db")
	somebody := &person{answers: []string{"correct horse battery", "correct horse battery"}}
	r := call{terminal: somebody}.run(t, "init-db", "--with-admin", "--db", db)
	if r.code != 0 || r.out != "" || len(somebody.hidden) != 2 {
		t.Errorf("init-db: got %+v after the questions %q, want two hidden ones and no password", r, somebody.hidden)
	}
}

func TestDeleteAsksFirst(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "x.db")
	(call{}).run(t, "init-db", "--with-admin", "--db", db)
	for _, tc := range []struct {
		answer string
		code   int
	}{{"", 1}, {"n", 1}, {"yes please", 1}, {"Y", 0}} {
		(call{}).run(t, "add-user", "bob", "--generate-password", "--db", db)
		somebody := &person{answers: []string{tc.answer}}
		r := call{terminal: somebody}.run(t, "delete-user", "bob", "--db", db)
		left := call{}.run(t, "list-users", "--db", db)
		if r.code != tc.code || len(somebody.asked) != 1 || strings.Contains(left.out, "bob") != (tc.code != 0) {
			t.Errorf("delete-user with the answer %q: got %+v, then users\n%s", tc.answer, r, left.out)
		}
	}
}

func TestCommandsNeedNoServerSettings(t *testing.T) {
	t.Parallel()
	c := call{environ: []string{"DAGSTER_AUTH_SECRET_KEY=short", "DAGSTER_AUTH_DB=" + filepath.Join(t.TempDir(), "x.db")}}
	if r := c.run(t, "init-db"); r.code != 0 {
		t.Errorf("init-db: got %+v, want success", r)
	}
	if r := c.run(t, "-f", "x.py"); r.code != 2 {
		t.Errorf("the server with the same: got %+v, want code 2", r)
	}
}

// TestTablesAreOneLineARow holds that nobody moves the cursor of whoever looks at the tables.
func TestTablesAreOneLineARow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := program{out: &out}
	session := identity.Session{TokenHash: make([]byte, 32), CreatedAt: time.Unix(0, 0), Address: "192.0.2.1", UserAgent: "a\x1b[2J\nb\tc\u202e"}
	sessions := []accounts.SignIn{{Session: session, User: identity.User{Name: "zoë"}}}
	if err := p.showSessions(formatTable, sessions); err != nil {
		t.Fatal(err)
	}
	want := "ID            USER  SIGNED IN         LAST ACTIVE  ENDS   ADDRESS    BROWSER     IDENTITY\n" +
		"000000000000  zoë   1970-01-01 00:00  never        never  192.0.2.1  a?[2J?b?c?  :\n"
	if got := out.String(); got != want {
		t.Errorf("showSessions: got\n%q, want\n%q", got, want)
	}
}

func TestVersionOfTheBuild(t *testing.T) {
	t.Parallel()
	if r := (call{}).run(t, "version"); r.code != 0 || !strings.HasPrefix(r.out, "dagster-authkit v1.2.3") || strings.Count(r.out, "\n") != 1 {
		t.Errorf("version: got %+v, want one line with v1.2.3", r)
	}
	if r := (call{}).run(t, "--version"); !strings.HasPrefix(r.out, "dagster-authkit v1.2.3") {
		t.Errorf("--version: got %+v", r)
	}
}

// TestEveryCommandHasHelp goes through the commands as they are, so that a new one is not forgotten.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range (program{}).root().Commands() {
		name := cmd.Name()
		if name == "completion" || name == "help" {
			continue
		}
		if cmd.Short == "" || !strings.Contains(cmd.Example, "dagster-authkit "+name) {
			t.Errorf("%s: its example is %q and its summary %q", name, cmd.Example, cmd.Short)
		}
		if r := (call{}).run(t, name, "--help"); r.code != 0 || !strings.Contains(r.out, cmd.Short[:10]) && !strings.Contains(r.out, "Usage:") {
			t.Errorf("%s --help: got %+v", name, r)
		}
	}
}
