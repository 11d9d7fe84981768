package server

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// pageCSP lets a page of ours load its own stylesheet, script and icon, post its form to us, and nothing else. There is
// no 'unsafe-inline', so text that slipped through escaping still could not run.
const pageCSP = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pages renders AuthKit's own HTML pages. Every method writes one whole answer: status, headers and page.
type pages struct {
	prefix    string
	csp       string
	templates map[string]*template.Template
}

// view is what every template gets.
type view struct {
	Prefix string
	Page   any // the data of the one page
}

// LoginData is the state of the sign-in form.
type LoginData struct {
	// Next is where to go after signing in; the caller has checked that it is on this site.
	Next string
	// Username fills the field again after a failed attempt.
	Username string
	// Error is what went wrong, in a full sentence; empty on the first visit.
	Error string
	// RetryAfter, when not zero, is said on the page and in the header Retry-After.
	RetryAfter time.Duration
	// NoUsers makes the page say which command makes the first administrator.
	NoUsers bool
	// Providers are the buttons for signing in elsewhere, and NoPassword leaves the form out.
	Providers  []auth.Provider
	NoPassword bool
	// Dummy makes the page name the well-known users of the dummy backend.
	Dummy bool
}

// Alert is the text of the page's alert, or "".
func (d LoginData) Alert() string {
	switch {
	case d.RetryAfter <= 0:
		return d.Error
	case d.Error == "":
		return "Too many attempts to sign in. Try again in " + roughly(d.RetryAfter) + "."
	default:
		return d.Error + " Try again in " + roughly(d.RetryAfter) + "."
	}
}

// Wrong says that what was typed was refused, not the attempt as such: only then are the fields marked as invalid.
func (d LoginData) Wrong() bool { return d.Error != "" && d.RetryAfter <= 0 }

// WaitingData describes the start of Dagster that somebody waits for.
type WaitingData struct {
	// Username is empty when nobody is signed in; the page then says that signing in works meanwhile.
	Username string
	// Elapsed is how long Dagster has been starting; zero is not shown.
	Elapsed time.Duration
	// Restarting says that Dagster had been up before.
	Restarting bool
}

// For is the elapsed time in words, or "".
func (d WaitingData) For() string {
	if d.Elapsed < time.Second {
		return ""
	}
	return roughly(d.Elapsed)
}

// Refresh is the number of seconds after which the page reloads itself: soon, and less often once the start is slow.
func (d WaitingData) Refresh() int {
	if d.Elapsed < 30*time.Second {
		return 2
	}
	return 5
}

// ForbiddenData says what was refused to whom.
type ForbiddenData struct {
	Username string
	// Held is the role of the one who asked.
	Held identity.Role
	// Needed is the least role that would do. When it is empty, Permission is what is missing.
	Needed     identity.Role
	Permission identity.Permission
}

// PresentedData is who sends a request, as the request itself says: by a token of theirs, or else by the proxy in front.
type PresentedData struct {
	Username string
	Token    bool
}

// NoRoleData is for somebody whom we know and who has no role.
type NoRoleData struct {
	Username string
	Groups   []string
	// Contact is whom to ask, or "".
	Contact string
}

// NotSignedInData says why somebody whom a provider sent back is not signed in.
type NotSignedInData struct {
	// Message is in full sentences, of our own words.
	Message string
	// RequestID may be empty.
	RequestID string
}

// LeavingData leads somebody who signed out here to where they sign out at their provider.
type LeavingData struct{ Onward string }

// ErrorData describes a failure to the person who met it. It never holds a cause: that is for the log.
type ErrorData struct {
	Status int
	// Title and Message may be empty; then they follow from the status.
	Title   string
	Message string
	// RequestID is what the log and the audit trail know the request by.
	RequestID string
	// RetryAfter, when not zero, becomes the header Retry-After.
	RetryAfter time.Duration
}

// newPages parses all templates of the folder templates/ in files and runs each once, so that a page that can't be shown
// stops the start. The prefix is "" or starts with a slash and ends without.
//
// Where the sign-out form leads to another site, logoutURL, browsers need to be told: form-action counts for redirects too.
func newPages(files fs.FS, static *assets, prefix, logoutURL string) (*pages, error) {
	// The names of templates.html, and for each the zero value of its data.
	kinds := map[string]any{
		"login": LoginData{}, "signout": identity.Identity{}, "signedout": nil, "presented": PresentedData{}, "waiting": WaitingData{},
		"forbidden": ForbiddenData{}, "norole": NoRoleData{}, "notsignedin": NotSignedInData{}, "leaving": LeavingData{}, "notfound": nil, "error": ErrorData{},
	}
	layout, err := template.New("layout.html").
		Funcs(template.FuncMap{"asset": mustHave(static)}).
		ParseFS(files, "templates/layout.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the layout of the pages: %w", err)
	}
	p := &pages{prefix: prefix, csp: strings.Replace(pageCSP, "form-action 'self'", "form-action 'self'"+originOf(logoutURL), 1), templates: map[string]*template.Template{}}
	for name, zero := range kinds {
		page, err := layout.Clone()
		if err != nil {
			return nil, fmt.Errorf("copying the layout of the pages: %w", err)
		}
		if page, err = page.ParseFS(files, "templates/"+name+".html"); err != nil {
			return nil, fmt.Errorf("parsing the page %s: %w", name, err)
		}
		if err := page.Execute(io.Discard, view{Prefix: prefix, Page: zero}); err != nil {
			return nil, fmt.Errorf("trying the page %s: %w", name, err)
		}
		p.templates[name] = page
	}
	return p, nil
}

