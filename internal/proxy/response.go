package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// errNoStatus is about an answer whose status net/http would not let us give on: RFC 9110, section 15, begins at 100.
var errNoStatus = errors.New("the answer has no status")

// modifyResponse changes Dagster's answer where it must be: pages get the menu and may not be framed by strangers, content
// that pipelines wrote is kept from acting in the reader's name, and redirects lose the child's own address.
func (p *Proxy) modifyResponse(resp *http.Response) error {
	if resp.StatusCode < http.StatusContinue {
		return errNoStatus
	}
	resp.Header.Del("X-Request-Id") // ours is in the audit trail
	p.relocate(resp)
	if p.foreignContent(resp.Request.URL.Path) {
		sandbox(resp.Header)
		return nil
	}
	if mediaType(resp.Header) != "text/html" {
		return nil
	}
	err := p.addMenu(resp)
	protectFrame(resp.Header)
	return err
}

// relocate makes a redirect to Dagster's own address one within the site. Starlette builds redirects to "/dag/" from the
// Host that it was asked under.
func (p *Proxy) relocate(resp *http.Response) {
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || location.Host == "" || location.Host != resp.Request.URL.Host {
		return
	}
	location.Scheme, location.Host, location.User = "", "", nil
	path := location.String()
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	if strings.HasPrefix(path, "//") || strings.HasPrefix(path, `/\`) {
		path = "/." + path // "//x" without its host would name another one
	}
	resp.Header.Set("Location", path)
}

// foreignContent tells the routes under which Dagster serves what pipelines wrote: notebooks as HTML, and logs. Nothing of
// it may run as if it were Dagster's UI.
func (p *Proxy) foreignContent(path string) bool {
	route, ok := strings.CutPrefix(path, p.prefix)
	return ok && (route == "/notebook" || route == "/dagit/notebook" || strings.HasPrefix(route, "/logs/"))
}

// sandbox gives the content an origin of its own (CSP3 section 6.3.2): its scripts run, as a notebook's plots need them,
// but reach neither our cookies nor Dagster.
func sandbox(h http.Header) {
	h.Add("Content-Security-Policy", "sandbox allow-scripts")
	h.Set("X-Content-Type-Options", "nosniff")
}

// protectFrame adds to Dagster's own policy that only pages of this site may frame the page; Dagster says nothing of frames.
func protectFrame(h http.Header) {
	const rule = "frame-ancestors 'self'"
	policies := h["Content-Security-Policy"]
	if len(policies) == 0 {
		h.Set("Content-Security-Policy", rule)
		return
	}
	for _, policy := range policies {
		if strings.Contains(strings.ToLower(policy), "frame-ancestors") {
			return
		}
	}
	last := strings.TrimRight(policies[len(policies)-1], "; \t")
	policies[len(policies)-1] = last + "; " + rule
}

// addMenu injects the menu's script into Dagster's page. Everything else, and a page that gives any doubt, passes as it came.
func (p *Proxy) addMenu(resp *http.Response) error {
	nonce, allowed := scriptNonce(resp.Header)
	if p.menuScript == "" || !allowed || resp.StatusCode != http.StatusOK ||
		resp.Header.Get("Content-Encoding") != "" || resp.ContentLength > maxPage {
		return nil
	}
	if resp.Request.Method == http.MethodHead {
		// A GET may get a longer page than Dagster announces here.
		forgetBody(resp)
		return nil
	}
	start, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil {
		return fmt.Errorf("read dagster's page: %w", err)
	}
	page, changed := Inject(start, nonce, p.menuScript)
	if !changed {
		// It may be longer than what was read.
		resp.Body = readCloser{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
		return nil
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("read dagster's page: %w", err)
	}
	forgetBody(resp)
	resp.Body = io.NopCloser(bytes.NewReader(page))
	resp.ContentLength = int64(len(page))
	resp.Header.Set("Content-Length", strconv.Itoa(len(page)))
	return nil
}

// forgetBody removes what the headers say about the body that Dagster sent.
func forgetBody(resp *http.Response) {
	for _, name := range []string{"Content-Length", "ETag", "Last-Modified", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		resp.Header.Del(name)
	}
	resp.ContentLength = -1
}

// mediaType is the answer's type without its parameters, which may be malformed and change nothing for a browser.
func mediaType(h http.Header) string {
	name, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// readCloser reads from one and closes another.
type readCloser struct {
	io.Reader
	io.Closer
}
