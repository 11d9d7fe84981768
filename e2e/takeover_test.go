package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pythonAuthKit is the real Python AuthKit, in the virtual environment that `make venv-python-authkit` makes.
type pythonAuthKit struct {
	t      *testing.T
	python string
	db     string
	dir    string
}

// findPythonAuthKit skips the test by name where there is none; a skip is a failure when CI is set.
func findPythonAuthKit(t *testing.T, dir, db string) pythonAuthKit {
	t.Helper()
	python, err := filepath.Abs("../.venv-python-authkit/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("there is no Python AuthKit in .venv-python-authkit, and CI is set: %v", err)
		}
		t.Skip("there is no Python AuthKit: run `make venv-python-authkit`")
	}
	return pythonAuthKit{t: t, python: python, db: db, dir: dir}
}

// run calls its command line once for each list of arguments, all in one process, as each would load Dagster anew. Without
// bcrypt, an optional package, it hashes passwords in another way.
func (p pythonAuthKit) run(withBcrypt bool, commands ...[]string) {
	p.t.Helper()
	program := "import json, sys\n"
	if !withBcrypt {
		program += "sys.modules['bcrypt'] = None\n" // makes `import bcrypt` fail as if it were not installed
	}
	program += `from dagster_authkit.cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["dagster-authkit"] + command
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
`
	for i, command := range commands {
		commands[i] = append(command, "--db-path", p.db)
	}
	list, err := json.Marshal(commands)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(p.python, "-c", program, string(list))
	cmd.Dir = p.dir
	cmd.Env = append(cleanEnv(), "PATH="+os.Getenv("PATH"), "DAGSTER_HOME="+p.dir, "DAGSTER_AUTH_SECRET_KEY="+strings.Repeat("k", 64))
	cmd.Stdin = strings.NewReader("n\n") // init-db asks whether to make an admin
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("the Python AuthKit: %v\n%s", err, out)
	}
}

// former are the people in the Python AuthKit's database.
var former = []struct {
	name, role, email, fullName, password string
	bcrypt, gone                          bool
}{
	{"anna", "admin", "anna@example.com", "Anna Admin", "anna's old password", true, false},
	{"emil", "editor", "", "", "emil's old password", true, false},
	{"lena", "launcher", "lena@example.com", "Léna L'Été", "lena's øld pässword ✓", true, false},
	{"viktor", "viewer", "", "", "short", true, false}, // it had no rules for passwords
	{"paula", "editor", "paula@example.com", "", "paula's old password", false, false},
	{"petra", "viewer", "", "", strings.Repeat("long ", 40), false, false}, // past bcrypt's 72 bytes
	{"livia", "launcher", "", "", strings.Repeat("long ", 40), true, false},
	{"gustav", "admin", "gustav@example.com", "", "gustav's old password", true, true},
}

// TestTakeover starts AuthKit on a database that the real Python AuthKit made: its people go on as if nothing had happened.
func TestTakeover(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	python := findPythonAuthKit(t, k.dir, k.db)
	commands := map[bool][][]string{true: {{"init-db"}}}
	for _, user := range former {
		args := []string{"add-user", user.name, "--password", user.password, "--" + user.role}
		if user.email != "" {
			args = append(args, "--email", user.email)
		}
		if user.fullName != "" {
			args = append(args, "--full-name", user.fullName)
		}
		commands[user.bcrypt] = append(commands[user.bcrypt], args)
		if user.gone {
			// It calls this deleting, and only deactivates.
			commands[user.bcrypt] = append(commands[user.bcrypt], []string{"delete-user", user.name, "--yes"})
		}
	}
	python.run(true, commands[true]...)
	python.run(false, commands[false]...)
	before := k.dump("users")
	if bcrypts := k.count(`SELECT count(*) FROM users WHERE password_hash LIKE '$2b$%'`); bcrypts != 6 || k.count(`SELECT count(*) FROM users WHERE password_hash LIKE 'pbkdf2:%'`) != 2 {
		t.Fatalf("the Python AuthKit made %d bcrypt hashes of 8, want 6 and 2 of the other kind", bcrypts)
	}
	first := start(t, options{from: k})
	t.Run("everybody signs in", func(t *testing.T) { formerPeople(t, first) })
	t.Run("roles hold", func(t *testing.T) { formerRoles(t, first) })
	t.Run("hashes are replaced", func(t *testing.T) { newHashes(t, first) })
	t.Run("the old table is kept", func(t *testing.T) {
		if diff := cmp.Diff(before, first.dump("python_authkit_users")); diff != "" {
			t.Errorf("the Python AuthKit's rows changed (-before +after):\n%s", diff)
		}
	})
	first.cli("emil's new password\n", "change-password", "emil", "--password-stdin")
	first.cli("", "change-role", "viktor", "launcher")
	first.cli("", "delete-user", "petra", "--yes")
	first.stop()
	secondStart(t, first, before)
}

// dump is a table as text, one line a row.
func (k *kit) dump(table string) []string {
	k.t.Helper()
	db := k.database()
	defer db.Close()
	rows, err := db.Query(`SELECT username || '|' || password_hash || '|' || role || '|' || coalesce(email, 'NULL') || '|' ||
		coalesce(full_name, 'NULL') || '|' || is_active || '|' || created_at || '|' || session_version FROM ` + table + ` ORDER BY username`)
	if err != nil {
		k.t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			k.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		k.t.Fatal(err)
	}
	return lines
}

