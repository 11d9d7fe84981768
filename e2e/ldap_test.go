package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"dagster-authkit/e2e/directory"
)

// withDirectory are the settings for a slapd, as a person would write them who has groups called admins, editors, launchers
// and viewers. Those who are signed in are asked about often, but not so often that they are overdue when the machine stood still for ten
// seconds.
func withDirectory(s *directory.Slapd, more ...string) []string {
	return append(more,
		"DAGSTER_AUTH_BACKEND=ldap,sqlite", "DAGSTER_AUTH_LDAP_SERVER="+s.SecureURL, "DAGSTER_AUTH_LDAP_CA_CERT="+s.File,
		"DAGSTER_AUTH_LDAP_BASE_DN="+directory.People, "DAGSTER_AUTH_LDAP_BIND_DN="+directory.Reader,
		"DAGSTER_AUTH_LDAP_BIND_PASSWORD="+directory.ReaderPassword, "DAGSTER_AUTH_LDAP_GROUP_PATTERN=cn={role},"+directory.Groups,
		"DAGSTER_AUTH_REFRESH_INTERVAL=20s", "DAGSTER_AUTH_LDAP_TIMEOUT=60", "DAGSTER_AUTH_RATE_LIMIT=false", "DAGSTER_AUTH_CONTACT=the data platform team")
}

// fromDirectory is somebody of a directory, signed in.
func (k *kit) fromDirectory(name string) *client {
	k.t.Helper()
	c := k.anonymous()
	if resp, body := c.login(name, directory.Password(name)); resp.StatusCode != http.StatusSeeOther {
		k.t.Fatalf("signing in as %s of the directory: got %d, want 303\n%s", name, resp.StatusCode, body)
	}
	return c
}

// me is what /auth/me says of the client, and its status.
type me struct {
	Username, Email, Role, Backend string
	status                         int
}

func (c *client) whoAmI() me {
	c.t.Helper()
	resp, body := c.do("GET", "/auth/me", "")
	m := me{status: resp.StatusCode}
	_ = json.Unmarshal([]byte(body), &m)
	return m
}

// TestLDAP walks through the life of people of a directory, and of local users beside them.
func TestLDAP(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	k := start(t, options{env: withDirectory(s)})
	t.Run("two of one name", func(t *testing.T) { twoOfOneName(t, k) })
	t.Run("who may not", func(t *testing.T) { whoMayNot(t, k) })
	t.Run("groups change", func(t *testing.T) { groupsChange(t, k, s) })
	t.Run("deleted", func(t *testing.T) { deletedInDirectory(t, k, s) })
	t.Run("check-ldap", func(t *testing.T) { checkLDAP(t, k) })
	t.Run("down", func(t *testing.T) { directoryDown(t, k, s) })
	t.Run("no secret anywhere", func(t *testing.T) { noSecretAnywhere(t, k) })
}

// twoOfOneName: the ada of the directory and the local one have nothing in common.
func twoOfOneName(t *testing.T, k *kit) {
	remote, local := k.fromDirectory("ed"), k.signIn("ed")
	for _, tc := range []struct {
		c    *client
		want me
	}{
		{remote, me{"ed", "ed@example.com", "editor", "ldap", 200}},
		{local, me{"ed", "ed@example.com", "editor", "local", 200}},
	} {
		if got := tc.c.whoAmI(); got != tc.want {
			t.Errorf("got %+v, want %+v", got, tc.want)
		}
	}
	if out, code := k.cliCode("", "change-role", "ed", "viewer"); code == 0 || !strings.Contains(out, "local:ed") {
		t.Errorf("a name that two have: exit code %d, want the IDs to choose from\n%s", code, out)
	}
	k.cli("", "change-role", "local:ed", "viewer")
	local = k.signIn("ed")
	if got := local.addPartition("by-the-local-ed"); got.typename("addDynamicPartition") != "UnauthorizedError" {
		t.Errorf("the local ed, a viewer now: %s", got.Body)
	}
	if got := remote.addPartition("by-the-other-ed"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("the directory's ed, still an editor: %s", got.Body)
	}
	subjects := identities(t, k, "ed")
	if len(subjects) != 2 || !strings.HasPrefix(subjects[0], "ldap:") || len(subjects[0]) != len("ldap:")+36 || subjects[1] != "local:ed" {
		t.Errorf("the trail has the identities %q, want that of the directory's ed by entryUUID and local:ed", subjects)
	}
	k.cli("", "revoke-sessions", subjects[0])
	if a, b := remote.whoAmI().status, local.whoAmI().status; a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("after revoking the sessions of the directory's ed: got %d for that one and %d for the local one, want 401 and 200", a, b)
	}
}

