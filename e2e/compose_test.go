package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"dagster-authkit/e2e/pgtest"
)

// compose is what the tests use of examples/compose.yaml.
type compose struct {
	Services map[string]struct {
		Environment map[string]string `yaml:"environment"`
	} `yaml:"services"`
	Configs map[string]struct {
		Content string `yaml:"content"`
	} `yaml:"configs"`
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
