package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dagster-authkit/e2e/pgtest"
)

// fleet is what examples/nginx.conf and examples/compose.yaml are about: three instances on one PostgreSQL, each with a
// dagster-webserver whose storage is in the same database under another login, behind nginx.
type fleet struct {
	*kit      // as people see it: through nginx
	postgres  *pgtest.Server
	instances []*kit
	nginx     *exec.Cmd
	conf      string // the folder of nginx
}

const (
	passwordOfDagster = "of-dagster"
	passwordOfAuthKit = "of-authkit"
)

// startFleet ends everything with the test.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	nginx := findNginx(t)
	f := &fleet{}
	var err error
	if f.postgres, err = pgtest.Start(); errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.postgres.Thaw() // a test that failed may have left it frozen
		if err := f.postgres.Remove(); err != nil {
			t.Error(err)
		}
	})
	f.makeLogins(t)
	if err := f.postgres.SmallDisk(t.Context(), "dagster", "authkit", 64<<20); err != nil {
		t.Fatal(err)
	}
	compose := readCompose(t)
	first := prepare(t, options{env: f.environment(t, compose)})
	f.storeInPostgres(t, first)
	for range compose.instances() {
		k := *first
		k.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
		f.instances = append(f.instances, &k)
	}
	// As Compose does: all at once, but for those that wait for the first, which makes Dagster's tables.
	for i, name := range compose.instances() {
		if compose.Services[name].after("authkit-1") {
			f.instances[0].waitReady()
		}
		f.instances[i].run(options{})
		t.Cleanup(f.instances[i].stop)
	}
	for _, k := range f.instances {
		k.waitReady()
	}
	front := *first
	front.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	front.stderr = &output{}
	f.kit = &front
	f.startNginx(t, nginx)
	return f
}

// findNginx skips the test by name where there is none, which is a failure where CI is set.
func findNginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	if os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: no nginx found", t.Name())
	}
	t.Fatal("no nginx found")
	return ""
}

// environment is the example's, with the passwords and addresses of here.
func (f *fleet) environment(t *testing.T, c compose) (env []string) {
	t.Helper()
	values := map[string]string{
		"DAGSTER_AUTH_DATABASE_URL":    f.postgres.URL("authkit", passwordOfAuthKit, "dagster"),
		"DAGSTER_AUTH_SECRET_KEY":      "the same for all three of the instances",
		"DAGSTER_AUTH_TRUSTED_PROXIES": "127.0.0.1",
		"DAGSTER_PASSWORD":             passwordOfDagster,
	}
	for name := range c.Services["authkit-1"].Environment {
		if values[name] == "" {
			t.Fatalf("the example sets %s, which this test does not know", name)
		}
		env = append(env, name+"="+values[name])
	}
	if len(env) != len(values) {
		t.Fatalf("of %v the example sets %d only", values, len(env))
	}
	return env
}

// makeLogins makes Dagster's login with its database, and then AuthKit's by the README's own lines.
func (f *fleet) makeLogins(t *testing.T) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, found := strings.Cut(string(readme), "```\nCREATE ROLE authkit")
	lines, _, closed := strings.Cut(lines, "```")
	if !found || !closed || strings.Count(lines, "'...'") != 1 {
		t.Fatalf("the README does not say how to make the login:\n%s", lines)
	}
	lines = "CREATE ROLE authkit" + strings.Replace(lines, "...", passwordOfAuthKit, 1)
	for _, step := range []struct{ database, statements string }{
		{"postgres", "CREATE ROLE dagster LOGIN PASSWORD '" + passwordOfDagster + "'"},
		{"postgres", "CREATE DATABASE dagster OWNER dagster"},
		{"dagster", lines},
	} {
		if err := f.postgres.Exec(t.Context(), step.database, step.statements); err != nil {
			t.Fatal(err)
		}
	}
}

// storeInPostgres adds the example's storage to Dagster's settings, with the address of here.
func (f *fleet) storeInPostgres(t *testing.T, k *kit) {
	t.Helper()
	storage := readCompose(t).Configs["dagster"].Content
	for from, to := range map[string]string{"hostname: postgres": "hostname: 127.0.0.1", "port: 5432": fmt.Sprint("port: ", f.postgres.Port)} {
		if strings.Count(storage, from) != 1 {
			t.Fatalf("the example's dagster.yaml has no %q:\n%s", from, storage)
		}
		storage = strings.Replace(storage, from, to, 1)
	}
	path := filepath.Join(k.home, "dagster.yaml")
	settings, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(settings, storage...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// partitions are the keys of the dynamic partitions that Dagster has stored, read behind everybody's back.
func (f *fleet) partitions() []string {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.postgres.URL(pgtest.Superuser, pgtest.Password, "dagster"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(f.t.Context())
	rows, err := conn.Query(f.t.Context(), `SELECT partition FROM public.dynamic_partitions ORDER BY partition`)
	if err != nil {
		f.t.Fatal(err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		f.t.Fatal(err)
	}
	return keys
}

func (f *fleet) hasPartition(key string) bool {
	f.t.Helper()
	return slices.Contains(f.partitions(), key)
}

func (f *fleet) startNginx(t *testing.T, program string) {
	t.Helper()
	f.conf = t.TempDir()
	f.writeConf(t, nil)
	main := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 1; events { worker_connections 1000; }
http { log_format tests "$http_x_test|$status|$upstream_addr|$upstream_status"; access_log %[1]s/access.log tests; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
include %[1]s/authkit.conf; }
`, f.conf)
	if os.Geteuid() == 0 {
		main = "user root;\n" + main // its folder is the test's
	}
	path := filepath.Join(f.conf, "nginx.conf")
	if err := os.WriteFile(path, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	f.nginx = exec.Command(program, "-c", path, "-p", f.conf, "-e", filepath.Join(f.conf, "error.log"))
	f.nginx.Stderr = f.stderr
	if err := f.nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.nginx.Process.Signal(syscall.SIGQUIT)
		_ = f.nginx.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(f.conf, "error.log"))
			t.Logf("nginx:\n%s", log)
		}
	})
	f.eventually(time.Minute, "nginx answers", func() bool {
		resp, err := http.Get(f.url + "/auth/health?type=ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// writeConf is the example, with the addresses of here; the instance that is away is marked "down" in it.
func (f *fleet) writeConf(t *testing.T, away *kit) {
	t.Helper()
	text, err := os.ReadFile("../examples/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.Replace(string(text), "listen 80;", "listen "+strings.TrimPrefix(f.url, "http://")+";", 1)
	for i, k := range f.instances {
		line := fmt.Sprintf("server authkit-%d:3000", i+1)
		if !strings.Contains(conf, line) {
			t.Fatalf("the example has no %q", line)
		}
		address := "server " + strings.TrimPrefix(k.url, "http://")
		if k == away {
			address += " down"
		}
		conf = strings.Replace(conf, line, address, 1)
	}
	if err := os.WriteFile(filepath.Join(f.conf, "authkit.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload lets nginx read its file anew, and waits until its old worker has ended: then the requests it had are done.
func (f *fleet) reload(t *testing.T) {
	t.Helper()
	before := f.workers()
	if err := f.nginx.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.eventually(time.Minute, "nginx's old worker ends", func() bool {
		now := f.workers()
		return now != before && len(strings.Fields(now)) == 1
	})
}

func (f *fleet) workers() string {
	pid := f.nginx.Process.Pid
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return strings.TrimSpace(string(text))
}

// at is the same person's way to one instance: cookies do not ask for the port.
func (c *client) at(k *kit) *client {
	return &client{t: c.t, kit: k, http: c.http}
}
