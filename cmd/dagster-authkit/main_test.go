package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"dagster-authkit/e2e/pgtest"
)

// TestMain puts the real program on the scripts' PATH, under both of its names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dagster-authkit": main, "dagster-webserver": main})
}

// TestScripts runs testdata/script/*.txtar, each in an empty folder and environment of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"json":  checkJSON,
			"mode":  checkMode,
			"lines": checkLines,
		},
	})
}

// TestPostgresScripts runs those of testdata/postgres, each with an empty database of a real PostgreSQL: URL is that of a
// login of its own, without a password, and PASSWORD that.
func TestPostgresScripts(t *testing.T) {
	server, err := pgtest.Start()
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/postgres",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"json": checkJSON, "mode": checkMode, "lines": checkLines},
		Setup: func(env *testscript.Env) error {
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			login := "authkit_" + name
			// The three lines of the README, and Dagster's own tables beside.
			err := server.Exec(t.Context(), "postgres", fmt.Sprintf(`CREATE DATABASE dagster_%s`, name))
			if err == nil {
				err = server.Exec(t.Context(), "dagster_"+name, fmt.Sprintf(`CREATE ROLE dagster_%[1]s LOGIN PASSWORD 'known to pipelines';
					GRANT CREATE ON SCHEMA public TO dagster_%[1]s; SET ROLE dagster_%[1]s; CREATE TABLE runs (run_id text, run_body text); RESET ROLE;
					CREATE ROLE %[2]s LOGIN PASSWORD 's3cret-of-authkit';
					GRANT CONNECT ON DATABASE dagster_%[1]s TO %[2]s;
					CREATE SCHEMA authkit AUTHORIZATION %[2]s;`, name, login))
			}
			env.Setenv("PASSWORD", "s3cret-of-authkit")
			env.Setenv("URL", strings.Replace(server.URL(login, "x", "dagster_"+name), ":x@", "@", 1))
			env.Setenv("DAGSTER_URL", server.URL("dagster_"+name, "known to pipelines", "dagster_"+name))
			env.Setenv("SUPER_URL", server.URL(pgtest.Superuser, pgtest.Password, "dagster_"+name))
			return err
		},
	})
}

// checkJSON is "json FILE PATH VALUE": the value at a path such as 0.role, written as JSON. FILE may be stdout.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	var document any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &document))
	got := document
	for key := range strings.SplitSeq(args[1], ".") {
		switch node := got.(type) {
		case map[string]any:
			got = node[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); key == "length" {
				got = float64(len(node))
			} else if err != nil || i >= len(node) {
				ts.Fatalf("there is no %q in %v", args[1], document)
			} else {
				got = node[i]
			}
		default:
			ts.Fatalf("there is no %q in %v", args[1], document)
		}
	}
	var want any
	ts.Check(json.Unmarshal([]byte(args[2]), &want))
	if reflect.DeepEqual(got, want) == neg {
		ts.Fatalf("%s: got %v, want %v (negated: %v)", args[1], got, want, neg)
	}
}

// checkMode is "mode FILE 0600": who may read and write the file.
func checkMode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); (got == args[1]) == neg {
		ts.Fatalf("mode of %s: got %s, want %s (negated: %v)", args[0], got, args[1], neg)
	}
}

// checkLines is "lines FILE N": an error is one line.
func checkLines(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	text := ts.ReadFile(args[0])
	if got := fmt.Sprint(bytes.Count([]byte(text), []byte("\n"))); (got == args[1]) == neg {
		ts.Fatalf("lines of %s: got %s, want %s (negated: %v):\n%s", args[0], got, args[1], neg, text)
	}
}
