package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// socket opens a WebSocket as a browser with this client's cookie would.
func (c *client) socket(path string, header http.Header, subprotocols ...string) (*websocket.Conn, *http.Response, error) {
	c.t.Helper()
	if header == nil {
		header = http.Header{}
	}
	if cookie := c.cookie(); cookie != "" {
		header.Set("Cookie", cookie)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.kit.url, "http")+path,
		&websocket.DialOptions{HTTPHeader: header, Subprotocols: subprotocols})
	if err == nil {
		conn.SetReadLimit(-1)
		c.t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

// slowly is how long a test waits for what takes less than a second, unless the machine has other things to do. It is shorter than the
// minute after which a sweep would do the same.
const slowly = 40 * time.Second

// talk sends frames and collects the types of what comes back, sorted: as many as are wanted, and what else comes within a
// second of the last of them. An answer of AuthKit's own can overtake Dagster's.
func talk(t *testing.T, conn *websocket.Conn, want int, frames ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	for _, frame := range frames {
		if err := conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
			return []string{"closed while sending"}
		}
	}
	var got []string
	for {
		wait := time.Minute
		if len(got) >= want {
			wait = time.Second
		}
		quiet, stop := context.WithTimeout(ctx, wait)
		_, message, err := conn.Read(quiet)
		timedOut := quiet.Err() != nil
		stop()
		if err != nil {
			if !timedOut {
				got = append(got, fmt.Sprintf("closed %d", websocket.CloseStatus(err)))
			}
			slices.Sort(got)
			return got
		}
		var frame struct{ Type string }
		if err := json.Unmarshal(message, &frame); err != nil {
			t.Fatalf("a frame that is not JSON: %s", message)
		}
		got = append(got, frame.Type)
		if frame.Type == "complete" {
			slices.Sort(got)
			return got
		}
	}
}

func startFrame(t *testing.T, payload map[string]any) string {
	t.Helper()
	frame, err := json.Marshal(map[string]any{"type": "start", "id": "1", "payload": payload})
	if err != nil {
		t.Fatal(err)
	}
	return string(frame)
}

const (
	initFrame     = `{"type":"connection_init","payload":{}}`
	missingRun    = `subscription S { pipelineRunLogs(runId: "nope") { __typename } }`
	locationState = `subscription { locationStateChangeEvents { event { message } } }`
)

func mutationFor(key string) string {
	return `mutation M { addDynamicPartition(repositorySelector: {repositoryLocationName: "defs.py", repositoryName: "__repository__"},
		partitionsDefName: "dyn", partitionKey: "` + key + `") { __typename } }`
}

