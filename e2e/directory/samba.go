package directory

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// The Active Directory domain and its administrator.
const (
	Domain        = "ad.example.com"
	DomainBase    = "dc=ad,dc=example,dc=com"
	DomainPeople  = "ou=people," + DomainBase
	DomainGroups  = "ou=groups," + DomainBase
	administrator = "Administrator@" + Domain
	adminPassword = "Adm1n-of-the-domain"
)

// Samba is an Active Directory domain controller.
type Samba struct {
	admin
	*Authority
	// SecureURL is ldaps:// and URL ldap://, with an address of loopback that is Samba's own and the usual port.
	URL, SecureURL string
	t              testing.TB
	*process
}

// StartSamba makes a new domain and starts its controller, which needs root, as it takes the ports 389 and 636. The domain is
// empty but for the units of people and groups, and the account svc that searches.
func StartSamba(t testing.TB) *Samba {
	t.Helper()
	path, tool := find(t, "samba", "samba-ad-dc"), find(t, "samba-tool", "samba-ad-provision")
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("Samba needs root, and CI is set")
		}
		t.Skip("Samba's domain controller needs root")
	}
	dir, address := t.TempDir(), freeLoopback(t)
	s := &Samba{t: t, admin: admin{t: t}, Authority: NewAuthority(t), URL: "ldap://" + address + ":389", SecureURL: "ldaps://" + address + ":636"}
	s.dial = s.asAdministrator
	provision := exec.Command(tool, "domain", "provision", "--targetdir="+dir, "--realm="+strings.ToUpper(Domain), "--domain=AD",
		"--server-role=dc", "--adminpass="+adminPassword, "--dns-backend=NONE", "--host-name=dc1",
		"--option=interfaces="+address+"/8", "--option=bind interfaces only=yes")
	if out, err := provision.CombinedOutput(); err != nil {
		t.Fatalf("making the domain: %v\n%s", err, out)
	}
	conf := filepath.Join(dir, "etc", "smb.conf")
	cert, key := s.Issue(address, "dc1."+Domain)
	amend(t, conf, "server services = ldap", "logging = stdout", "tls enabled = yes", "tls cafile = "+s.File,
		"tls certfile = "+cert, "tls keyfile = "+key, "pid directory = "+dir, "ncalrpc dir = "+filepath.Join(dir, "ncalrpc"))
	s.process = launch(t, path, "--interactive", "--model=single", "--configfile="+conf, "--debug-stdout")
	t.Cleanup(s.stop)
	s.until("Samba answers", func() bool {
		conn, err := s.asAdministrator()
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	for _, unit := range []string{DomainPeople, DomainGroups} {
		s.Add(unit, "objectClass", "organizationalUnit")
	}
	s.AddPerson("svc")
	return s
}

// freeLoopback is an address of 127.0.0.0/8 on which nobody listens at port 636.
func freeLoopback(t testing.TB) string {
	t.Helper()
	for range 20 {
		octets := make([]byte, 3)
		_, _ = rand.Read(octets) // it cannot fail
		address := fmt.Sprintf("127.%d.%d.%d", 1+octets[0]%250, 1+octets[1]%250, 1+octets[2]%250)
		listener, err := net.Listen("tcp", address+":636")
		if err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Skip("no loopback address has a free port 636")
	return ""
}

// amend puts settings in place of what smb.conf says of the same.
func amend(t testing.TB, path string, settings ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.SplitSeq(string(data), "\n") {
		name, _, _ := strings.Cut(line, "=")
		replaced := false
		for _, setting := range settings {
			replaced = replaced || strings.HasPrefix(setting, strings.TrimSpace(name)+" =")
		}
		if replaced && strings.TrimSpace(name) != "" {
			continue
		}
		if lines = append(lines, line); strings.TrimSpace(line) == "[global]" {
			lines = append(lines, settings...)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Samba) asAdministrator() (*ldap.Conn, error) {
	conn, err := ldap.DialURL(s.SecureURL, ldap.DialWithTLSConfig(s.trusting()))
	if err != nil {
		return nil, err
	}
	return conn, conn.Bind(administrator, adminPassword)
}

// AddPerson adds an enabled account whose display name has an accent.
func (s *Samba) AddPerson(name string) {
	s.t.Helper()
	s.Add(DomainPerson(name), "objectClass", "user", "sAMAccountName", name, "userPrincipalName", name+"@"+Domain,
		"displayName", "Ünal "+name, "mail", name+"@example.com", "unicodePwd", unicodePassword(Password(name)), "userAccountControl", "512")
}

// AddGroup adds a group with members, by their DNs.
func (s *Samba) AddGroup(name string, members ...string) {
	s.t.Helper()
	attributes := []string{"objectClass", "group", "sAMAccountName", name}
	for _, member := range members {
		attributes = append(attributes, "member", member)
	}
	s.Add(DomainGroup(name), attributes...)
}

// MakePrimary makes a group of the person the primary one: the domain then takes the person out of its members.
func (s *Samba) MakePrimary(person, group string) {
	s.t.Helper()
	s.do("find the group "+group, func(c *ldap.Conn) error {
		found, err := c.Search(ldap.NewSearchRequest(DomainGroup(group), ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
			"(objectClass=group)", []string{"primaryGroupToken"}, nil))
		if err != nil {
			return err
		}
		request := ldap.NewModifyRequest(DomainPerson(person), nil)
		request.Replace("primaryGroupID", found.Entries[0].GetAttributeValues("primaryGroupToken"))
		return c.Modify(request)
	})
}

// DomainPerson is where the person of that name is.
func DomainPerson(name string) string { return "cn=" + name + "," + DomainPeople }

// DomainGroup is where the group of that name is.
func DomainGroup(name string) string { return "cn=" + name + "," + DomainGroups }

// unicodePassword is how Active Directory takes a new one: in quotes and UTF-16 (MS-ADTS, 3.1.1.3.1.5.1).
func unicodePassword(password string) string {
	var raw []byte
	for _, unit := range utf16.Encode([]rune(`"` + password + `"`)) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	return string(raw)
}
