package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dagster-authkit/internal/config"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	flags := func(pairs ...string) config.Values {
		v := config.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v[pairs[i]] = pairs[i+1]
		}
		return v
	}
	for line, want := range map[string]arguments{
		"":                                  {},
		"-f pipeline.py -h 0.0.0.0 -p 3000": {flags: flags("host", "0.0.0.0", "port", "3000"), child: []string{"-f", "pipeline.py"}},
		"-h 0.0.0.0 -p 3000 -l /dag":        {flags: flags("host", "0.0.0.0", "port", "3000", "path-prefix", "/dag")},
		"--host=::1 --port=80 --path-prefix=/a=b": {flags: flags("host", "::1", "port", "80", "path-prefix", "/a=b")},
		"-hlocalhost -p3001 -l/x":                 {flags: flags("host", "localhost", "port", "3001", "path-prefix", "/x")},
		"-lh":                                     {flags: flags("path-prefix", "h")},
		"-p=3001":                                 {flags: flags("port", "3001")},
		"-p 1 -p 2":                               {flags: flags("port", "2")},
		"-h -p":                                   {flags: flags("host", "-p")},
		"-h --":                                   {flags: flags("host", "--")},
		"-a -h":                                   {child: []string{"-a", "-h"}},
		"-a --help":                               {child: []string{"-a", "--help"}},
		"-a --":                                   {child: []string{"-a", "--"}},
		"-a -- -h x":                              {flags: flags("host", "x"), child: []string{"-a", "--"}},
		"--attribute --port -p 80":                {flags: flags("port", "80"), child: []string{"--attribute", "--port"}},
		"--attribute=--port -p 80":                {flags: flags("port", "80"), child: []string{"--attribute=--port"}},
		"-fpipeline.py -ah -mp":                   {child: []string{"-fpipeline.py", "-ah", "-mp"}},
		"-f a.py -f b.py -m c -m d":               {child: []string{"-f", "a.py", "-f", "b.py", "-m", "c", "-m", "d"}},
		"--use-ssl -m version":                    {child: []string{"--use-ssl", "-m", "version"}},
		"--grpc-host h --grpc-port 1 --read-only": {child: []string{"--grpc-host", "h", "--grpc-port", "1", "--read-only"}},
		"--log-level debug --log-format json":     {child: []string{"--log-level", "debug", "--log-format", "json"}},
		"--db-statement-timeout 5 --db x.db":      {flags: flags("db", "x.db"), child: []string{"--db-statement-timeout", "5"}},
		"--db-path x.db":                          {flags: flags("db", "x.db")},
		"--brand-new -h x":                        {flags: flags("host", "x"), child: []string{"--brand-new"}},
		"--brand-new=-h -z -zh y":                 {child: []string{"--brand-new=-h", "-z", "-zh", "y"}},
		"--hos x":                                 {child: []string{"--hos", "x"}},
		"- stray":                                 {child: []string{"-", "stray"}},
		"-f x.py -- --read-only -a -h --help":     {child: []string{"-f", "x.py", "--read-only", "-a", "-h", "--help"}},
		"-p 1 -- -m=x":                            {flags: flags("port", "1"), child: []string{"-m=x"}},
		"--help":                                  {help: true},
		"-f x.py --help":                          {help: true, child: []string{"-f", "x.py"}},
		"--version":                               {version: true},
		"--upstream-insecure -f x":                {flags: flags("upstream-insecure", "true"), child: []string{"-f", "x"}},
		"--upstream-insecure=false":               {flags: flags("upstream-insecure", "false")},
		"--upstream http://x --max-body 1MiB":     {flags: flags("upstream", "http://x", "max-body", "1MiB")},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			got, err := split(strings.Fields(line), config.Settings(), false)
			if err != nil {
				t.Fatalf("split: %v", err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(arguments{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("split (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-p":                        "-p needs a value",
		"--host":                    "--host needs a value",
		"-f x.py -a":                "-a needs a value",
		"--grpc-port":               "--grpc-port needs a value",
		"-- -f x.py -h 0.0.0.0":     "-h is AuthKit's flag",
		"-- --host=0.0.0.0":         "--host is AuthKit's flag",
		"-- -h0.0.0.0":              "-h is AuthKit's flag",
		"-- -f x.py -- y":           "-- is given twice",
		"-- --allow-insecure-dummy": "--allow-insecure-dummy is AuthKit's flag",
	} {
		if got, err := split(strings.Fields(line), config.Settings(), false); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("split(%q): got %+v and error %v, want an error that begins with %q", line, got, err, want)
		}
	}
}

func TestSplitLeavesVersionToTheRealWebserver(t *testing.T) {
	t.Parallel()
	got, err := split([]string{"--version"}, config.Settings(), true)
	if err != nil || got.version || !slices.Equal(got.child, []string{"--version"}) {
		t.Errorf("split: got %+v, %v, want --version for the child", got, err)
	}
}

// TestValueFlagsAreThoseOfDagster reads the help text of real dagster-webservers. A flag that takes a value and is not known
// to take one would let its value be read as a flag of ours.
func TestValueFlagsAreThoseOfDagster(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/dagster-webserver-help-*.txt")
	if err != nil || len(files) < 3 {
		t.Fatalf("got help files %v, %v, want those of three versions", files, err)
	}
	// Options are indented by two, in the forms "--name", "-n, --name TEXT" and "--one, --other [a|b]".
	option := regexp.MustCompile(`(?m)^  ((?:--?[a-z-]+)(?:, --[a-z-]+)*)(?: ([A-Z]+|\[[a-z|]+\]))?(?:$|  )`)
	own := ownFlags(config.Settings())
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, match := range option.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(match[1], ", ") {
				found++
				want := match[2] != ""
				if setting, ours := own[name]; ours {
					if !slices.Contains([]string{"host", "port", "path-prefix"}, setting.Flag) || setting.Switch == want {
						t.Errorf("%s: %s is dagster-webserver's, and not in the same way", file, name)
					}
				} else if takesValue(name) != want {
					t.Errorf("%s: takesValue(%q) is %v, want %v", file, name, !want, want)
				}
			}
		}
		if found < 30 {
			t.Errorf("%s: found %d options, want more than 30", file, found)
		}
	}
}

// FuzzSplit holds what safety rests on: the child's arguments are tokens of the command line in their order,
// and no flag of ours is among them, wherever it stood.
func FuzzSplit(f *testing.F) {
	for _, line := range []string{"-f x.py -h 0.0.0.0 -p80", "-a -h --db=x -- --read-only -d -p", "-- -h x", "-zh --help -- --"} {
		f.Add(strings.ReplaceAll(line, " ", "\x00"))
	}
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		got, err := split(args, config.Settings(), false)
		if err != nil {
			return
		}
		rest := args
		for _, token := range got.child {
			i := slices.Index(rest, token)
			if i < 0 {
				t.Fatalf("split(%q): child token %q is out of order or made up", args, token)
			}
			rest = rest[i+1:]
		}
		again, err := split(got.child, config.Settings(), true)
		if err != nil {
			t.Fatalf("split(%q): the child's arguments %q are refused: %v", args, got.child, err)
		}
		if len(again.flags) > 0 {
			t.Errorf("split(%q): the child's arguments %q hold flags of ours: %v", args, got.child, again.flags)
		}
	})
}
