package proxy

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"
)

const (
	// maxFile bounds a file that is kept, in bytes: the largest script of Dagster 1.13 has 3.4 MB.
	maxFile = 16 << 20
	// fetchTimeout bounds how long a file is waited for; a busy Dagster answers late.
	fetchTimeout = 30 * time.Second
	// immutableFor is a year, what RFC 9111 section 5.2.2.1 calls a resource that never changes in practice.
	immutableFor = "private, max-age=31536000, immutable"
)

// immutableName finds the hash of its content in a file's name: Dagster's build (Next.js) writes 8 hexadecimal digits of it for
// pictures, and 16 for scripts and styles.
var immutableName = regexp.MustCompile(`(^|[.-])[0-9a-f]{8,}\.[a-z0-9]+$`)

// StaticOptions are what a Static is made of.
type StaticOptions struct {
	// Target says where Dagster is now and whether it is ready.
	Target func() (base *url.URL, ready bool)
	// Version is Dagster's; when it changes everything is forgotten.
	Version func() string
	// Prefix is Dagster's path prefix, "/dag" or empty.
	Prefix string
	// Size is how many bytes may be kept, compressed forms included; 0 keeps nothing.
	Size int64
	// Transport is the way to Dagster; nil makes one of its own.
	Transport http.RoundTripper
	Log       zerolog.Logger
}

// Static keeps Dagster's build files in memory, whose names hold a hash of their content, so that a busy Dagster does not serve
// them. Each is asked for once, and compressed once, well, in the background. It is safe for concurrent use.
type Static struct {
	target    func() (*url.URL, bool)
	version   func() string
	prefix    string
	size      int64
	transport http.RoundTripper
	log       zerolog.Logger
	flights   singleflight.Group

	mu     sync.Mutex
	of     string // the version whose files are kept
	files  map[string]*list.Element
	recent *list.List // of *file, the least recently used last
	kept   int64
	// plain are the files that wait for being compressed, by one goroutine that is there while there are any: it is not to
	// take the cores from requests.
	plain    []*file
	squeezes bool
	last     time.Time // when a new file was kept
}

// maxPlain bounds the files that wait for being compressed; Dagster 1.13 has 60 that are worth it.
const maxPlain = 256

// file is one kept file in its forms. Its bytes never change; forms are added.
type file struct {
	path, kind, hash string
	plain            []byte
	packed           map[string][]byte // by content coding
}

func (f *file) bytes() int64 {
	total := len(f.plain)
	for _, form := range f.packed {
		total += len(form)
	}
	return int64(total)
}

// NewStatic returns an empty Static.
func NewStatic(o StaticOptions) (*Static, error) {
	if o.Target == nil || o.Version == nil {
		return nil, errors.New("proxy: Target and Version are needed for the static files")
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	return &Static{
		target: o.Target, version: o.Version, prefix: o.Prefix, size: o.Size, transport: o.Transport, log: o.Log,
		files: map[string]*list.Element{}, recent: list.New(),
	}, nil
}

// Serve answers from memory, or reports that it can't: the request is not for an immutable file, or Dagster did not give it.
// The caller has judged r.
func (s *Static) Serve(w http.ResponseWriter, r *http.Request) (served bool) {
	if s.size == 0 || !s.immutable(r) {
		return false
	}
	version := s.version()
	kept := s.find(version, r.URL.Path)
	if kept == nil {
		var err error
		if kept, err = s.fetch(r.Context(), version, r.URL.Path); err != nil {
			s.log.Debug().Err(err).Msg("static file not kept")
			return false
		}
	}
	s.answer(w, r, kept)
	return true
}

func (s *Static) immutable(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.RawQuery != "" {
		return false
	}
	name, below := strings.CutPrefix(r.URL.Path, s.prefix+"/_next/static/")
	return below && !strings.Contains(name, "//") && !strings.HasPrefix(name, "/") && immutableName.MatchString(name[strings.LastIndexByte(name, '/')+1:])
}

// find returns the file as it is kept, marked as used just now.
func (s *Static) find(version, path string) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != version {
		s.of, s.kept = version, 0
		clear(s.files)
		s.recent.Init()
	}
	element := s.files[path]
	if element == nil {
		return nil
	}
	s.recent.MoveToFront(element)
	return element.Value.(*file) //nolint:forcetypeassert // nothing else is put there
}

// fetch asks Dagster for a file, once for all who want it now. It goes on when the one who asked first leaves.
func (s *Static) fetch(ctx context.Context, version, path string) (*file, error) {
	flight := s.flights.DoChan(version+" "+path, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		fetched, err := s.ask(ctx, path)
		if err != nil {
			return nil, err
		}
		s.keep(version, fetched)
		return fetched, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*file), nil //nolint:forcetypeassert // what the flight returns
	}
}

