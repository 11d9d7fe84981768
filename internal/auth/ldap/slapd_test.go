package ldap_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/e2e/directory"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/identity"
)

func TestSignInByEveryTransport(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	for name, change := range map[string]func(*ldap.Options){
		"ldaps":    func(*ldap.Options) {},
		"StartTLS": func(o *ldap.Options) { o.Servers, o.StartTLS = []string{s.URL}, true },
		"in clear": func(o *ldap.Options) { o.Servers, o.CACert = []string{s.URL}, "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := openLDAP(t, s)
			change(&o)
			b := backend(t, o)
			user := mustSignIn(t, b, "ada")
			if user.Backend != "ldap" || len(user.Subject) != 36 || strings.Count(user.Subject, "-") != 4 || user.Name != "ada" ||
				user.Email != "ada@example.com" || user.FullName != "ada of Example" || user.Role != identity.Admin {
				t.Errorf("got %+v, want ada, an admin, by her entryUUID", user)
			}
			for _, c := range []auth.Credentials{
				{Username: "ada", Password: "wrong"},
				{Username: "ada", Password: directory.Password("ed")},
				{Username: "nobody", Password: directory.Password("ada")},
				{Username: "ada", Password: ""},
				{Username: "ada", Password: strings.Repeat("x", 5000)},
				{Username: "", Password: "x"},
			} {
				if user, err := b.Authenticate(t.Context(), c); !errors.Is(err, auth.ErrInvalid) || user.Backend != "" {
					t.Errorf("%.20q with %.20q: got %q, %v, want ErrInvalid", c.Username, c.Password, user.Name, err)
				}
			}
		})
	}
}

// TestTLSIsVerified: neither another authority nor another name is accepted, by ldaps or by StartTLS.
func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	s, other := directory.StartSlapd(t), directory.NewAuthority(t)
	byAddress := func(url string) string { return strings.Replace(url, "localhost", "127.0.0.1", 1) }
	for name, tc := range map[string]struct {
		server string
		change func(*ldap.Options)
		want   string
	}{
		"another authority, ldaps":    {s.SecureURL, func(o *ldap.Options) { o.CACert = other.File }, "unknown authority"},
		"another authority, StartTLS": {s.URL, func(o *ldap.Options) { o.CACert = other.File }, "unknown authority"},
		"the machine's authorities":   {s.SecureURL, func(o *ldap.Options) { o.CACert = "" }, "unknown authority"},
		"another name, ldaps":         {byAddress(s.SecureURL), func(*ldap.Options) {}, "127.0.0.1"},
		"another name, StartTLS":      {byAddress(s.URL), func(*ldap.Options) {}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := openLDAP(t, s)
			o.Servers, o.StartTLS = []string{tc.server}, true
			mustSignIn(t, backend(t, func() ldap.Options { o := o; o.Servers = []string{s.URL}; return o }()), "ada") // the control
			tc.change(&o)
			if _, err := signIn(t, backend(t, o), "ada"); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrUnavailable with %q", err, tc.want)
			}
		})
	}
}

// TestNamesThatAreFilters: what is typed as a name finds the entry of that name or none, whatever it means in a filter.
func TestNamesThatAreFilters(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	b := backend(t, openLDAP(t, s))
	for _, name := range []string{
		"*", "a*", "*a", "ad?", "ada)(uid=*", "*)(uid=*))(|(uid=*", "ada)(objectClass=*", "ada\x00", "\x00", "ada)\x00", "a\u00adda", "ada\u200b",
		"àda", "аda", `\61da`, `\2a`, "ada,ou=people", "uid=ada", "\xff\xfeada", strings.Repeat("a", 10_000), "(", ")", "&", "ada\n", "|(uid=ada)",
	} {
		if user, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password("ada")}); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%.40q: got %q, %v, want ErrInvalid", name, user.Name, err)
		}
	}
	for _, name := range []string{"ada", "ADA", " Ada ", "ａｄａ"} {
		if user, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password("ada")}); err != nil || user.Name != "ada" {
			t.Errorf("%q: got %q, %v, want ada", name, user.Name, err)
		}
	}
	for _, name := range []string{directory.OddPerson, "björk"} {
		_, err := signIn(t, b, name)
		if none, is := errors.AsType[*auth.NoRoleError](err); !is || none.Username != name {
			t.Errorf("%q: got %v, want the person of that name, who has no role", name, err)
		}
	}
}

