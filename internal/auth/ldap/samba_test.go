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
	o.MemberOf, o.Nested, o.GroupFilter = false, true, "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))"
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
	t.Run("email address", func(t *testing.T) {
		for mail, want := range map[string]string{"ada\u200b@example.com": "", "\u202eada@example.com": "", "ad@a@example.com": "ad@a@example.com", "ada@example.com": "ada@example.com"} {
			s.Replace(directory.DomainPerson("ada"), "mail", mail)
			if user := mustSignIn(t, b, "ada"); user.Email != want {
				t.Errorf("%q: got the address %q, want %q", mail, user.Email, want)
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
	t.Run("primary group", func(t *testing.T) { primaryGroup(t, s, o) })
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

// primaryGroup: the group that has no member of that kind counts as all others do, in each way to ask for groups. One of a person
// who was moved out of Domain Users is no longer that.
func primaryGroup(t *testing.T, s *directory.Samba, o ldap.Options) {
	s.AddPerson("pia")
	s.AddPerson("poul")
	s.AddGroup("Prime", directory.DomainPerson("pia"))
	s.AddGroup("Above Prime", directory.DomainGroup("Prime"))
	s.AddGroup("Above All", "cn=Domain Users,cn=Users,"+directory.DomainBase)
	s.MakePrimary("pia", "Prime")
	s.DeleteValue("cn=Domain Users,cn=Users,"+directory.DomainBase, "member", directory.DomainPerson("pia"))
	byMember := func(o ldap.Options) ldap.Options {
		o.MemberOf, o.GroupFilter = false, "(&(objectClass=group)(member={dn}))"
		return o
	}
	within := func(o ldap.Options, base string) ldap.Options { o.GroupBaseDN = base; return o }
	for _, tc := range []struct {
		name, who, group string
		o                ldap.Options
		want             bool
	}{
		{"memberOf", "pia", "Prime", o, true},
		{"memberOf, by DN", "pia", directory.DomainGroup("Prime"), o, true},
		{"memberOf knows no groups in groups", "pia", "Above Prime", o, false},
		{"memberOf, moved out of Domain Users", "pia", "Domain Users", o, false},
		{"memberOf, Domain Users", "poul", "Domain Users", o, true},
		{"memberOf, another's primary group", "poul", "Prime", o, false},
		{"search", "pia", "Prime", byMember(o), true},
		{"search, not nested", "pia", "Above Prime", byMember(o), false},
		{"search, Domain Users", "poul", "Domain Users", byMember(o), true},
		{"search, another's primary group", "poul", "Prime", byMember(o), false},
		{"nested", "pia", "Prime", nested(o), true},
		{"nested, the group's group", "pia", "Above Prime", nested(o), true},
		{"nested, moved out of Domain Users", "pia", "Above All", nested(o), false},
		{"nested, Domain Users", "poul", "Domain Users", nested(o), true},
		{"nested, Domain Users' group", "poul", "Above All", nested(o), true},
		{"nested, another's primary group", "poul", "Above Prime", nested(o), false},
		{"not below the base for groups", "poul", "Domain Users", within(byMember(o), directory.DomainGroups), false},
		{"nested, not below the base for groups", "poul", "Domain Users", within(nested(o), directory.DomainGroups), false},
		{"nested, through a group not below the base", "poul", "Above All", within(nested(o), directory.DomainGroups), true},
		{"as if it were another directory", "pia", "Prime", func() ldap.Options { o := o; o.ActiveDirectory = false; return o }(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Rules = []identity.GroupRule{{Source: "ldap", Group: "Analysts", Role: "viewer"}}
			if _, err := signIn(t, backend(t, tc.o), tc.who); !isWithoutRole(err) {
				t.Errorf("without a rule for the group: got %v, want a NoRoleError", err)
			}
			tc.o.Rules = append(tc.o.Rules, identity.GroupRule{Source: "ldap", Group: tc.group, Role: "launcher"})
			user, err := signIn(t, backend(t, tc.o), tc.who)
			if tc.want && (err != nil || user.Role != identity.Launcher) || !tc.want && !isWithoutRole(err) {
				t.Errorf("with a rule for %s: got %q, %v, want a launcher: %t", tc.group, user.Role, err, tc.want)
			}
		})
	}
}

func isWithoutRole(err error) bool {
	_, is := errors.AsType[*auth.NoRoleError](err)
	return is
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
