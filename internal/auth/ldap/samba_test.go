package ldap_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/e2e/directory"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/identity"
)

// activeDirectory are the options of the preset ad.
func activeDirectory(t *testing.T, s *directory.Samba) ldap.Options {
	t.Helper()
	return ldap.Options{
		Servers: []string{s.SecureURL}, CACert: s.File, Timeout: 20 * time.Second,
		BindDN: "svc@" + directory.Domain, BindPassword: directory.Password("svc"), BaseDN: directory.DomainBase,
		UserFilter:       "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))",
		SubjectAttribute: "objectGUID", NameAttribute: "sAMAccountName", EmailAttribute: "mail", FullNameAttributes: []string{"displayName", "cn"},
		MemberOf: true, ActiveDirectory: true, GroupBaseDN: directory.DomainBase,
		Rules: []identity.GroupRule{
			{Source: "ldap", Group: directory.DomainGroup("Data Admins"), Role: "admin"},
			{Source: "ldap", Group: "Analysts", Role: "viewer"},
			{Source: "ldap", Group: "Everybody Data", Location: "analytics", Role: "editor"},
		},
		Roles: roles(t), Log: zerolog.Nop(),
	}
}

// nested are the options with groups in groups.
func nested(o ldap.Options) ldap.Options {
	o.MemberOf, o.GroupFilter = false, "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))"
	return o
}

// TestActiveDirectory is one test, as a domain takes seconds to make.
func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	s := directory.StartSamba(t)
	for _, name := range []string{"ada", "vic", "eve", "dora", "mia", "xena"} {
		s.AddPerson(name)
	}
	s.AddGroup("Data Admins", directory.DomainPerson("ada"))
	s.AddGroup("Analysts", directory.DomainPerson("vic"), directory.DomainPerson("dora"), directory.DomainPerson("mia"), directory.DomainPerson("xena"))
	s.AddGroup("Everybody Data", directory.DomainGroup("Analysts"))
	s.Replace(directory.DomainPerson("dora"), "userAccountControl", "514")
	s.Replace(directory.DomainPerson("mia"), "pwdLastSet", "0")
	s.Replace(directory.DomainPerson("xena"), "accountExpires", "132000000000000000") // in 2019
	var log logged
	o := activeDirectory(t, s)
	o.Log = zerolog.New(&log)
	b := backend(t, o)

	t.Run("names", func(t *testing.T) {
		user := mustSignIn(t, b, "ada")
		if len(user.Subject) != 36 || user.Name != "ada" || user.FullName != "Ünal ada" || user.Email != "ada@example.com" || user.Role != identity.Admin {
			t.Errorf("got %+v, want ada, an admin, by her objectGUID", user)
		}
		for _, name := range []string{"ADA", "ada@ad.example.com", "Ada@AD.Example.com"} {
			again, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password("ada")})
			if err != nil || again.ID() != user.ID() {
				t.Errorf("%s: got %s, %v, want %s", name, again.ID(), err, user.ID())
			}
		}
		for _, name := range []string{"AD\\ada", "*", "ada)(cn=*", "nobody", "ada@elsewhere.com", "áda", directory.DomainPerson("ada"), "Data Admins"} {
			if got, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password("ada")}); !errors.Is(err, auth.ErrInvalid) {
				t.Errorf("%s: got %q, %v, want ErrInvalid", name, got.Name, err)
			}
		}
		for _, password := range []string{"", "wrong", directory.Password("vic")} {
			if _, err := b.Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: password}); !errors.Is(err, auth.ErrInvalid) {
				t.Errorf("the password %q: got %v, want ErrInvalid", password, err)
			}
		}
	})
	t.Run("groups", func(t *testing.T) {
		if user := mustSignIn(t, b, "vic"); user.Role != identity.Viewer || len(user.RuleGrants) != 0 {
			t.Errorf("by memberOf: got %s, %v, want viewer and no grant", user.Role, user.RuleGrants)
		}
		want := []identity.Grant{{Location: "analytics", Role: identity.Editor}}
		if user := mustSignIn(t, backend(t, nested(o)), "vic"); user.Role != identity.Viewer || !cmp.Equal(user.RuleGrants, want) {
			t.Errorf("with groups in groups: got %s, %v, want viewer and %v", user.Role, user.RuleGrants, want)
		}
		if _, err := signIn(t, b, "eve"); err == nil {
			t.Error("eve is in no group, and signed in")
		} else if _, is := errors.AsType[*auth.NoRoleError](err); !is {
			t.Errorf("eve: got %v, want a NoRoleError", err)
		}
	})
	t.Run("accounts that may not", func(t *testing.T) {
		for name, tc := range map[string]struct {
			told bool
			why  string
		}{"dora": {false, "disabled"}, "mia": {true, "must be changed"}, "xena": {false, "expired"}} {
			if _, err := signIn(t, b, name); !errors.Is(err, auth.ErrInvalid) || isRefused(err) != tc.told {
				t.Errorf("%s: got %v, want ErrInvalid, explained: %t", name, err, tc.told)
			}
			if !strings.Contains(log.String(), tc.why) {
				t.Errorf("%s: the log does not say %q:\n%s", name, tc.why, log.String())
			}
			if _, err := b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: "wrong"}); !errors.Is(err, auth.ErrInvalid) || isRefused(err) {
				t.Errorf("%s with a wrong password: got %v, want a plain ErrInvalid", name, err)
			}
		}
	})
	t.Run("refresh", func(t *testing.T) { refreshInDomain(t, s, b) })
	t.Run("in clear", func(t *testing.T) {
		plain := o
		plain.Servers = []string{s.URL}
		if _, err := signIn(t, backend(t, plain), "ada"); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "wants TLS") {
			t.Errorf("got %v, want ErrUnavailable with a hint at TLS", err)
		}
		plain.StartTLS = true
		mustSignIn(t, backend(t, plain), "ada")
	})
}