func formerPeople(t *testing.T, k *kit) {
	for _, user := range former {
		want := 303
		if user.gone {
			want = 401
		}
		c := k.anonymous()
		if resp, _ := c.login(user.name, user.password+"x"); resp.StatusCode != 401 {
			t.Errorf("%s with a wrong password: got %d, want 401", user.name, resp.StatusCode)
		}
		resp, _ := c.login(user.name, user.password)
		if resp.StatusCode != want {
			t.Errorf("%s with the old password: got %d, want %d", user.name, resp.StatusCode, want)
		}
		if user.gone || resp.StatusCode != want {
			continue
		}
		_, body := c.do("GET", "/auth/me", "")
		for key, value := range map[string]string{"username": user.name, "role": user.role, "email": user.email, "backend": "local"} {
			if !strings.Contains(body, `"`+key+`":"`+value+`"`) {
				t.Errorf("%s: got %s, want %s %q", user.name, body, key, value)
			}
		}
		if user.fullName != "" && !strings.Contains(body, `"full_name":"`+user.fullName+`"`) {
			t.Errorf("%s: got %s, want the full name %q", user.name, body, user.fullName)
		}
	}
	list := k.cli("", "list-users", "--output", "json")
	for _, user := range former {
		if !strings.Contains(list, `"`+user.name+`"`) {
			t.Errorf("list-users has no %s:\n%s", user.name, list)
		}
	}
	// The control for the one who was deactivated: the password is right, only the account is off.
	k.cli("", "enable-user", "gustav")
	if resp, _ := k.anonymous().login("gustav", "gustav's old password"); resp.StatusCode != 303 {
		t.Errorf("gustav after enable-user: got %d, want 303", resp.StatusCode)
	}
	k.cli("", "disable-user", "gustav")
}

// formerRoles: what people may do is seen in Dagster's own storage.
func formerRoles(t *testing.T, k *kit) {
	for _, user := range former {
		if user.gone {
			continue
		}
		c := k.anonymous()
		c.login(user.name, user.password)
		c.addPartition("by-" + user.name)
		if made, may := k.hasPartition("by-"+user.name), user.role == "editor" || user.role == "admin"; made != may {
			t.Errorf("%s, %s: partition made: %t, want %t", user.name, user.role, made, may)
		}
	}
}

// newHashes: after a sign-in nothing is left of the old ways to hash, and the new one works as well.
func newHashes(t *testing.T, k *kit) {
	if n := k.count(`SELECT count(*) FROM users WHERE password_hash LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'`); n != int64(len(former)) {
		t.Errorf("%d of %d hashes are argon2id", n, len(former))
	}
	for _, user := range former {
		if user.gone {
			continue
		}
		if resp, _ := k.anonymous().login(user.name, user.password); resp.StatusCode != 303 {
			t.Errorf("%s on the new hash: got %d, want 303", user.name, resp.StatusCode)
		}
	}
}

// secondStart: the takeover happened once. What was changed since stays changed.
func secondStart(t *testing.T, k *kit, before []string) {
	t.Helper()
	if !strings.Contains(k.stderr.String(), "took over the database") {
		t.Errorf("the first start does not tell of the takeover:\n%s", k.stderr)
	}
	created := k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'USER_CREATED'`)
	again := startBefore(t, nowhere, options{from: k.elsewhere(), noWait: true})
	if strings.Contains(again.stderr.String(), "took over") {
		t.Errorf("the second start takes over again:\n%s", again.stderr)
	}
	for _, test := range []struct {
		name, password, want string
	}{
		{"anna", "anna's old password", "anna"},
		{"emil", "emil's new password", "emil"},
		{"emil", "emil's old password", "401"},
		{"viktor", "short", "viktor"},
		{"petra", strings.Repeat("long ", 40), "401"},
		{"gustav", "gustav's old password", "401"},
	} {
		c := again.anonymous()
		c.login(test.name, test.password)
		if got := c.whoami(); got != test.want {
			t.Errorf("after the second start, %s with %q: got %s, want %s", test.name, test.password, got, test.want)
		}
	}
	if n := again.count(`SELECT count(*) FROM audit_events WHERE event_type = 'USER_CREATED'`); n != created || created != int64(len(former)) {
		t.Errorf("USER_CREATED: got %d after the second start and %d after the first, want %d both times", n, created, len(former))
	}
	if diff := cmp.Diff(before, again.dump("python_authkit_users")); diff != "" {
		t.Errorf("the Python AuthKit's rows changed (-before +after):\n%s", diff)
	}
}

// TestTakeoverByCommand: a command that looks after users takes the database over just as the server does, and many at once do
// so once.
func TestTakeoverByCommand(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	python := findPythonAuthKit(t, k.dir, k.db)
	python.run(true, []string{"add-user", "anna", "--admin", "--password", "anna's old password"})
	done := make(chan string, 6)
	for range 6 {
		go func() {
			cmd := exec.Command(authkit, "list-users", "--output", "json")
			cmd.Dir, cmd.Env = k.dir, k.env
			out, err := cmd.CombinedOutput()
			if err != nil {
				done <- err.Error() + ": " + string(out)
				return
			}
			done <- ""
		}()
	}
	deadline := time.After(3 * time.Minute)
	for range 6 {
		select {
		case problem := <-done:
			if problem != "" {
				t.Errorf("list-users: %s", problem)
			}
		case <-deadline:
			t.Fatal("list-users hangs")
		}
	}
	if n := k.count(`SELECT count(*) FROM users WHERE name = 'anna' AND role = 'admin'`); n != 1 {
		t.Errorf("%d users called anna, want 1", n)
	}
	if n := k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'USER_CREATED'`); n != 1 {
		t.Errorf("%d USER_CREATED, want 1", n)
	}
}