func TestTwoEntriesOfOneName(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	var log logged
	o := openLDAP(t, s)
	o.Log, o.Default = zerolog.New(&log), identity.Viewer
	if user, err := signIn(t, backend(t, o), "twin"); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("got %q, %v, want ErrInvalid", user.ID(), err)
	}
	if said := log.String(); !strings.Contains(said, directory.PersonDN("twin")) || !strings.Contains(said, "ou=abroad") {
		t.Errorf("got the log %q, want both entries named", said)
	}
	o.BaseDN = "ou=abroad," + directory.People
	if _, err := signIn(t, backend(t, o), "twin"); err != nil {
		t.Errorf("in a base with one of them: %v", err)
	}
}

// TestEmptyPassword: no server is asked about it, so that none can take it for a bind as nobody.
func TestEmptyPassword(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	r, url := relayTo(t, s.SecureURL)
	o := openLDAP(t, s)
	o.Servers = []string{url}
	b := backend(t, o)
	if _, err := b.Authenticate(t.Context(), auth.Credentials{Username: "ada"}); !errors.Is(err, auth.ErrInvalid) || r.count.Load() != 0 {
		t.Errorf("got %v after %d connections, want ErrInvalid after none", err, r.count.Load())
	}
	mustSignIn(t, b, "ada")
	if r.count.Load() == 0 {
		t.Error("the control went past the relay")
	}
}

// TestUnknownNamesCostWhatKnownOnesDo: the same connections are made, whatever is wrong.
func TestUnknownNamesCostWhatKnownOnesDo(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	r, url := relayTo(t, s.SecureURL)
	o := openLDAP(t, s)
	o.Servers = []string{url}
	b := backend(t, o)
	mustSignIn(t, b, "ada")
	if got := r.count.Load(); got != 2 {
		t.Errorf("a sign-in: got %d connections, want one of the searching account and one of the person", got)
	}
	for _, name := range []string{"ada", "nobody", "twin", "*"} {
		before := r.count.Load()
		if _, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: "wrong"}); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		if got := r.count.Load() - before; got != 1 {
			t.Errorf("%s: got %d new connections, want the one for a bind", name, got)
		}
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	byMemberOf := func(o *ldap.Options) { o.MemberOf = true }
	for _, tc := range []struct {
		name, who string
		change    func(*ldap.Options)
		role      identity.Role
		grants    []identity.Grant
		groups    []string
	}{
		{name: "by DN", who: "ada", role: "admin", groups: []string{directory.GroupDN("admins"), "admins"}},
		{name: "by name", who: "ed", role: "editor", groups: []string{directory.GroupDN("editors"), "editors"}},
		{name: "by DN, spelt otherwise", who: "larry", role: "launcher", groups: []string{directory.GroupDN("launchers"), "launchers"}},
		{
			name: "a DN full of signs, and a POSIX group", who: "ward", role: "launcher", grants: []identity.Grant{{Location: "analytics", Role: "editor"}},
			groups: []string{directory.OddGroup, "cn=posix," + directory.Groups, "R+D (x)*, Berlin", "posix"}, // sorted
		},
		{name: "memberOf", who: "ada", change: byMemberOf, role: "admin", groups: []string{directory.GroupDN("admins"), "admins"}},
		{name: "memberOf, full of signs", who: "ward", change: byMemberOf, role: "launcher", groups: []string{directory.OddGroup, "R+D (x)*, Berlin"}},
		{name: "default role", who: "eve", change: func(o *ldap.Options) { o.Default = "viewer" }, role: "viewer"},
		{name: "a rule above the default", who: "ada", change: func(o *ldap.Options) { o.Default = "viewer" }, role: "admin", groups: []string{directory.GroupDN("admins"), "admins"}},
		{name: "role attribute", who: "rolf", change: func(o *ldap.Options) { o.RoleAttribute = "dagsterRole" }, role: "editor", groups: []string{"dagsterRole=editor"}},
		{
			name: "of a person whose DN is full of signs", who: directory.OddPerson, role: "viewer", groups: []string{directory.GroupDN("odd-people"), "odd-people"},
			change: func(o *ldap.Options) {
				o.Rules = []identity.GroupRule{{Source: "ldap", Group: "odd-people", Role: "viewer"}}
			},
		},
		{name: "no rule for the group", who: "vic", change: func(o *ldap.Options) { o.Rules = o.Rules[:2] }},
		{name: "no group", who: "eve"},
		{name: "a role attribute that nobody asked for", who: "rolf"},
		{name: "a base without groups", who: "ada", change: func(o *ldap.Options) { o.GroupBaseDN = directory.People }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := openLDAP(t, s)
			if tc.change != nil {
				tc.change(&o)
			}
			user, err := signIn(t, backend(t, o), tc.who)
			if tc.role == "" {
				if none, is := errors.AsType[*auth.NoRoleError](err); !is || none.Username != tc.who {
					t.Errorf("got %v, want a NoRoleError", err)
				} else if tc.who == "vic" && !cmp.Equal(none.Groups, []string{directory.GroupDN("viewers")}) {
					t.Errorf("got the groups %q on the page, want each once", none.Groups)
				}
				return
			}
			if err != nil || user.Role != tc.role || !cmp.Equal(user.RuleGrants, tc.grants) || !cmp.Equal(user.Groups, tc.groups) {
				t.Errorf("got %v, %s, %v, %q, want %s, %v, %q", err, user.Role, user.RuleGrants, user.Groups, tc.role, tc.grants, tc.groups)
			}
		})
	}
}