// identities are those that the trail has for sign-ins by that name.
func identities(t *testing.T, k *kit, name string) []string {
	t.Helper()
	db := k.database()
	defer db.Close()
	rows, err := db.Query("SELECT DISTINCT event ->> 'identity' FROM audit_events WHERE event_type = 'LOGIN_ATTEMPT' AND username = ? ORDER BY 1", name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		found = append(found, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func whoMayNot(t *testing.T, k *kit) {
	for name, password := range map[string]string{
		"*": directory.Password("ada"), "ada)(uid=*": directory.Password("ada"), "ada\x00": directory.Password("ada"),
		"ada": "", "twin": directory.Password("twin"), "nobody": "x",
	} {
		if resp, _ := k.anonymous().login(name, password); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q with %q: got %d, want 401", name, password, resp.StatusCode)
		}
	}
	if resp, body := k.anonymous().login("mia", directory.Password("mia")); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "has to be changed") {
		t.Errorf("mia, who must change her password: got %d, want 401 that says so\n%s", resp.StatusCode, body)
	}
	if resp, body := k.anonymous().login("mia", "wrong"); resp.StatusCode != http.StatusUnauthorized || strings.Contains(body, "has to be changed") {
		t.Errorf("mia with a wrong password: got %d, want 401 that says nothing\n%s", resp.StatusCode, body)
	}
	c := k.anonymous()
	resp, body := c.login("ward", directory.Password("ward"))
	if resp.StatusCode != http.StatusForbidden || c.cookie() != "" {
		t.Errorf("ward, whose groups give no role: got %d and cookie %q, want 403 and none", resp.StatusCode, c.cookie())
	}
	for _, want := range []string{"ward", "R\\2BD (x)*\\2C Berlin", "cn=posix", "the data platform team"} {
		if !strings.Contains(body, want) {
			t.Errorf("ward's page does not say %q:\n%s", want, body)
		}
	}
}

func groupsChange(t *testing.T, k *kit, s *directory.Slapd) {
	c := k.fromDirectory("vic")
	if got := c.whoAmI(); got.Role != "viewer" {
		t.Fatalf("got %+v, want a viewer", got)
	}
	s.AddValue(directory.GroupDN("admins"), "member", directory.PersonDN("vic"))
	if got := k.fromDirectory("vic").whoAmI(); got.Role != "admin" {
		t.Errorf("at the next sign-in: got %+v, want an admin", got)
	}
	s.DeleteValue(directory.GroupDN("admins"), "member", directory.PersonDN("vic"))
	k.eventually(3*time.Minute, "vic, out of the group, is a viewer in her open session", func() bool { return c.whoAmI().Role == "viewer" })
	s.AddValue(directory.GroupDN("editors"), "member", directory.PersonDN("vic"))
	k.eventually(3*time.Minute, "vic, in another group, is an editor in her open session", func() bool { return c.whoAmI().Role == "editor" })
	s.DeleteValue(directory.GroupDN("editors"), "member", directory.PersonDN("vic"))
	s.DeleteValue(directory.GroupDN("viewers"), "member", directory.PersonDN("vic"))
	k.eventually(3*time.Minute, "vic, in no group, has no session", func() bool { return c.whoAmI().status == http.StatusUnauthorized })
	s.AddValue(directory.GroupDN("viewers"), "member", directory.PersonDN("vic"))
}

// deletedInDirectory: the session and its open WebSocket end; a renamed person's goes on.
func deletedInDirectory(t *testing.T, k *kit, s *directory.Slapd) {
	s.AddPerson("gone")
	s.AddPerson("moved")
	for _, name := range []string{"gone", "moved"} {
		s.AddValue(directory.GroupDN("viewers"), "member", directory.PersonDN(name))
	}
	gone, moved := k.fromDirectory("gone"), k.fromDirectory("moved")
	conn, _, err := gone.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	bystander, _, err := moved.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	// First the group: a person who is in none for a moment may be asked about just then.
	s.AddValue(directory.GroupDN("viewers"), "member", "uid=elsewhere,ou=abroad,"+directory.People)
	s.Rename(directory.PersonDN("moved"), "uid=elsewhere", "ou=abroad,"+directory.People)
	s.Delete(directory.PersonDN("gone"))
	within, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if _, _, err = conn.Read(within); websocket.CloseStatus(err) != 4401 {
		t.Errorf("the WebSocket of a deleted person ended with %v, want 4401", err)
	}
	if got := gone.whoAmI(); got.status != http.StatusUnauthorized {
		t.Errorf("the session of a deleted person: got %d, want 401", got.status)
	}
	k.eventually(3*time.Minute, "the renamed person has the new name in the open session", func() bool { return moved.whoAmI().Username == "elsewhere" })
	if got := talk(t, bystander, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("the renamed person's WebSocket answered %v, want connection_ack", got)
	}
	if resp, _ := k.anonymous().login("moved", directory.Password("moved")); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("signing in by the old name: got %d, want 401", resp.StatusCode)
	}
	told := func() int64 {
		return k.count("SELECT count(*) FROM audit_events WHERE event_type = 'SESSION_EXPIRED' AND username = 'gone' AND event ->> 'identity' LIKE 'ldap:%'")
	}
	k.eventually(time.Minute, "the trail tells of the end", func() bool { return told() > 0 }) // the session is deleted before
	if n := told(); n != 1 {
		t.Errorf("the trail tells %d times that the session of a deleted person ended, want once", n)
	}
}

