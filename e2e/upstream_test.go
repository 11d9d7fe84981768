package e2e

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// nowhere is an upstream that never answers: port 1 of this machine. AuthKit in front of it starts in a moment, and
// everything works that needs no Dagster.
const nowhere = "http://127.0.0.1:1"

// runWith starts a program as AuthKit of this kit, with just these arguments.
func (k *kit) runWith(binary string, args ...string) {
	k.t.Helper()
	k.cmd = exec.Command(binary, args...)
	k.cmd.Dir, k.cmd.Env = k.dir, k.env
	k.stdout, k.stderr = &output{}, &output{}
	k.cmd.Stdout, k.cmd.Stderr = k.stdout, k.stderr
	k.exited = make(chan struct{})
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	go func() {
		k.exitErr = k.cmd.Wait()
		close(k.exited)
	}()
	k.t.Cleanup(k.stop)
}

// startBefore runs AuthKit in front of a webserver that it does not start, and waits until it listens.
func startBefore(t testing.TB, upstream string, o options) *kit {
	t.Helper()
	k := prepare(t, o)
	u, err := url.Parse(k.url)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-p", u.Port(), "--upstream", upstream}
	if u.Path != "" {
		args = append(args, "-l", u.Path)
	}
	k.runWith(authkit, append(args, o.args...)...)
	k.waitLive()
	if !o.noWait {
		k.waitReady()
	}
	return k
}

// waitLive waits until AuthKit itself answers, whatever Dagster does.
func (k *kit) waitLive() {
	k.t.Helper()
	k.eventually(2*time.Minute, "AuthKit listens", func() bool {
		select {
		case <-k.exited:
			k.t.Fatalf("dagster-authkit ended before it listened: %v\n%s", k.exitErr, k.stderr)
		default:
		}
		resp, err := http.Get(k.url + "/auth/health?type=live")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// startBare runs a dagster-webserver as somebody would without AuthKit, on the folders of a kit, and returns its address.
func startBare(t testing.TB, k *kit) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(filepath.Join(venv, "bin", "dagster-webserver"), "-f", "defs.py", "-h", "127.0.0.1", "-p", fmt.Sprint(port))
	cmd.Dir, cmd.Env = k.dir, k.env
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its code server ends with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	deadline := time.Now().Add(3 * time.Minute)
	for {
		resp, err := http.Get(address + "/server_info")
		if err == nil {
			resp.Body.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the bare dagster-webserver does not answer: %v\n%s", err, said)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// remoteTo is a web server between AuthKit and Dagster, as an ingress or a service mesh is one.
func remoteTo(t testing.TB, target string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(u) }, FlushInterval: -1}
}

// TestUpstream: AuthKit in front of a webserver that somebody else runs, directly and by TLS.
func TestUpstream(t *testing.T) {
	t.Parallel()
	folders := prepare(t, options{})
	bare := startBare(t, folders)
	remote := httptest.NewUnstartedServer(remoteTo(t, bare))
	remote.Config.ErrorLog = log.New(io.Discard, "", 0) // it hears of every handshake that AuthKit breaks off
	remote.StartTLS()
	defer remote.Close()
	certificate := filepath.Join(t.TempDir(), "remote.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: remote.Certificate().Raw})
	if err := os.WriteFile(certificate, block, 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("plain on this machine", func(t *testing.T) {
		k := startBefore(t, bare, options{from: folders})
		judgesUpstream(t, k, "plain")
		k.stop()
		if k.exitErr != nil {
			t.Errorf("the exit after SIGTERM: got %v, want code 0", k.exitErr)
		}
		if resp, err := http.Get(bare + "/server_info"); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the webserver after AuthKit ended: got %v, want it untouched", err)
		}
	})
	t.Run("TLS that is known", func(t *testing.T) {
		k := folders.elsewhere("SSL_CERT_FILE=" + certificate)
		k = startBefore(t, remote.URL, options{from: k})
		judgesUpstream(t, k, "tls")
	})
	t.Run("TLS that nobody vouches for", func(t *testing.T) {
		refusesUpstream(t, folders.elsewhere(), remote.URL, "certificate")
	})
	t.Run("TLS for another name", func(t *testing.T) {
		// The certificate is for 127.0.0.1 and example.com.
		u := strings.Replace(remote.URL, "127.0.0.1", "localhost", 1)
		refusesUpstream(t, folders.elsewhere("SSL_CERT_FILE="+certificate), u, "certificate is valid for")
	})
	t.Run("it goes and comes back", func(t *testing.T) {
		upstreamComesBack(t, folders, bare)
	})
}

// elsewhere is a kit with the same folders and database at another port, as another replica would be.
func (k *kit) elsewhere(env ...string) *kit {
	k.t.Helper()
	other := *k
	other.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(k.t))
	other.env = append(append([]string{}, k.env...), env...)
	return &other
}

// judgesUpstream asks for what a viewer may see, tries what they may not do, and has an editor do it.
func judgesUpstream(t *testing.T, k *kit, name string) {
	t.Helper()
	if h := k.health(); !h.Dagster.Ready || h.Dagster.Version == "" || h.Dagster.PID != 0 {
		t.Errorf("health: got %+v, want ready, Dagster's version and no pid", h.Dagster)
	}
	viewer, editor := k.signIn("vic"), k.signIn("ed")
	if resp, body := viewer.page("/runs"); resp.StatusCode != http.StatusOK || !strings.Contains(body, "/auth/static/menu.") {
		t.Errorf("a page: got %d, want Dagster's with the menu's script", resp.StatusCode)
	}
	if got := viewer.addPartition(name + "-vic"); got.typename("addDynamicPartition") != "UnauthorizedError" || k.hasPartition(name+"-vic") {
		t.Errorf("a viewer's mutation: got %s, partition made: %t", got.Body, k.hasPartition(name+"-vic"))
	}
	if got := editor.addPartition(name + "-ed"); !k.hasPartition(name + "-ed") {
		t.Errorf("the control, an editor's mutation: %s", got.Body)
	}
	conn, _, err := viewer.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatalf("a WebSocket: %v", err)
	}
	got := strings.Join(talk(t, conn, 3, initFrame, startFrame(t, map[string]any{"query": missingRun})), " ")
	if want := "complete connection_ack data"; got != want {
		t.Errorf("a subscription: got %q, want %q", got, want)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	if resp, _ := k.anonymous().do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: got %d, want 401", resp.StatusCode)
	}
}

// refusesUpstream: AuthKit says why it does not trust the webserver, stays up, and sends nobody there.
func refusesUpstream(t *testing.T, k *kit, upstream, reason string) {
	t.Helper()
	k = startBefore(t, upstream, options{from: k, noWait: true})
	k.eventually(time.Minute, "the log says why", func() bool { return strings.Contains(k.stderr.String(), reason) })
	viewer := k.signIn("vic")
	resp, body := viewer.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a query: got %d %q, want 503 with Retry-After", resp.StatusCode, body)
	}
	if resp, _ := viewer.do("GET", "/auth/health?type=ready", ""); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready: got %d, want 503", resp.StatusCode)
	}
	if strings.Contains(body, "x509") || strings.Contains(body, "127.0.0.1") {
		t.Errorf("a client is told of the insides: %s", body)
	}
}

