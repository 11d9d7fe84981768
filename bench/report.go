package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// report is all that a run found, as it is in the JSON file.
type report struct {
	Made     time.Time             `json:"made"`
	Seconds  float64               `json:"seconds"`
	Machine  string                `json:"machine"`
	Before   float64               `json:"load_average_before"`
	Versions string                `json:"versions"`
	Rounds   int                   `json:"rounds"`
	People   int                   `json:"people"`
	Role     string                `json:"role"`
	Loads    []series              `json:"loads"`
	Fast     []series              `json:"fast_upstream"`
	Pages    map[string][]pageLoad `json:"pages"`
	Memory   map[string]memory     `json:"memory"`
	Starts   map[string][]float64  `json:"starts_seconds"`
	Goals    []goal                `json:"goals"`
	Notes    []string              `json:"notes"`
}

// busyMachine is a load average, for each core, from which the figures say little.
const busyMachine = 0.3

// describe notes what the run is made on and with.
func (r *report) describe(root string, o options) {
	r.Made, r.Before = time.Now().UTC(), loadAverage()
	r.Machine = fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU())
	r.Rounds, r.People, r.Role = o.rounds, o.people, o.role
	dagsters := []string{dagsterVersion(filepath.Join(root, ".venv")), dagsterVersion(filepath.Join(root, ".venv-python-authkit"))}
	r.Versions = strings.Join([]string{
		"dagster-webserver " + dagsters[0], lastLine(filepath.Join(root, "bin", "dagster-authkit"), "--version"),
		lastLine(nginxProgram(), "-v"), lastLine("chromium", "--version"), runtime.Version(),
	}, "; ")
	if dagsters[0] != dagsters[1] {
		r.Notes = append(r.Notes, fmt.Sprintf("the Python AuthKit runs Dagster %s and all others %s: don't compare them", dagsters[1], dagsters[0]))
	}
	if r.Before > busyMachine*float64(runtime.NumCPU()) {
		r.Notes = append(r.Notes, fmt.Sprintf("the machine was busy before the run (load average %.1f on %d cores): the figures are noise", r.Before, runtime.NumCPU()))
	}
}

func (r *report) finish() {
	r.Seconds = time.Since(r.Made).Seconds()
	r.Goals = r.goals()
}

// dagsterVersion is read from the name of what pip installed.
func dagsterVersion(venv string) string {
	found, _ := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages/dagster_webserver-*.dist-info"))
	if len(found) == 0 {
		return "(none)"
	}
	_, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(found[0]), ".dist-info"), "-")
	return version
}

// lastLine is the last line that a program prints: a version, after what its shell script complains about.
func lastLine(program string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // The programs are ours.
	text := strings.TrimSpace(string(out))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

func processor() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(raw)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func loadAverage() float64 {
	raw, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(raw), " ")
	value, _ := strconv.ParseFloat(first, 64)
	return value
}

func readReport(path string) (*report, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // The path is the caller's own.
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	r.Goals = r.goals()
	return &r, nil
}

// write prints the table and writes the files: bench.json, bench.txt, bench.svg, and those of docs/.
func (r *report) write(out string, docs bool) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text := r.text()
	fmt.Print("\n" + text)
	chart := r.chart()
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(out, "bench.json"), append(raw, '\n'), 0o600),
		os.WriteFile(filepath.Join(out, "bench.txt"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(out, "bench.svg"), []byte(chart), 0o600),
	)
	if err != nil || !docs {
		return err
	}
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(root, "docs/images/bench.svg"), []byte(chart), 0o644), //nolint:gosec // For everybody to read.
		replaceBetween(filepath.Join(root, "docs/bench.md"), r.markdown()),
	)
}

const (
	docsBegin = "<!-- The program writes from here ... -->\n"
	docsEnd   = "<!-- ... to here. -->\n"
)

// replaceBetween puts the text between the marks of a file.
func replaceBetween(path, text string) error {
	raw, err := os.ReadFile(path) //nolint:gosec // A file of the repository.
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(raw), docsBegin)
	_, after, ended := strings.Cut(rest, docsEnd)
	if !found || !ended {
		return fmt.Errorf("%s has lost its marks %q and %q", path, docsBegin, docsEnd)
	}
	return os.WriteFile(path, []byte(before+docsBegin+"\n"+text+"\n"+docsEnd+after), 0o644) //nolint:gosec // For everybody to read.
}