// originOf is a URL's origin as a source of a Content-Security-Policy, with a blank before it; a path has none.
func originOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return ""
	}
	return " " + parsed.Scheme + "://" + parsed.Host
}

// mustHave makes a page that names a static file that is not there fail, where URL alone would leave the link empty.
func mustHave(static *assets) func(name string) (string, error) {
	return func(name string) (string, error) {
		url := static.URL(name)
		if url == "" {
			return "", fmt.Errorf("there is no static file %s", name)
		}
		return url, nil
	}
}

// Login shows the sign-in form.
func (p *pages) Login(w http.ResponseWriter, status int, d LoginData) {
	setRetryAfter(w, d.RetryAfter)
	p.render(w, status, "login", d)
}

// SignOut asks the signed-in person to confirm: signing out is a POST, so that no link or picture can do it.
func (p *pages) SignOut(w http.ResponseWriter, id identity.Identity) {
	p.render(w, http.StatusOK, "signout", id)
}

// SignedOut says that the session has ended.
func (p *pages) SignedOut(w http.ResponseWriter) { p.render(w, http.StatusOK, "signedout", nil) }

// Presented says that there is no session to end: each request says itself who sends it.
func (p *pages) Presented(w http.ResponseWriter, d PresentedData) {
	p.render(w, http.StatusOK, "presented", d)
}

// Waiting says that Dagster is not up yet. The page reloads by itself, without JavaScript; its address stays the one
// that was asked for.
func (p *pages) Waiting(w http.ResponseWriter, d WaitingData) {
	setRetryAfter(w, time.Duration(d.Refresh())*time.Second)
	p.render(w, http.StatusServiceUnavailable, "waiting", d)
}

// Forbidden says what was needed, what is held, and whom to ask.
func (p *pages) Forbidden(w http.ResponseWriter, d ForbiddenData) {
	p.render(w, http.StatusForbidden, "forbidden", d)
}

// NoRole says which groups were seen, so that whoever is asked knows which rule is missing.
func (p *pages) NoRole(w http.ResponseWriter, d NoRoleData) {
	p.render(w, http.StatusForbidden, "norole", d)
}

// NotSignedIn says why a sign-in at a provider came to nothing, and leads back to the sign-in.
func (p *pages) NotSignedIn(w http.ResponseWriter, status int, d NotSignedInData) {
	p.render(w, status, "notsignedin", d)
}

// Leaving goes on to the provider by itself, without JavaScript.
func (p *pages) Leaving(w http.ResponseWriter, d LeavingData) {
	p.render(w, http.StatusOK, "leaving", d)
}

// NotFound is for addresses under {prefix}/auth/ that mean nothing; Dagster has its own page for all others.
func (p *pages) NotFound(w http.ResponseWriter) {
	p.render(w, http.StatusNotFound, "notfound", nil)
}

// Error says that something failed, and the request ID to quote.
func (p *pages) Error(w http.ResponseWriter, d ErrorData) {
	title, message := explain(d.Status)
	if d.Title == "" {
		d.Title = title
	}
	if d.Message == "" {
		d.Message = message
	}
	setRetryAfter(w, d.RetryAfter)
	p.render(w, d.Status, "error", d)
}

// explain tells a person what to do about a status.
func explain(status int) (title, message string) {
	switch {
	case status == http.StatusServiceUnavailable:
		return "Not available just now", "Wait a moment, then reload the page."
	case status == http.StatusTooManyRequests:
		return "Too many requests", "Wait a moment, then reload the page."
	case status >= http.StatusInternalServerError:
		return "Something went wrong", "This is a fault of the server, not yours. Reload the page, or try again later."
	default:
		return "This request was refused", "Go back and try again from Dagster's pages."
	}
}

// render makes the page before it sends anything, so that no half of a page goes out with a good status.
func (p *pages) render(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := p.templates[name].Execute(&page, view{Prefix: p.prefix, Page: data}); err != nil {
		// newPages ran every template, so this is a mistake in the code; the recover layer answers and logs it.
		panic(fmt.Errorf("rendering the page %s: %w", name, err))
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", p.csp)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: under it browsers send "Origin: null" with the form (Fetch standard, "append a request Origin
	// header"), and on plain http, where they send no Sec-Fetch-Site either, the sign-in would look cross-site.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	w.WriteHeader(status)
	// A client that left needs no answer.
	_, _ = page.WriteTo(w)
}

// setRetryAfter writes whole seconds, rounded up: who waits that long is never too early.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
}

// roughly is a duration for people, rounded up to whole seconds, and to whole minutes beyond 90 seconds.
func roughly(d time.Duration) string {
	n, unit := int(math.Ceil(d.Seconds())), "second"
	if n > 90 {
		n, unit = int(math.Ceil(d.Minutes())), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}
