package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/dagster"
)

func TestClient(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := map[string]struct {
		peer     string
		headers  http.Header
		external string
		address  string
		secure   bool
		host     string
	}{
		"nobody trusted is believed": {
			peer: "192.0.2.1:1", headers: http.Header{"X-Forwarded-For": {"1.1.1.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.example"}},
			address: "192.0.2.1", host: "asked.example",
		},
		"a trusted peer is": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"d.example"}},
			address: "203.0.113.9", secure: true, host: "d.example",
		},
		"what the client wrote on the left does not count": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-For": {"127.0.0.1, 203.0.113.9, 10.2.2.2"}}, address: "203.0.113.9", host: "asked.example",
		},
		"several headers are one list": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-For": {"127.0.0.1", "203.0.113.9"}}, address: "203.0.113.9", host: "asked.example",
		},
		"an upgrade that came by TLS": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-Proto": {"wss"}}, address: "10.1.1.1", secure: true, host: "asked.example",
		},
		"addresses with ports": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-For": {"203.0.113.9:5000, [fd00::1]:80"}}, address: "203.0.113.9", host: "asked.example",
		},
		"rubbish ends the list": {
			peer: "10.1.1.1:1", headers: http.Header{"X-Forwarded-For": {"203.0.113.9, rubbish, 10.2.2.2"}}, address: "10.2.2.2", host: "asked.example",
		},
		"a mapped address is its IPv4 one": {
			peer: "[::ffff:10.1.1.1]:1", headers: http.Header{"X-Forwarded-For": {"::ffff:203.0.113.9"}}, address: "203.0.113.9", host: "asked.example",
		},
		"the external address wins": {
			peer: "192.0.2.1:1", external: "https://dagster.example", address: "192.0.2.1", secure: true, host: "dagster.example",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := origin{trusted: trusted}
			if test.external != "" {
				external, err := url.Parse(test.external)
				if err != nil {
					t.Fatal(err)
				}
				o.external = external
			}
			r := httptest.NewRequest(http.MethodGet, "http://asked.example/", nil)
			r.RemoteAddr, r.Header = test.peer, test.headers
			got := o.client(r)
			if got.Address.String() != test.address || got.Secure != test.secure || got.Host != test.host {
				t.Errorf("got %s, secure %t, host %s; want %s, %t, %s", got.Address, got.Secure, got.Host, test.address, test.secure, test.host)
			}
		})
	}
}

// TestTokensInPaths: a token that somebody put into an address stands neither in the log nor in the trail; other paths do.
func TestTokensInPaths(t *testing.T) {
	t.Parallel()
	secret, _ := token.New()
	for path, want := range map[string]string{"/x/" + secret: "/x/" + token.Masked, "/runs/dak_daily": "/runs/dak_daily"} {
		r := httptest.NewRequest(http.MethodGet, "http://asked.example"+strings.Replace(path, "dak", "%64ak", 1), nil)
		var written bytes.Buffer
		log := zerolog.New(&written)
		(&Server{}).logRequest(&log, r, &recorder{}, netip.Addr{}, 0)
		if !strings.Contains(written.String(), `"path":"`+want+`"`) || strings.Contains(written.String(), secret[len(token.Prefix):]) {
			t.Errorf("the log has %s, want the path %s", written.String(), want)
		}
		r = r.WithContext(with(r.Context(), pathKey, dagster.Path{Decoded: path}))
		if got := (&Server{}).accessEvent(r, judged{}).Resource; got != want {
			t.Errorf("the trail has %s, want %s", got, want)
		}
	}
}
