package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dagster-authkit/e2e/pgtest"
)

// compose is what the tests use of examples/compose.yaml.
type compose struct {
	Services map[string]composeService `yaml:"services"`
	Configs  map[string]struct {
		Content string `yaml:"content"`
	} `yaml:"configs"`
	Volumes map[string]any `yaml:"volumes"`
}

type composeService struct {
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Configs     []struct {
		Source string `yaml:"source"`
		Target string `yaml:"target"`
	} `yaml:"configs"`
	Volumes     []string `yaml:"volumes"`
	DependsOn   any      `yaml:"depends_on"`
	Healthcheck any      `yaml:"healthcheck"`
}

// after reports whether the service waits until that other one is well.
func (s composeService) after(other string) bool {
	services, _ := s.DependsOn.(map[string]any)
	how, _ := services[other].(map[string]any)
	return how["condition"] == "service_healthy"
}

// instances are the names of AuthKit's services, in order.
func (c compose) instances() (names []string) {
	for name := range c.Services {
		if strings.HasPrefix(name, "authkit-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func readCompose(t testing.TB) (c compose) {
	t.Helper()
	text, err := os.ReadFile("../examples/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestComposeLogins runs what examples/compose.yaml gives PostgreSQL at its first start, and then AuthKit with the URL that
// stands there: its login works, and nothing is warned of. The containers themselves need an engine that tests do not have.
func TestComposeLogins(t *testing.T) {
	t.Parallel()
	compose := readCompose(t)
	server, err := pgtest.Start()
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	})
	logins := exec.Command("sh", "-ec", strings.ReplaceAll(compose.Configs["logins"].Content, "$$", "$"))
	logins.Env = append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(server.Port), "PGPASSWORD="+pgtest.Password,
		"DAGSTER_PASSWORD=d", "AUTHKIT_PASSWORD=a", "PATH="+server.Programs()+":"+os.Getenv("PATH"))
	if out, err := logins.CombinedOutput(); err != nil {
		t.Fatalf("logins: %v\n%s", err, out)
	}
	url := compose.Services["authkit-2"].Environment["DAGSTER_AUTH_DATABASE_URL"]
	url = strings.Replace(strings.Replace(url, "${AUTHKIT_PASSWORD}", "a", 1), "@postgres/", "@127.0.0.1:"+strconv.Itoa(server.Port)+"/", 1)
	init := exec.Command(authkit, "init-db")
	init.Env, init.Dir = append(cleanEnv(), "DAGSTER_AUTH_DATABASE_URL="+url), t.TempDir()
	out, err := init.CombinedOutput()
	if err != nil || strings.Contains(string(out), "NOT SAFE") || !strings.Contains(string(out), "is ready") {
		t.Errorf("init-db: %v\n%s", err, out)
	}
}

// TestComposeFits: what stands in one of the example's files and is meant for another is there.
func TestComposeFits(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	text, err := os.ReadFile("../examples/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile("../examples/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	var upstreams []string
	for _, found := range regexp.MustCompile(`(?m)^\s*server (\S+):(\d+) `).FindAllStringSubmatch(string(conf), -1) {
		upstreams = append(upstreams, found[1])
		if command := c.Services[found[1]].Command; !slices.Contains(command, found[2]) || !slices.Contains(command, "0.0.0.0") {
			t.Errorf("nginx.conf has %s:%s, which is started by %q", found[1], found[2], command)
		}
	}
	if diff := cmp.Diff(c.instances(), upstreams); diff != "" {
		t.Errorf("instances (-compose.yaml +nginx.conf):\n%s", diff)
	}
	for name, service := range c.Services {
		for _, config := range service.Configs {
			if c.Configs[config.Source].Content == "" {
				t.Errorf("%s: no config %q", name, config.Source)
			}
		}
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join("../examples", from)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	c.checkVariables(t, string(text))
	c.checkOrder(t)
}

// checkOrder: who waits for another to be well waits for one that can tell, here or by its image.
func (c compose) checkOrder(t *testing.T) {
	t.Helper()
	image, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	tells := strings.Contains(string(image), "\nHEALTHCHECK ")
	waiting := 0
	for name, service := range c.Services {
		for other, its := range c.Services {
			if !service.after(other) {
				continue
			}
			waiting++
			if its.Healthcheck == nil && (!tells || !slices.Contains(c.instances(), other)) {
				t.Errorf("%s waits for %s, which has no health check", name, other)
			}
		}
	}
	if waiting != len(c.instances()) {
		t.Errorf("%d services wait for another, want each instance to", waiting)
	}
}

// checkVariables: those that the file wants are those that its first lines make, and each that a container is given is a setting of
// AuthKit's that it takes without a warning, or is read by what runs there.
func (c compose) checkVariables(t *testing.T, text string) {
	t.Helper()
	_, loop, _ := strings.Cut(text, "for name in ")
	loop, _, _ = strings.Cut(loop, ";")
	var wanted []string
	for _, found := range regexp.MustCompile(`[^$]\$\{(\w+)\}`).FindAllStringSubmatch(text, -1) {
		wanted = append(wanted, found[1])
	}
	slices.Sort(wanted)
	if diff := cmp.Diff(slices.Compact(wanted), strings.Fields(loop), cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("variables (-used +made):\n%s", diff)
	}
	for _, name := range c.instances() {
		c.checkSettings(t, name)
	}
	for name := range c.Services["postgres"].Environment {
		if name != "POSTGRES_PASSWORD" && !strings.Contains(c.Configs["logins"].Content, "$$"+name) { // the image's own
			t.Errorf("postgres: nobody reads %s", name)
		}
	}
}

// checkSettings lets AuthKit read what it would be started with in that service.
func (c compose) checkSettings(t *testing.T, name string) {
	t.Helper()
	service := c.Services[name]
	if len(service.Command) == 0 || service.Command[0] != "dagster-authkit" {
		t.Fatalf("%s is started by %q", name, service.Command)
	}
	check := func(extra ...string) (output string) {
		env := append(cleanEnv(), "DAGSTER_AUTH_DB=/data/dagster_auth.db") // the Dockerfile's
		for variable, value := range service.Environment {
			if !strings.HasPrefix(variable, "DAGSTER_AUTH_") && !strings.Contains(c.Configs["dagster"].Content, "env: "+variable) {
				t.Errorf("%s: nobody reads %s", name, variable)
			}
			env = append(env, variable+"="+regexp.MustCompile(`\$\{\w+\}`).ReplaceAllString(value, strings.Repeat("0123456789abcdef", 4)))
		}
		read := exec.Command(authkit, append([]string{"check-config"}, service.Command[1:]...)...)
		read.Env = append(env, extra...)
		text, err := read.CombinedOutput()
		if err != nil {
			t.Errorf("%s: check-config: %v\n%s", name, err, text)
		}
		return string(text)
	}
	const warning = "warning:"
	text := check()
	if strings.Contains(text, warning) {
		t.Errorf("%s: AuthKit warns:\n%s", name, text)
	}
	for variable := range service.Environment {
		if strings.HasPrefix(variable, "DAGSTER_AUTH_") && !strings.Contains(text, variable) {
			t.Errorf("%s: %s is no setting:\n%s", name, variable, text)
		}
	}
	if text := check("DAGSTER_AUTH_TRUSTED_PROXY=10.0.0.0/8"); !strings.Contains(text, warning) {
		t.Errorf("the control: a name that is no setting's was not warned of:\n%s", text)
	}
}

// TestNginxTakesTheExample is `nginx -t` on the file as it is, but for the addresses.
func TestNginxTakesTheExample(t *testing.T) {
	t.Parallel()
	nginx := findNginx(t)
	conf, err := os.ReadFile("../examples/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		from, to string
		good     bool
	}{
		"the example":            {"listen 80;", "listen 127.0.0.1:" + strconv.Itoa(freePort(t)) + ";", true},
		"the control: a mistake": {"proxy_http_version 1.1;", "proxy_http_versions 1.1;", false},
	} {
		folder := t.TempDir()
		text := strings.Replace(regexp.MustCompile(`authkit-\d:`).ReplaceAllString(string(conf), "127.0.0.1:"), tc.from, tc.to, 1)
		path := filepath.Join(folder, "nginx.conf")
		if err := os.WriteFile(path, fmt.Appendf(nil, "pid %s/pid; events {} http { access_log off; %s }", folder, text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(nginx, "-t", "-c", path, "-p", folder, "-e", "stderr").CombinedOutput()
		if (err == nil) != tc.good {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
