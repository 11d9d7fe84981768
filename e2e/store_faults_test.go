package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// database opens AuthKit's own database from this process, as any other program on the machine could.
func (k *kit) database() *sql.DB {
	k.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+k.db+"?mode=rw&_busy_timeout=10000&_foreign_keys=true")
	if err != nil {
		k.t.Fatal(err)
	}
	return db
}

// change alters AuthKit's database behind its back, and reports how many rows it changed.
func (k *kit) change(statement string, args ...any) int64 {
	k.t.Helper()
	db := k.database()
	defer db.Close()
	result, err := db.Exec(statement, args...)
	if err != nil {
		k.t.Fatalf("%s: %v", statement, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		k.t.Fatal(err)
	}
	return n
}

// count reads one number from AuthKit's database.
func (k *kit) count(statement string, args ...any) int64 {
	k.t.Helper()
	db := k.database()
	defer db.Close()
	var n int64
	if err := db.QueryRow(statement, args...).Scan(&n); err != nil {
		k.t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// holdLock keeps everybody else from writing to the database, as a backup or another program that forgot its transaction
// would, until release is called.
func (k *kit) holdLock() (release func()) {
	k.t.Helper()
	db := k.database()
	conn, err := db.Conn(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := conn.ExecContext(context.Background(), "BEGIN EXCLUSIVE"); err != nil {
		k.t.Fatal(err)
	}
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			k.t.Error(err)
		}
		conn.Close()
		db.Close()
	}
	k.t.Cleanup(release)
	return release
}

// TestStoreFaults: when the database fails AuthKit says "not now" and means it: nobody is signed out, nothing is done that
// could not be written down, and everything goes on by itself when the database does.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	t.Run("locked by another program", func(t *testing.T) { lockedDatabase(t, k) })
	t.Run("locked for a moment", func(t *testing.T) { lockedForAMoment(t, k) })
	t.Run("locked for many", func(t *testing.T) { lockedForMany(t, k) })
	t.Run("sessions can't be read", func(t *testing.T) { unreadableSessions(t, k) })
	t.Run("nothing can be read", func(t *testing.T) { unreadableState(t, k) })
	t.Run("the audit trail takes no decision", func(t *testing.T) { fullTrail(t, k) })
	t.Run("the audit trail takes no outcome", func(t *testing.T) { lostOutcome(t, k) })
}

// notNow checks an answer of a failing store: 503 that says when to come back and leaves the cookie alone.
func notNow(t *testing.T, what string, resp *http.Response, body string) {
	t.Helper()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s: got %d and Retry-After %q, want 503 with one\n%s", what, resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
	if cookies := resp.Header.Values("Set-Cookie"); len(cookies) != 0 {
		t.Errorf("%s: got Set-Cookie %q, want the cookie left alone", what, cookies)
	}
	for _, inside := range []string{"sqlite", "database is locked", "no such table", "audit_events"} {
		if strings.Contains(body, inside) {
			t.Errorf("%s: the answer shows insides (%q):\n%s", what, inside, body)
		}
	}
}

// tryMutation sends a mutation as a program does and returns the raw answer.
func (c *client) tryMutation(key string) (*http.Response, string) {
	c.t.Helper()
	return c.do("POST", "/graphql", fmt.Sprintf(`{"query": %q}`, mutationFor(key)), "Content-Type", "application/json")
}

// worksAgain: the same session does what it could not do before, and it is in the trail.
func worksAgain(t *testing.T, k *kit, c *client, key string) {
	t.Helper()
	before := k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'ACCESS_CONTROL' AND status = 'ALLOWED'`)
	resp, body := c.tryMutation(key)
	if resp.StatusCode != http.StatusOK || !k.hasPartition(key) {
		t.Errorf("afterwards: got %d, partition made: %t\n%s", resp.StatusCode, k.hasPartition(key), body)
	}
	if after := k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'ACCESS_CONTROL' AND status = 'ALLOWED'`); after != before+1 {
		t.Errorf("afterwards: %d new rows in the trail, want 1", after-before)
	}
}

