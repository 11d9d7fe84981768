package ldap_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/e2e/directory"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// logged is what a backend writes to its log.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// openLDAP are the options for a slapd of the tests, as the settings' defaults are.
func openLDAP(t *testing.T, s *directory.Slapd) ldap.Options {
	t.Helper()
	return ldap.Options{
		Servers: []string{s.SecureURL}, CACert: s.File, Timeout: 10 * time.Second,
		BindDN: directory.Reader, BindPassword: directory.ReaderPassword, BaseDN: directory.People,
		UserFilter: "(uid={username})", SubjectAttribute: "entryUUID", NameAttribute: "uid", EmailAttribute: "mail",
		FullNameAttributes: []string{"displayName", "cn"},
		GroupBaseDN:        directory.Base, GroupFilter: "(|(member={dn})(uniqueMember={dn})(memberUid={username}))",
		Rules: []identity.GroupRule{
			{Source: "ldap", Group: directory.GroupDN("admins"), Role: "admin"},
			{Source: "ldap", Group: "editors", Role: "editor"},
			{Source: "ldap", Group: "CN=Launchers, OU=Groups, DC=Example, DC=com", Role: "launcher"},
			{Source: "ldap", Group: "viewers", Role: "viewer"},
			{Source: "ldap", Group: directory.OddGroup, Role: "launcher"},
			{Source: "ldap", Group: "posix", Location: "analytics", Role: "editor"},
		},
		Roles: roles(t), Log: zerolog.Nop(),
	}
}

func roles(t *testing.T) *policy.Roles {
	t.Helper()
	all, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func backend(t *testing.T, o ldap.Options) *ldap.Backend {
	t.Helper()
	b, err := ldap.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// signIn tries the person's own password.
func signIn(t *testing.T, b *ldap.Backend, name string) (identity.User, error) {
	t.Helper()
	return b.Authenticate(t.Context(), auth.Credentials{Username: name, Password: directory.Password(name)})
}

func mustSignIn(t *testing.T, b *ldap.Backend, name string) identity.User {
	t.Helper()
	user, err := signIn(t, b, name)
	if err != nil {
		t.Fatalf("signing in as %s: %v", name, err)
	}
	return user
}

func isRefused(err error) bool {
	_, is := errors.AsType[*auth.ExplainedError](err)
	return is
}

// relay passes connections on to a real server, counts them, and can cut all of them, or forget them without a word.
type relay struct {
	listener net.Listener
	count    atomic.Int64
	mu       sync.Mutex
	open     []net.Conn
	frozen   *atomic.Bool // of the connections since the last freeze
}

// relayTo gives a relay and the URL by which clients reach the server through it.
func relayTo(t *testing.T, target string) (*relay, string) {
	t.Helper()
	scheme, address, _ := strings.Cut(target, "://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, frozen: &atomic.Bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			r.count.Add(1)
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, in, out)
			frozen := r.frozen
			r.mu.Unlock()
			running.Go(func() { _, _ = io.Copy(unless{in, frozen}, out); _ = in.Close() })
			running.Go(func() { _, _ = io.Copy(unless{out, frozen}, in); _ = out.Close() })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); r.cut(); running.Wait() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return r, scheme + "://localhost:" + port
}

// unless writes what it gets, or loses it.
type unless struct {
	to     io.Writer
	frozen *atomic.Bool
}

func (u unless) Write(p []byte) (int, error) {
	if u.frozen.Load() {
		return len(p), nil
	}
	return u.to.Write(p)
}

// freeze loses all that is sent on the connections that are open, as a firewall does that forgot them.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen.Store(true)
	r.frozen = &atomic.Bool{}
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.open {
		_ = conn.Close()
	}
	r.open = nil
}
