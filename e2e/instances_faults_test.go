package e2e

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dagster-authkit/e2e/pgtest"
)

// cutAll ends the connections of all instances.
const cutAll = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'authkit'`

// statement runs one as the superuser.
func (f *fleet) statement(text string) error {
	return f.postgres.Exec(context.Background(), "dagster", text)
}

// noConnections lets AuthKit's login have none. It is thrown out in a transaction of its own: whoever is so before the limit is
// committed comes in again.
func (f *fleet) noConnections() error {
	return errors.Join(f.statement(`ALTER ROLE authkit CONNECTION LIMIT 0`), f.statement(cutAll))
}

// lock keeps everybody from a table, as a migration that hangs would, until release.
func (f *fleet) lock(table string) (release func() error, err error) {
	conn, err := pgx.Connect(context.Background(), f.postgres.URL(pgtest.Superuser, pgtest.Password, "dagster"))
	if err != nil {
		return nil, err
	}
	if _, err = conn.Exec(context.Background(), `BEGIN; LOCK TABLE authkit.`+table); err != nil {
		return nil, errors.Join(err, conn.Close(context.Background()))
	}
	return func() error { return conn.Close(context.Background()) }, nil
}

// everywhere is each of the instances, and all of them as people see them.
func (f *fleet) everywhere() []*kit { return append(f.instances[:3:3], f.kit) }

// databaseAway: whatever it is that ails PostgreSQL, the answer is "not now", and all is as before when it is well.
func (f *fleet) databaseAway(t *testing.T) {
	c := f.signIn("ed")
	unlock := func() error { return nil }
	for _, fault := range []struct {
		what       string
		begin, end func() error
	}{
		{"down", f.postgres.Down, f.postgres.Up},
		{"frozen", f.postgres.Freeze, f.postgres.Thaw},
		{"too many connections", f.noConnections, func() error { return f.statement(`ALTER ROLE authkit CONNECTION LIMIT -1`) }},
		{"slow", func() (err error) { unlock, err = f.lock("state"); return err }, func() error { return unlock() }},
	} {
		revoked := f.signIn("larry")
		f.cli("", "revoke-sessions", "larry")
		if err := fault.begin(); err != nil {
			t.Fatalf("%s: %v", fault.what, err)
		}
		f.eventually(3*time.Minute, "a refusal", func() bool { return f.me(c) == "503 503 503" })
		var all sync.WaitGroup
		for _, k := range f.everywhere() {
			all.Go(func() { f.refusesAll(t, fault.what, c.at(k), revoked.at(k)) })
		}
		all.Wait()
		if err := fault.end(); err != nil {
			t.Fatalf("%s: %v", fault.what, err)
		}
		begun := time.Now()
		f.eventually(3*time.Minute, "all are back", func() bool { return f.me(c) == "editor editor editor" })
		back := time.Since(begun)
		f.eventually(3*time.Minute, "nginx knows, and people can sign in", func() bool {
			resp, _ := c.do("GET", "/auth/me", "")
			signedIn, _ := f.anonymous().login("vic", passwords["vic"])
			return resp.StatusCode == http.StatusOK && signedIn.StatusCode == http.StatusSeeOther
		})
		t.Logf("%s: back after %v, and through nginx after %v", fault.what, back.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		f.eventually(time.Minute, "a revoked session is nobody's", func() bool {
			got := f.me(revoked)
			if strings.Contains(got, "launcher") {
				t.Errorf("%s: afterwards a revoked session got %q", fault.what, got)
			}
			return got == "401 401 401"
		})
	}
	if f.hasPartition("away") {
		t.Error("a mutation was run that was answered with 503")
	}
	f.eventually(3*time.Minute, "the control: a mutation is run afterwards", func() bool {
		c.tryMutation("well-again")
		return f.hasPartition("well-again")
	})
}

// refusesAll: nobody is signed out and nobody is let in. All ask at once, as each may have to wait for seconds.
func (f *fleet) refusesAll(t *testing.T, fault string, c, revoked *client) {
	t.Helper()
	k := c.kit
	var all sync.WaitGroup
	for what, ask := range map[string]func() (*http.Response, string){
		"me":                func() (*http.Response, string) { return c.do("GET", "/auth/me", "") },
		"a revoked session": func() (*http.Response, string) { return revoked.do("GET", "/auth/me", "") },
		"mutation":          func() (*http.Response, string) { return c.tryMutation("away") },
		"signing in":        func() (*http.Response, string) { return k.anonymous().login("vic", passwords["vic"]) },
	} {
		all.Go(func() {
			resp, body := ask()
			notNow(t, fault+": "+what, resp, body)
		})
	}
	all.Go(func() {
		resp, _ := k.anonymous().do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json")
		if resp.StatusCode == http.StatusOK {
			t.Errorf("%s: a stranger was let in", fault)
		}
	})
	all.Go(func() {
		if resp, _ := c.do("GET", "/auth/health?type=ready", ""); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: ready with %d", fault, resp.StatusCode)
		}
	})
	if k != f.kit { // nginx leaves out those that are not well, alive or not
		all.Go(func() {
			if resp, _ := c.do("GET", "/auth/health?type=live", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: not alive with %d", fault, resp.StatusCode)
			}
		})
	}
	all.Wait()
}

// connectionsCut: there are others at once. A request may hear "not now" meanwhile, and nothing else.
func (f *fleet) connectionsCut(t *testing.T) {
	c := f.signIn("ed")
	socket, _, err := c.at(f.instances[0]).socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := f.statement(cutAll); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		f.eventually(3*time.Minute, "all are back", func() bool {
			got := f.me(c)
			if strings.Trim(strings.ReplaceAll(strings.ReplaceAll(got, "editor", ""), "503", ""), " ") != "" {
				t.Errorf("got %q, want 503 at most", got)
			}
			resp, _ := f.anonymous().login("vic", passwords["vic"])
			return got == "editor editor editor" && resp.StatusCode == http.StatusSeeOther
		})
		t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
	}
	if got := talk(t, socket, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("the WebSocket that was open: got %v, want connection_ack", got)
	}
}

// sessionsLocked: a table that somebody locks fails what needs it in time. Who would have to be looked up hears "not now",
// and is known afterwards.
func (f *fleet) sessionsLocked(t *testing.T) {
	known, unknown := f.signIn("ed"), f.anonymous()
	if got := f.me(known); got != "editor editor editor" {
		t.Fatalf("before: got %q", got)
	}
	if resp, _ := unknown.at(f.instances[0]).login("vic", passwords["vic"]); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing in: %d", resp.StatusCode)
	}
	release, err := f.lock("sessions")
	if err != nil {
		t.Fatal(err)
	}
	resp, body := unknown.at(f.instances[1]).do("GET", "/auth/me", "")
	notNow(t, "an unknown session", resp, body)
	resp, body = f.anonymous().at(f.instances[2]).login("vic", passwords["vic"])
	notNow(t, "signing in", resp, body)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	f.eventually(3*time.Minute, "all are back", func() bool {
		return f.me(known) == "editor editor editor" && f.me(unknown) == "viewer viewer viewer"
	})
}
