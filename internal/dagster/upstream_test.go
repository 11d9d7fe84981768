package dagster

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
)

const smallSchema = `{"data": {"__schema": {"queryType": {"name": "Query"}, "mutationType": {"name": "Mutation"}, "subscriptionType": null, "directives": [],
	"types": [
		{"kind": "SCALAR", "name": "String"}, {"kind": "SCALAR", "name": "Boolean"},
		{"kind": "OBJECT", "name": "Query", "interfaces": [], "fields": [{"name": "version", "args": [], "type": {"kind": "SCALAR", "name": "String"}}]},
		{"kind": "OBJECT", "name": "Mutation", "interfaces": [], "fields": [{"name": "MUTATION", "args": [], "type": {"kind": "SCALAR", "name": "String"}}]}]}}}`

// pretender is a webserver that says of itself what a test wants.
type pretender struct {
	version, mutation, permissions string
}

// ServeHTTP answers what Learn asks.
func (p *pretender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	switch {
	case r.URL.Path == "/prefix/server_info":
		_, _ = w.Write([]byte(`{"dagster_version": "` + p.version + `"}`))
	case strings.Contains(body.String(), "AuthKitPermissions"):
		_, _ = w.Write([]byte(p.permissions))
	default:
		_, _ = w.Write([]byte(strings.Replace(smallSchema, "MUTATION", p.mutation, 1)))
	}
}

func learner(t *testing.T, p *pretender) (*Upstream, *url.URL, *bytes.Buffer) {
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL + "/prefix")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	return New(Options{Log: zerolog.New(&log)}), base, &log
}

const somePermissions = `{"data": {"permissions": [{"permission": "wipe_assets"}, {"permission": "edit_sensor"}]}}`

func TestLearn(t *testing.T) {
	p := &pretender{newestTested(), "launchRun", somePermissions}
	u, base, log := learner(t, p)
	if u.Version() != "" || u.Schema() != nil || u.Permissions() != nil {
		t.Error("something is known before Learn")
	}
	if err := u.Learn(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	want := []identity.Permission{"wipe_assets", "edit_sensor"}
	if diff := cmp.Diff(want, u.Permissions()); diff != "" || u.Version() != newestTested() || u.Schema() == nil || log.Len() > 0 {
		t.Errorf("version %s, log %q, permissions (-want +got):\n%s", u.Version(), log, diff)
	}
	for _, bad := range []string{
		``, `{}`, `{"data": null}`, `{"data": {}}`, `{"data": {"permissions": []}}`, `{"data": {"permissions": null}}`,
		`{"data": {"permissions": [{}]}}`, `{"data": {"permissions": [{"permission": 7}]}}`, `{"errors": [{}], ` + somePermissions[1:],
	} {
		*p = pretender{"1.14.0", "somethingNew", bad}
		if err := u.Learn(t.Context(), base); err == nil || !strings.HasPrefix(err.Error(), "asking Dagster for its permissions: ") {
			t.Errorf("permissions %s: %v", bad, err)
		}
	}
	if diff := cmp.Diff(want, u.Permissions()); diff != "" || u.Version() != newestTested() || log.Len() > 0 {
		t.Errorf("after failures: version %s, log %q, permissions (-want +got):\n%s", u.Version(), log, diff)
	}
}

// Learn says what is new once for each version, and forgets where runs were: this may be another storage.
func TestLearnSaysWhatIsNew(t *testing.T) {
	p := &pretender{"1.14.0", "somethingNew", somePermissions}
	u, base, log := learner(t, p)
	for range 2 {
		u.about.Load().memory.put(run("r"), home{location: "loc"})
		if err := u.Learn(t.Context(), base); err != nil {
			t.Fatal(err)
		}
		if _, ok := u.about.Load().memory.get(run("r")); ok {
			t.Error("a run of the storage before is remembered")
		}
	}
	want := `{"level":"warn","mutations":["somethingNew"],"dagster_version":"1.14.0",` +
		`"message":"this Dagster has mutations that AuthKit does not know: they need the admin role"}` + "\n" +
		`{"level":"info","message":"Dagster 1.14.0 is newer than the newest tested, ` + newestTested() +
		`: AuthKit works by the schema that it announces"}` + "\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	p.version = "1.15.0"
	if err := u.Learn(t.Context(), base); err != nil || strings.Count(log.String(), "is newer") != 2 {
		t.Errorf("%v, log %s", err, log)
	}
}

func TestNewer(t *testing.T) {
	for version, want := range map[string]bool{
		"1.13.29": false, "1.13.30": true, "1.13.3": false, "1.14.0": true, "1.14": true, "1.14.0rc1": true, "2.0.0": true, "1.9.13": false,
		"1.13.29rc1": false, "1.13.100.dev0": true, "": false, "1!0+dev": false, "dev": false, "9": false, "1..2": false, "1.x": false,
		"1.99999999999999999999.0": false, "1.14.0.1": false,
	} {
		if got := newer(version, "1.13.29"); got != want {
			t.Errorf("%q is newer: %v, want %v", version, got, want)
		}
	}
}

// TestTestedVersions: what is called tested is what make matrix runs on.
func TestTestedVersions(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	variable := func(name string) string {
		_, rest, _ := strings.Cut(string(makefile), "\n"+name+" := ")
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	matrix := strings.ReplaceAll(variable("MATRIX_VERSIONS"), "$(DAGSTER_VERSION)", variable("DAGSTER_VERSION"))
	if diff := cmp.Diff(strings.Fields(matrix), TestedVersions()); diff != "" {
		t.Errorf("tested versions (-Makefile +TestedVersions):\n%s", diff)
	}
	for _, version := range TestedVersions() {
		if _, err := os.Stat("testdata/answers-" + version + ".json"); err != nil {
			t.Errorf("no recording: %v", err)
		}
	}
}
