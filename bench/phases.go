package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// phases are all parts of a run, one after the other. The longest is the last, so that what takes longer than expected costs
// rounds and not a whole part; all share one dagster-webserver, which takes long to start on a busy machine.
func (b *bench) phases(ctx context.Context) error {
	names := []string{bare, authkit, nginx, python, floor}
	if b.options.only == "fast" {
		names = names[:1]
	} else {
		b.say("start to ready, one after the other")
		b.startAll(ctx)
	}
	b.say("one dagster-webserver with nginx, AuthKit and the ReverseProxy before it; the Python AuthKit beside it, which is one itself")
	fronts, stop, err := b.open(ctx, names...)
	defer stop()
	if err != nil {
		return err
	}
	if b.options.only != "fast" {
		b.atRest(ctx, fronts)
	}
	if b.options.only != "dagster" {
		if err := b.againstFast(ctx, fronts[0]); err != nil {
			b.note("the upstream that takes no time was not measured: %v", err)
		}
	}
	if b.options.only != "fast" {
		err = b.againstDagster(ctx, fronts)
	}
	if ctx.Err() != nil {
		b.note("the time was over before everything was measured: give it a longer -budget")
	}
	return err
}

// fastShare is the part of the time for loads that the fast upstream gets: it has fewer cases.
const fastShare = 0.2

// atRest measures what each front holds before any load, and a first page.
func (b *bench) atRest(ctx context.Context, fronts []*front) {
	b.say("memory, idle and with %d idle WebSockets", b.options.sockets)
	b.report.Memory = map[string]memory{}
	for _, f := range fronts {
		m, err := measureSockets(ctx, f, b.options.sockets)
		if err != nil {
			b.note("WebSockets, %s: %v", f.name, err)
		}
		b.report.Memory[f.name] = m
		b.say("  %-15s idle %7.1f MiB, connected %7.1f MiB", f.name, m.Idle, m.Connected)
	}
	b.say("first page load in Chromium, empty cache, %d Mbit/s and %s", linkRate/1_000_000, linkRoundTrip)
	b.loadPages(ctx, fronts)
}

func (b *bench) againstDagster(ctx context.Context, fronts []*front) error {
	cases, err := dagsterCases(b.stage.root, b.options.quick)
	if err != nil {
		return err
	}
	b.say("loads on a real Dagster")
	b.report.Loads = b.loadAll(ctx, cases, fronts, b.deadline)
	for _, f := range fronts {
		_ = pause(ctx, settleTime)
		m := b.report.Memory[f.name]
		m.After = residentMiB(f.own())
		b.report.Memory[f.name] = m
	}
	return nil
}

// againstFast has a Dagster for the questions that AuthKit asks when it starts; the load never reaches it.
func (b *bench) againstFast(ctx context.Context, dagster *front) error {
	fronts, stop, err := b.openFast(ctx, dagster)
	defer stop()
	if err != nil {
		return err
	}
	share := fastShare
	if b.options.only == "fast" {
		share = 1
	}
	b.say("loads on an upstream that takes no time")
	until := time.Now().Add(time.Duration(share * float64(time.Until(b.deadline))))
	b.report.Fast = b.loadAll(ctx, distinctCases(), fronts, until)
	return nil
}

// startAll measures how long it takes from start to ready, each with a dagster-webserver of its own and nothing else
// running, in turn.
func (b *bench) startAll(ctx context.Context) {
	b.report.Starts = map[string][]float64{}
	for range b.options.rounds {
		for _, name := range []string{bare, authkit, python} {
			started := time.Now()
			f, err := b.stage.launch(name, nil)
			if err == nil {
				err = f.process.waitReady(ctx, f.address+f.ready)
				seconds := time.Since(started).Seconds()
				f.process.stop()
				if err == nil {
					b.report.Starts[name] = append(b.report.Starts[name], seconds)
					b.say("  %-15s %6.2f s", name, seconds)
				}
			}
			if err != nil {
				b.note("start to ready, %s: %v", name, err)
			}
		}
	}
}

// open starts these fronts, the first of which is the bare Dagster behind the others.
func (b *bench) open(ctx context.Context, names ...string) (fronts []*front, stop func(), err error) {
	stop = func() {
		for _, f := range slices.Backward(fronts) {
			f.process.stop()
		}
	}
	for _, name := range names {
		var behind *front
		if len(fronts) > 0 && name != python {
			behind = fronts[0]
		}
		f, err := b.stage.start(ctx, name, behind)
		if err != nil {
			return fronts, stop, err
		}
		fronts = append(fronts, f)
	}
	return fronts, stop, nil
}

// openFast puts the fast upstream before a Dagster, and the others before the fast upstream.
func (b *bench) openFast(ctx context.Context, dagster *front) (fronts []*front, stop func(), err error) {
	stop = func() {
		for _, f := range slices.Backward(fronts) {
			f.process.stop()
		}
	}
	behind := dagster
	for _, name := range []string{fastDirect, authkit, nginx, floor} {
		f, err := b.stage.start(ctx, name, behind)
		if err != nil {
			return fronts, stop, err
		}
		fronts = append(fronts, f)
		behind = fronts[0]
	}
	return fronts, stop, nil
}

func (b *bench) loadPages(ctx context.Context, fronts []*front) {
	b.report.Pages = map[string][]pageLoad{}
	for round := range b.options.rounds {
		for turn := range fronts {
			f := fronts[(round+turn)%len(fronts)]
			got, err := loadPage(ctx, f)
			if err != nil {
				b.note("page load, %s, round %d: %v", f.name, round+1, err)
				continue
			}
			b.report.Pages[f.name] = append(b.report.Pages[f.name], got)
			b.say("  %-15s drawn %6.0f ms, filled %6.0f ms, %5.2f MB", f.name, got.DrawnMS, got.FilledMS, got.Bytes/1e6)
		}
	}
}

const (
	// loadOverhead is what a load takes beside its time: the check, the wait until all is idle, wrk's start and end.
	loadOverhead = 500 * time.Millisecond
	longestLoad  = 10 * time.Second
	// reserve is a part of the time that is left for what takes longer than expected.
	reserve = 0.05
)

// perLoad divides the time that is left among the loads of the rounds that are left, in whole seconds as wrk wants them.
func (b *bench) perLoad(cases []loadCase, fronts, rounds int, until time.Time) time.Duration {
	if b.options.load > 0 {
		return b.options.load
	}
	loads, weight := time.Duration(len(cases)*fronts*rounds), 0
	for _, c := range cases {
		weight += max(1, c.weight)
	}
	left := time.Duration(float64(time.Until(until))*(1-reserve)) - loads*loadOverhead
	d := left / time.Duration(weight*fronts*rounds)
	return min(max(d.Truncate(time.Second), time.Second), longestLoad)
}

// needPrograms says at once what has to be installed.
func needPrograms(names ...string) error {
	var missing error
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing = errors.Join(missing, fmt.Errorf("there is no %s: install Debian's package of that name", name))
		}
	}
	return missing
}
