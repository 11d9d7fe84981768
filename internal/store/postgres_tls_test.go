package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/e2e/pgtest"
)

// TestPostgresTLS: the URL says how far the server is trusted. With verify-full only the one whose certificate the named
// authority signed for that host will do.
func TestPostgresTLS(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ours, other := filepath.Join(folder, "ours.pem"), filepath.Join(folder, "other.pem")
	certificate, key := makeCertificate(t)
	check(t, "write", os.WriteFile(ours, certificate, 0o600))
	strange, _ := makeCertificate(t)
	check(t, "write", os.WriteFile(other, strange, 0o600))
	server, err := pgtest.StartTLS(certificate, key)
	needServer(t, server, err)
	t.Cleanup(func() { check(t, "remove", server.Remove()) })
	for _, tc := range []struct{ name, host, query, want string }{
		{"verified", "127.0.0.1", "sslmode=verify-full&sslrootcert=" + url.QueryEscape(ours), ""},
		{"another authority", "127.0.0.1", "sslmode=verify-full&sslrootcert=" + url.QueryEscape(other), "certificate"},
		{"another host", "localhost", "sslmode=verify-full&sslrootcert=" + url.QueryEscape(ours), "certificate"},
		{"its authority is enough", "localhost", "sslmode=verify-ca&sslrootcert=" + url.QueryEscape(ours), ""},
		{"no such file", "127.0.0.1", "sslmode=verify-full&sslrootcert=" + url.QueryEscape(ours+".none"), "can't be read"},
		{"encrypted", "127.0.0.1", "sslmode=require", ""},
		{"in clear", "127.0.0.1", "sslmode=disable", "no encryption"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := strings.Replace(server.URL(pgtest.Superuser, pgtest.Password, "postgres"), "sslmode=disable", tc.query, 1)
			at = strings.Replace(at, "@127.0.0.1:", "@"+tc.host+":", 1)
			s, err := Open(t.Context(), Options{URL: at, Log: zerolog.Nop()})
			if err == nil {
				var encrypted bool
				check(t, "ask", s.readers.QueryRow(`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted))
				check(t, "close", s.Close())
				if !encrypted {
					t.Error("the connection is in clear")
				}
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "correct") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

// makeCertificate makes one for 127.0.0.1 that is its own authority.
func makeCertificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "database"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
