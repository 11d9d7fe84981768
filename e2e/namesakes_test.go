package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dagster-authkit/e2e/directory"
)

// TestThreeNamesakes: a proxy, a directory and the local users each have an ada, and these are three people.
func TestThreeNamesakes(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	s.DeleteValue(directory.GroupDN("admins"), "member", directory.PersonDN("ada"))
	s.AddValue(directory.GroupDN("launchers"), "member", directory.PersonDN("ada"))
	k := start(t, options{env: append(withDirectory(s, headerEnv()...), "DAGSTER_AUTH_BACKEND=header,ldap,sqlite")})
	all := namesakes{k: k, remote: k.fromDirectory("ada"), local: k.signIn("ada"), named: k.anonymous()}
	all.are(t, "viewer header", "launcher ldap", "admin local")
	t.Run("accounts", func(t *testing.T) { all.accounts(t) })
	t.Run("nobody", func(t *testing.T) { all.nobody(t) })
	t.Run("changes", func(t *testing.T) { all.changes(t, s) })
	t.Run("signing out", func(t *testing.T) { all.signOut(t) })
}

// namesakes are the three: one is named by the proxy, with each request, and two have signed in.
type namesakes struct {
	k                    *kit
	named, remote, local *client
}

// byProxy is what a proxy adds to ada's requests.
var byProxy = []string{"Remote-User", "ada", "Remote-Groups", "viewers"}

// are compares what each is, and what each may do, by its effect.
func (n namesakes) are(t *testing.T, named, remote, local string) {
	t.Helper()
	if got := n.named.me(byProxy...); got != "ada "+named {
		t.Errorf("the proxy's ada is %q, want %s", got, named)
	}
	if got := n.remote.me(); got != "ada "+remote {
		t.Errorf("the directory's ada is %q, want %s", got, remote)
	}
	if got := n.local.me(); got != "ada "+local {
		t.Errorf("the local ada is %q, want %s", got, local)
	}
}

// ids are the identities of all accounts called ada, sorted.
func (n namesakes) ids(t *testing.T) []string {
	t.Helper()
	var users []struct{ ID, Username, Role string }
	if err := json.Unmarshal([]byte(n.k.cli("", "list-users", "--output", "json")), &users); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, user := range users {
		if user.Username == "ada" {
			found = append(found, user.ID)
		}
	}
	slices.Sort(found)
	return found
}

func (n namesakes) accounts(t *testing.T) {
	ids := n.ids(t)
	if len(ids) != 3 || ids[0] != "header:ada" || !strings.HasPrefix(ids[1], "ldap:") || len(ids[1]) != len("ldap:")+36 || ids[2] != "local:ada" {
		t.Fatalf("the accounts are %q, want one of each backend", ids)
	}
	if trail := identities(t, n.k, "ada"); !slices.Equal(trail, ids) {
		t.Errorf("the trail has sign-ins of %q, want %q", trail, ids)
	}
	if out, code := n.k.cliCode("", "disable-user", "ada"); code == 0 || !strings.Contains(out, ids[0]) || !strings.Contains(out, ids[1]) || !strings.Contains(out, ids[2]) {
		t.Errorf("a name that three have: exit code %d, want the IDs to choose from\n%s", code, out)
	}
	if got := n.local.addPartition("local"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("the local ada, an admin: %s", got.Body)
	}
	if got := n.remote.addPartition("remote"); got.typename("addDynamicPartition") != "UnauthorizedError" || n.k.hasPartition("remote") {
		t.Errorf("the directory's ada, a launcher: %s", got.Body)
	}
	// A grant to one is none to the others.
	n.k.cli("", "grant", ids[0], "editor", "--location", "defs.py")
	if _, body := n.named.do("GET", "/auth/me", "", byProxy...); !strings.Contains(body, `"location":"defs.py"`) {
		t.Errorf("the proxy's ada does not have her grant: %s", body)
	}
	for whose, c := range map[string]*client{"directory's": n.remote, "local": n.local} {
		if _, body := c.do("GET", "/auth/me", ""); !strings.Contains(body, `"grants":[]`) {
			t.Errorf("the %s ada has a grant of the proxy's: %s", whose, body)
		}
	}
	// Whoever is named by the proxy beside a cookie is the one that is named, and a word that can't be taken is nobody's.
	for whose, c := range map[string]*client{"directory's": n.remote, "local": n.local} {
		if got := c.me(byProxy...); got != "ada viewer header" {
			t.Errorf("named by the proxy beside the %s ada's cookie: %q", whose, got)
		}
		if got := c.me("Remote-User", "ada", "Remote_User", "ada"); got != "nobody" {
			t.Errorf("named in two ways beside the %s ada's cookie: %q", whose, got)
		}
	}
}

