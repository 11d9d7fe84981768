package server

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/web"
)

func testAssets(t *testing.T, files fstest.MapFS) *assets {
	t.Helper()
	a, err := newAssets(files, "/dagster")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAssetNamesHoldTheirContent(t *testing.T) {
	t.Parallel()
	one := testAssets(t, fstest.MapFS{"menu.js": {Data: []byte("one")}})
	two := testAssets(t, fstest.MapFS{"menu.js": {Data: []byte("two")}})
	want := fmt.Sprintf("/dagster/auth/static/menu.%x.js", sha256.Sum256([]byte("one")))[:len("/dagster/auth/static/menu.")+12] + ".js"
	if got := one.URL("menu.js"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if one.URL("menu.js") == two.URL("menu.js") {
		t.Errorf("got %s for two contents", one.URL("menu.js"))
	}
	if got := one.URL("none.js"); got != "" {
		t.Errorf("a file that is not there: got %q, want nothing", got)
	}
}

func TestAssetsServe(t *testing.T) {
	t.Parallel()
	a := testAssets(t, fstest.MapFS{"style.css": {Data: []byte("body{}")}, "menu.js": {Data: []byte("1")}, "favicon.svg": {Data: []byte("<svg/>")}})
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	style := a.URL("style.css")
	hash := strings.Split(style, ".")[1]
	const year = "public, max-age=31536000, immutable"
	tests := []struct {
		name, method, path, match  string
		status                     int
		contentType, cache, length string
	}{
		{"stylesheet", "GET", style, "", 200, "text/css; charset=utf-8", year, "6"},
		{"script", "GET", a.URL("menu.js"), "", 200, "text/javascript; charset=utf-8", year, "1"},
		{"icon", "GET", a.URL("favicon.svg"), "", 200, "image/svg+xml; charset=utf-8", year, "6"},
		{"a query changes nothing", "GET", style + "?x=1", "", 200, "text/css; charset=utf-8", year, "6"},
		{"HEAD", "HEAD", style, "", 200, "text/css; charset=utf-8", year, "6"},
		{"not modified", "GET", style, `"` + hash + `"`, 304, "", year, ""},
		{"modified", "GET", style, `"0123456789ab"`, 200, "text/css; charset=utf-8", year, "6"},
		{"POST", "POST", style, "", 405, "text/plain; charset=utf-8", "", "19"},
		{"without a hash", "GET", "/dagster/auth/static/style.css", "", 404, "text/plain; charset=utf-8", "no-store", "10"},
		{"another hash", "GET", "/dagster/auth/static/style.0123456789ab.css", "", 404, "text/plain; charset=utf-8", "no-store", "10"},
		{"the folder", "GET", "/dagster/auth/static/", "", 404, "text/plain; charset=utf-8", "no-store", "10"},
		{"without the prefix", "GET", strings.TrimPrefix(style, "/dagster"), "", 404, "text/plain; charset=utf-8", "no-store", "10"},
		{"outside", "GET", "/dagster/auth/static/%2e%2e/web.go", "", 404, "text/plain; charset=utf-8", "no-store", "10"},
	}
	for _, tt := range tests {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.match != "" {
			r.Header.Set("If-None-Match", tt.match)
		}
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		type answer struct {
			Status                           int
			ContentType, Cache, Length, Nose string
		}
		h := res.Header
		got := answer{res.StatusCode, h.Get("Content-Type"), h.Get("Cache-Control"), h.Get("Content-Length"), h.Get("X-Content-Type-Options")}
		want := answer{tt.status, tt.contentType, tt.cache, tt.length, "nosniff"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if h.Get("Set-Cookie") != "" || h.Get("Last-Modified") != "" {
			t.Errorf("%s: got a cookie or a time of change, want neither", tt.name)
		}
	}
}

func TestNewAssetsRefusesUnknownKinds(t *testing.T) {
	t.Parallel()
	_, err := newAssets(fstest.MapFS{"notes.txt": {}}, "")
	if err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("got the error %v, want one that names notes.txt", err)
	}
	if _, err := newAssets(fstest.MapFS{"notes.css": {}}, ""); err != nil {
		t.Errorf("a stylesheet: got the error %v, want none", err)
	}
	if _, err := newAssets(fstest.MapFS{"folder.css/x.css": {}}, ""); err == nil {
		t.Error("a folder: got no error, want one")
	}
}

func TestShippedAssetsAreServed(t *testing.T) {
	t.Parallel()
	static, err := fs.Sub(web.Files, "static")
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAssets(static, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"style.css", "login.js", "favicon.svg"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+a.URL(name), nil))
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: got status %d and %d bytes, want 200 and more than none", name, w.Code, w.Body.Len())
		}
	}
}
