package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proxyGroups is what the proxy's own sign-in knows: groups by name.
var proxyGroups = map[string]string{
	"vic": "viewers", "larry": "staff,launchers", "ed": "editors", "ada": "admins", "nora": "guests",
}

// gate is a small server for nginx's auth_request, as Authelia or oauth2-proxy are large ones: whoever has the cookie
// login=NAME is NAME.
func gate(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login, err := r.Cookie("login")
		groups, known := "", false
		if err == nil {
			groups, known = proxyGroups[login.Value]
		}
		if !known {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Remote-User", login.Value)
		w.Header().Set("Remote-Groups", groups)
		w.Header().Set("Remote-Email", login.Value+"@example.com")
		w.Header().Set("Remote-Name", "The "+login.Value)
	}))
	t.Cleanup(server.Close)
	return server
}

// nginxConf has three servers: the README's, the same where names with underscores pass, and one that asks nobody who is
// there and drops what clients say.
const nginxConf = `
daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  %[1]s
  %[2]s
  server {
    listen 127.0.0.1:%[3]d;
    location / {
      proxy_set_header Remote-User ""; proxy_set_header Remote-Groups ""; proxy_set_header Remote-Email ""; proxy_set_header Remote-Name "";
      proxy_set_header Host $http_host;
      proxy_pass %[4]s;
    }
  }
}
`

// readmeServer is the README's configuration of nginx, the part before its server and the server, with these addresses in the
// place of the README's.
func readmeServer(t *testing.T, dagster, gate string) (before, server string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```\nmap $http_upgrade")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed || strings.Count(block, "http://127.0.0.1:3000;") != 1 || strings.Count(block, "http://127.0.0.1:9091/;") != 1 {
		t.Fatalf("the README has no configuration of nginx with the two addresses:\n%s", block)
	}
	block = strings.NewReplacer("http://127.0.0.1:3000;", dagster+";", "http://127.0.0.1:9091/;", gate+"/;").Replace("map $http_upgrade" + block)
	before, server, _ = strings.Cut(block, "server {")
	return before, server
}

// nginx in front of a kit: the kit's address through each of its servers.
type nginx struct{ guarded, underscores, open string }

// startNginx runs Debian's nginx in front of the kit, or skips the test by name where there is none; a skip is a failure when CI is set.
func startNginx(t *testing.T, k *kit) nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx"
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no nginx, and CI is set")
		}
		t.Skip("there is no nginx: install Debian's package nginx-light")
	}
	dir := t.TempDir()
	ports := [3]int{freePort(t), freePort(t), freePort(t)}
	before, server := readmeServer(t, k.url, gate(t).URL)
	conf := fmt.Sprintf(nginxConf,
		fmt.Sprintf("%s server { listen 127.0.0.1:%d; %s", before, ports[0], server),
		fmt.Sprintf("server { listen 127.0.0.1:%d; underscores_in_headers on; %s", ports[1], server), ports[2], k.url)
	if os.Geteuid() == 0 {
		conf = "user root;" + conf // its own user can't reach the folder
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	var stderr output
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if t.Failed() {
			t.Logf("stderr of nginx:\n%s", &stderr)
		}
	})
	address := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	for _, port := range ports {
		k.eventually(time.Minute, "nginx listens", func() bool {
			select {
			case <-exited:
				t.Fatalf("nginx ended: %s", &stderr)
			default:
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(address(port), "http://"))
			if err != nil {
				return false
			}
			return conn.Close() == nil
		})
	}
	return nginx{address(ports[0]), address(ports[1]), address(ports[2])}
}

// by is somebody who comes to the kit by a proxy at that address, signed in there as name.
func (k *kit) by(address, name string) *client {
	k.t.Helper()
	behind := *k
	behind.url = address
	c := behind.anonymous()
	if name != "" {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			k.t.Fatal(err)
		}
		c.http.Jar.SetCookies(request.URL, []*http.Cookie{{Name: "login", Value: name, Path: "/"}})
	}
	return c
}
