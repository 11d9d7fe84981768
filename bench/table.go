package main

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// table is rows of cells, the first of which is the head.
type table struct {
	title string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// fronts of the report, in the order of its columns.
var (
	dagsterFronts = []string{bare, authkit, nginx, python, floor}
	fastFronts    = []string{fastDirect, authkit, nginx, floor}
)

// tables are all that a person wants to see.
func (r *report) tables() []table {
	rate := func(s sample) float64 { return s.Rate }
	return []table{
		r.goalTable(),
		grid("requests per second", "%.1f", r.Loads, dagsterFronts, rate),
		grid("p50, ms", "%.2f", r.Loads, dagsterFronts, func(s sample) float64 { return s.P50 }),
		grid("p99, ms", "%.2f", r.Loads, dagsterFronts, func(s sample) float64 { return s.P99 }),
		grid("bytes on the wire for each answer", "%.0f", r.Loads, dagsterFronts, func(s sample) float64 { return s.Bytes }),
		grid("CPU seconds per 1,000 requests, the front itself", "%.3f", r.Loads, dagsterFronts, func(s sample) float64 { return s.FrontCPU }),
		grid("CPU seconds per 1,000 requests, what is behind it (Dagster, its code server)", "%.3f", r.Loads, dagsterFronts, func(s sample) float64 { return s.BehindCPU }),
		r.pageTable(), r.processTable(),
		grid("upstream that takes no time: requests per second", "%.0f", r.Fast, fastFronts, rate),
		grid("upstream that takes no time: p50, ms", "%.3f", r.Fast, fastFronts, func(s sample) float64 { return s.P50 }),
		grid("upstream that takes no time: CPU seconds per 1,000 requests, the front itself", "%.3f", r.Fast, fastFronts, func(s sample) float64 { return s.FrontCPU }),
	}
}

func (r *report) goalTable() table {
	t := table{title: "goals: AuthKit's figures as ratios in this run"}
	t.add("case", "goal", "measured", "")
	for _, g := range r.Goals {
		t.add(g.Case, g.Goal, g.Measured, g.Verdict)
	}
	return t
}

// grid has a row for each case and a column for each front.
func grid(title, format string, all []series, fronts []string, property func(sample) float64) table {
	t := table{title: title}
	t.add(append([]string{"case"}, fronts...)...)
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.Case] {
			continue
		}
		seen[s.Case] = true
		row := []string{s.Case}
		for _, name := range fronts {
			row = append(row, number(format, value(all, s.Case, name, property)))
		}
		t.add(row...)
	}
	return t
}

// number is empty where nothing was measured.
func number(format string, value float64) string {
	if math.IsNaN(value) {
		return ""
	}
	return fmt.Sprintf(format, value)
}

func (r *report) pageTable() table {
	t := table{title: "first page load, empty cache, 20 Mbit/s and 40 ms"}
	t.add(append([]string{""}, dagsterFronts...)...)
	row := func(what, format string, property func(pageLoad) float64) {
		cells := []string{what}
		for _, name := range dagsterFronts {
			cells = append(cells, number(format, medianOf(r.Pages[name], property)))
		}
		t.add(cells...)
	}
	if len(r.Pages) == 0 {
		return t
	}
	row("drawn, s", "%.2f", func(p pageLoad) float64 { return p.DrawnMS / 1000 })
	row("filled, s", "%.2f", func(p pageLoad) float64 { return p.FilledMS / 1000 })
	row("MB on the wire", "%.2f", func(p pageLoad) float64 { return p.Bytes / 1e6 })
	return t
}

func (r *report) processTable() table {
	t := table{title: "the front's own processes"}
	t.add(append([]string{""}, dagsterFronts...)...)
	row := func(what, format string, property func(memory) float64) {
		cells := []string{what}
		for _, name := range dagsterFronts {
			got := math.NaN()
			if m, found := r.Memory[name]; found && property(m) > 0 {
				got = property(m)
			}
			cells = append(cells, number(format, got))
		}
		t.add(cells...)
	}
	if len(r.Memory) == 0 {
		return t
	}
	row("memory idle, MiB", "%.1f", func(m memory) float64 { return m.Idle })
	row("memory after the run, MiB", "%.1f", func(m memory) float64 { return m.After })
	row("with idle WebSockets, MiB", "%.1f", func(m memory) float64 { return m.Connected })
	row("an idle WebSocket, KiB", "%.1f", memory.perSocket)
	starts := []string{"start to ready, s"}
	for _, name := range dagsterFronts {
		starts = append(starts, number("%.2f", median(r.Starts[name])))
	}
	t.add(starts...)
	return t
}

// head says what the tables are of.
func (r *report) head() []string {
	lines := []string{
		fmt.Sprintf("%s, on %s, %s.", r.Versions, r.Machine, r.Made.Format("2006-01-02")),
		fmt.Sprintf("Medians of %d rounds, in turn; the run took %.0f s. AuthKit's requests are those of %d signed in with the role %s.",
			r.Rounds, r.Seconds, r.People, r.Role),
		"Bare Dagster, AuthKit (--upstream), nginx and the ReverseProxy share one dagster-webserver; the Python AuthKit is one itself.",
	}
	for _, note := range r.Notes {
		lines = append(lines, "NOTE: "+note)
	}
	return lines
}

// text is for a terminal.
func (r *report) text() string {
	var b strings.Builder
	for _, line := range r.head() {
		b.WriteString(line + "\n")
	}
	for _, t := range r.tables() {
		if len(t.rows) < 2 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", t.title)
		widths := make([]int, len(t.rows[0]))
		for _, row := range t.rows {
			for i, cell := range row {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
		for _, row := range t.rows {
			cells := make([]string, len(row))
			for i, cell := range row {
				fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
				cells[i] = fill + cell
				if i == 0 {
					cells[i] = cell + fill
				}
			}
			b.WriteString("  " + strings.TrimRight(strings.Join(cells, "  "), " ") + "\n")
		}
	}
	return b.String()
}

// markdown is for docs/bench.md.
func (r *report) markdown() string {
	var b strings.Builder
	for _, line := range r.head() {
		b.WriteString(line + "\n")
	}
	for _, t := range r.tables() {
		if len(t.rows) < 2 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s%s\n\n", strings.ToUpper(t.title[:1]), t.title[1:])
		for i, row := range t.rows {
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
			if i == 0 {
				b.WriteString("| ---" + strings.Repeat(" | ---:", len(row)-1) + " |\n")
			}
		}
	}
	return b.String()
}
