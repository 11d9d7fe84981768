package ldap_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"

	"dagster-authkit/e2e/directory"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// manyGroups is LDIF of so many groups of a person.
func manyGroups(n int, person string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "dn: cn=many-%05d,%s\nobjectClass: groupOfNames\ncn: many-%05d\nmember: %s\n\n", i, directory.Groups, i, person)
	}
	return b.String()
}

// plainly asks for the groups of a person without pages, as the account that searches, and gives their number.
func plainly(t *testing.T, s *directory.Slapd, person string) (int, error) {
	t.Helper()
	conn, err := goldap.DialURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Bind(directory.Reader, directory.ReaderPassword); err != nil {
		t.Fatal(err)
	}
	found, err := conn.Search(goldap.NewSearchRequest(directory.Base, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false,
		"(member="+goldap.EscapeFilter(person)+")", []string{"1.1"}, nil))
	return len(found.Entries), err
}

// TestGroupsInPages: a person in more groups than the directory gives at once has all of them, the last one too; whoever is in more
// than the directory gives at all, or than are read, can't sign in by some of them.
func TestGroupsInPages(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	eve := directory.PersonDN("eve")
	o := openLDAP(t, s)
	o.Rules = []identity.GroupRule{{Source: "ldap", Group: "many-01201", Role: "editor"}, {Source: "ldap", Group: "admins", Role: "admin"}}
	// Entries come as they were added.
	s.Restart("sizelimit size.soft=100 size.hard=200 size.prtotal=unlimited", manyGroups(1202, eve))
	if n, err := plainly(t, s, eve); n != 100 || !goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) {
		t.Fatalf("the control: a search without pages gave %d entries and %v, want 100 and that there are more", n, err)
	}
	b := backend(t, o)
	user := mustSignIn(t, b, "eve")
	if user.Role != identity.Editor || len(user.Groups) != 2*1202 {
		t.Errorf("got %s and %d groups, want an editor by the last of 1202, each by DN and name", user.Role, len(user.Groups))
	}
	if now, _, err := b.Refresh(t.Context(), user, identity.Voucher{}); err != nil || now.Role != identity.Editor {
		t.Errorf("at a refresh: got %s, %v, want an editor", now.Role, err)
	}
	for settings, want := range map[string]string{
		"sizelimit 100": "raise its limit",
		"sizelimit size=100 size.pr=50 size.prtotal=unlimited": "raise its limit",
		"sizelimit size=100 size.prtotal=disabled":             "raise its limit",
		"sizelimit size=2000 size.pr=50":                       "",
		"sizelimit size=2000 size.prtotal=disabled":            "",
		"sizelimit size=2000 size.prtotal=1300":                "",
	} {
		s.Restart(settings, "")
		user, err := signIn(t, backend(t, o), "eve")
		if want == "" && (err != nil || user.Role != identity.Editor) {
			t.Errorf("%s: got %s, %v, want an editor", settings, user.Role, err)
		}
		if want != "" && (!errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), eve)) {
			t.Errorf("%s: got %q, %v, want ErrUnavailable that says %q of %s", settings, user.Role, err, want, eve)
		}
		if user := mustSignIn(t, backend(t, o), "ada"); user.Role != identity.Admin {
			t.Errorf("%s: ada, in one group, is %s", settings, user.Role)
		}
	}
}

// TestMoreGroupsThanAreRead has as many as are read, and one more.
func TestMoreGroupsThanAreRead(t *testing.T) {
	t.Parallel()
	s := directory.StartSlapd(t)
	eve := directory.PersonDN("eve")
	o := openLDAP(t, s)
	o.Rules = []identity.GroupRule{{Source: "ldap", Group: "many-04999", Role: "editor"}}
	s.Restart("sizelimit unlimited", manyGroups(5000, eve))
	b := backend(t, o)
	if user := mustSignIn(t, b, "eve"); user.Role != identity.Editor {
		t.Errorf("in 5000 groups: got %s, want an editor", user.Role)
	}
	s.AddGroup(directory.GroupDN("one-more"), eve)
	if user, err := signIn(t, b, "eve"); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "more than 5000 groups") {
		t.Errorf("in 5001 groups: got %s, %v, want ErrUnavailable that says so", user.Role, err)
	}
	s.Restart("sizelimit size=unlimited size.prtotal=disabled", "")
	if user, err := signIn(t, b, "eve"); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "more than 5000 groups") {
		t.Errorf("in 5001 groups, without pages: got %s, %v, want ErrUnavailable that says so", user.Role, err)
	}
	s.DeleteValue(directory.GroupDN("one-more"), "member", eve)
	if user := mustSignIn(t, b, "eve"); user.Role != identity.Editor {
		t.Errorf("in 5000, without pages: got %s, want an editor", user.Role)
	}
	s.Restart("sizelimit unlimited", "")
	if user := mustSignIn(t, b, "eve"); user.Role != identity.Editor {
		t.Errorf("in 5000 again: got %s, want an editor", user.Role)
	}
}