func upstreamComesBack(t *testing.T, folders *kit, bare string) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t)) // one that nobody takes while it is gone
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	first := &http.Server{Handler: remoteTo(t, bare)}
	go func() { _ = first.Serve(listener) }()
	defer first.Close()
	k := startBefore(t, "http://"+address, options{from: folders.elsewhere()})
	editor := k.signIn("ed")
	first.Close()
	// A connection that was kept alive may still be found broken; after that nobody answers.
	k.eventually(time.Minute, "Dagster is missed", func() bool {
		got := editor.graphql("{ version }", nil)
		return got.Status == http.StatusServiceUnavailable
	})
	resp, _ := editor.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a query while it is gone: got %d and Retry-After %q, want 503", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	ready := func() int {
		resp, _ := k.anonymous().do("GET", "/auth/health?type=ready", "")
		return resp.StatusCode
	}
	k.eventually(time.Minute, "the probe tells that it is gone", func() bool { return ready() == http.StatusServiceUnavailable })
	if listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	second := &http.Server{Handler: remoteTo(t, bare)}
	go func() { _ = second.Serve(listener) }()
	defer second.Close()
	k.eventually(2*time.Minute, "Dagster is back", func() bool { return editor.graphql("{ version }", nil).Status == http.StatusOK })
	k.eventually(time.Minute, "the probe tells that it is back", func() bool { return ready() == http.StatusOK })
	if got := editor.addPartition("back"); !k.hasPartition("back") {
		t.Errorf("a mutation after it came back: %s", got.Body)
	}
}

// TestUpstreamInClear: plain http to another machine is refused before anything starts, unless it is asked for by name.
func TestUpstreamInClear(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	for _, upstream := range []string{"http://192.0.2.1:3000", "http://dagster.example.com", "http://127.0.0.1.example.com"} {
		stdout, stderr, code := k.once(authkit, nil, "-p", fmt.Sprint(freePort(t)), "--upstream", upstream)
		if code != 2 || stdout != "" || !strings.Contains(stderr, "--upstream-insecure") {
			t.Errorf("%s: got exit code %d, want 2 and a hint at --upstream-insecure\n%s%s", upstream, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(k.db); err == nil {
		t.Error("a refused start made a database")
	}
	// The control. 192.0.2.0/24 belongs to nobody (RFC 5737).
	startBefore(t, "http://192.0.2.1:3000", options{args: []string{"--upstream-insecure"}, noUsers: true, noWait: true})
}

// TestUpstreamPastNoProxy: HTTP_PROXY is for Dagster's own calls to the world. AuthKit's way to Dagster never leads through
// it, neither for people's requests nor for AuthKit's own questions.
func TestUpstreamPastNoProxy(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer outside.Close()
	k := startBefore(t, "http://dagster.invalid:3000", options{
		args: []string{"--upstream-insecure"}, noUsers: true, noWait: true,
		env: []string{"HTTP_PROXY=" + outside.URL, "http_proxy=" + outside.URL},
	})
	// .invalid has no address (RFC 6761), so a direct attempt fails at once and is logged.
	k.eventually(2*time.Minute, "AuthKit asked its upstream", func() bool {
		return strings.Contains(k.stderr.String(), "does not answer")
	})
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests for Dagster went to the proxy of the environment, want none", n)
	}
}
