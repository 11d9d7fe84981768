package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// diskFull: who is signed in reads on, through nginx too; nobody signs in, is signed out, or changes what is not written down. The
// probes hear of it, and all is well by itself when there is room.
func (f *fleet) diskFull(t *testing.T) {
	c, revoked := f.signIn("ed"), f.signIn("vic")
	f.cli("", "revoke-sessions", "vic")
	f.soon(t, revoked, "401 401 401")
	socket, _, err := c.at(f.instances[1]).socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	what, fill, free := f.postgres.FullDisk("dagster", "authkit")
	t.Log(what)
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	signedIn := f.noRoom(t)
	for i, k := range f.everywhere() {
		f.readsOn(t, fmt.Sprint("instance ", i+1), c.at(k))
		f.stillSafe(t, c.at(k), fmt.Sprint("full-", i))
	}
	if got := f.me(revoked); got != "401 401 401" {
		t.Errorf("a revoked session got %q", got)
	}
	if err := free(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	f.eventually(time.Minute, "all are back", func() bool {
		for _, k := range f.instances {
			ready, _ := c.at(k).do("GET", "/auth/health?type=ready", "")
			login, _ := k.anonymous().login("larry", passwords["larry"])
			if ready.StatusCode != http.StatusOK || login.StatusCode != http.StatusSeeOther {
				return false
			}
		}
		return true
	})
	t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
	if c.tryMutation("room-again"); !f.hasPartition("room-again") {
		t.Error("the control: a mutation is not run afterwards")
	}
	for _, person := range append(signedIn, c) {
		if got := f.me(person); strings.ContainsAny(got, "0123456789") {
			t.Errorf("somebody was signed out: %s", got)
		}
	}
	if got := talk(t, socket, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("the WebSocket that was open: got %v, want connection_ack", got)
	}
}

// noRoom signs in at each instance until there is no room for it, and then some more than a wrong password could: each answer is a
// session, while pages that were begun have room for it, or "not now". Then the instance is not ready, and says why, but alive.
func (f *fleet) noRoom(t *testing.T) (signedIn []*client) {
	t.Helper()
	for i, k := range f.instances {
		refused := 0
		f.eventually(time.Minute, "no room for a sign-in", func() bool {
			c := k.anonymous()
			resp, body := c.login("larry", passwords["larry"])
			if resp.StatusCode == http.StatusSeeOther {
				signedIn = append(signedIn, c)
				return false
			}
			notNow(t, "signing in on a full disk", resp, body)
			refused++
			return refused == 8
		})
		probe := k.anonymous()
		resp, body := probe.do("GET", "/auth/health?type=ready", "")
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "database takes no changes") {
			t.Errorf("instance %d is ready: %d %s", i+1, resp.StatusCode, body)
		}
		if resp, _ := probe.do("GET", "/auth/health?type=live", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("instance %d is not alive: %d", i+1, resp.StatusCode)
		}
	}
	return signedIn
}

// readsOn: pages and queries, several of each, as nginx leaves out who answers a GET with 503.
func (f *fleet) readsOn(t *testing.T, where string, c *client) {
	t.Helper()
	for range 6 {
		if resp, body := c.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"role":"editor"`) {
			t.Errorf("%s: who am I: %d %s", where, resp.StatusCode, body)
		}
		if resp, _ := c.page("/runs"); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: a page: %d", where, resp.StatusCode)
		}
		if got := c.graphql("{ version }", nil); got.Status != http.StatusOK {
			t.Errorf("%s: a query: %d %s", where, got.Status, got.Body)
		}
	}
}

// stillSafe: a mutation is run if and only if it could be written down, and strangers stay outside.
func (f *fleet) stillSafe(t *testing.T, c *client, key string) {
	t.Helper()
	resp, body := c.tryMutation(key)
	if resp.StatusCode != http.StatusOK {
		notNow(t, "a mutation on a full disk", resp, body)
	}
	if ran := f.hasPartition(key); ran != (resp.StatusCode == http.StatusOK) {
		t.Errorf("a mutation was answered with %d, and run: %t", resp.StatusCode, ran)
	}
	if resp, _ := c.kit.anonymous().do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger got %d, want 401", resp.StatusCode)
	}
	if resp, _ := c.kit.anonymous().login("larry", "wrong"); resp.StatusCode == http.StatusSeeOther {
		t.Error("a wrong password let somebody in")
	}
}
