package dagster

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
)

// TestAnswers: many who ask at once ask Dagster once or, when a second goes by, twice; and who gives up has learnt nothing about it.
func TestAnswers(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	dagster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"dagster_version":"1.13.27"}`)
	}))
	base, err := url.Parse(dagster.URL)
	if err != nil {
		t.Fatal(err)
	}
	u := New(Options{Log: zerolog.Nop()})
	gone, leave := context.WithCancel(t.Context())
	leave()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if !u.Answers(gone, base) {
				t.Error("Dagster answers, and does not seem to")
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n == 0 || n > 25 {
		t.Errorf("50 asked at once, and Dagster was asked %d times", n)
	}
	dagster.Close()
	elsewhere := *base
	elsewhere.Path = "/" // another address is asked at once
	if u.Answers(t.Context(), &elsewhere) {
		t.Error("Dagster is gone, and seems to answer")
	}
}
