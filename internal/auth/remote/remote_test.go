package remote_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dagster-authkit/internal/auth/remote"
)

func client(t *testing.T, o remote.Options) *http.Client {
	t.Helper()
	c, err := remote.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(c *http.Client, address string) (string, error) {
	response, err := c.Get(address) //nolint:noctx // the client has its own limit
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "elsewhere") }))
	defer elsewhere.Close()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(make([]byte, 64<<20))
	_ = zip.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "plain") })
	mux.HandleFunc("/largest", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/larger", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20+1)) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range 200 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/packed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	mux.Handle("/here", http.RedirectHandler("/plain", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler(elsewhere.URL, http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	c := client(t, remote.Options{})
	for path, want := range map[string]string{"/plain": "plain", "/here": "plain", "/largest": string(make([]byte, 1<<20))} {
		if got, err := get(c, server.URL+path); got != want || err != nil {
			t.Errorf("%s: got %d bytes, %v, want %d", path, len(got), err, len(want))
		}
	}
	for path, want := range map[string]string{
		"/larger": "larger than", "/endless": "larger than", "/packed": "packed as", "/away": "another host", "/round": "too many redirects",
	} {
		if got, err := get(c, server.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %d bytes, %v, want an error with %q", path, len(got), err, want)
		}
	}
	if _, err := get(c, server.URL+"/endless"); !errors.Is(err, remote.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// TestSecretIsSentOnce: neither a redirect nor a server that never answers makes the client send a form again.
func TestSecretIsSentOnce(t *testing.T) {
	t.Parallel()
	sent := make(chan string, 10)
	stop := make(chan struct{})
	mux := http.NewServeMux()
	for path, status := range map[string]int{"/307": http.StatusTemporaryRedirect, "/302": http.StatusFound} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			sent <- r.FormValue("secret")
			http.Redirect(w, r, "/again", status)
		})
	}
	mux.HandleFunc("/again", func(_ http.ResponseWriter, r *http.Request) { sent <- r.Method })
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) {
		sent <- r.FormValue("secret")
		<-stop
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(stop)
	c := client(t, remote.Options{Timeout: 5 * time.Second})
	for _, path := range []string{"/307", "/302", "/never"} {
		response, err := c.Post(server.URL+path, "application/x-www-form-urlencoded", strings.NewReader("secret=x")) //nolint:noctx // as above
		if err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: got %s, want an error", path, response.Status)
		}
		if got := <-sent; got != "x" || len(sent) != 0 {
			t.Errorf("%s: the form was sent %d times, the first as %q, want once", path, len(sent)+1, got)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	if _, err := get(client(t, remote.Options{}), server.URL); err == nil {
		t.Error("a certificate of nobody's was trusted")
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(path, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(client(t, remote.Options{CAFile: path}), server.URL); err != nil {
		t.Errorf("with the CA file: %v", err)
	}
	alone := x509.NewCertPool()
	alone.AddCert(server.Certificate())
	if settings, err := remote.TLS(path); err != nil || settings.RootCAs == nil || !settings.RootCAs.Equal(alone) {
		t.Errorf("beside those of the file others are trusted: %v", err)
	}
	if settings, err := remote.TLS(""); err != nil || settings.RootCAs != nil {
		t.Errorf("without a file: got %v, %v, want those of the machine", settings, err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large.pem")
	if err := os.WriteFile(large, append(certificate, make([]byte, 5<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{path, path + ".none", filepath.Dir(path), large} {
		if _, err := remote.NewClient(remote.Options{CAFile: bad}); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}
