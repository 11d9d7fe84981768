package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// panel is one small bar chart: a bar for each front.
type panel struct {
	title  string
	better string
	format string
	values []float64 // in the order of dagsterFronts; NaN where nothing was measured
}

const (
	panelWidth, panelHeight = 430, 160
	chartColumns            = 2
	chartTop                = 44
	barLeft, barRoom        = 116, 210 // where bars begin, and how long the longest is
	barStep, barHeight      = 24, 14
)

// chartStyle follows the reader's light or dark mode; on GitHub that of the system.
const chartStyle = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #57606a; }
  .head { font-size: 16px; font-weight: 600; fill: #1f2328; }
  .title { font-weight: 600; fill: #1f2328; }
  .ours { font-weight: 600; fill: #1f2328; }
  .aside { font-size: 11px; font-weight: 400; fill: #57606a; }
  .bar { fill: #b4bcc6; } .bar.ours { fill: #4f43dd; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; } .head, .title, .ours { fill: #e6edf3; }
    .aside { fill: #9198a1; }
    .bar { fill: #565d67; } .bar.ours { fill: #8c84ff; }
  }`

func (r *report) panels() []panel {
	load := func(title, better, format, name string, property func(sample) float64) panel {
		p := panel{title: title, better: better, format: format}
		for _, front := range dagsterFronts {
			p.values = append(p.values, value(r.Loads, name, front, property))
		}
		return p
	}
	pages := func(title, format string, property func(pageLoad) float64) panel {
		p := panel{title: title, better: "less is better", format: format}
		for _, front := range dagsterFronts {
			p.values = append(p.values, medianOf(r.Pages[front], property))
		}
		return p
	}
	const more, less = "requests/s, more is better", "less is better"
	rate := func(s sample) float64 { return s.Rate }
	return []panel{
		pages("First page load, 20 Mbit/s", "%.1f s", func(p pageLoad) float64 { return p.DrawnMS / 1000 }),
		pages("First page load, bytes", "%.1f MB", func(p pageLoad) float64 { return p.Bytes / 1e6 }),
		load("Largest script", more, "%.0f", script16, rate),
		load("Identical queries, 16 connections", more, "%.0f", identical16, rate),
		load("Distinct queries, 16 connections", more, "%.0f", distinct16, rate),
		load("Distinct queries, 64 connections, p99", less, "%.0f ms", distinct64, func(s sample) float64 { return s.P99 }),
		load("Asset graph of 1,000 assets", more, "%.1f", assetGraph, rate),
		load("/server_info", more, "%.0f", serverInfo, rate),
	}
}

// chart is an SVG that stands alone.
func (r *report) chart() string {
	panels := r.panels()
	rows := (len(panels) + chartColumns - 1) / chartColumns
	width, height := chartColumns*panelWidth, chartTop+rows*panelHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n<style>%s\n</style>\n",
		width, height, width, height, "Dagster AuthKit beside a bare Dagster, nginx, the Python AuthKit and a bare ReverseProxy", chartStyle)
	fmt.Fprintf(&b, `<text class="head" x="8" y="24">Dagster %s: bare, and with something in front</text>`+"\n", html.EscapeString(r.dagster()))
	for i, p := range panels {
		p.draw(&b, i%chartColumns*panelWidth, chartTop+i/chartColumns*panelHeight)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// dagster is the version in the first of Versions.
func (r *report) dagster() string {
	first, _, _ := strings.Cut(r.Versions, ";")
	return strings.TrimPrefix(first, "dagster-webserver ")
}

func (p panel) draw(b *strings.Builder, x, y int) {
	fmt.Fprintf(b, `<g transform="translate(%d %d)"><text class="title" x="8" y="16">%s<tspan class="aside" dx="8">%s</tspan></text>`+"\n",
		x, y, html.EscapeString(p.title), html.EscapeString(p.better))
	most := 0.0
	for _, v := range p.values {
		if !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	for i, name := range dagsterFronts {
		top, class := 26+i*barStep, ""
		if name == authkit {
			class = " ours"
		}
		label, length := "not measured", 0.0
		if v := p.values[i]; !math.IsNaN(v) {
			label, length = fmt.Sprintf(p.format, v), max(1, ratio(v, most)*barRoom)
		}
		fmt.Fprintf(b, `<text class="%s" x="%d" y="%d" text-anchor="end">%s</text>`, strings.TrimSpace(class), barLeft-8, top+12, html.EscapeString(name))
		fmt.Fprintf(b, `<rect class="bar%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, barLeft, top, length, barHeight)
		fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%d">%s</text>`+"\n", strings.TrimSpace(class), barLeft+length+6, top+12, html.EscapeString(label))
	}
	b.WriteString("</g>\n")
}