// TestAccountsThatMayNotSignIn: with the right password they are refused, and told why only where it tells a guesser nothing.
func TestAccountsThatMayNotSignIn(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	o := openLDAP(t, s)
	o.Default = identity.Viewer
	b := backend(t, o)
	mustSignIn(t, b, "eve") // the control
	for name, told := range map[string]bool{"mia": true, "lou": false} {
		if _, err := signIn(t, b, name); !errors.Is(err, auth.ErrInvalid) || isRefused(err) != told {
			t.Errorf("%s: got %v, want ErrInvalid, explained: %t", name, err, told)
		}
		_, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: "wrong"})
		if !errors.Is(err, auth.ErrInvalid) || isRefused(err) {
			t.Errorf("%s with a wrong password: got %v, want a plain ErrInvalid", name, err)
		}
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	o := openLDAP(t, s)
	o.UserFilter = "(&(uid={username})(!(employeeType=left)))"
	b := backend(t, o)
	refresh := func(user identity.User) (identity.User, error) {
		now, secret, err := b.Refresh(t.Context(), user, identity.Voucher{})
		if len(secret) != 0 {
			t.Errorf("got a secret, want none")
		}
		return now, err
	}
	renata := "uid=renata," + directory.People
	s.AddValue(directory.GroupDN("viewers"), "member", renata)
	user := mustSignIn(t, b, "renata")
	if now, err := refresh(user); err != nil || !cmp.Equal(now, user) {
		t.Fatalf("nothing changed: got %+v, %v, want %+v", now, err, user)
	}
	s.AddValue(directory.GroupDN("editors"), "member", renata)
	if now, err := refresh(user); err != nil || now.Role != identity.Editor {
		t.Errorf("in another group: got %s, %v, want editor", now.Role, err)
	}
	s.DeleteValue(directory.GroupDN("editors"), "member", renata)
	if now, err := refresh(user); err != nil || now.Role != identity.Viewer {
		t.Errorf("out of it again: got %s, %v, want viewer", now.Role, err)
	}
	s.DeleteValue(directory.GroupDN("viewers"), "member", renata)
	if _, err := refresh(user); err == nil {
		t.Error("in no group: got no error, want a NoRoleError")
	} else if _, is := errors.AsType[*auth.NoRoleError](err); !is {
		t.Errorf("in no group: got %v, want a NoRoleError", err)
	}
	// A new name in another place is the same person.
	s.Rename(renata, "uid=renee", "ou=abroad,"+directory.People)
	renee := "uid=renee,ou=abroad," + directory.People
	s.AddValue(directory.GroupDN("viewers"), "member", renee)
	if now, err := refresh(user); err != nil || now.ID() != user.ID() || now.Name != "renee" {
		t.Errorf("renamed: got %s %q, %v, want %s, renee", now.ID(), now.Name, err, user.ID())
	}
	// And whoever gets the old name is not.
	s.AddPerson("renata")
	s.AddValue(directory.GroupDN("admins"), "member", renata)
	if other := mustSignIn(t, b, "renata"); other.ID() == user.ID() || other.Role != identity.Admin {
		t.Errorf("the new renata: got %s, %s, want another identity than %s, admin", other.ID(), other.Role, user.ID())
	}
	if now, err := refresh(user); err != nil || now.Name != "renee" || now.Role != identity.Viewer {
		t.Errorf("with another renata: got %q, %s, %v, want renee, viewer", now.Name, now.Role, err)
	}
	s.Stop()
	if _, err := refresh(user); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("while the server is down: got %v, want ErrUnavailable", err)
	}
	s.Start()
	s.Replace(renee, "employeeType", "left")
	if _, err := refresh(user); !errors.Is(err, auth.ErrGone) {
		t.Errorf("out of the filter: got %v, want ErrGone", err)
	}
	s.Replace(renee, "employeeType")
	if _, err := refresh(user); err != nil {
		t.Errorf("in the filter again: %v", err)
	}
	s.Replace(renee, "pwdAccountLockedTime", "000001010000Z")
	if _, err := refresh(user); !errors.Is(err, auth.ErrGone) {
		t.Errorf("locked by an administrator: got %v, want ErrGone", err)
	}
	s.Delete(renee)
	if _, err := refresh(user); !errors.Is(err, auth.ErrGone) {
		t.Errorf("deleted: got %v, want ErrGone", err)
	}
	if _, err := refresh(identity.User{Backend: "ldap", Subject: "*"}); !errors.Is(err, auth.ErrGone) {
		t.Errorf("a star as a subject: got %v, want ErrGone", err)
	}
}

