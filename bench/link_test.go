package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestLinkCarriesEverything has no word on time but the least that the line's rate and delay allow.
func TestLinkCarriesEverything(t *testing.T) {
	const size = 200_000
	want := bytes.Repeat([]byte("0123456789"), size/10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	line, err := openLink(ctx, strings.TrimPrefix(server.URL, "http://"), 20_000_000, 40*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer line.close()
	defer cancel()
	started := time.Now()
	resp, err := plainClient().Get(line.address())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes and %v, want %d", len(got), err, size)
	}
	if took := time.Since(started); took < 80*time.Millisecond+80*time.Millisecond {
		t.Errorf("%d bytes came in %s: two round trips and the line alone take 160 ms", size, took)
	}
	if total := line.total(); total < size || total > size+2000 {
		t.Errorf("counted %d bytes, want %d and some headers", total, size)
	}
}

func TestReserveSharesTheLine(t *testing.T) {
	l := lane{perByte: time.Millisecond}
	first := l.reserve(100)
	if second := l.reserve(50); second.Sub(first) != 50*time.Millisecond {
		t.Errorf("the second leaves %s after the first, want 50ms", second.Sub(first))
	}
	if got := l.bytes.Load(); got != 150 {
		t.Errorf("counted %d bytes, want 150", got)
	}
}
