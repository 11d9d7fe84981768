package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// assets serves the static files, each under a name that holds a hash of its content: browsers may keep a file for a
// year, and still load the new one at once when AuthKit was updated. The files hold nothing secret and need no session.
type assets struct {
	base   string            // "{prefix}/auth/static/"
	urls   map[string]string // by plain name
	byPath map[string]asset  // by the path of a request
}

type asset struct {
	content     []byte
	contentType string
	etag        string
}

// contentType is fixed here, as mime.TypeByExtension depends on the files of the machine it runs on.
func contentType(name string) (string, error) {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8", nil
	case ".js":
		return "text/javascript; charset=utf-8", nil
	case ".svg":
		return "image/svg+xml; charset=utf-8", nil
	default:
		return "", fmt.Errorf("static file %s: no content type is known for its extension", name)
	}
}

// newAssets reads all files at the root of files. The prefix is "" or starts with a slash and ends without.
func newAssets(files fs.FS, prefix string) (*assets, error) {
	a := &assets{base: prefix + "/auth/static/", urls: map[string]string{}, byPath: map[string]asset{}}
	names, err := fs.Glob(files, "*")
	if err != nil {
		return nil, fmt.Errorf("listing static files: %w", err)
	}
	for _, name := range names {
		if err := a.add(files, name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *assets) add(files fs.FS, name string) error {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("reading a static file: %w", err)
	}
	kind, err := contentType(name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])[:12]
	ext := path.Ext(name)
	url := a.base + strings.TrimSuffix(name, ext) + "." + hash + ext
	a.urls[name] = url
	a.byPath[url] = asset{content: content, contentType: kind, etag: `"` + hash + `"`}
	return nil
}

// URL is the path under which browsers load the file of that name, "style.css"; it is empty when there is no such file.
func (a *assets) URL(name string) string { return a.urls[name] }

// ServeHTTP answers for everything under {prefix}/auth/static/. A plain name without a hash is not found: kept for a
// year, it would outlive the content it stands for.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	found, ok := a.byPath[r.URL.Path]
	if !ok {
		header.Set("Cache-Control", "no-store")
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("Content-Type", found.contentType)
	header.Set("ETag", found.etag)
	// No time of change: the ETag alone answers conditional requests.
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.content))
}