// TestServersInOrder: dead, silent and impostor servers are passed over, and left alone for a while.
func TestServersInOrder(t *testing.T) {
	t.Parallel()
	s, impostor := directory.StartSlapd(t), directory.StartSlapd(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	first, firstURL := relayTo(t, impostor.SecureURL)
	o := openLDAP(t, s)
	o.Timeout = 4 * time.Second
	o.Servers = []string{
		fmt.Sprintf("ldaps://localhost:%d", directory.FreePort(t)), // nobody listens
		"ldaps://" + silent.Addr().String(), firstURL, s.SecureURL,
	}
	b := backend(t, o)
	for range 3 {
		mustSignIn(t, b, "ada")
	}
	// Servers that take connections and then do not answer, to the search or to the person's bind.
	late := o
	late.Servers = []string{misbehaving(t, wellBehaved(func(net.Conn, int64) {})), misbehaving(t, func(net.Conn, int64, ber.Tag) {}), s.URL}
	mustSignIn(t, backend(t, late), "ada")
	if got := first.count.Load(); got != 1 {
		t.Errorf("got %d connections to a server that failed, want one", got)
	}
	o.Servers = o.Servers[:3]
	if _, err := signIn(t, backend(t, o), "ada"); !errors.Is(err, auth.ErrUnavailable) || strings.Count(err.Error(), "localhost")+strings.Count(err.Error(), "127.0.0.1") < 3 {
		t.Errorf("without a good one: got %v, want ErrUnavailable that names all three", err)
	}
}

// TestConnectionsAreKept: the searching account binds once, and once more when its connection was lost, also without a word.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	r, url := relayTo(t, s.SecureURL)
	o := openLDAP(t, s)
	o.Servers, o.Timeout = []string{url}, 10*time.Second
	b := backend(t, o)
	for range 5 {
		mustSignIn(t, b, "ada")
	}
	if got := r.count.Load(); got != 6 {
		t.Errorf("five sign-ins: got %d connections, want one of the searching account and five of people", got)
	}
	r.cut()
	mustSignIn(t, b, "ada")
	r.freeze()
	mustSignIn(t, b, "ada")
	s.Stop()
	if _, err := signIn(t, b, "ada"); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("while the server is down: got %v, want ErrUnavailable", err)
	}
	s.Start()
	mustSignIn(t, b, "ada")
}

// TestManyAtOnce: people do not get each other's answers.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	b := backend(t, openLDAP(t, s))
	want := map[string]identity.Role{"ada": "admin", "ed": "editor", "larry": "launcher", "vic": "viewer"}
	errs := make(chan error, 80)
	for range 20 {
		for name, role := range want {
			go func() {
				user, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password(name)})
				if err == nil && (user.Name != name || user.Role != role) {
					err = fmt.Errorf("%s got %s, %s", name, user.Name, user.Role)
				}
				errs <- err
			}()
		}
	}
	for range 80 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestWrongSettings: they are the operator's to mend, so that nobody is told that their password is wrong, and the log has a hint