// TestWebSocketSurface tries each of the measured ways to use Dagster's WebSocket, by everyone: no one, admins included, can
// run a mutation over it, and what works on a bare Dagster works for a viewer.
func TestWebSocketSurface(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	cases := []struct {
		name   string
		path   string
		header http.Header
		frames []string
		want   string // the types of the frames that come back, or the status that refuses the upgrade
	}{
		{"init and a mutation", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": mutationFor("ws1")})}, "connection_ack error"},
		{"a mutation without init", "/graphql", nil, []string{startFrame(t, map[string]any{"query": mutationFor("ws2")})}, "error"},
		{"a query", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": "{version}"})}, "connection_ack error"},
		{"a quiet subscription", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": locationState})}, "connection_ack"},
		{"a subscription", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": missingRun})}, "complete connection_ack data"},
		{"an encoded path", "/%67raphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": missingRun})}, "complete connection_ack data"},
		{"a mutation chosen by operation_name", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": missingRun + mutationFor("ws3"), "operation_name": "M"})}, "connection_ack error"},
		{"a mutation chosen by operationName", "/graphql", nil, []string{initFrame, startFrame(t, map[string]any{"query": missingRun + mutationFor("ws4"), "operationName": "M"})}, "connection_ack error"},
		{"two names that disagree", "/graphql", nil, []string{startFrame(t, map[string]any{"query": missingRun + mutationFor("ws5"), "operationName": "S", "operation_name": "M"})}, "closed 1008"},
		{"no JSON", "/graphql", nil, []string{"nonsense"}, "closed 1008"},
		{"another path", "/other", nil, nil, "404"},
		{"the path with a slash", "/graphql/", nil, nil, "404"},
		{"another site", "/graphql", http.Header{"Origin": {"https://evil.example"}}, nil, "403"},
		{"its own site", "/graphql", http.Header{"Origin": {k.url}}, []string{initFrame}, "connection_ack"},
	}
	for _, who := range []string{"vic", "ada"} {
		c := k.signIn(who)
		for _, test := range cases {
			header := test.header.Clone()
			conn, resp, err := c.socket(test.path, header, "graphql-ws")
			got := ""
			if err != nil {
				if resp == nil {
					t.Errorf("%s: %s: %v", who, test.name, err)
					continue
				}
				got = fmt.Sprint(resp.StatusCode)
			} else {
				got = strings.Join(talk(t, conn, len(strings.Split(test.want, " ")), test.frames...), " ")
				_ = conn.CloseNow()
			}
			if got != test.want {
				t.Errorf("%s: %s: got %q, want %q", who, test.name, got, test.want)
			}
		}
	}
	if keys := k.partitions(); len(keys) != 0 {
		t.Errorf("mutations over the WebSocket made the partitions %v, want none", keys)
	}
	// The control: the same mutation over HTTP does make one.
	if got := k.signIn("ada").graphql(mutationFor("control"), nil); !k.hasPartition("control") {
		t.Errorf("the control over HTTP made no partition: %s", got.Body)
	}
}

func TestWebSocketNeedsASession(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	_, resp, err := k.anonymous().socket("/graphql", nil, "graphql-ws")
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("as nobody: got %v and answer %v, want 401 before the upgrade", err, resp)
	}
	if _, _, err := k.signIn("vic").socket("/graphql", nil, "graphql-ws"); err != nil {
		t.Errorf("the control, a viewer: %v", err)
	}
}

// TestWebSocketClosesWithItsSession: a change of the account reaches open sockets within a second, from another process too.
func TestWebSocketClosesWithItsSession(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	changes := map[string]func(c *client){
		"signing out":       func(c *client) { c.do("POST", "/auth/logout", "") },
		"a role change":     func(*client) { k.cli("", "change-role", "larry", "viewer") },
		"revoked sessions":  func(*client) { k.cli("", "revoke-sessions", "larry") },
		"a new password":    func(*client) { k.cli(passwords["larry"]+"\n", "change-password", "larry", "--password-stdin") },
		"a disabled user":   func(*client) { k.cli("", "disable-user", "larry") },
		"a deleted account": func(*client) { k.cli("", "delete-user", "larry", "--yes") },
	}
	for _, name := range []string{"signing out", "a role change", "revoked sessions", "a new password", "a disabled user", "a deleted account"} {
		c := k.signIn("larry")
		conn, _, err := c.socket("/graphql", nil, "graphql-ws")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bystander, _, err := k.signIn("vic").socket("/graphql", nil, "graphql-ws")
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() {
			_, _, err := conn.Read(context.Background())
			closed <- err
		}()
		changes[name](c)
		select {
		case err := <-closed:
			if status := websocket.CloseStatus(err); status != 4401 {
				t.Errorf("%s: the socket closed with %d (%v), want 4401", name, status, err)
			}
		case <-time.After(slowly):
			t.Errorf("%s: the socket is still open", name)
		}
		// The control: somebody else's socket stays open.
		if got := talk(t, bystander, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
			t.Errorf("%s: the bystander's socket answered %v, want connection_ack", name, got)
		}
		_ = bystander.CloseNow()
		if name == "a role change" {
			k.cli("", "change-role", "larry", "launcher")
		}
		if name == "a disabled user" {
			k.cli("", "enable-user", "larry")
		}
	}
}
