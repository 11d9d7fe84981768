package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic is people at work through nginx: they read, ask, change, sign in once more and let programs of theirs ask. Each has one
// request under way at a time.
type traffic struct {
	fleet    *fleet
	run      string
	tokens   map[string]string
	requests atomic.Int64
	cancel   context.CancelFunc
	all      sync.WaitGroup

	mu       sync.Mutex
	failures []failure
	notNow   int       // answers of 503 with Retry-After, which is how AuthKit sheds load
	sessions []*client // all that were answered as signed in
	made     []string  // partitions whose making was answered with success
}

// failure is a request with another answer than the one that everybody may expect.
type failure struct {
	id, what string
	begun    time.Time
	status   int
	err      error
}

func (f failure) String() string { return fmt.Sprintf("%s %s: %d %v", f.id, f.what, f.status, f.err) }

// person is one of them.
type person struct {
	*traffic
	*client
	id   int
	name string
}

// startTraffic has that many people sign in and begin. They go on until stop.
func (f *fleet) startTraffic(t *testing.T, people int) *traffic {
	t.Helper()
	work := &traffic{fleet: f, run: strconv.FormatInt(time.Now().UnixNano(), 36), tokens: map[string]string{}}
	names := []string{"vic", "larry", "ed", "ada"}
	for _, name := range names {
		token := "traffic " + work.run
		work.tokens[name] = f.token(name, token)
		t.Cleanup(func() { f.cli("", "revoke-token", "--user", name, "--name", token) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	work.cancel = cancel
	t.Cleanup(cancel)
	var ready []person
	for i := range people {
		p := person{work, f.anonymousFrom(i), i, names[i%len(names)]}
		if resp, body := p.login(p.name, passwords[p.name]); resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("signing in: %d %s", resp.StatusCode, body)
		}
		work.sessions = append(work.sessions, p.client)
		ready = append(ready, p)
	}
	for _, p := range ready {
		work.all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				work.requests.Add(1)
				p.step(n)
			}
		})
	}
	return work
}

// anonymousFrom is somebody at an address of their own, as limits count by address. Each request has a connection of its own: when nginx
// reads its file anew it closes those that are idle, which may be just when a request is sent on one, and nobody has the request then.
func (f *fleet) anonymousFrom(i int) *client {
	c := f.anonymous()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
	c.http.Transport = &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	return c
}

// stop waits for the last answers.
func (w *traffic) stop() {
	w.cancel()
	w.all.Wait()
}

func (p person) step(n int) {
	id := fmt.Sprintf("%s-%d-%d", p.run, p.id, n)
	switch key := "traffic-" + id; n % 10 {
	case 0, 5:
		p.try(id, p.http, http.StatusOK, "GET", "/auth/me", "")
	case 1, 6:
		p.try(id, p.http, http.StatusOK, "POST", "/graphql", `{"query": "{ version }"}`)
	case 2, 7:
		p.try(id, p.http, http.StatusOK, "GET", "/runs", "")
	case 3:
		body, ok := p.try(id, p.http, http.StatusOK, "POST", "/graphql", fmt.Sprintf(`{"query": %q}`, mutationFor(key)))
		if may := p.name == "ed" || p.name == "ada"; ok && may != strings.Contains(body, "AddDynamicPartitionSuccess") {
			p.fail(failure{id: id, what: "a mutation: " + body, status: http.StatusOK})
		} else if ok && may {
			p.mu.Lock()
			p.made = append(p.made, key)
			p.mu.Unlock()
		}
	case 4, 8:
		withToken := &http.Client{Transport: withHeader{"Authorization", "Bearer " + p.tokens[p.name], p.http.Transport}, Timeout: p.http.Timeout}
		p.try(id, withToken, http.StatusOK, "POST", "/graphql", `{"query": "{ version }"}`)
	case 9:
		again := p.fleet.anonymousFrom(p.id)
		if _, ok := p.try(id, again.http, http.StatusSeeOther, "POST", "/auth/login", loadForm(p.name, passwords[p.name])); ok {
			p.mu.Lock()
			p.sessions = append(p.sessions, again)
			p.mu.Unlock()
		}
	}
}

func (w *traffic) fail(f failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, f)
}

// try sends a request with its number, by which nginx's log has it.
func (p person) try(id string, by *http.Client, want int, method, path, body string) (answer string, ok bool) {
	f := failure{id: id, what: method + " " + path, begun: time.Now()}
	req, err := http.NewRequest(method, p.kit.url+path, strings.NewReader(body))
	if err != nil {
		f.err = err
		p.fail(f)
		return "", false
	}
	req.Header.Set("X-Test", id)
	if path == "/auth/login" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := by.Do(req)
	if err != nil {
		f.err = err
		p.fail(f)
		return "", false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		p.mu.Lock()
		p.notNow++
		p.mu.Unlock()
		return "", false
	}
	if f.status, f.err = resp.StatusCode, err; err != nil || resp.StatusCode != want {
		p.fail(f)
		return "", false
	}
	return string(text), true
}

// check: everybody who signed in is known at each instance, and what was said to be made is made.
func (w *traffic) check(t *testing.T) {
	t.Helper()
	for _, c := range w.sessions {
		if got := w.fleet.me(c); strings.ContainsAny(got, "0123456789") {
			t.Errorf("a sign-in was lost: %s", got)
		}
	}
	stored := map[string]bool{}
	for _, key := range w.fleet.partitions() {
		stored[key] = true
	}
	for _, key := range w.made {
		if !stored[key] {
			t.Errorf("the partition %s was said to be made", key)
		}
	}
	t.Logf("%d requests, %d failed, %d not now, %d sign-ins, %d mutations", w.requests.Load(), len(w.failures), w.notNow, len(w.sessions), len(w.made))
	if w.notNow > int(w.requests.Load()/50) {
		t.Errorf("%d of %d requests were put off", w.notNow, w.requests.Load())
	}
	if len(w.sessions) == 0 || len(w.made) == 0 {
		t.Error("the control: nobody did anything")
	}
}

// oneKilled: what was under way at the killed instance may fail, and nothing else. nginx's log tells where a request was sent, and
// the clock that it was before the instance was gone.
func (f *fleet) oneKilled(t *testing.T) {
	const people, requests = 100, 1000 // before it, and after
	work := f.startTraffic(t, people)
	f.eventually(5*time.Minute, "people are at work", func() bool { return work.requests.Load() > requests })
	f.instances[0].kill()
	gone, before := time.Now(), work.requests.Load()
	f.eventually(5*time.Minute, "people are at work beside the killed instance", func() bool { return work.requests.Load() > before+requests })
	work.stop()
	log, err := os.ReadFile(filepath.Join(f.conf, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]string{}
	for line := range strings.Lines(string(log)) {
		id, rest, _ := strings.Cut(line, "|")
		sent[id] = strings.TrimSpace(rest)
	}
	killed := strings.TrimPrefix(f.instances[0].url, "http://")
	for _, failed := range work.failures {
		// status|the addresses it was sent to|what they answered
		if part := strings.Split(sent[failed.id], "|"); len(part) != 3 || part[1] != killed || failed.begun.After(gone) {
			t.Errorf("a request failed that was not under way at the killed instance: %s: %q, begun %v after", failed, sent[failed.id], failed.begun.Sub(gone))
		}
		if failed.status != http.StatusBadGateway {
			t.Errorf("somebody got another answer than that of a broken connection: %s", failed)
		}
	}
	f.instances[0].run(options{})
	f.instances[0].waitReady()
	work.check(t)
}