func (s *Static) ask(ctx context.Context, path string) (*file, error) {
	base, ready := s.target()
	if !ready || base == nil {
		return nil, ErrUnavailable
	}
	address := url.URL{Scheme: base.Scheme, Host: base.Host, Path: path}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for a static file: %w", err)
	}
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask for a static file: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	kind := response.Header.Get("Content-Type")
	// Before 1.12 Dagster answers unknown names with its page.
	if response.StatusCode != http.StatusOK || kind == "" || mediaType(response.Header) == "text/html" || response.Header.Get("Content-Encoding") != "" {
		return nil, fmt.Errorf("dagster answered %s %s", response.Status, kind)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read a static file: %w", err)
	}
	if len(body) > maxFile || response.ContentLength >= 0 && int64(len(body)) != response.ContentLength {
		return nil, errors.New("the file is too large or was cut short")
	}
	sum := sha256.Sum256(body)
	return &file{path: path, kind: kind, hash: hex.EncodeToString(sum[:16]), plain: body, packed: map[string][]byte{}}, nil
}

// keep puts the file before all others, and those used least recently out, until the rest fits.
func (s *Static) keep(version string, f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != version || s.files[f.path] != nil || f.bytes() > s.size {
		return
	}
	s.files[f.path] = s.recent.PushFront(f)
	s.kept += f.bytes()
	s.shrink()
	if compressible(f.kind) && len(s.plain) < maxPlain {
		s.plain, s.last = append(s.plain, f), time.Now()
		if !s.squeezes {
			s.squeezes = true
			go s.squeeze()
		}
	}
}

func (s *Static) shrink() {
	for s.kept > s.size {
		last := s.recent.Back()
		dropped := s.recent.Remove(last).(*file) //nolint:forcetypeassert // nothing else is put there
		delete(s.files, dropped.path)
		s.kept -= dropped.bytes()
	}
}

// calm is how long no new file must have come before any is compressed. A browser that opens Dagster for the first time since
// it started loads its scripts one after the other, and runs them on the same cores where that is one machine: with the
// compression beside it, it was measured to take a second longer to draw the page.
const calm = time.Second

// squeeze adds the compressed forms to the files that wait, until none does.
func (s *Static) squeeze() {
	for {
		s.mu.Lock()
		if wait := time.Until(s.last.Add(calm)); wait > 0 {
			s.mu.Unlock()
			time.Sleep(wait)
			continue
		}
		if len(s.plain) == 0 {
			s.squeezes = false
			s.mu.Unlock()
			return
		}
		f := s.plain[0]
		s.plain = s.plain[1:]
		s.mu.Unlock()
		s.pack(f)
	}
}

// pack makes the forms that take longest last. A file that is kept no more is left alone.
func (s *Static) pack(f *file) {
	for _, coding := range codings {
		if !s.keeps(f) {
			return
		}
		packed, err := coding.pack(f.plain)
		if err != nil {
			s.log.Warn().Err(err).Str("path", f.path).Msg("compressing a static file failed")
			return
		}
		s.mu.Lock()
		if element := s.files[f.path]; element != nil && element.Value == f && len(packed) < len(f.plain) {
			f.packed[coding.name] = packed
			s.kept += int64(len(packed))
			s.shrink()
		}
		s.mu.Unlock()
	}
}

func (s *Static) keeps(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	element := s.files[f.path]
	return element != nil && element.Value == f
}

// answer writes the form that the client likes best. http.ServeContent knows about HEAD, ranges and what the client has already.
func (s *Static) answer(w http.ResponseWriter, r *http.Request, f *file) {
	coding, body := s.choose(r.Header, f)
	header := w.Header()
	header.Set("Content-Type", f.kind)
	header.Set("Cache-Control", immutableFor)
	header.Add("Vary", "Accept-Encoding")
	header.Set("X-Content-Type-Options", "nosniff")
	tag := f.hash
	if coding != "" {
		tag += "-" + coding // another form is another entity (RFC 9110 section 8.8.3.3)
		header.Set("Content-Encoding", coding)
		header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	header.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// choose leaves a file plain for those who want a part of it, or the one that they have.
func (s *Static) choose(header http.Header, f *file) (coding string, body []byte) {
	if header.Get("Range") != "" || header.Get("If-Match") != "" {
		return "", f.plain
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range accepted(header.Get("Accept-Encoding")) {
		if packed := f.packed[name]; packed != nil && (body == nil || len(packed) < len(body)) {
			coding, body = name, packed
		}
	}
	if body == nil {
		return "", f.plain
	}
	return coding, body
}
