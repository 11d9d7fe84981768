package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example has figures for some cases and none for others.
func example() *report {
	r := &report{
		Versions: "dagster-webserver 1.2.3; nginx", Rounds: 1, People: 1, Role: "viewer",
		Pages: map[string][]pageLoad{
			bare: {{DrawnMS: 4000, FilledMS: 5000, Bytes: 8e6}}, authkit: {{DrawnMS: 1000, FilledMS: 2000, Bytes: 2e6}},
		},
		Memory: map[string]memory{authkit: {Idle: 30, Sockets: 1000, Connected: 80, After: 200}},
		Starts: map[string][]float64{bare: {4, 5, 6}, authkit: {5.1, 5.1, 9}},
		Notes:  []string{"a < b"},
	}
	add := func(to *[]series, name, front string, round sample) {
		s := series{Case: name, Front: front, Rounds: []sample{round}}
		s.summarise()
		*to = append(*to, s)
	}
	add(&r.Loads, distinct16, bare, sample{Rate: 300})
	add(&r.Loads, distinct16, authkit, sample{Rate: 291})
	add(&r.Loads, distinct1, floor, sample{P50: 2.5})
	add(&r.Loads, distinct1, authkit, sample{P50: 3})
	add(&r.Loads, script16, bare, sample{Rate: 100, Bytes: 1000})
	add(&r.Loads, script16, authkit, sample{Rate: 2000, Bytes: 250})
	add(&r.Fast, distinct16, floor, sample{Rate: 10000})
	add(&r.Fast, distinct16, authkit, sample{Rate: 6000})
	r.finish()
	return r
}

func TestGoals(t *testing.T) {
	got := map[string]goal{}
	for _, g := range example().Goals {
		got[g.Case] = g
	}
	for _, tt := range []struct{ name, measured, verdict string }{
		{"distinct queries, 16 connections: throughput to bare", "0.97", reached},
		{"distinct queries, 1 connection: p50 above the ReverseProxy's", "0.50 ms", notReached},
		{"identical queries, 16 connections: throughput to bare", "", unknown},
		{"distinct queries, 64 connections: p99 to bare", "", unknown},
		{"largest script: throughput to bare", "20.00", reached},
		{"largest script: bytes on the wire to bare", "0.25", reached},
		{"first page load, throttled: time to bare", "0.25", reached},
		{"fast upstream, 16 connections: throughput to the ReverseProxy", "0.60", notReached},
		{"memory, idle", "30.00 MiB", reached},
		{"memory, after the run", "200.00 MiB", notReached},
		{"memory, an idle WebSocket", "51.20 KiB", reached},
		{"start to ready, more than bare", "0.10 s", reached},
	} {
		if g, found := got[tt.name]; !found || g.Measured != tt.measured || g.Verdict != tt.verdict {
			t.Errorf("%s: got %+v, want %s, %s", tt.name, g, tt.measured, tt.verdict)
		}
	}
	for _, g := range (&report{}).goals() {
		if g.Verdict != unknown {
			t.Errorf("nothing was measured, and yet: %+v", g)
		}
	}
}

func TestReportIsWrittenAndReadBack(t *testing.T) {
	dir := t.TempDir()
	if err := example().write(dir, false); err != nil {
		t.Fatal(err)
	}
	back, err := readReport(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(example().Goals)
	after, _ := json.Marshal(back.Goals)
	if string(before) != string(after) {
		t.Errorf("got %s, want %s", after, before)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.txt"))
	if err != nil || !strings.Contains(string(text), "NOTE: a < b") || strings.Contains(string(text), "NaN") {
		t.Errorf("got %v\n%s", err, text)
	}
}

func TestChartIsXML(t *testing.T) {
	for name, r := range map[string]*report{"some": example(), "nothing": {}} {
		chart := r.chart()
		decoder := xml.NewDecoder(strings.NewReader(chart))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if strings.Contains(chart, "NaN") || !strings.Contains(chart, "not measured") {
			t.Errorf("%s: a figure that is none is drawn, or not said to be missing", name)
		}
	}
}

func TestReplaceBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.md")
	if err := os.WriteFile(path, []byte("before\n"+docsBegin+"old\n"+docsEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the marks stay
		if err := replaceBetween(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if want := "before\n" + docsBegin + "\nnew\n\n" + docsEnd + "after\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceBetween(path, "new"); err == nil {
		t.Error("a file without marks was written")
	}
}