func checkLDAP(t *testing.T, k *kit) {
	out := k.cli(directory.Password("ada")+"\n", "check-ldap", "--user", "ada", "--password-stdin")
	for _, want := range []string{"ok      resolve localhost", "certificate for localhost", "the password is right", "admin, by the rule for the group cn=admins," + directory.Groups} {
		if !strings.Contains(out, want) {
			t.Errorf("check-ldap does not say %q:\n%s", want, out)
		}
	}
	if out, code := k.cliCode("wrong\n", "check-ldap", "--user", "ada", "--password-stdin"); code != 1 || !strings.Contains(out, "FAILED  bind as the person") {
		t.Errorf("check-ldap with a wrong password: exit code %d, want 1\n%s", code, out)
	}
	path := filepath.Join(k.dir, "authkit.yaml")
	text := "default_role: viewer\ngroups:\n  - group: CN=Admins, " + directory.Groups + "\n    role: admin\n  - group: posix\n    location: defs.py\n    role: editor\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out = k.cli("", "check-ldap", "--config", path, "--user", "ward")
	for _, want := range []string{"viewer, by DAGSTER_AUTH_DEFAULT_ROLE", "editor in the code location defs.py"} {
		if !strings.Contains(out, want) {
			t.Errorf("check-ldap with a config file does not say %q:\n%s", want, out)
		}
	}
	if out, code := k.cliCode("", "check-ldap", "--ask-password"); code != 2 {
		t.Errorf("a password of nobody: exit code %d, want 2\n%s", code, out)
	}
}

// directoryDown: whoever the directory would have to vouch for can't sign in, is told so, and stays for a while; a local
// admin comes in.
func directoryDown(t *testing.T, k *kit, s *directory.Slapd) {
	open := downWhileOpen(t, k, s)
	leaving, replaced := open[1], open[2]
	resp, body := k.anonymous().login("larry", directory.Password("larry"))
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "does not answer") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("signing in: got %d, want 503 that says why\n%s", resp.StatusCode, body)
	}
	if got := k.signIn("ada").whoAmI(); got.Backend != "local" || got.Role != "admin" {
		t.Errorf("the local admin: got %+v", got)
	}
	// Each has its own time, as it was opened at its own.
	for _, c := range open {
		k.eventually(3*time.Minute, "the open session is overdue", func() bool { return c.whoAmI().status == http.StatusServiceUnavailable })
	}
	// Whoever has an overdue session can leave it, and sign in as somebody else.
	if resp, _ := leaving.do("POST", "/auth/logout", ""); resp.StatusCode != http.StatusSeeOther || leaving.whoAmI().status != http.StatusUnauthorized {
		t.Errorf("signing out of an overdue session: got %d", resp.StatusCode)
	}
	if resp, _ := replaced.do("GET", "/auth/login", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("the form for an overdue session: got %d", resp.StatusCode)
	}
	if resp, _ := replaced.login("ada", passwords["ada"]); resp.StatusCode != http.StatusSeeOther || replaced.whoAmI().Backend != "local" {
		t.Errorf("signing in over an overdue session: got %d and %+v", resp.StatusCode, replaced.whoAmI())
	}
	s.Start()
	k.eventually(3*time.Minute, "the open session goes on", func() bool { return open[0].whoAmI().status == http.StatusOK })
	k.fromDirectory("larry")
}

