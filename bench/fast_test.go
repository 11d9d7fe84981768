package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestFastServer(t *testing.T) {
	var asked atomic.Int64
	dagster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body))
	}))
	defer dagster.Close()
	f := httptest.NewServer(&fastServer{upstream: dagster.URL, client: plainClient(), recorded: map[string]recording{}})
	defer f.Close()
	post := func(path, body string) string {
		t.Helper()
		resp, err := plainClient().Post(f.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		return string(answer)
	}
	for _, name := range []string{"1", "2"} {
		if got := post("/graphql", graphQL(distinctQuery, map[string]any{"name": name})); got != fastAnswer {
			t.Errorf("got %s, want %s", got, fastAnswer)
		}
	}
	if got := asked.Load(); got != 0 {
		t.Errorf("Dagster was asked %d times for what the fast server knows", got)
	}
	for range 2 {
		if got, want := post("/graphql", "{other}"), "POST /graphql {other}"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("Dagster was asked %d times for the same, want once", got)
	}
	if got := post("/graphql", "{another}"); got != "POST /graphql {another}" || asked.Load() != 2 {
		t.Errorf("got %s and %d questions", got, asked.Load())
	}
}
