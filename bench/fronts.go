package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The names of what is measured, as they stand in the report.
const (
	bare        = "bare Dagster"
	authkit     = "AuthKit"
	nginx       = "nginx"
	python      = "Python AuthKit"
	floor       = "ReverseProxy"
	fastDirect  = "fast upstream"
	accountName = "vic"
	password    = "something-long-for-the-bench"
)

//go:embed testdata/defs.py
var definitions []byte

//go:embed testdata/dagster.yaml
var dagsterSettings []byte

// front is one way to Dagster.
type front struct {
	name    string
	address string // scheme, host and port
	ready   string // path that answers 200 when it is ready
	cookies []string
	process *process
	// behind is what it needs that is not itself: the shared dagster-webserver, or none when it is its own child.
	behind *process
}

// own are the processes of the front itself: nginx has workers.
func (f *front) own() []int {
	pids := []int{f.process.pid()}
	if f.name == nginx {
		pids = append(pids, descendants(pids...)...)
	}
	return pids
}

// rest are the processes that work for it: its code server, and the dagster-webserver behind it.
func (f *front) rest() []int {
	own := f.own()
	roots := own
	if f.behind != nil {
		roots = append(slices.Clone(own), f.behind.pid())
	}
	var rest []int
	for _, pid := range append(descendants(roots...), roots...) {
		if !slices.Contains(own, pid) {
			rest = append(rest, pid)
		}
	}
	return rest
}

// stage is the folder and environment in which everything runs.
type stage struct {
	root    string // of the repository
	dir     string // temporary
	self    string // this program
	options options
}

func newStage(root, dir string, o options) (*stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &stage{root: root, dir: dir, self: self, options: o}
	if err := os.WriteFile(filepath.Join(dir, "defs.py"), definitions, 0o600); err != nil {
		return nil, err
	}
	return s, s.addUsers()
}

// env is the environment without what would change AuthKit or Dagster, with the programs of a virtual environment first.
// Everybody has a DAGSTER_HOME of their own, made when it is first asked for.
func (s *stage) env(home, venv string, more ...string) ([]string, error) {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DAGSTER_") && !strings.HasPrefix(entry, "DAGIT_") && !strings.HasPrefix(entry, "PATH=") {
			env = append(env, entry)
		}
	}
	home = filepath.Join(s.dir, home)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(home, "dagster.yaml"), dagsterSettings, 0o600); err != nil {
		return nil, err
	}
	env = append(env, "PATH="+filepath.Join(s.root, venv, "bin")+":"+os.Getenv("PATH"), "DAGSTER_HOME="+home, "DAGSTER_DISABLE_TELEMETRY=yes")
	return append(env, more...), nil
}

// authkitEnv has the defaults, but for the limit of one person's requests per second, which a load is above.
func (s *stage) authkitEnv(home string) ([]string, error) {
	return s.env(home, ".venv", "DAGSTER_AUTH_DB="+filepath.Join(s.dir, "authkit.db"), "DAGSTER_AUTH_REQUEST_LIMIT=1000000", "DAGSTER_AUTH_SOCKET_LIMIT=0")
}

func (s *stage) pythonEnv() ([]string, error) {
	return s.env("python", ".venv-python-authkit", "DAGSTER_AUTH_DB="+filepath.Join(s.dir, "python.db"),
		"DAGSTER_AUTH_SECRET_KEY=the-bench-needs-a-key-that-lasts-for-a-run", "DAGSTER_AUTH_COOKIE_SECURE=false")
}

func (s *stage) authkitBinary() string { return filepath.Join(s.root, "bin", "dagster-authkit") }
func (s *stage) pythonBinary() string {
	return filepath.Join(s.root, ".venv-python-authkit", "bin", "dagster-authkit")
}

