package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const scriptPath = "/dag/_next/static/chunks/123.0123456789abcdef.js"

var script = strings.Repeat("function render(asset) { return asset.key.path.join('/'); }\n", 1000)

// build is a Dagster that serves the same script under every name, and counts.
type build struct {
	*httptest.Server
	asked atomic.Int32
	hold  chan struct{} // when not nil, answers wait for it
}

func newBuild(t *testing.T) *build {
	t.Helper()
	b := &build{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked.Add(1)
		if b.hold != nil {
			<-b.hold
		}
		switch {
		case strings.Contains(r.URL.Path, "missing"):
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
		case strings.Contains(r.URL.Path, "broken"):
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasSuffix(r.URL.Path, ".png"):
			w.Header().Set("Content-Type", "image/png")
		default:
			w.Header().Set("Content-Type", "application/javascript")
			w.Header().Set("Set-Cookie", "of=dagster")
		}
		_, _ = io.WriteString(w, script)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *build) static(t *testing.T, size int64, version func() string) *Static {
	t.Helper()
	base, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	if version == nil {
		version = func() string { return "1" }
	}
	s, err := NewStatic(StaticOptions{Target: func() (*url.URL, bool) { return base, true }, Version: version, Prefix: "/dag", Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(s *Static, method, path string, headers ...string) (*httptest.ResponseRecorder, bool) {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	served := s.Serve(w, r)
	return w, served
}

// packed waits until all forms are there.
func packed(t *testing.T, s *Static, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if w, _ := ask(s, "GET", path, "Accept-Encoding", "br"); w.Header().Get("Content-Encoding") == "br" {
			return
		}
	}
	t.Fatal("no compressed form within a minute")
}

func TestStaticServesFromMemory(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	s := b.static(t, 1<<20, nil)
	packed(t, s, scriptPath)
	unpack := map[string]func(io.Reader) (io.Reader, error){
		"":     func(r io.Reader) (io.Reader, error) { return r, nil },
		"br":   func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	}
	tags := map[string]bool{}
	for accept, coding := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "zstd": "zstd", "br": "br", "GZIP;q=0.5": "gzip",
		"br;q=0, gzip": "gzip", "deflate": "", "*": "br", "*, br;q=0, zstd; q=0": "gzip",
	} {
		w, served := ask(s, "GET", scriptPath, "Accept-Encoding", accept)
		header := w.Header()
		if !served || w.Code != http.StatusOK || header.Get("Content-Encoding") != coding {
			t.Fatalf("%q: served %t, %d, coding %q, want %q", accept, served, w.Code, header.Get("Content-Encoding"), coding)
		}
		reader, err := unpack[coding](w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(reader); err != nil || string(body) != script {
			t.Errorf("%q: %v, %d bytes, want the script", accept, err, len(body))
		}
		if header.Get("Cache-Control") != "private, max-age=31536000, immutable" || header.Get("Vary") != "Accept-Encoding" ||
			header.Get("Content-Type") != "application/javascript" || header.Get("Set-Cookie") != "" || header.Get("Content-Length") == "" {
			t.Errorf("%q: headers %v", accept, header)
		}
		tags[header.Get("ETag")] = true
		if again, _ := ask(s, "GET", scriptPath, "Accept-Encoding", accept, "If-None-Match", header.Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%q asked again: got %d", accept, again.Code)
		}
		if head, _ := ask(s, "HEAD", scriptPath, "Accept-Encoding", accept); head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") != header.Get("Content-Length") {
			t.Errorf("%q HEAD: %d, %d bytes, length %s", accept, head.Code, head.Body.Len(), head.Header().Get("Content-Length"))
		}
	}
	if len(tags) != 4 {
		t.Errorf("%d tags for four forms: %v", len(tags), tags)
	}
	part, _ := ask(s, "GET", scriptPath, "Accept-Encoding", "br", "Range", "bytes=9-14")
	if part.Code != http.StatusPartialContent || part.Body.String() != "render" || part.Header().Get("Content-Encoding") != "" {
		t.Errorf("a range: %d %q", part.Code, part.Body)
	}
	if w, _ := ask(s, "GET", scriptPath, "Accept-Encoding", "br", "If-Match", `"another"`); w.Code != http.StatusPreconditionFailed || w.Header().Get("Content-Length") != "" {
		t.Errorf("another entity: %d, %v", w.Code, w.Header())
	}
	if b.asked.Load() != 1 {
		t.Errorf("Dagster was asked %d times", b.asked.Load())
	}
}

func TestStaticLeavesTheRest(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	s := b.static(t, 1<<20, nil)
	for _, path := range []string{
		"/dag/_next/static/chunks/main.js", "/dag/_next/static/build/_buildManifest.js", "/dag/favicon.png", "/dag/",
		"/dag/vendor/0123456789abcdef.js", "/_next/static/0123456789abcdef.js", "/dag/graphql",
		scriptPath + "?x=1", "/dag/_next/static//0123456789abcdef.js", "/dag/_next/static/a//0123456789abcdef.js", "/dag/_next/static/0123456789abcdef", "/dag/_next/static/0123456789abcdef.js/other",
	} {
		if w, served := ask(s, "GET", path); served || w.Body.Len() > 0 {
			t.Errorf("%s was served", path)
		}
	}
	if _, served := ask(s, "POST", scriptPath); served {
		t.Error("a POST was served")
	}
	if b.asked.Load() != 0 {
		t.Errorf("Dagster was asked %d times for what is not immutable", b.asked.Load())
	}
	for _, path := range []string{"/dag/_next/static/missing.0123456789abcdef.js", "/dag/_next/static/broken.0123456789abcdef.js"} {
		if _, served := ask(s, "GET", path); served {
			t.Errorf("%s was served", path)
		}
	}
	if _, served := ask(b.static(t, 0, nil), "GET", scriptPath); served {
		t.Error("served with a size of 0")
	}
	if _, served := ask(s, "GET", scriptPath); !served {
		t.Error("the script itself is not served")
	}
}

func TestStaticIsBounded(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	picture := func(n string) string { return "/dag/_next/static/media/p." + n + "0123456789abcdef.png" } // never compressed
	s := b.static(t, int64(2*len(script)), nil)
	for _, n := range []string{"a", "b", "a", "c", "a", "b"} {
		if _, served := ask(s, "GET", picture(n)); !served {
			t.Fatalf("%s not served", n)
		}
	}
	if got := b.asked.Load(); got != 4 { // a, b, c, and b again, which was used least recently when c came
		t.Errorf("Dagster was asked %d times, want 4", got)
	}
	if s.kept > s.size || len(s.files) != 2 || s.recent.Len() != 2 {
		t.Errorf("%d bytes and %d files kept, of %d bytes", s.kept, len(s.files), s.size)
	}
	small := b.static(t, int64(len(script))-1, nil)
	if w, served := ask(small, "GET", picture("a")); !served || w.Body.Len() != len(script) || len(small.files) != 0 {
		t.Errorf("a file that does not fit: served %t, %d kept", served, len(small.files))
	}
}

func TestStaticForgetsAnotherVersion(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	var version atomic.Value
	version.Store("1")
	s := b.static(t, 1<<20, func() string { return version.Load().(string) }) //nolint:forcetypeassert // stored above
	ask(s, "GET", scriptPath)
	ask(s, "GET", scriptPath)
	version.Store("2")
	if _, served := ask(s, "GET", scriptPath); !served || b.asked.Load() != 2 || len(s.files) != 1 {
		t.Errorf("served %t, asked %d times, %d kept", served, b.asked.Load(), len(s.files))
	}
}

func TestStaticAsksOnce(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	b.hold = make(chan struct{})
	s := b.static(t, 1<<20, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if w, served := ask(s, "GET", scriptPath); !served || !bytes.Equal(w.Body.Bytes(), []byte(script)) {
				t.Errorf("served %t, %d bytes", served, w.Body.Len())
			}
		})
	}
	for b.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(b.hold)
	all.Wait()
	if got := b.asked.Load(); got != 1 {
		t.Errorf("Dagster was asked %d times", got)
	}
}
