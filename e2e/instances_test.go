package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestInstances: three instances are one. People sign in at any and work at all; what ends their rights does so everywhere; one
// may be killed or restarted, and PostgreSQL may be away, and nobody has to sign in again.
func TestInstances(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	t.Run("one session for all", f.oneSession)
	t.Run("changes hold everywhere", f.changesHold)
	t.Run("open WebSockets", f.socketsClose)
	t.Run("attempts are counted together", f.attemptsTogether)
	t.Run("database away", f.databaseAway)
	t.Run("one killed", f.oneKilled)
	t.Run("rolling restart", f.rollingRestart)
}

// me is the status of /auth/me at each instance.
func (f *fleet) me(c *client) string {
	var list []string
	for _, k := range f.instances {
		resp, body := c.at(k).do("GET", "/auth/me", "")
		status := fmt.Sprint(resp.StatusCode)
		if resp.StatusCode == http.StatusOK {
			_, role, _ := strings.Cut(body, `"role":"`)
			status, _, _ = strings.Cut(role, `"`)
		}
		list = append(list, status)
	}
	return strings.Join(list, " ")
}

func (f *fleet) oneSession(t *testing.T) {
	c := f.signIn("larry")
	if got := f.me(c); got != "launcher launcher launcher" {
		t.Errorf("signed in through nginx: got %q at the three", got)
	}
	c.at(f.instances[1]).do("POST", "/auth/logout", "")
	f.soon(t, c, "401 401 401")
}

// soon waits until all three say so. It is within milliseconds, and a second is what is promised.
func (f *fleet) soon(t *testing.T, c *client, want string) {
	t.Helper()
	begun := time.Now()
	var got string
	for time.Since(begun) < 10*time.Second {
		if got = f.me(c); got == want {
			t.Logf("held everywhere after %v", time.Since(begun).Round(time.Millisecond))
			return
		}
	}
	t.Errorf("got %q at the three, want %q", got, want)
}

func (f *fleet) changesHold(t *testing.T) {
	for _, tc := range []struct {
		what   string
		change func()
		want   string
		back   func()
	}{
		{"role", func() { f.cli("", "change-role", "larry", "editor") }, "editor editor editor", func() { f.cli("", "change-role", "larry", "launcher") }},
		{"revoked", func() { f.cli("", "revoke-sessions", "larry") }, "401 401 401", func() {}},
		{"password", func() { f.cli(passwords["larry"]+"\n", "change-password", "larry", "--password-stdin") }, "401 401 401", func() {}},
		{"disabled", func() { f.cli("", "disable-user", "larry") }, "401 401 401", func() { f.cli("", "enable-user", "larry") }},
		{"deleted", func() { f.cli("", "delete-user", "larry", "--yes") }, "401 401 401", func() {
			f.cli(passwords["larry"]+"\n", "add-user", "larry", "--launcher", "--password-stdin")
		}},
	} {
		c, bystander := f.signIn("larry"), f.signIn("vic")
		if got := f.me(c); got != "launcher launcher launcher" {
			t.Fatalf("%s: before: got %q", tc.what, got)
		}
		tc.change()
		f.soon(t, c, tc.want)
		if got := f.me(bystander); got != "viewer viewer viewer" {
			t.Errorf("%s: the bystander got %q", tc.what, got)
		}
		tc.back()
	}
}

func (f *fleet) socketsClose(t *testing.T) {
	c := f.signIn("larry")
	var closed sync.WaitGroup
	for _, k := range append(f.instances[:3:3], f.kit) { // nginx too
		conn, _, err := c.at(k).socket("/graphql", nil, "graphql-ws")
		if err != nil {
			t.Fatal(err)
		}
		closed.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_, _, err := conn.Read(ctx)
			if status := websocket.CloseStatus(err); status != 4401 {
				t.Errorf("the socket closed with %d (%v), want 4401", status, err)
			}
		})
	}
	f.cli("", "revoke-sessions", "larry")
	closed.Wait()
}

func (f *fleet) attemptsTogether(t *testing.T) {
	stranger := f.anonymous()
	var got []string
	for range 6 { // nginx asks the three in turn
		resp, _ := stranger.login("vic", "wrong")
		got = append(got, fmt.Sprint(resp.StatusCode))
	}
	if want := "401 401 401 401 401 429"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for i, k := range f.instances {
		if resp, _ := stranger.at(k).login("vic", passwords["vic"]); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("instance %d let somebody try on: %d", i+1, resp.StatusCode)
		}
	}
	f.cli("", "unlock", "vic")
	f.signIn("vic")
}

