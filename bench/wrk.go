package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// resultMark begins the line in which the Lua script tells what it counted; the rest of wrk's output is for people.
const resultMark = "RESULT "

// doneScript ends every Lua script. Times are in microseconds, as wrk has them.
const doneScript = `
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '` + resultMark + `{"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%.1f,"p99_us":%.1f,"failed":%d,"refused":%d,"late":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write, e.status, e.timeout))
end
`

// count is what wrk counted in one run.
type count struct {
	Requests int64   `json:"requests"`
	Duration int64   `json:"duration_us"`
	Bytes    int64   `json:"bytes"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Failed   int64   `json:"failed"`  // connections that broke
	Refused  int64   `json:"refused"` // answers with a status above 399
	Late     int64   `json:"late"`    // answers that took longer than wrkTimeout
}

// parseWrk finds the line of doneScript in wrk's output.
func parseWrk(output []byte) (count, error) {
	for line := range bytes.Lines(output) {
		line, found := bytes.CutPrefix(line, []byte(resultMark))
		if !found {
			continue
		}
		var c count
		if err := json.Unmarshal(line, &c); err != nil {
			return count{}, fmt.Errorf("reading wrk's result %q: %w", bytes.TrimSpace(line), err)
		}
		if c.Duration <= 0 {
			return count{}, fmt.Errorf("wrk ran for %d µs", c.Duration)
		}
		return c, nil
	}
	return count{}, fmt.Errorf("no result in wrk's output: %s", bytes.TrimSpace(output))
}

const (
	// wrkTimeout is longer than the slowest answer: a busy Dagster takes seconds for 1,000 assets.
	wrkTimeout = 60 * time.Second
	// browserEncodings is what Chromium 123 and later sends.
	browserEncodings = "gzip, deflate, br, zstd"
)

// luaScript makes the script for a case. The requests of a case with variables differ in each: seed, thread and number
// are in the variable. With several cookies, requests take one after the other.
func luaScript(c loadCase, cookies []string, seed string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrk.headers[\"Accept-Encoding\"] = %q\n", browserEncodings)
	if len(cookies) > 0 {
		fmt.Fprintf(&b, "wrk.headers[\"Cookie\"] = %q\n", cookies[0])
	}
	if c.body != "" {
		fmt.Fprintf(&b, "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = %s\n", luaString(c.body))
	}
	before, after, distinct := strings.Cut(c.body, variableMark)
	if !distinct && len(cookies) <= 1 {
		return b.String() + doneScript
	}
	b.WriteString("local cookies = {")
	for _, cookie := range cookies {
		fmt.Fprintf(&b, "%q,", cookie)
	}
	b.WriteString("}\nlocal threads, sent = 0, 0\n")
	b.WriteString("function setup(thread) thread:set(\"id\", threads); threads = threads + 1 end\n")
	b.WriteString("function request()\n  sent = sent + 1\n")
	if len(cookies) > 1 {
		b.WriteString("  wrk.headers[\"Cookie\"] = cookies[sent % #cookies + 1]\n")
	}
	if distinct {
		fmt.Fprintf(&b, "  wrk.body = %s .. %q .. id .. \"-\" .. sent .. %s\n", luaString(before), seed+"-", luaString(after))
	}
	b.WriteString("  return wrk.format()\nend\n")
	return b.String() + doneScript
}

// luaString quotes any text: a long bracket of a level that is not in it.
func luaString(text string) string {
	level := ""
	for strings.Contains(text, "]"+level+"]") {
		level += "="
	}
	return "[" + level + "[" + text + "]" + level + "]"
}

// runWrk loads one front for a time.
func runWrk(ctx context.Context, dir string, c loadCase, address string, cookies []string, seed string, d time.Duration) (count, error) {
	script := filepath.Join(dir, "load.lua")
	if err := os.WriteFile(script, []byte(luaScript(c, cookies, seed)), 0o600); err != nil {
		return count{}, err
	}
	threads := min(2, c.connections)
	args := []string{
		"-t" + strconv.Itoa(threads), "-c" + strconv.Itoa(c.connections),
		"-d" + strconv.Itoa(max(1, int(d.Round(time.Second).Seconds()))) + "s",
		"--timeout", strconv.Itoa(int(wrkTimeout.Seconds())) + "s", "-s", script, address + c.path,
	}
	cmd := exec.CommandContext(ctx, "wrk", args...) //nolint:gosec // The arguments are ours.
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return count{}, errors.Join(fmt.Errorf("wrk %s: %w", strings.Join(args, " "), err), errors.New(stderr.String()))
	}
	return parseWrk(output)
}
