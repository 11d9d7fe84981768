// Bench measures Dagster AuthKit beside a bare dagster-webserver, nginx, the Python AuthKit and a bare
// httputil.ReverseProxy, all in one run and in turn, and writes a table, JSON and a chart. `make bench` builds what it
// needs and calls it; docs/bench.md says how each number is made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	quick   bool
	budget  time.Duration
	load    time.Duration // of one load; 0 divides what is left of the budget
	rounds  int
	sockets int
	people  int
	role    string
	only    string // "dagster" or "fast": half of the run
	out     string
	docs    bool
	from    string
}

const (
	usualBudget = 15 * time.Minute
	quickBudget = 3 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the bench itself, or one of the servers that it starts as processes of their own.
func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == "floor" {
		return serveFloor(args[1], args[2])
	}
	if len(args) == 3 && args[0] == "fast" {
		return serveFast(args[1], args[2])
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.from != "" {
		r, err := readReport(o.from)
		if err != nil {
			return err
		}
		return r.write(o.out, o.docs)
	}
	return measureAll(ctx, o)
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "one round of fewer and short loads, in 3 minutes; docs/ is left alone")
	flags.DurationVar(&o.budget, "budget", usualBudget, "how long the whole run may take")
	flags.DurationVar(&o.load, "load", 0, "how long one load takes; 0 divides what is left of the budget")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds; the table has their medians")
	flags.IntVar(&o.sockets, "sockets", 1000, "idle WebSockets")
	flags.IntVar(&o.people, "people", 1, "how many signed-in people send AuthKit's requests, in turn")
	flags.StringVar(&o.role, "role", "viewer", "the role of those people")
	flags.StringVar(&o.only, "only", "", `"dagster" or "fast" for that half alone`)
	flags.StringVar(&o.out, "out", "bench/out", "folder for the results")
	flags.BoolVar(&o.docs, "docs", true, "write the table and the chart to docs/ too")
	flags.StringVar(&o.from, "from", "", "measure nothing: write the results of this JSON file anew")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds, o.sockets, o.docs = 1, min(o.sockets, 200), false
		if o.budget == usualBudget {
			o.budget = quickBudget
		}
	}
	if o.only != "" {
		o.docs = false
	}
	if o.rounds < 1 || o.people < 1 || o.sockets < 1 || o.budget < time.Minute {
		return o, errors.New("-rounds, -people and -sockets must be at least 1, -budget 1m")
	}
	return o, nil
}

// bench is one run.
type bench struct {
	options  options
	stage    *stage
	report   report
	deadline time.Time
}

func (b *bench) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// note keeps what the reader of the table has to know.
func (b *bench) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.say("  NOTE %s", text)
	b.report.Notes = append(b.report.Notes, text)
}

// measureAll runs everything within the budget and writes what came of it.
func measureAll(ctx context.Context, o options) error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	if err := needPrograms("wrk", "chromium", nginxProgram()); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // The system clears what is left.
	b := &bench{options: o, deadline: time.Now().Add(o.budget)}
	// Whoever is still at it then is stopped, and what there is by then is reported.
	ctx, cancel := context.WithDeadline(ctx, b.deadline)
	defer cancel()
	b.report.describe(root, o)
	b.say("making accounts")
	if b.stage, err = newStage(root, dir, o); err != nil {
		return err
	}
	failed := b.phases(ctx)
	if failed != nil {
		b.note("the run ended early: %v", failed)
	}
	b.report.finish()
	// What was measured is worth having, but what is incomplete does not go into the documentation.
	return errors.Join(failed, b.report.write(o.out, o.docs && failed == nil))
}

// repositoryRoot is where go.mod is, from here upwards.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("run the bench in the repository")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