func (f *fleet) databaseAway(t *testing.T) {
	c := f.signIn("ed")
	for _, fault := range []struct {
		what       string
		begin, end func() error
	}{{"down", f.postgres.Down, f.postgres.Up}, {"frozen", f.postgres.Freeze, f.postgres.Thaw}} {
		if err := fault.begin(); err != nil {
			t.Fatal(err)
		}
		f.eventually(time.Minute, "a refusal", func() bool { return f.me(c) == "503 503 503" })
		for _, k := range f.instances {
			at := c.at(k)
			resp, body := at.do("GET", "/auth/me", "")
			notNow(t, fault.what+": me", resp, body)
			resp, body = at.tryMutation("away")
			notNow(t, fault.what+": mutation", resp, body)
			resp, body = f.anonymous().at(k).login("vic", passwords["vic"])
			notNow(t, fault.what+": signing in", resp, body)
			if resp, _ := at.do("GET", "/auth/health?type=ready", ""); resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: ready with %d", fault.what, resp.StatusCode)
			}
			if resp, _ := at.do("GET", "/auth/health?type=live", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: not alive with %d", fault.what, resp.StatusCode)
			}
		}
		if err := fault.end(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		f.eventually(time.Minute, "all are back", func() bool { return f.me(c) == "editor editor editor" })
		t.Logf("%s: back after %v", fault.what, time.Since(begun).Round(time.Millisecond))
	}
	if f.hasPartition("away") {
		t.Error("a mutation was run that was answered with 503")
	}
}

// traffic is people at work through nginx: each signs in once, reads, asks Dagster, and expects to be known. Stop gives what
// went wrong, and how many requests there were.
func (f *fleet) traffic(t *testing.T, people int) (stop func() (failures []string, requests int64)) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	var requests atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	for i := range people {
		c := f.signIn([]string{"vic", "larry", "ed", "ada"}[i%4])
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				var what string
				var status int
				var err error
				switch n % 3 {
				case 0:
					what, status, err = try(c, "GET", "/auth/me", "")
				case 1:
					what, status, err = try(c, "POST", "/graphql", `{"query": "{ version }"}`)
				case 2:
					what, status, err = try(c, "GET", "/server_info", "")
				}
				requests.Add(1)
				if err != nil || status != http.StatusOK {
					mu.Lock()
					failures = append(failures, fmt.Sprintf("%s: %d, %v", what, status, err))
					mu.Unlock()
				}
			}
		})
	}
	return func() ([]string, int64) {
		cancel()
		all.Wait()
		return failures, requests.Load()
	}
}

// try is do without an end of the test when there is no answer.
func try(c *client, method, path, body string) (what string, status int, err error) {
	req, err := http.NewRequest(method, c.kit.url+path, strings.NewReader(body))
	if err != nil {
		return path, 0, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return path, 0, err
	}
	defer resp.Body.Close()
	return path, resp.StatusCode, nil
}

// oneKilled: only what was under way at the killed instance may fail, and each person had one request at most.
func (f *fleet) oneKilled(t *testing.T) {
	const people = 20
	c := f.signIn("ada")
	stop := f.traffic(t, people)
	time.Sleep(time.Second) // work, before and after
	f.instances[0].kill()
	time.Sleep(2 * time.Second)
	failures, requests := stop()
	if len(failures) > people {
		t.Errorf("%d of %d requests failed, want at most one of each of the %d people: %s", len(failures), requests, people, strings.Join(failures, "; "))
	}
	for _, failure := range failures {
		if strings.Contains(failure, ": 401") || strings.Contains(failure, ": 303") {
			t.Errorf("somebody was signed out: %s", failure)
		}
	}
	t.Logf("%d of %d requests failed", len(failures), requests)
	if resp, body := c.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("a sign-in was lost: %d %s", resp.StatusCode, body)
	}
	f.instances[0].run(options{})
	f.instances[0].waitReady()
}

// rollingRestart is how an upgrade goes: marked down, restarted, ready, back again. Not one request fails.
func (f *fleet) rollingRestart(t *testing.T) {
	stop := f.traffic(t, 10)
	for _, k := range f.instances {
		f.writeConf(t, k)
		f.reload(t)
		k.stop()
		k.run(options{})
		k.waitReady()
		f.writeConf(t, nil)
		f.reload(t)
	}
	failures, requests := stop()
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(failures), requests, strings.Join(failures[:min(5, len(failures))], "; "))
	}
	t.Logf("%d requests", requests)
}