func lockedDatabase(t *testing.T, k *kit) {
	editor, viewer := k.signIn("ed"), k.signIn("vic")
	release := k.holdLock()
	// What writes nothing goes on: readers don't wait for a writer.
	if got := viewer.graphql("{ version }", nil); got.Status != http.StatusOK {
		t.Errorf("a query meanwhile: got %d, want 200", got.Status)
	}
	if resp, _ := viewer.page("/runs"); resp.StatusCode != http.StatusOK {
		t.Errorf("a page meanwhile: got %d, want 200", resp.StatusCode)
	}
	resp, body := editor.tryMutation("locked")
	notNow(t, "a mutation", resp, body)
	resp, body = viewer.tryMutation("locked-viewer")
	notNow(t, "a refused mutation", resp, body)
	resp, body = k.anonymous().login("vic", passwords["vic"])
	notNow(t, "signing in", resp, body)
	resp, body = viewer.do("POST", "/auth/logout", "")
	notNow(t, "signing out", resp, body)
	release()
	if keys := k.partitions(); len(keys) != 0 {
		t.Errorf("what was answered with 503 made the partitions %v, want none", keys)
	}
	if got := viewer.graphql("{ version }", nil); got.Status != http.StatusOK {
		t.Errorf("the viewer after a sign-out that failed: got %d, want still signed in", got.Status)
	}
	worksAgain(t, k, editor, "unlocked")
	if keys := k.partitions(); slices.Contains(keys, "locked") {
		t.Errorf("a mutation that was answered with 503 ran later: %v", keys)
	}
	k.signIn("vic")
}

// lockedForAMoment: a write waits for the one before it, and nobody notices. A write gives up after 5 s, so that a moment in which the
// machine stood still is tried again.
func lockedForAMoment(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	for try := range 5 {
		key := fmt.Sprintf("waited-%d", try)
		release, begun := k.holdLock(), time.Now()
		answered := make(chan string, 1)
		go func() {
			body := fmt.Sprintf(`{"query": %q}`, mutationFor(key))
			answered <- statusOf(context.Background(), editor, "/graphql", body, "application/json")
		}()
		time.Sleep(500 * time.Millisecond)
		if k.hasPartition(key) {
			t.Error("the mutation ran before it was in the trail")
		}
		release()
		moment := time.Since(begun) < 2*time.Second
		status := <-answered
		if status == "503" && !moment {
			continue
		}
		if status != "200" || !k.hasPartition(key) {
			t.Errorf("after a short wait: got %s, partition made: %t", status, k.hasPartition(key))
		}
		return
	}
	t.Error("no moment was short")
}

// lockedForMany: those who wait for a locked database wait together, not each after the one before. One write gives up after
// 5 s, so 30 of them in a row would take two minutes and a half; one and a half are room enough for a slow machine.
func lockedForMany(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	release := k.holdLock()
	const many = 30
	requests := map[string]func(i int) (path, body, kind string){
		"mutations": func(i int) (string, string, string) {
			return "/graphql", fmt.Sprintf(`{"query": %q}`, mutationFor(fmt.Sprintf("many-%d", i))), "application/json"
		},
		"sign-ins": func(int) (string, string, string) {
			return "/auth/login", url.Values{"username": {"vic"}, "password": {passwords["vic"]}}.Encode(), "application/x-www-form-urlencoded"
		},
	}
	for name, request := range requests {
		answers := make(chan string, many)
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		for i := range many {
			path, body, kind := request(i)
			go func() { answers <- statusOf(ctx, editor, path, body, kind) }()
		}
		got := map[string]int{}
		for range many {
			got[<-answers]++
		}
		cancel()
		if got["503"] != many {
			t.Errorf("%d %s while the database is locked: got %v, want 503 for each", many, name, got)
		}
	}
	release()
	worksAgain(t, k, editor, "many-afterwards")
	for i := range many {
		if key := fmt.Sprintf("many-%d", i); k.hasPartition(key) {
			t.Errorf("a mutation that was not answered with success made the partition %s", key)
		}
	}
}

