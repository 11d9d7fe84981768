package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// phases are all parts of a run, one after the other.
func (b *bench) phases(ctx context.Context) error {
	if b.options.only != "fast" {
		if err := b.againstDagster(ctx); err != nil {
			return err
		}
	}
	if b.options.only != "dagster" {
		return b.againstFast(ctx)
	}
	return nil
}

// fastShare is the part of the time for loads that the fast upstream gets: it has fewer cases.
const fastShare = 0.2

func (b *bench) againstDagster(ctx context.Context) error {
	b.say("start to ready, one after the other")
	b.startAll(ctx)
	cases, err := dagsterCases(b.stage.root, b.options.quick)
	if err != nil {
		return err
	}
	b.say("one dagster-webserver with nginx, AuthKit and the ReverseProxy before it; the Python AuthKit beside it, which is one itself")
	fronts, stop, err := b.open(ctx, bare, authkit, nginx, python, floor)
	defer stop()
	if err != nil {
		return err
	}
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
	share := 1 - fastShare
	if b.options.only == "dagster" {
		share = 1
	}
	d := b.perLoad(cases, len(fronts), share)
	b.say("loads on a real Dagster, %s each", d)
	b.report.Loads = b.loadAll(ctx, cases, fronts, d)
	for _, f := range fronts {
		_ = pause(ctx, settleTime)
		m := b.report.Memory[f.name]
		m.After = residentMiB(f.own())
		b.report.Memory[f.name] = m
	}
	return nil
}

// againstFast has a Dagster for the questions that AuthKit asks when it starts; the load never reaches it.
func (b *bench) againstFast(ctx context.Context) error {
	fronts, stop, err := b.openFast(ctx)
	defer stop()
	if err != nil {
		return err
	}
	cases := distinctCases()
	d := b.perLoad(cases, len(fronts), 1)
	b.say("loads on an upstream that takes no time, %s each", d)
	b.report.Fast = b.loadAll(ctx, cases, fronts, d)
	if ctx.Err() != nil {
		b.note("the time was over before everything was measured: give it a longer -budget")
	}
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
func (b *bench) openFast(ctx context.Context) ([]*front, func(), error) {
	dagster, stopDagster, err := b.open(ctx, bare)
	if err != nil {
		return nil, stopDagster, err
	}
	direct, err := b.stage.start(ctx, fastDirect, dagster[0])
	if err != nil {
		return nil, stopDagster, err
	}
	fronts := []*front{direct}
	stop := func() {
		for _, f := range fronts {
			f.process.stop()
		}
		stopDagster()
	}
	for _, name := range []string{authkit, nginx, floor} {
		f, err := b.stage.start(ctx, name, direct)
		if err != nil {
			return nil, stop, err
		}
		fronts = append(fronts, f)
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

// perLoad divides a share of what is left of the budget among the loads, in whole seconds as wrk wants them.
func (b *bench) perLoad(cases []loadCase, fronts int, share float64) time.Duration {
	if b.options.load > 0 {
		return b.options.load
	}
	loads, weight := time.Duration(len(cases)*fronts*b.options.rounds), 0
	for _, c := range cases {
		weight += max(1, c.weight)
	}
	left := time.Duration(float64(time.Until(b.deadline))*share*(1-reserve)) - loads*loadOverhead
	d := left / time.Duration(weight*fronts*b.options.rounds)
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