// and no secret.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	mustSignIn(t, backend(t, openLDAP(t, s)), "ada") // the control
	for name, tc := range map[string]struct {
		change func(*ldap.Options)
		want   string
	}{
		"the account's password": {func(o *ldap.Options) { o.BindPassword = "a-wrong-secret" }, "DAGSTER_AUTH_LDAP_BIND_DN"},
		"the base":               {func(o *ldap.Options) { o.BaseDN = "ou=nowhere,dc=example,dc=com" }, "DAGSTER_AUTH_LDAP_BASE_DN"},
		"another domain":         {func(o *ldap.Options) { o.BaseDN = "dc=elsewhere" }, "DAGSTER_AUTH_LDAP_BASE_DN"},
		"the groups' base":       {func(o *ldap.Options) { o.GroupBaseDN = "ou=nowhere,dc=example,dc=com" }, "DAGSTER_AUTH_LDAP_GROUP_BASE_DN"},
		"the subject":            {func(o *ldap.Options) { o.SubjectAttribute = "objectGUID" }, "DAGSTER_AUTH_LDAP_SUBJECT_ATTRIBUTE"},
		"the name":               {func(o *ldap.Options) { o.NameAttribute = "sAMAccountName" }, "DAGSTER_AUTH_LDAP_NAME_ATTRIBUTE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logged
			o := openLDAP(t, s)
			o.Log = zerolog.New(&log)
			tc.change(&o)
			_, err := signIn(t, backend(t, o), "ada")
			if err == nil || errors.Is(err, auth.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that names %s", err, tc.want)
			}
			for _, secret := range []string{o.BindPassword, directory.Password("ada")} {
				if err != nil && strings.Contains(err.Error()+log.String(), secret) {
					t.Errorf("the error or the log has a password: %v\n%s", err, log.String())
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	check := func(o ldap.Options, q ldap.Question) (failed []string, all string, ok bool) {
		var lines []string
		ok = backend(t, o).Check(t.Context(), q, func(step ldap.Step) {
			lines = append(lines, step.What+": "+step.Detail)
			if !step.OK {
				failed = append(failed, step.What)
			}
		})
		return failed, strings.Join(lines, "\n"), ok
	}
	o := openLDAP(t, s)
	o.Default = identity.Viewer
	failed, said, ok := check(o, ldap.Question{Username: "ward", Password: directory.Password("ward")})
	if !ok || len(failed) > 0 {
		t.Errorf("got failures %q, want none\n%s", failed, said)
	}
	for _, want := range []string{
		"resolve localhost: ", "127.0.0.1", "TLS 1.3, certificate for localhost, issued by CN=Directory Test Authority", "bind as " + directory.Reader,
		"search people in " + directory.People, "find the person: uid=ward", "ldap:", "the password is right", directory.OddGroup,
		"launcher, by the rule for the group " + directory.OddGroup, "editor in the code location analytics",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing is said of %q:\n%s", want, said)
		}
	}
	for _, secret := range []string{directory.ReaderPassword, directory.Password("ward")} {
		if strings.Contains(said, secret) {
			t.Errorf("a password is shown:\n%s", said)
		}
	}
	dead := func(o ldap.Options) ldap.Options {
		o.Servers = append([]string{fmt.Sprintf("ldaps://localhost:%d", directory.FreePort(t))}, o.Servers...)
		return o
	}
	for name, tc := range map[string]struct {
		o      ldap.Options
		q      ldap.Question
		failed string
	}{
		"wrong password": {o, ldap.Question{Username: "ward", Password: "wrong"}, "bind as the person"},
		"must change":    {o, ldap.Question{Username: "mia", Password: directory.Password("mia")}, "bind as the person"},
		"locked":         {o, ldap.Question{Username: "lou"}, "look at the account"},
		"unknown":        {o, ldap.Question{Username: "nobody"}, "find the person"},
		"a star":         {o, ldap.Question{Username: "*"}, "find the person"},
		"no role":        {openLDAP(t, s), ldap.Question{Username: "eve"}, "find the role"},
		"a dead server":  {dead(o), ldap.Question{}, "connect to"},
		"wrong account":  {func() ldap.Options { o := o; o.BindPassword = "wrong"; return o }(), ldap.Question{}, "bind as " + directory.Reader},
		"wrong base":     {func() ldap.Options { o := o; o.BaseDN = directory.Groups; return o }(), ldap.Question{}, "search people"},
	} {
		failed, said, ok := check(tc.o, tc.q)
		if ok || !slices.ContainsFunc(failed, func(what string) bool { return strings.HasPrefix(what, tc.failed) }) {
			t.Errorf("%s: got failures %q, want %q among them\n%s", name, failed, tc.failed, said)
		}
	}
}
