package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"dagster-authkit/internal/identity"
)

const (
	distinctQuery = `query BenchDistinct($name: String!) { version workspaceLocationEntryOrError(name: $name) { __typename } }`
	page          = `<!DOCTYPE html><html><head><script id="initialization-data" type="application/json">{}</script></head><body>%s</body></html>`
)

// quickDagster answers at once.
type quickDagster struct {
	*slowDagster
	script, page string
}

// ServeHTTP answers what is loaded; the stand-in answers AuthKit's own questions.
func (d *quickDagster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case strings.HasSuffix(r.URL.Path, ".js"):
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, d.script)
	case r.URL.Path == "/runs":
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "script-src 'self' 'nonce-0123456789abcdef'; default-src 'none'")
		_, _ = io.WriteString(w, d.page)
	case bytes.Contains(body, []byte("BenchDistinct")):
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"version":"1.0.0","workspaceLocationEntryOrError":null}}`)
	default:
		d.slowDagster.ServeHTTP(w, r)
	}
}

// nobody reads an answer and keeps nothing of it.
type nobody struct {
	header http.Header
	code   int
}

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) WriteHeader(code int)        { n.code = code }
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n *nobody) Flush()                      {}

// floor is the least that a proxy in Go can do.
func floor(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
}

// BenchmarkChain is what one request costs from the first layer to the last and back, with a network to Dagster but none to
// the client, in the process of both. "floor" is a bare httputil.ReverseProxy before the same Dagster.
func BenchmarkChain(b *testing.B) {
	dagster := &quickDagster{newSlowDagster(b), strings.Repeat("const something = 1;\n", 5000), fmt.Sprintf(page, strings.Repeat("<p>", 800))}
	server := httptest.NewServer(dagster)
	b.Cleanup(server.Close)
	address := server.URL
	k := startBefore(b, dagster.slowDagster, address)
	vic := k.person("vic", identity.Viewer)
	target, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	ways := []struct {
		name    string
		handler http.Handler
	}{{"floor", floor(target)}, {"authkit", k.handler}}
	for _, c := range []struct{ name, method, path, body string }{
		{"query", http.MethodPost, "/graphql", `{"query":"` + distinctQuery + `","variables":{"name":"NUMBER"}}`},
		{"server_info", http.MethodGet, "/server_info", ""},
		{"page", http.MethodGet, "/runs", ""},
		{"script", http.MethodGet, "/_next/static/chunks/main-0123456789abcdef.js", ""},
	} {
		for _, way := range ways {
			b.Run(c.name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					r := vic.request(b.Context(), c.method, c.path, strings.ReplaceAll(c.body, "NUMBER", fmt.Sprint(i)))
					r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
					w := &nobody{header: http.Header{}}
					if way.handler.ServeHTTP(w, r); w.code != http.StatusOK {
						b.Fatalf("answered %d", w.code)
					}
				}
			})
		}
	}
}