// TestMoreGroupsThanAskedFor: a server that takes no pages and gives more than it was asked for is well, and the person is in too
// many groups. slapd gives what it is asked for.
func TestMoreGroupsThanAskedFor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		groups    int
		goesAway  bool
		want      string
		elsewhere bool
	}{
		"as many as are read": {groups: 5000},
		"one more":            {groups: 5001, want: "more than 5000 groups"},
		"goes away":           {goesAway: true, elsewhere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var searches, elsewhere atomic.Int32 // the first is for the person, the others are for groups, each time in pages and without
			first := misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
				switch n := searches.Add(1); {
				case n == 1:
					_, _ = conn.Write(append(entryOf(id, "uid=ada,dc=x", "ada"), result(id, searchDone)...))
				case n%2 == 0:
					_, _ = conn.Write(message(id, searchDone, tlv(tagEnum, []byte{goldap.LDAPResultUnavailableCriticalExtension}), tlv(tagOctets), tlv(tagOctets)))
				case tc.goesAway:
					_ = conn.Close()
				default:
					_, _ = conn.Write(append(bytes.Repeat(entryOf(id, "cn=staff,dc=x", "staff"), tc.groups), result(id, searchDone)...))
				}
			}))
			second := misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
				elsewhere.Add(1)
				_, _ = conn.Write(result(id, searchDone))
			}))
			o := patient(t, first)
			o.Servers = append(o.Servers, second)
			user, err := backend(t, o).Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"})
			if tc.want == "" && (err != nil || user.Name != "ada") {
				t.Errorf("got %q, %v, want ada", user.Name, err)
			}
			if tc.want != "" && (!errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %q, %v, want ErrUnavailable that says %q", user.Name, err, tc.want)
			}
			if asked := elsewhere.Load() > 0; asked != tc.elsewhere {
				t.Errorf("the next server was asked: %t, want %t", asked, tc.elsewhere)
			}
		})
	}
}

// TestPagesWithoutEnd: a server that always has another page is left at the end of the question's time, or of what is read.
func TestPagesWithoutEnd(t *testing.T) {
	t.Parallel()
	page := func(id int64, cookie string, entries ...[]byte) []byte {
		value := tlv(tagSequence, tlv(tagInteger, []byte{0}), tlv(tagOctets, []byte(cookie)))
		control := tlv(tagSequence, tlv(tagOctets, []byte(goldap.ControlTypePaging)), tlv(tagOctets, value))
		done := tlv(classApplicationConstructed|searchDone, tlv(tagEnum, []byte{0}), tlv(tagOctets), tlv(tagOctets))
		answer := tlv(tagSequence, tlv(tagInteger, []byte{byte(id >> 8), byte(id)}), done, tlv(0xa0, control))
		for _, entry := range entries {
			answer = append(entry, answer...)
		}
		return answer
	}
	for name, tc := range map[string]struct {
		cookie string
		empty  bool
		fails  bool
	}{
		"the last page":  {},
		"empty pages":    {cookie: "x", empty: true, fails: true},
		"the same again": {cookie: "x", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found atomic.Bool // the search after that of the person is for groups
			server := misbehaving(t, func(conn net.Conn, id int64, operation ber.Tag) {
				switch {
				case operation == bindRequest:
					_, _ = conn.Write(result(id, bindResponse))
				case !found.Swap(true):
					_, _ = conn.Write(append(entryOf(id, "uid=ada,dc=x", "ada"), result(id, searchDone)...))
				case tc.empty:
					_, _ = conn.Write(page(id, tc.cookie))
				default:
					_, _ = conn.Write(page(id, tc.cookie, entryOf(id, "cn=staff,dc=x", "staff")))
				}
			})
			user, err := backend(t, impatient(t, server)).Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"})
			if tc.fails != errors.Is(err, auth.ErrUnavailable) || tc.fails != (user.Name == "") {
				t.Errorf("got %q, %v, want ErrUnavailable: %t", user.Name, err, tc.fails)
			}
		})
	}
}

// TestMemberOfInPieces: Active Directory gives the first 1,500 values of an attribute under a name of their own, and Samba all.
func TestMemberOfInPieces(t *testing.T) {
	t.Parallel()
	for attribute, want := range map[string]string{"memberOf": "", "memberOf;range=0-1499": "DAGSTER_AUTH_LDAP_GROUPS=search"} {
		o := impatient(t, misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
			_, _ = conn.Write(append(entryOf(id, "uid=ada,dc=x", "ada", attribute, "cn=staff,dc=x"), result(id, searchDone)...))
		})))
		o.MemberOf = true
		user, err := backend(t, o).Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"})
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %q, %v, want %q", attribute, user.Groups, err, want)
		}
	}
}
