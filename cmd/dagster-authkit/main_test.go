package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