// addUsers makes the accounts in both AuthKits' databases.
func (s *stage) addUsers() error {
	env, err := s.authkitEnv("authkit")
	if err != nil {
		return err
	}
	for _, name := range s.people() {
		cmd := exec.Command(s.authkitBinary(), "add-user", name, "--role", s.options.role, "--password-stdin") //nolint:gosec,noctx // Ours, and short.
		cmd.Dir, cmd.Env, cmd.Stdin = s.dir, env, strings.NewReader(password+"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("adding a user to AuthKit: %w\n%s", err, out)
		}
	}
	if env, err = s.pythonEnv(); err != nil {
		return err
	}
	add := exec.Command(s.pythonBinary(), "add-user", accountName, "--role", s.options.role, "--password", password) //nolint:gosec,noctx // Ours, and short.
	add.Dir, add.Env = s.dir, env
	if out, err := add.CombinedOutput(); err != nil {
		return fmt.Errorf("adding a user to the Python AuthKit: %w\n%s", err, out)
	}
	return nil
}

// people are the accounts that sign in at AuthKit: one, or as many as are asked for.
func (s *stage) people() []string {
	names := []string{accountName}
	for i := 1; i < s.options.people; i++ {
		names = append(names, fmt.Sprintf("%s%d", accountName, i))
	}
	return names
}

// launch starts one front, behind which the given process may be, and does not wait.
func (s *stage) launch(name string, behind *front) (*front, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	f := &front{name: name, address: "http://127.0.0.1:" + port, ready: "/server_info"}
	upstream := ""
	if behind != nil {
		f.behind, upstream = behind.process, behind.address
	}
	var env, command []string
	switch name {
	case bare:
		command = []string{filepath.Join(s.root, ".venv", "bin", "dagster-webserver"), "-f", "defs.py", "-p", port}
		env, err = s.env("bare", ".venv")
	case authkit:
		f.ready = "/auth/health?type=ready"
		command = []string{s.authkitBinary(), "-p", port, "-f", "defs.py"}
		if behind != nil {
			command = []string{s.authkitBinary(), "-p", port, "--upstream", upstream}
		}
		env, err = s.authkitEnv("authkit")
	case python:
		f.ready = "/auth/health"
		command = []string{s.pythonBinary(), "-f", "defs.py", "-p", port}
		env, err = s.pythonEnv()
	case nginx:
		command, err = s.nginxCommand(port, upstream)
		env = os.Environ()
	case floor:
		command, env = []string{s.self, "floor", "127.0.0.1:" + port, upstream}, os.Environ()
	case fastDirect:
		command, env = []string{s.self, "fast", "127.0.0.1:" + port, upstream}, os.Environ()
	default:
		err = errors.New("there is no front called " + name)
	}
	if err != nil {
		return nil, err
	}
	f.process, err = startProcess(s.dir, strings.ReplaceAll(name, " ", "-"), env, command...)
	return f, err
}

// start starts a front, waits until it is ready and signs in.
func (s *stage) start(ctx context.Context, name string, behind *front) (*front, error) {
	f, err := s.launch(name, behind)
	if err != nil {
		return nil, err
	}
	if err := f.process.waitReady(ctx, f.address+f.ready); err != nil {
		f.process.stop()
		return nil, err
	}
	if err := s.signIn(ctx, f); err != nil {
		f.process.stop()
		return nil, fmt.Errorf("signing in at %s: %w", name, err)
	}
	return f, nil
}

// nginxCommand writes the configuration of a plain proxy: connections upstream are kept, nothing is logged.
func (s *stage) nginxCommand(port, upstream string) ([]string, error) {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	text := fmt.Sprintf(`%s
daemon off; worker_processes auto; pid nginx.pid; error_log stderr error;
worker_rlimit_nofile %d;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxied; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  upstream dagster { server %s; keepalive 64; keepalive_timeout 4s; }
  server {
    listen 127.0.0.1:%s backlog=1024;
    location / {
      proxy_pass http://dagster; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header; proxy_read_timeout 1h;
    }
  }
}
`, user, openFiles, strings.TrimPrefix(upstream, "http://"), port)
	path := filepath.Join(s.dir, "nginx-"+port+".conf")
	return []string{nginxProgram(), "-p", s.dir, "-e", "stderr", "-c", path}, os.WriteFile(path, []byte(text), 0o600)
}

// nginxProgram is where Debian puts it, which is not on everybody's PATH.
func nginxProgram() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}
