package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// wrkOutput is what wrk 4.1.0 of Debian 12 printed with doneScript for a path that is not there.
const wrkOutput = `Running 1s test @ http://127.0.0.1:3912/no
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    43.66ms    5.69ms  53.53ms   93.48%
    Req/Sec    68.85     50.27   151.00     85.00%
  138 requests in 1.00s, 20.20KB read
  Non-2xx or 3xx responses: 138
Requests/sec:    137.37
Transfer/sec:     20.10KB
RESULT {"requests":138,"duration_us":1004581,"bytes":20681,"p50_us":44069.0,"p99_us":53486.0,"failed":0,"refused":138,"late":0}
`

func TestParseWrk(t *testing.T) {
	got, err := parseWrk([]byte(wrkOutput))
	want := count{Requests: 138, Duration: 1004581, Bytes: 20681, P50: 44069, P99: 53486, Refused: 138}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestParseWrkRefuses(t *testing.T) {
	for name, output := range map[string]string{
		"nothing":                 "",
		"no result":               strings.Split(wrkOutput, resultMark)[0],
		"a result that is broken": resultMark + `{"requests":`,
		"a result of no time":     resultMark + `{"requests":1,"duration_us":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseWrk([]byte(output)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

func TestLuaString(t *testing.T) {
	for text, want := range map[string]string{
		`{"query":"{version}"}`: `[[{"query":"{version}"}]]`,
		`{"keys":[["a"]]}`:      `[=[{"keys":[["a"]]}]=]`,
		`a]]b]=]c`:              `[==[a]]b]=]c]==]`,
	} {
		if got := luaString(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// TestWrkSendsDistinctRequests runs wrk for its shortest time, a second, or for longer if need be, against a server that keeps what it is asked.
func TestWrkSendsDistinctRequests(t *testing.T) {
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("there is no wrk: install Debian's package of that name")
	}
	var mu sync.Mutex
	seen, cookies, twice := map[string]bool{}, map[string]bool{}, ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if seen[string(body)] {
			twice = string(body)
		}
		seen[string(body)], cookies[r.Header.Get("Cookie")] = true, true
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Accept-Encoding") != browserEncodings {
			t.Errorf("got %s with %v", r.Method, r.Header)
		}
	}))
	defer server.Close()
	c := distinctCases()[1]
	clients := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(cookies)
	}
	var got count
	for _, long := range []time.Duration{1, 5, 20} { // a busy machine may have no time for it in one second
		var err error
		if got, err = runWrk(context.Background(), t.TempDir(), c, server.URL, []string{"a=1", "a=2"}, fmt.Sprint("seed-", long), long*time.Second); err != nil {
			t.Fatal(err)
		}
		if got.Requests > 0 && clients() == 2 {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got.Requests == 0 || len(seen) < int(got.Requests) || twice != "" {
		t.Errorf("%d requests, %d distinct bodies, sent twice: %q", got.Requests, len(seen), twice)
	}
	if len(cookies) != 2 || !cookies["a=1"] {
		t.Errorf("got the cookies %v, want both", cookies)
	}
	for body := range seen {
		if !strings.Contains(body, `"seed-`) || strings.Contains(body, variableMark) {
			t.Errorf("got the body %s", body)
		}
		break
	}
}
