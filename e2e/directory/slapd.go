package directory

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/e2e/freeport"
)

// What is in the OpenLDAP directory at the beginning. Every person's password is their name and "-of-the-directory".
const (
	Base           = "dc=example,dc=com"
	People         = "ou=people," + Base
	Groups         = "ou=groups," + Base
	Reader         = "cn=reader," + Base
	ReaderPassword = "reads-all-but-passwords"
	rootDN         = "cn=root," + Base
	rootPassword   = "may-do-everything"
)

// Password is that of a person in either directory.
func Password(name string) string { return name + "-of-the-Directory-1" }

// Slapd is an OpenLDAP server.
type Slapd struct {
	admin
	*Authority
	// URL is ldap:// and SecureURL ldaps://, both for localhost and with a port.
	URL, SecureURL string
	t              testing.TB
	dir, path      string
	conf           string
	*process
}

// StartSlapd starts an OpenLDAP server, with the overlays memberof and ppolicy.
func StartSlapd(t testing.TB) *Slapd {
	t.Helper()
	s := &Slapd{t: t, admin: admin{t: t}, dir: t.TempDir(), path: find(t, "slapd", "slapd"), Authority: NewAuthority(t)}
	s.URL, s.SecureURL = fmt.Sprintf("ldap://localhost:%d", FreePort(t)), fmt.Sprintf("ldaps://localhost:%d", FreePort(t))
	s.dial = s.asRoot
	cert, key := s.Issue("localhost")
	s.conf = strings.NewReplacer("@DIR@", s.dir, "@CA@", s.File, "@CERT@", cert, "@KEY@", key).Replace(slapdConf)
	s.write("slapd.conf", s.conf)
	if err := os.Mkdir(filepath.Join(s.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.load(people())
	s.Start()
	t.Cleanup(s.Stop)
	// By the server, as slapadd leaves memberof's work undone.
	for role, name := range map[string]string{"admins": "ada", "editors": "ed", "launchers": "larry", "viewers": "vic"} {
		s.AddGroup(GroupDN(role), PersonDN(name))
	}
	s.AddGroup(OddGroup, PersonDN("ward"))
	s.AddGroup(GroupDN("odd-people"), "uid="+ldap.EscapeDN(OddPerson)+","+People)
	return s
}

// AddGroup adds a group with members, by their DNs.
func (s *Slapd) AddGroup(dn string, members ...string) {
	s.t.Helper()
	attributes := []string{"objectClass", "groupOfNames", "member", "cn=nobody"}
	for _, member := range members {
		attributes = append(attributes, "member", member)
	}
	s.Add(dn, attributes...)
}

// Start starts the server again after Stop, with what is in it.
func (s *Slapd) Start() {
	s.t.Helper()
	s.process = launch(s.t, s.path, "-f", filepath.Join(s.dir, "slapd.conf"), "-h", s.URL+" "+s.SecureURL, "-d", "none")
	s.until("slapd answers", func() bool {
		conn, err := s.asRoot()
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// Restart starts the server anew with these lines in its database's settings, in place of those of an earlier call, and with these
// entries, in LDIF, more.
func (s *Slapd) Restart(settings, ldif string) {
	s.t.Helper()
	s.Stop()
	s.write("slapd.conf", s.conf+settings+"\n")
	s.load(ldif)
	s.Start()
}

// load adds entries in LDIF while the server does not run.
func (s *Slapd) load(ldif string) {
	s.t.Helper()
	s.write("data.ldif", ldif)
	if out, err := exec.Command(find(s.t, "slapadd", "slapd"), "-q", "-f", filepath.Join(s.dir, "slapd.conf"), "-l", filepath.Join(s.dir, "data.ldif")).CombinedOutput(); err != nil {
		s.t.Fatalf("filling the directory: %v\n%s", err, out)
	}
}

// Stop ends the server.
func (s *Slapd) Stop() { s.stop() }

func (s *Slapd) asRoot() (*ldap.Conn, error) {
	conn, err := ldap.DialURL(s.URL)
	if err != nil {
		return nil, err
	}
	return conn, conn.Bind(rootDN, rootPassword)
}

// AddPerson adds a person below the base for people.
func (s *Slapd) AddPerson(name string) {
	s.t.Helper()
	s.Add(PersonDN(name), "objectClass", "inetOrgPerson", "uid", name, "cn", strings.ToUpper(name), "sn", name,
		"mail", name+"@example.com", "userPassword", Password(name))
}

// PersonDN and GroupDN are where people and groups of that name are.
func PersonDN(name string) string { return "uid=" + name + "," + People }

// GroupDN is where the group of that name is.
func GroupDN(name string) string { return "cn=" + name + "," + Groups }

func (s *Slapd) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// slapdConf is a server as people run it: nobody reads anything without a name, and nobody reads passwords.
const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile @DIR@/slapd.pid
argsfile @DIR@/slapd.args
TLSCACertificateFile @CA@
TLSCertificateFile @CERT@
TLSCertificateKeyFile @KEY@
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'dagsterRole' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.99999.2 NAME 'dagsterUser' SUP top AUXILIARY MAY dagsterRole )
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
database mdb
suffix dc=example,dc=com
rootdn cn=root,dc=example,dc=com
rootpw may-do-everything
directory @DIR@/db
maxsize 104857600
dbnosync
index objectClass,uid,member,entryUUID eq
overlay memberof
memberof-group-oc groupOfNames
overlay ppolicy
ppolicy_default cn=policy,dc=example,dc=com
`

// people is the data: ada, ed, larry and vic by their roles' groups; eve in no group; mia must change her password; two are
// called twin; one name has characters that mean something in filters; and a group's name has all that means something in DNs.
func people() string {
	var b strings.Builder
	b.WriteString("dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n")
	for _, unit := range []string{"people", "guests", "groups"} {
		fmt.Fprintf(&b, "dn: ou=%s,dc=example,dc=com\nobjectClass: organizationalUnit\nou: %s\n\n", unit, unit)
	}
	fmt.Fprintf(&b, "dn: ou=abroad,%s\nobjectClass: organizationalUnit\nou: abroad\n\n", People)
	fmt.Fprintf(&b, "dn: %s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: %s\n\n", Reader, ReaderPassword)
	fmt.Fprintf(&b, "dn: cn=policy,%s\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\npwdMustChange: TRUE\npwdLockout: TRUE\n\n", Base)
	person := func(dn, name, more string) {
		fmt.Fprintf(&b, "dn: %s\nobjectClass: inetOrgPerson\nobjectClass: dagsterUser\nuid: %s\ncn: %s Example\nsn: Example\ndisplayName: %s of Example\nmail: %s@example.com\nuserPassword: %s\n%s\n",
			dn, name, name, name, name, Password(name), more)
	}
	for _, name := range []string{"ada", "ed", "larry", "vic", "eve", "renata", "ward", OddPerson, "björk"} {
		person("uid="+ldap.EscapeDN(name)+","+People, name, "")
	}
	person(PersonDN("mia"), "mia", "pwdReset: TRUE\n")
	person(PersonDN("lou"), "lou", "pwdAccountLockedTime: 000001010000Z\n")
	person(PersonDN("rolf"), "rolf", "dagsterRole: EDITOR\n")
	person(PersonDN("twin"), "twin", "")
	person("uid=twin,ou=abroad,"+People, "twin", "")
	fmt.Fprintf(&b, "dn: cn=posix,%s\nobjectClass: posixGroup\ncn: posix\ngidNumber: 77\nmemberUid: ward\n\n", Groups)
	return b.String()
}

// OddGroup is the DN of a group whose name has a comma, brackets, a plus and a star, as slapd spells it.
const OddGroup = `cn=R\2BD (x)*\2C Berlin,` + Groups

// OddPerson is a person's name of characters that mean something in filters, and their DN has them too.
const OddPerson = `o(dd)*\`

// FreePort is a port of loopback that was free a moment ago, and is nobody else's in this process.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Next()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