// nobody: a request without the proxy's word and without a cookie gets the form, which takes each one's own password alone.
func (n namesakes) nobody(t *testing.T) {
	c := n.k.anonymous()
	if resp, _ := c.page("/runs"); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/auth/login?next=%2Fruns" {
		t.Errorf("a page: got %d to %q, want the form", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp, body := c.page("/auth/login"); resp.StatusCode != http.StatusOK || !strings.Contains(body, `name="password"`) {
		t.Errorf("the form: got %d\n%s", resp.StatusCode, body)
	}
	if resp, body := c.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "UNAUTHENTICATED") {
		t.Errorf("a program: got %d %s, want 401", resp.StatusCode, body)
	}
	if resp, _ := c.do("GET", "/auth/login?next=/runs", "", append([]string{"Accept", "text/html"}, byProxy...)...); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/runs" {
		t.Errorf("the form for whom the proxy names: got %d to %q, want to go on", resp.StatusCode, resp.Header.Get("Location"))
	}
	for password, want := range map[string]string{directory.Password("ada"): "ada launcher ldap", passwords["ada"]: "ada admin local", "neither": "nobody"} {
		c := n.k.anonymous()
		c.login("ada", password)
		if got := c.me(); got != want {
			t.Errorf("signing in with %q: got %q, want %q", password, got, want)
		}
	}
}

// changes of one are none of the others.
func (n namesakes) changes(t *testing.T, s *directory.Slapd) {
	ids := n.ids(t)
	s.AddValue(directory.GroupDN("editors"), "member", directory.PersonDN("ada"))
	n.k.eventually(30*time.Second, "the directory's ada is an editor in her open session", func() bool { return n.remote.me() == "ada editor ldap" })
	n.are(t, "viewer header", "editor ldap", "admin local")
	for i, want := range [][3]string{{"nobody", "ada editor ldap", "ada admin local"}, {"ada viewer header", "nobody", "ada admin local"}} {
		n.k.cli("", "disable-user", ids[i])
		if got := [3]string{n.named.me(byProxy...), n.remote.me(), n.local.me()}; got != want {
			t.Errorf("%s is disabled: got %q, want %q", ids[i], got, want)
		}
		n.k.cli("", "enable-user", ids[i])
	}
}

// signOut ends the session of one, and leads those whom the proxy names to where it signs them out.
func (n namesakes) signOut(t *testing.T) {
	n.remote, n.local = n.k.fromDirectory("ada"), n.k.signIn("ada")
	ids := n.ids(t)
	signedOut := func() (counts [3]int64) {
		for i, id := range ids {
			counts[i] = n.k.count("SELECT count(*) FROM audit_events WHERE event_type = 'LOGOUT' AND event ->> 'identity' = ?", id)
		}
		return counts
	}
	const atProxy, here = "https://auth.example.com/logout", "/auth/logout"
	var both *client
	for _, tc := range []struct {
		name    string
		c       *client
		headers []string
		to      string
		left    [3]string // who the three are afterwards
		rows    [3]int64
	}{
		{"the directory's", n.remote, nil, here, [3]string{"ada viewer header", "nobody", "ada admin local"}, [3]int64{0, 1, 0}},
		{"the proxy's", n.named, byProxy, atProxy, [3]string{"ada viewer header", "nobody", "ada admin local"}, [3]int64{1, 1, 0}},
		{"the local", n.local, nil, here, [3]string{"ada viewer header", "nobody", "nobody"}, [3]int64{1, 1, 1}},
		{"the proxy's, with the cookie of the local one", both, byProxy, atProxy, [3]string{"ada viewer header", "nobody", "nobody"}, [3]int64{2, 1, 2}},
	} {
		if tc.c == both {
			tc.c = n.k.signIn("ada")
			n.local = tc.c
		}
		resp, body := tc.c.do("POST", "/auth/logout", "", tc.headers...)
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != tc.to {
			t.Errorf("%s: got %d to %q, want 303 to %s\n%s", tc.name, resp.StatusCode, resp.Header.Get("Location"), tc.to, body)
		}
		if got := [3]string{n.named.me(byProxy...), n.remote.me(), n.local.me()}; got != tc.left {
			t.Errorf("%s signed out: the three are %q, want %q", tc.name, got, tc.left)
		}
		if got := signedOut(); got != tc.rows {
			t.Errorf("%s signed out: the trail has %v sign-outs of %v, want %v", tc.name, got, ids, tc.rows)
		}
	}
}