// downWhileOpen stops the directory beside three open sessions, which go on for a while. On a machine that is so slow that the while is
// over when they are looked at, it is done again.
func downWhileOpen(t *testing.T, k *kit, s *directory.Slapd) [3]*client {
	t.Helper()
	for range 5 {
		open := [3]*client{k.fromDirectory("larry"), k.fromDirectory("larry"), k.fromDirectory("larry")}
		s.Stop()
		if open[0].whoAmI().status == http.StatusOK {
			return open
		}
		s.Start()
		k.eventually(3*time.Minute, "the directory is asked again", func() bool {
			resp, _ := k.anonymous().login("larry", directory.Password("larry"))
			return resp.StatusCode == http.StatusSeeOther
		})
	}
	t.Fatal("sessions that are open when the directory goes down do not go on")
	return [3]*client{}
}

// TestGuessesWhileADirectoryIsDown: guesses at a local password count all the same, so that the one that is right comes too late.
func TestGuessesWhileADirectoryIsDown(t *testing.T) {
	t.Parallel()
	guess := func(env ...string) (answers []int) {
		o := options{env: env, noWait: true}
		k := start(t, o)
		k.eventually(time.Minute, "AuthKit answers", func() bool { return k.answers("/auth/login") })
		for _, password := range append(slices.Repeat([]string{"wrong"}, 6), passwords["vic"]) {
			resp, _ := k.anonymous().login("vic", password)
			answers = append(answers, resp.StatusCode)
		}
		return answers
	}
	down := fmt.Sprintf("DAGSTER_AUTH_LDAP_SERVER=ldap://127.0.0.1:%d", freePort(t))
	got := guess("DAGSTER_AUTH_BACKEND=ldap,sqlite", down, "DAGSTER_AUTH_LDAP_BASE_DN=dc=x", "DAGSTER_AUTH_DEFAULT_ROLE=viewer")
	if want := []int{503, 503, 503, 503, 503, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("the directory is down: got %v, want %v", got, want)
	}
	if got, want := guess(), []int{401, 401, 401, 401, 401, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("the control, local users alone: got %v, want %v", got, want)
	}
}

// noSecretAnywhere looks for the passwords that were typed, and for that of the searching account, in all that was written.
func noSecretAnywhere(t *testing.T, k *kit) {
	written := map[string]string{"stdout": k.stdout.String(), "stderr": k.stderr.String()}
	for _, name := range []string{k.db, k.db + "-wal"} {
		data, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		written[filepath.Base(name)] = string(data)
	}
	if !strings.Contains(written["stdout"], "LOGIN_ATTEMPT") {
		t.Error("the control: stdout has no sign-in")
	}
	for where, text := range written {
		for _, secret := range []string{directory.ReaderPassword, directory.Password("ada"), directory.Password("mia"), directory.Password("larry")} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has the password %q", where, secret)
			}
		}
	}
}

