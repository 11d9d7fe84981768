package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// sample is what one load of one front gave.
type sample struct {
	Rate      float64 `json:"requests_per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Bytes     float64 `json:"bytes_per_answer"`   // on the wire, with headers
	FrontCPU  float64 `json:"front_cpu_seconds"`  // per 1,000 requests, the front's own processes
	BehindCPU float64 `json:"behind_cpu_seconds"` // the dagster-webserver behind it, and its code server
	Requests  int64   `json:"requests"`
	Bad       int64   `json:"bad"` // broken connections, refused and late requests
}

// series is all rounds of one case on one front.
type series struct {
	Case   string   `json:"case"`
	Front  string   `json:"front"`
	Rounds []sample `json:"rounds"`
	Median sample   `json:"median"`
}

func (s *series) summarise() {
	s.Median = sample{
		Rate:      medianOf(s.Rounds, func(r sample) float64 { return r.Rate }),
		P50:       medianOf(s.Rounds, func(r sample) float64 { return r.P50 }),
		P99:       medianOf(s.Rounds, func(r sample) float64 { return r.P99 }),
		Bytes:     medianOf(s.Rounds, func(r sample) float64 { return r.Bytes }),
		FrontCPU:  medianOf(s.Rounds, func(r sample) float64 { return r.FrontCPU }),
		BehindCPU: medianOf(s.Rounds, func(r sample) float64 { return r.BehindCPU }),
	}
	for _, round := range s.Rounds {
		s.Median.Requests += round.Requests
		s.Median.Bad += round.Bad
	}
}

// job is one case on one front.
type job struct {
	loadCase
	front  *front
	series *series
}

// loadAll runs every case on every front, in turn, in rounds; each round begins with another front, and has its part of the
// time that is left. What does not work is noted and left out; when ctx is done, what was measured until then is returned.
func (b *bench) loadAll(ctx context.Context, cases []loadCase, fronts []*front, until time.Time) []series {
	results := make([]series, len(cases)*len(fronts))
	for round := range b.options.rounds {
		d := b.perLoad(cases, len(fronts), b.options.rounds-round, until)
		b.say("round %d of %d, %s for each load", round+1, b.options.rounds, d)
		for i, c := range cases {
			for turn := range fronts {
				at := (round + turn) % len(fronts)
				j := job{c, fronts[at], &results[i*len(fronts)+at]}
				j.series.Case, j.series.Front = c.Name, fronts[at].name
				b.loadOnce(ctx, j, round, d)
			}
		}
	}
	results = slices.DeleteFunc(results, func(s series) bool { return len(s.Rounds) == 0 })
	for i := range results {
		results[i].summarise()
	}
	return results
}

// loadOnce is one round of one case on one front.
func (b *bench) loadOnce(ctx context.Context, j job, round int, d time.Duration) {
	if ctx.Err() != nil {
		return
	}
	got, err := sample{}, check(ctx, j.loadCase, j.front)
	if err == nil {
		got, err = b.measure(ctx, j, fmt.Sprintf("%d", round), j.run(d))
	}
	if ctx.Err() != nil {
		return // said once, at the end
	}
	if err != nil {
		b.note("%s, %s, round %d: %v", j.Name, j.front.name, round+1, err)
		return
	}
	j.series.Rounds = append(j.series.Rounds, got)
	b.say("  %d/%d  %-38s %-15s %9.1f/s  p50 %8.2f ms  p99 %8.2f ms", round+1, b.options.rounds, j.Name, j.front.name, got.Rate, got.P50, got.P99)
	if got.Bad > 0 {
		b.note("%s, %s, round %d: %d requests of %d went wrong", j.Name, j.front.name, round+1, got.Bad, got.Requests)
	}
}

func (b *bench) measure(ctx context.Context, j job, seed string, d time.Duration) (sample, error) {
	own, rest := j.front.own(), j.front.rest()
	if err := waitIdle(ctx, slices.Concat(own, rest)); err != nil {
		return sample{}, err
	}
	ownCPU, restCPU := cpuSeconds(own), cpuSeconds(rest)
	got, err := runWrk(ctx, b.stage.dir, j.loadCase, j.front.address, j.front.cookies, seed, d)
	if err != nil {
		return sample{}, err
	}
	if got.Requests == 0 {
		return sample{}, fmt.Errorf("no answer in %s", d)
	}
	thousands := float64(got.Requests) / 1000
	return sample{
		Rate: float64(got.Requests) / (float64(got.Duration) / 1e6), P50: got.P50 / 1e3, P99: got.P99 / 1e3,
		Bytes:    float64(got.Bytes) / float64(got.Requests),
		FrontCPU: (cpuSeconds(own) - ownCPU) / thousands, BehindCPU: (cpuSeconds(rest) - restCPU) / thousands,
		Requests: got.Requests, Bad: got.Failed + got.Refused + got.Late,
	}, nil
}

// check asks once and looks at the answer, so that no sign-in page and no error is measured for Dagster's answer.
func check(ctx context.Context, c loadCase, f *front) error {
	method, body := http.MethodGet, ""
	if c.body != "" {
		method, body = http.MethodPost, strings.ReplaceAll(c.body, variableMark, "check")
	}
	req, err := http.NewRequestWithContext(ctx, method, f.address+c.path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if len(f.cookies) > 0 {
		req.Header.Set("Cookie", f.cookies[0])
	}
	resp, err := plainClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // Read only.
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %s: %.300s", resp.Status, answer)
	case !strings.Contains(string(answer), c.want), strings.Contains(string(answer), `"errors"`) && c.body != "":
		return fmt.Errorf("not the answer that was wanted: %.300s", answer)
	}
	return nil
}

// find is the series of one case on one front.
func find(all []series, name, front string) (series, bool) {
	i := slices.IndexFunc(all, func(s series) bool { return s.Case == name && s.Front == front && len(s.Rounds) > 0 })
	if i < 0 {
		return series{}, false
	}
	return all[i], true
}
