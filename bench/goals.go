package main

import (
	"fmt"
	"math"
)

// goal is a figure to reach and what it came to.
type goal struct {
	Case     string `json:"case"`
	Goal     string `json:"goal"`
	Measured string `json:"measured"`
	Verdict  string `json:"verdict"`
}

const (
	reached    = "reached"
	notReached = "not reached"
	unknown    = "not measured"
)

// atLeast and atMost judge a value; one that is not a number was not measured.
func atLeast(what string, got, least float64) goal {
	return judge(what, fmt.Sprintf("at least %g", least), got, "", got >= least)
}

func atMost(what string, got, most float64, unit string) goal {
	return judge(what, fmt.Sprintf("at most %g%s", most, unit), got, unit, got <= most)
}

func judge(what, wanted string, got float64, unit string, ok bool) goal {
	g := goal{Case: what, Goal: wanted, Measured: fmt.Sprintf("%.2f%s", got, unit), Verdict: notReached}
	switch {
	case math.IsNaN(got):
		g.Measured, g.Verdict = "", unknown
	case ok:
		g.Verdict = reached
	}
	return g
}

// goals are the figures to reach. Nothing fails when one is not.
func (r *report) goals() []goal {
	rate := func(s sample) float64 { return s.Rate }
	p50 := func(s sample) float64 { return s.P50 }
	p99 := func(s sample) float64 { return s.P99 }
	bytes := func(s sample) float64 { return s.Bytes }
	drawn := func(p pageLoad) float64 { return p.DrawnMS }
	wire := func(p pageLoad) float64 { return p.Bytes }
	return []goal{
		atLeast("distinct queries, 16 connections: throughput to bare", r.compare(distinct16, bare, rate), 0.95),
		atMost("distinct queries, 1 connection: p50 above the ReverseProxy's", r.difference(distinct1, floor, p50), 0.3, " ms"),
		atLeast("identical queries, 16 connections: throughput to bare", r.compare(identical16, bare, rate), 5),
		atMost("distinct queries, 64 connections: p99 to bare", r.compare(distinct64, bare, p99), 0.5, ""),
		atLeast("distinct queries, 64 connections: throughput to bare", r.compare(distinct64, bare, rate), 0.9),
		atLeast("/server_info: throughput to the ReverseProxy", r.compare(serverInfo, floor, rate), 0.9),
		atLeast("index.html: throughput to the ReverseProxy", r.compare(indexPage, floor, rate), 0.9),
		atLeast("largest script: throughput to bare", r.compare(script16, bare, rate), 15),
		atMost("largest script: bytes on the wire to bare", r.compare(script16, bare, bytes), 0.27, ""),
		atMost("first page load, throttled: time to bare", r.comparePages(drawn), 0.5, ""),
		atMost("first page load, throttled: bytes to bare", r.comparePages(wire), 0.3, ""),
		atLeast("fast upstream, 1 connection: throughput to the ReverseProxy", r.compareFast(distinct1), 0.7),
		atLeast("fast upstream, 16 connections: throughput to the ReverseProxy", r.compareFast(distinct16), 0.7),
		atLeast("fast upstream, 64 connections: throughput to the ReverseProxy", r.compareFast(distinct64), 0.7),
		atMost("memory, idle", r.memoryOf(func(m memory) float64 { return m.Idle }), 40, " MiB"),
		atMost("memory, after the run", r.memoryOf(func(m memory) float64 { return m.After }), 150, " MiB"),
		atMost("memory, an idle WebSocket", r.memoryOf(memory.perSocket), 60, " KiB"),
		atMost("start to ready, more than bare", median(r.Starts[authkit])-median(r.Starts[bare]), 0.15, " s"),
	}
}

// value is a property of AuthKit's or another front's median; NaN where it was not measured.
func value(all []series, name, front string, property func(sample) float64) float64 {
	s, found := find(all, name, front)
	if !found {
		return math.NaN()
	}
	return property(s.Median)
}

func (r *report) compare(name, with string, property func(sample) float64) float64 {
	return ratio(value(r.Loads, name, authkit, property), value(r.Loads, name, with, property))
}

func (r *report) difference(name, with string, property func(sample) float64) float64 {
	return value(r.Loads, name, authkit, property) - value(r.Loads, name, with, property)
}

func (r *report) compareFast(name string) float64 {
	rate := func(s sample) float64 { return s.Rate }
	return ratio(value(r.Fast, name, authkit, rate), value(r.Fast, name, floor, rate))
}

func (r *report) comparePages(property func(pageLoad) float64) float64 {
	return ratio(medianOf(r.Pages[authkit], property), medianOf(r.Pages[bare], property))
}

func (r *report) memoryOf(property func(memory) float64) float64 {
	m, found := r.Memory[authkit]
	if got := property(m); found && got > 0 {
		return got
	}
	return math.NaN()
}