// TestActiveDirectory runs the whole program with the preset of the README.
func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	s := directory.StartSamba(t)
	for _, name := range []string{"ada", "vic", "dora", "mia", "pia"} {
		s.AddPerson(name)
	}
	s.AddGroup("Dagster Editors", directory.DomainPerson("pia"))
	s.MakePrimary("pia", "Dagster Editors")
	s.AddGroup("Dagster Admins", directory.DomainPerson("ada"))
	s.AddGroup("Analysts", directory.DomainPerson("vic"), directory.DomainPerson("dora"), directory.DomainPerson("mia"))
	s.AddGroup("Dagster Users", directory.DomainGroup("Analysts"))
	s.Replace(directory.DomainPerson("mia"), "pwdLastSet", "0")
	config := filepath.Join(t.TempDir(), "authkit.yaml")
	text := "backend: ldap\nldap_preset: ad\nldap_nested_groups: true\nldap_server: " + s.SecureURL + "\nldap_ca_cert: " + s.File +
		"\nldap_base_dn: " + directory.DomainBase + "\nldap_bind_dn: svc@" + directory.Domain + "\nldap_bind_password: " + directory.Password("svc") +
		"\nldap_timeout: 60\nrefresh_interval: 20s\ngroups:\n  - group: Dagster Admins\n    role: admin\n  - group: CN=Dagster Users," + directory.DomainGroups + "\n    role: launcher\n" +
		"  - group: Dagster Editors\n    role: editor\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := start(t, options{noUsers: true, args: []string{"--config", config}})
	if got := k.fromDirectory("ada").whoAmI(); got.Role != "admin" || got.Backend != "ldap" {
		t.Errorf("ada: got %+v, want an admin", got)
	}
	dora := k.anonymous()
	if resp, body := dora.login("dora@"+directory.Domain, directory.Password("dora")); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("dora, by her userPrincipalName: got %d, want 303\n%s", resp.StatusCode, body)
	}
	if got := dora.whoAmI(); got.Role != "launcher" || got.Username != "dora" {
		t.Errorf("dora, by a group in a group: got %+v, want a launcher", got)
	}
	if got := k.fromDirectory("pia").whoAmI(); got.Role != "editor" {
		t.Errorf("pia, by her primary group: got %+v, want an editor", got)
	}
	if resp, body := k.anonymous().login("mia", directory.Password("mia")); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "has to be changed") {
		t.Errorf("mia, who must change her password: got %d\n%s", resp.StatusCode, body)
	}
	s.Replace(directory.DomainPerson("dora"), "userAccountControl", "514")
	if resp, _ := k.anonymous().login("dora", directory.Password("dora")); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("dora, disabled: got %d, want 401", resp.StatusCode)
	}
	k.eventually(3*time.Minute, "the session of the disabled dora ends", func() bool { return dora.whoAmI().status == http.StatusUnauthorized })
	if out := k.cli("", "check-ldap", "--config", config, "--user", "vic"); !strings.Contains(out, "launcher, by the rule for the group CN=Dagster Users") {
		t.Errorf("check-ldap:\n%s", out)
	}
}

// TestLDAPPages are for people to look at: what somebody of a directory sees who may not enter.
func TestLDAPPages(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	k := start(t, options{env: withDirectory(s), noWait: true})
	k.eventually(time.Minute, "the sign-in is there", func() bool {
		resp, err := http.Get(k.url + "/auth/login")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	b := openBrowser(t, 1200, 800)
	for _, look := range []struct {
		name, colours string
		width, height int64
	}{{"wide-light", "light", 1200, 800}, {"wide-dark", "dark", 1200, 800}, {"narrow-light", "light", 360, 740}, {"narrow-dark", "dark", 360, 740}} {
		b.run(chromedp.EmulateViewport(look.width, look.height), colours(look.colours))
		signIn := func(name, heading, picture string) {
			b.run(chromedp.Navigate(k.url+"/auth/login"), chromedp.WaitVisible(`input[name="username"]`),
				chromedp.SendKeys(`input[name="username"]`, name), chromedp.SendKeys(`input[name="password"]`, directory.Password(name)),
				chromedp.Submit(`input[name="password"]`), chromedp.WaitVisible(heading))
			b.screenshot("ldap-" + picture + "-" + look.name + ".png")
			if at := ask(b, chromedp.Location()); !strings.HasPrefix(at, k.url+"/auth/login") {
				t.Errorf("%s: the browser went on to %s", picture, at)
			}
			if width := ask(b, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); width > look.width {
				t.Errorf("%s, %s: the page is %d wide, and the window %d", picture, look.name, width, look.width)
			}
		}
		signIn("ward", `//h1[contains(., "no role")]`, "norole")
		signIn("eve", `//h1[contains(., "no role")]`, "nogroup")
		signIn("mia", `//p[contains(., "has to be changed")]`, "mustchange")
	}
}

// colours makes the browser prefer light or dark pages.
func colours(scheme string) step {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}