func refreshInDomain(t *testing.T, s *directory.Samba, b *ldap.Backend) {
	refresh := func(user identity.User) (identity.User, error) {
		now, _, err := b.Refresh(t.Context(), user, identity.Voucher{})
		return now, err
	}
	user := mustSignIn(t, b, "vic")
	if now, err := refresh(user); err != nil || !cmp.Equal(now, user) {
		t.Errorf("nothing changed: got %+v, %v, want %+v", now, err, user)
	}
	s.AddValue(directory.DomainGroup("Data Admins"), "member", directory.DomainPerson("vic"))
	if now, err := refresh(user); err != nil || now.Role != identity.Admin {
		t.Errorf("in another group: got %s, %v, want admin", now.Role, err)
	}
	s.Rename(directory.DomainPerson("vic"), "cn=victoria", "")
	s.Replace(directory.DomainPerson("victoria"), "sAMAccountName", "victoria")
	if now, err := refresh(user); err != nil || now.ID() != user.ID() || now.Name != "victoria" {
		t.Errorf("renamed: got %s %q, %v, want %s, victoria", now.ID(), now.Name, err, user.ID())
	}
	for _, change := range [][3]string{{"userAccountControl", "514", "512"}, {"accountExpires", "132000000000000000", "0"}} {
		s.Replace(directory.DomainPerson("victoria"), change[0], change[1])
		if _, err := refresh(user); !errors.Is(err, auth.ErrGone) {
			t.Errorf("%s: got %v, want ErrGone", change[0], err)
		}
		s.Replace(directory.DomainPerson("victoria"), change[0], change[2])
		if _, err := refresh(user); err != nil {
			t.Errorf("%s as before: %v", change[0], err)
		}
	}
	s.Delete(directory.DomainPerson("victoria"))
	if _, err := refresh(user); !errors.Is(err, auth.ErrGone) {
		t.Errorf("deleted: got %v, want ErrGone", err)
	}
}
