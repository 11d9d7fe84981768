package server

import (
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
	"dagster-authkit/web"
)

func testPages(t *testing.T, prefix string) *pages {
	t.Helper()
	static, err := fs.Sub(web.Files, "static")
	if err != nil {
		t.Fatal(err)
	}
	files, err := newAssets(static, prefix)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPages(web.Files, files, prefix, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pageCases are all pages in all their states. The text is what the page fills in, wherever it fills in any.
func pageCases(p *pages, text string) map[string]func(http.ResponseWriter) {
	return map[string]func(http.ResponseWriter){
		"login": func(w http.ResponseWriter) { p.Login(w, 200, LoginData{Next: text}) },
		"login failed": func(w http.ResponseWriter) {
			p.Login(w, 401, LoginData{Next: text, Username: text, Error: text, NoUsers: true, Dummy: true})
		},
		"login limited": func(w http.ResponseWriter) {
			p.Login(w, 429, LoginData{Next: text, Username: text, RetryAfter: time.Minute})
		},
		"sign out":   func(w http.ResponseWriter) { p.SignOut(w, identity.Identity{Username: text}) },
		"signed out": func(w http.ResponseWriter) { p.SignedOut(w) },
		"presented":  func(w http.ResponseWriter) { p.Presented(w, PresentedData{Username: text}) },
		"presented by a token": func(w http.ResponseWriter) {
			p.Presented(w, PresentedData{Username: text, Token: true})
		},
		"waiting": func(w http.ResponseWriter) { p.Waiting(w, WaitingData{}) },
		"waiting again": func(w http.ResponseWriter) {
			p.Waiting(w, WaitingData{Username: text, Elapsed: time.Hour, Restarting: true})
		},
		"forbidden by role": func(w http.ResponseWriter) {
			p.Forbidden(w, ForbiddenData{Username: text, Held: identity.Role(text), Needed: identity.Editor})
		},
		"forbidden by permission": func(w http.ResponseWriter) {
			p.Forbidden(w, ForbiddenData{Username: text, Permission: identity.Permission(text)})
		},
		"no role": func(w http.ResponseWriter) {
			p.NoRole(w, NoRoleData{Username: text, Groups: []string{text, "analysts"}, Contact: text})
		},
		"no role and no group": func(w http.ResponseWriter) { p.NoRole(w, NoRoleData{Username: text}) },
		"not found":            func(w http.ResponseWriter) { p.NotFound(w) },
		"error": func(w http.ResponseWriter) {
			p.Error(w, ErrorData{Status: 500, Title: text, Message: text, RequestID: text})
		},
		"error by default": func(w http.ResponseWriter) { p.Error(w, ErrorData{Status: 400}) },
	}
}

func show(render func(http.ResponseWriter)) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	render(w)
	return w
}

func TestEveryPageSendsTheHeadersThatProtectIt(t *testing.T) {
	t.Parallel()
	// As the specifications spell them: CSP 3, RFC 7034, Fetch, Referrer Policy, RFC 9111.
	want := map[string]string{
		"Content-Type": "text/html; charset=utf-8",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Frame-Options":        "DENY",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "same-origin",
		"Permissions-Policy":     "camera=(), geolocation=(), microphone=()",
		"Cache-Control":          "no-store",
	}
	for name, render := range pageCases(testPages(t, "/dagster"), "x") {
		header := show(render).Header()
		got := map[string]string{}
		for key := range want {
			got[key] = header.Get(key)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
	}
}

var (
	h1Pattern          = regexp.MustCompile(`<h1[ >]`)
	titlePattern       = regexp.MustCompile(`<title>([^<]+)</title>`)
	labelPattern       = regexp.MustCompile(`<label for="([^"]+)">[^<]+</label>`)
	inputPattern       = regexp.MustCompile(`<input id="([^"]+)"`)
	idRefPattern       = regexp.MustCompile(`aria-(?:describedby|controls)="([^"]+)"`)
	idPattern          = regexp.MustCompile(`\sid="([^"]+)"`)
	linkPattern        = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	scriptPattern      = regexp.MustCompile(`<script[^>]*>`)
	loginScriptPattern = regexp.MustCompile(`^<script src="/dagster/auth/static/login\.[0-9a-f]{12}\.js" defer>$`)
)

func submatches(pattern *regexp.Regexp, body string) []string {
	var all []string
	for _, m := range pattern.FindAllStringSubmatch(body, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestEveryPageCanBeReadAloud(t *testing.T) {
	t.Parallel()
	for name, render := range pageCases(testPages(t, "/dagster"), "x") {
		body := show(render).Body.String()
		if got := len(h1Pattern.FindAllString(body, -1)); got != 1 {
			t.Errorf("%s: got %d h1, want 1", name, got)
		}
		if got := len(titlePattern.FindAllString(body, -1)); got != 1 {
			t.Errorf("%s: got %d titles, want 1", name, got)
		}
		for _, part := range []string{`<html lang="en">`, "<main>", `name="viewport"`} {
			if !strings.Contains(body, part) {
				t.Errorf("%s: got no %s", name, part)
			}
		}
		if diff := cmp.Diff(submatches(labelPattern, body), submatches(inputPattern, body)); diff != "" {
			t.Errorf("%s: labels and inputs differ (-labels +inputs):\n%s", name, diff)
		}
		known := " " + strings.Join(submatches(idPattern, body), " ") + " "
		for _, id := range submatches(idRefPattern, body) {
			if !strings.Contains(known, " "+id+" ") {
				t.Errorf("%s: an attribute names the element %q, which is not there", name, id)
			}
		}
	}
}

func TestLinksStayBehindThePrefix(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/dagster"} {
		for name, render := range pageCases(testPages(t, prefix), "x") {
			body := show(render).Body.String()
			found := submatches(linkPattern, body)
			if len(found) < 2 { // at the least the icon and the stylesheet
				t.Errorf("%s: got %d links, want 2 or more", name, len(found))
			}
			for _, link := range found {
				if link != prefix+"/" && !strings.HasPrefix(link, prefix+"/auth/") {
					t.Errorf("prefix %q, %s: got the link %q", prefix, name, link)
				}
			}
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	const escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
	silent := map[string]bool{"signed out": true, "waiting": true, "not found": true, "error by default": true}
	for name, render := range pageCases(testPages(t, "/dagster"), `"'><script>alert(1)</script><img src=x onerror=alert(1)>`) {
		body := show(render).Body.String()
		for _, tag := range scriptPattern.FindAllString(body, -1) {
			if !loginScriptPattern.MatchString(tag) {
				t.Errorf("%s: got the script %s", name, tag)
			}
		}
		if strings.Contains(body, "<img") {
			t.Errorf("%s: the text became an image", name)
		}
		// The control: the text is there.
		if got, want := strings.Contains(body, escaped), !silent[name]; got != want {
			t.Errorf("%s: the escaped text is there: got %t, want %t", name, got, want)
		}
	}
}

func TestLoginForm(t *testing.T) {
	t.Parallel()
	p := testPages(t, "/dagster")
	alice := LoginData{Next: "/dagster/runs?a=1&b=2", Username: "alice", Error: "Wrong name or password."}
	limited := LoginData{Username: "alice", RetryAfter: 61 * time.Second}
	tests := []struct {
		name   string
		data   LoginData
		want   []string
		absent []string
	}{
		{
			name: "first visit", data: LoginData{Next: "/dagster/runs"},
			want: []string{
				`<form method="post" action="/dagster/auth/login">`,
				`<input type="hidden" name="next" value="/dagster/runs">`,
				`name="username" type="text" value="" autocomplete="username"`,
				`name="password" type="password" autocomplete="current-password" required>`,
				`required autofocus>`, `aria-label="Show password" aria-controls="password" hidden>`, `<title>Sign in `,
			},
			absent: []string{`role="alert"`, "aria-invalid", "add-user", "For trying out"},
		},
		{
			name: "wrong password", data: alice,
			want: []string{
				`value="/dagster/runs?a=1&amp;b=2"`, `value="alice"`, `role="alert"><p>Wrong name or password.</p>`,
				`<title>Not signed in: `, `type="password" autocomplete="current-password" required aria-invalid="true" aria-describedby="alert" autofocus>`,
			},
		},
		{
			name: "limited", data: limited,
			want:   []string{`role="alert"><p>Too many attempts to sign in. Try again in 61 seconds.</p>`, `aria-describedby="alert"`},
			absent: []string{"aria-invalid"},
		},
		{
			name: "limited for another reason", data: LoginData{Error: "Busy.", RetryAfter: time.Second},
			want: []string{"<p>Busy. Try again in 1 second.</p>"},
		},
		{name: "no users", data: LoginData{NoUsers: true}, want: []string{"dagster-authkit add-user NAME <span>--admin</span>"}},
		{name: "dummy", data: LoginData{Dummy: true}, want: []string{"For trying out only"}},
		{name: "not for trying out", absent: []string{"For trying out only"}},
	}
	for _, tt := range tests {
		body := show(func(w http.ResponseWriter) { p.Login(w, 200, tt.data) }).Body.String()
		for _, part := range tt.want {
			if !strings.Contains(body, part) {
				t.Errorf("%s: got no %s in\n%s", tt.name, part, body)
			}
		}
		for _, part := range tt.absent {
			if strings.Contains(body, part) {
				t.Errorf("%s: got %s, want none", tt.name, part)
			}
		}
	}
}

func TestPageStatusAndRetryAfter(t *testing.T) {
	t.Parallel()
	p := testPages(t, "")
	tests := []struct {
		name       string
		render     func(http.ResponseWriter)
		status     int
		retryAfter string
		text       string
	}{
		{"login", func(w http.ResponseWriter) { p.Login(w, 401, LoginData{}) }, 401, "", "Sign in to Dagster"},
		{"login limited", func(w http.ResponseWriter) { p.Login(w, 429, LoginData{RetryAfter: 1500 * time.Millisecond}) }, 429, "2", "2 seconds"},
		{"sign out", func(w http.ResponseWriter) { p.SignOut(w, identity.Identity{Username: "alice"}) }, 200, "", "<b>alice</b>"},
		{"sign out posts", func(w http.ResponseWriter) { p.SignOut(w, identity.Identity{}) }, 200, "", `<form method="post" action="/auth/logout"`},
		{"signed out", p.SignedOut, 200, "", `href="/auth/login"`},
		{"waiting", func(w http.ResponseWriter) { p.Waiting(w, WaitingData{}) }, 503, "2", `http-equiv="refresh" content="2"`},
		{"waiting, nobody", func(w http.ResponseWriter) { p.Waiting(w, WaitingData{}) }, 503, "2", `<a href="/auth/login">sign in</a>`},
		{"waiting long", func(w http.ResponseWriter) { p.Waiting(w, WaitingData{Elapsed: time.Minute}) }, 503, "5", `content="5"`},
		{"waiting how long", func(w http.ResponseWriter) { p.Waiting(w, WaitingData{Elapsed: time.Minute}) }, 503, "5", "60 seconds so far"},
		{"restarting", func(w http.ResponseWriter) { p.Waiting(w, WaitingData{Restarting: true}) }, 503, "2", "Dagster is restarting</h1>"},
		{"forbidden needs", func(w http.ResponseWriter) {
			p.Forbidden(w, ForbiddenData{Held: identity.Viewer, Needed: identity.Editor})
		}, 403, "", "role <b>Editor</b>"},
		{"forbidden holds", func(w http.ResponseWriter) {
			p.Forbidden(w, ForbiddenData{Held: identity.Viewer, Permission: "reload_workspace"})
		}, 403, "", "with the role <b>Viewer</b>"},
		{"forbidden without a role", func(w http.ResponseWriter) { p.Forbidden(w, ForbiddenData{Permission: "reload_workspace"}) }, 403, "", "<code>reload_workspace</code>"},
		{"not found", p.NotFound, 404, "", "no such page"},
		{"error", func(w http.ResponseWriter) { p.Error(w, ErrorData{Status: 500, RequestID: "abc"}) }, 500, "", "<code>abc</code>"},
		{"unavailable", func(w http.ResponseWriter) {
			p.Error(w, ErrorData{Status: 503, RetryAfter: 5 * time.Second})
		}, 503, "5", "Not available just now"},
		{"refused", func(w http.ResponseWriter) { p.Error(w, ErrorData{Status: 405, Message: "No PUT here."}) }, 405, "", "No PUT here."},
	}
	for _, tt := range tests {
		w := show(tt.render)
		if w.Code != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.name, w.Code, tt.status)
		}
		if got := w.Header().Get("Retry-After"); got != tt.retryAfter {
			t.Errorf("%s: got Retry-After %q, want %q", tt.name, got, tt.retryAfter)
		}
		if !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s: got no %q in\n%s", tt.name, tt.text, w.Body)
		}
	}
}

func TestNewPagesFailsAtTheStart(t *testing.T) {
	t.Parallel()
	good := func() fstest.MapFS {
		files := fstest.MapFS{}
		names, err := fs.Glob(web.Files, "templates/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			content, err := fs.ReadFile(web.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: content}
		}
		return files
	}
	static := fstest.MapFS{"style.css": {}, "login.js": {}, "favicon.svg": {}}
	tests := []struct {
		name   string
		change func(templates, static fstest.MapFS)
		want   string // in the error; "" for success
	}{
		{"nothing changed", func(fstest.MapFS, fstest.MapFS) {}, ""},
		{"no layout", func(tmpl, _ fstest.MapFS) { delete(tmpl, "templates/layout.html") }, "layout"},
		{"a page is missing", func(tmpl, _ fstest.MapFS) { delete(tmpl, "templates/waiting.html") }, "parsing the page waiting"},
		{"a page does not parse", func(tmpl, _ fstest.MapFS) { tmpl["templates/error.html"].Data = []byte("{{if") }, "parsing the page error"},
		{"a field is misspelt", func(tmpl, _ fstest.MapFS) {
			tmpl["templates/login.html"].Data = []byte(`{{define "title"}}{{end}}{{define "content"}}{{.Page.Nex}}{{end}}`)
		}, "trying the page login"},
		{"no stylesheet", func(_, static fstest.MapFS) { delete(static, "style.css") }, "no static file style.css"},
	}
	for _, tt := range tests {
		templates, files := good(), maps.Clone(static)
		tt.change(templates, files)
		a, err := newAssets(files, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = newPages(templates, a, "", "")
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: got the error %v, want none", tt.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got the error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestRoughly(t *testing.T) {
	t.Parallel()
	tests := map[time.Duration]string{
		time.Millisecond:                   "1 second",
		time.Second:                        "1 second",
		1001 * time.Millisecond:            "2 seconds",
		90 * time.Second:                   "90 seconds",
		91 * time.Second:                   "2 minutes",
		4*time.Minute + time.Second:        "5 minutes",
		5 * time.Minute:                    "5 minutes",
		time.Hour + 59*time.Minute + 1e9*2: "120 minutes",
	}
	for d, want := range tests {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v): got %q, want %q", d, got, want)
		}
	}
}
