package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/config"
)

// TestNothingIsLeftInTheProcess runs the program inside the test: after it has served pages, queries and a WebSocket and was
// told to stop, not one goroutine of its own is left.
func TestNothingIsLeftInTheProcess(t *testing.T) {
	k := prepare(t, options{})
	k.stdout, k.stderr, k.exited = &output{}, &output{}, make(chan struct{})
	for _, entry := range k.env {
		name, value, _ := strings.Cut(entry, "=")
		if name == "PATH" || name == "DAGSTER_HOME" {
			t.Setenv(name, value)
		}
	}
	t.Chdir(k.dir)
	before := goleak.IgnoreCurrent()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(k.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := config.Load(config.Source{
		Flags:   config.Values{"port": port, "db": k.db, "webserver-command": filepath.Join(venv, "bin", "dagster-webserver")},
		Environ: k.env, ChildArgs: []string{"-f", "defs.py"}, Executable: authkit,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	program, err := app.New(ctx, app.Options{Config: cfg, Warnings: warnings, Version: "test", Stdout: k.stdout, Stderr: k.stderr})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx, nil) }()
	k.waitReady()

	editor := k.signIn("ed")
	editor.page("/runs")
	if got := editor.addPartition("in-process"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("the control, a mutation: %s", got.Body)
	}
	conn, _, err := editor.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	// Not talk: it ends with a read that times out, which closes the socket; this one stays open until the stop.
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(initFrame)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(answer), "connection_ack") {
		t.Fatalf("the control, a WebSocket, answered %s, %v", answer, err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the end: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("still running two minutes after being told to stop\n%s", k.stderr)
	}
	_ = conn.CloseNow()
	editor.http.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	left := goleak.Find(before) // it looks for a second, which a busy machine may need for more than that
	for deadline := time.Now().Add(time.Minute); left != nil && time.Now().Before(deadline); {
		left = goleak.Find(before)
	}
	if left != nil {
		t.Error(left)
	}
}