// statusOf sends without failing a test, so that many goroutines can.
func statusOf(ctx context.Context, c *client, path, body, kind string) string {
	req, err := http.NewRequestWithContext(ctx, "POST", c.kit.url+path, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", kind)
	resp, err := c.http.Do(req)
	if err != nil {
		return "no answer in time"
	}
	resp.Body.Close()
	return fmt.Sprint(resp.StatusCode)
}

// everythingFails asks for one of each and wants "not now" each time.
func everythingFails(t *testing.T, k *kit, c *client, key string) {
	t.Helper()
	resp, body := c.tryMutation(key)
	notNow(t, "a mutation", resp, body)
	resp, body = c.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json")
	notNow(t, "a query", resp, body)
	resp, body = c.page("/runs")
	notNow(t, "a page", resp, body)
	resp, body = c.do("GET", "/auth/me", "")
	notNow(t, "who am I", resp, body)
	resp, body = c.page("/auth/login")
	notNow(t, "the sign-in page", resp, body)
	resp, body = c.do("POST", "/auth/logout", "")
	notNow(t, "signing out", resp, body)
	resp, body = c.do("POST", "/report_asset_materialization/"+key, "")
	notNow(t, "a report", resp, body)
	_, resp, err := c.socket("/graphql", nil, "graphql-ws")
	if err == nil || resp == nil {
		t.Errorf("a WebSocket: got %v, want 503 before the upgrade", err)
	} else {
		notNow(t, "a WebSocket", resp, "")
	}
	if k.hasPartition(key) {
		t.Errorf("a mutation that was answered with 503 made the partition %s", key)
	}
}

func unreadableSessions(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	conn, _, err := editor.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	k.change(`ALTER TABLE sessions RENAME TO sessions_away`)
	t.Cleanup(func() {
		if k.count(`SELECT count(*) FROM sqlite_master WHERE name = 'sessions_away'`) == 1 {
			k.change(`ALTER TABLE sessions_away RENAME TO sessions`)
		}
	})
	// The version that the cache goes by does not move with a rename; a change does.
	k.change(`UPDATE state SET version = version + 1`)
	everythingFails(t, k, editor, "no-sessions")
	k.change(`ALTER TABLE sessions_away RENAME TO sessions`)
	worksAgain(t, k, editor, "sessions-back")
	// A socket that was open stayed so: a fault of ours is no reason to sign anybody out.
	if got := talk(t, conn, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("the WebSocket that was open: got %v, want connection_ack", got)
	}
}

func unreadableState(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	k.change(`ALTER TABLE state RENAME TO state_away`)
	t.Cleanup(func() {
		if k.count(`SELECT count(*) FROM sqlite_master WHERE name = 'state_away'`) == 1 {
			k.change(`ALTER TABLE state_away RENAME TO state`)
		}
	})
	everythingFails(t, k, editor, "no-state")
	resp, body := k.anonymous().do("GET", "/auth/health?type=ready", "")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "database") {
		t.Errorf("health: got %d %s, want 503 that names the database", resp.StatusCode, body)
	}
	if resp, _ := k.anonymous().do("GET", "/auth/health?type=live", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("live: got %d, want 200: a restart would mend nothing", resp.StatusCode)
	}
	k.change(`ALTER TABLE state_away RENAME TO state`)
	worksAgain(t, k, editor, "state-back")
	if resp, _ := k.anonymous().do("GET", "/auth/health?type=ready", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("health afterwards: got %d, want 200", resp.StatusCode)
	}
}

// refuseRows makes the trail fail for one type of event, as a full disk would for all.
func (k *kit) refuseRows(kind string) (accept func()) {
	k.t.Helper()
	k.change(`CREATE TRIGGER refuse_rows BEFORE INSERT ON audit_events WHEN new.event_type = '` + kind + `'
		BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`)
	accept = func() { k.change(`DROP TRIGGER IF EXISTS refuse_rows`) }
	k.t.Cleanup(accept)
	return accept
}

// fullTrail: what can't be written down is not done, and what need not be written down goes on.
func fullTrail(t *testing.T, k *kit) {
	editor, viewer := k.signIn("ed"), k.signIn("vic")
	accept := k.refuseRows("ACCESS_CONTROL")
	resp, body := editor.tryMutation("untold")
	notNow(t, "a mutation", resp, body)
	resp, body = viewer.tryMutation("untold-viewer")
	notNow(t, "a refused mutation", resp, body)
	resp, body = editor.do("POST", "/report_asset_materialization/untold", "")
	notNow(t, "a report", resp, body)
	resp, body = viewer.do("GET", "/logs/none/x/out", "")
	notNow(t, "a download", resp, body)
	if got := viewer.graphql("{ version }", nil); got.Status != http.StatusOK {
		t.Errorf("a query: got %d, want 200", got.Status)
	}
	if k.hasPartition("untold") || k.hasPartition("untold-viewer") {
		t.Errorf("a mutation that is not in the trail was run: %v", k.partitions())
	}
	stored := func(key string) int {
		return len(k.query("history/runs/index.db", `SELECT event FROM event_logs WHERE asset_key = ?`, `["`+key+`"]`))
	}
	if n := stored("untold"); n != 0 {
		t.Errorf("a report that is not in the trail was stored %d times", n)
	}
	accept()
	worksAgain(t, k, editor, "told")
	if editor.do("POST", "/report_asset_materialization/told", ""); stored("told") != 1 {
		t.Errorf("a report afterwards: stored %d times, want once", stored("told"))
	}
}

// lostOutcome: what was done is answered as it was, and the log says that its outcome is missing.
func lostOutcome(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	accept := k.refuseRows("ACCESS_OUTCOME")
	resp, body := editor.tryMutation("outcome")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "AddDynamicPartitionSuccess") || !k.hasPartition("outcome") {
		t.Errorf("got %d %s, want Dagster's answer", resp.StatusCode, body)
	}
	k.eventually(time.Minute, "the log tells of it", func() bool {
		return strings.Contains(k.stderr.String(), "storing the audit outcome failed")
	})
	accept()
	worksAgain(t, k, editor, "outcome-again")
}
