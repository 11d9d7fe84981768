// Package directory starts real directories for tests: OpenLDAP's slapd and a Samba Active Directory domain controller, each in
// a temporary folder, on loopback, with certificates of an authority of their own. Both end with the test.
package directory

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// find gives the path of a program, also in the folders of system programs, or skips the test by name where there is none; a
// skip is a failure when CI is set.
func find(t testing.TB, name, debian string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/bin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s, and CI is set", name)
	}
	t.Skipf("there is no %s: install Debian's package %s", name, debian)
	return ""
}

// Authority is a certificate authority that lives as long as the test.
type Authority struct {
	// File is its own certificate in PEM form.
	File string
	t    testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t)}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Directory Test Authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.File = a.write("ca.pem", "CERTIFICATE", a.sign(a.cert, &a.key.PublicKey))
	return a
}

// Issue writes a certificate for the names, "127.0.0.1" among them, and its key.
func (a *Authority) Issue(names ...string) (cert, key string) {
	a.t.Helper()
	private := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(names[0]+".pem", "CERTIFICATE", a.sign(template, &private.PublicKey)), a.write(names[0]+".key", "PRIVATE KEY", der)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template *x509.Certificate, public *ecdsa.PublicKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *Authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// trusting is a TLS configuration of clients that trust the authority alone.
func (a *Authority) trusting() *tls.Config {
	pool := x509.NewCertPool()
	data, err := os.ReadFile(a.File)
	if err != nil || !pool.AppendCertsFromPEM(data) {
		a.t.Fatalf("read the authority's certificate: %v", err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// process is a server that runs.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	said   *saying
	exited chan struct{}
}

// saying is what a process says; its last lines are shown when a test fails.
type saying struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *saying) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *saying) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func launch(t testing.TB, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), said: &saying{}, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	// A group of its own: Samba starts helpers, which end with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p
}

// stop ends the process and its helpers, by their group.
func (p *process) stop() {
	select {
	case <-p.exited:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// until waits for a condition, or fails the test with what the process said.
func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.exited:
			p.t.Fatalf("%s ended before %s:\n%s", p.cmd.Path, what, p.said)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not within three minutes: %s\n%s", p.cmd.Path, what, p.said)
		}
	}
}

// admin is a connection to a directory with which tests change it.
type admin struct {
	t    testing.TB
	mu   sync.Mutex
	dial func() (*ldap.Conn, error)
}

func (a *admin) do(what string, change func(*ldap.Conn) error) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	conn, err := a.dial()
	if err == nil {
		defer func() { _ = conn.Close() }()
		err = change(conn)
	}
	if err != nil {
		a.t.Fatalf("%s in the directory: %v", what, err)
	}
}

// Add adds an entry; attributes are name, value, name, value, and a name may stand several times.
func (a *admin) Add(dn string, attributes ...string) {
	a.t.Helper()
	request := ldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	var order []string
	for i := 0; i+1 < len(attributes); i += 2 {
		if _, there := values[attributes[i]]; !there {
			order = append(order, attributes[i])
		}
		values[attributes[i]] = append(values[attributes[i]], attributes[i+1])
	}
	for _, name := range order {
		request.Attribute(name, values[name])
	}
	a.do("add "+dn, func(c *ldap.Conn) error { return c.Add(request) })
}

// Replace gives an attribute other values; none takes it away.
func (a *admin) Replace(dn, attribute string, values ...string) {
	a.t.Helper()
	request := ldap.NewModifyRequest(dn, nil)
	request.Replace(attribute, values)
	a.do("change "+dn, func(c *ldap.Conn) error { return c.Modify(request) })
}

// AddValue adds a value to an attribute, a member to a group.
func (a *admin) AddValue(dn, attribute, value string) {
	a.t.Helper()
	request := ldap.NewModifyRequest(dn, nil)
	request.Add(attribute, []string{value})
	a.do("change "+dn, func(c *ldap.Conn) error { return c.Modify(request) })
}

// DeleteValue takes one value of an attribute away.
func (a *admin) DeleteValue(dn, attribute, value string) {
	a.t.Helper()
	request := ldap.NewModifyRequest(dn, nil)
	request.Delete(attribute, []string{value})
	a.do("change "+dn, func(c *ldap.Conn) error { return c.Modify(request) })
}

// Delete takes an entry away.
func (a *admin) Delete(dn string) {
	a.t.Helper()
	a.do("delete "+dn, func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(dn, nil)) })
}

// Rename gives an entry another name, and another place where parent is not empty.
func (a *admin) Rename(dn, name, parent string) {
	a.t.Helper()
	a.do("rename "+dn, func(c *ldap.Conn) error { return c.ModifyDN(ldap.NewModifyDNRequest(dn, name, true, parent)) })
}
