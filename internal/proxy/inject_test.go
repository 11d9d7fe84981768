package proxy

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInjectDagstersPages runs over the page of each Dagster version as its server sent it (bodies and policies were
// recorded from bare dagster-webservers).
func TestInjectDagstersPages(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.10.21", "1.11.16", "1.12.22", "1.13.27"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile("testdata/index-" + version + ".html")
			if err != nil {
				t.Fatal(err)
			}
			got, changed := Inject(page, "0123abcd", "/dag/auth/static/menu.1.js")
			if !changed {
				t.Fatal("got no change")
			}
			want := strings.Replace(string(page), "</head>",
				`<script src="/dag/auth/static/menu.1.js" nonce="0123abcd" defer></script></head>`, 1)
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInject(t *testing.T) {
	t.Parallel()
	const mark = `<script id="initialization-data"></script>`
	for name, test := range map[string]struct {
		page, nonce, src string
		want             string // empty: untouched
	}{
		"head":              {"<head>" + mark + "</head><body></body>", "n", "/m.js", "<head>" + mark + `<script src="/m.js" nonce="n" defer></script></head><body></body>`},
		"no nonce":          {mark + "</head>", "", "/m.js", mark + `<script src="/m.js" defer></script></head>`},
		"upper case":        {mark + "</HEAD>", "n", "/m.js", mark + `<script src="/m.js" nonce="n" defer></script></HEAD>`},
		"body":              {mark + "</body>", "n", "/m.js", mark + `<script src="/m.js" nonce="n" defer></script></body>`},
		"quotes":            {mark + "</head>", `"'<>&`, `/"><x>`, mark + `<script src="/&#34;&gt;&lt;x&gt;" nonce="&#34;&#39;&lt;&gt;&amp;" defer></script></head>`},
		"two heads":         {mark + `<script>"</head>"</script></head></body>`, "n", "/m.js", mark + `<script>"</head>"</script></head><script src="/m.js" nonce="n" defer></script></body>`},
		"two of everything": {mark + `</head></head></body></body>`, "n", "/m.js", ""},
		"mark after head":   {"</head>" + mark, "n", "/m.js", ""},
		"no mark":           {"<head></head><body></body>", "n", "/m.js", ""},
		"no place":          {mark, "n", "/m.js", ""},
		"no script":         {mark + "</head>", "n", "", ""},
		"kelvin sign":       {mark + "</\u212Aead>", "n", "/m.js", ""},
		"too large":         {mark + "</head>" + strings.Repeat(" ", 1<<20), "n", "/m.js", ""},
		"empty":             {"", "n", "/m.js", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := test.want
			if want == "" {
				want = test.page
			}
			got, changed := Inject([]byte(test.page), test.nonce, test.src)
			if string(got) != want || changed != (test.want != "") {
				t.Errorf("got %q, %v, want %q, %v", got, changed, want, test.want != "")
			}
		})
	}
}

func TestScriptNonce(t *testing.T) {
	t.Parallel()
	// Dagster's own policy, of facts/dagster.md section 6.
	const dagster = "base-uri 'none'; object-src 'none'; script-src 'nonce-9f8e7d' 'unsafe-inline' https: http: 'strict-dynamic'; style-src 'unsafe-inline' 'self' 'unsafe-eval';"
	for name, test := range map[string]struct {
		policies []string
		nonce    string
		ok       bool
	}{
		"dagster":               {[]string{dagster}, "9f8e7d", true},
		"none":                  {nil, "", true},
		"empty":                 {[]string{" "}, "", true},
		"no nonce":              {[]string{"script-src 'self'"}, "", false},
		"no script-src":         {[]string{"object-src 'none'"}, "", false},
		"default-src":           {[]string{"default-src 'nonce-YWJj+/=='"}, "YWJj+/==", true},
		"script-src-elem rules": {[]string{"script-src 'nonce-a'; script-src-elem 'self'"}, "", false},
		"two headers":           {[]string{dagster, "script-src 'self'"}, "", false},
		"two in one":            {[]string{dagster + ", script-src 'self'"}, "", false},
		"first of two nonces":   {[]string{"SCRIPT-SRC 'self' 'nonce-a' 'nonce-b'"}, "a", true},
		"quote in it":           {[]string{`script-src 'nonce-"><script>'`}, "", false},
		"repeated directive":    {[]string{"script-src 'self'; script-src 'nonce-a'"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nonce, ok := scriptNonce(http.Header{"Content-Security-Policy": test.policies})
			if nonce != test.nonce || ok != test.ok {
				t.Errorf("got %q, %v, want %q, %v", nonce, ok, test.nonce, test.ok)
			}
		})
	}
}

// FuzzInject looks for a page in which anything but the one element changes, or that is touched without being Dagster's.
func FuzzInject(f *testing.F) {
	f.Add([]byte(`<head><script id="initialization-data"></script></head><body></body>`), "abc", "/auth/static/menu.js")
	f.Add([]byte(`id="initialization-data"</BODY >`), "", "")
	f.Add([]byte(`<</head></head>id="initialization-data"</body>`), `"`, `"><script>`)
	f.Fuzz(func(t *testing.T, page []byte, nonce, src string) {
		before := bytes.Clone(page)
		got, changed := Inject(page, nonce, src)
		if !bytes.Equal(page, before) {
			t.Fatal("the page that was passed in changed")
		}
		if !changed {
			if !bytes.Equal(got, before) {
				t.Fatalf("got %q for an untouched page, want %q", got, before)
			}
			return
		}
		if !bytes.Contains(before, []byte(`id="initialization-data"`)) || src == "" || len(before) > 1<<20 {
			t.Fatalf("touched %q", before)
		}
		added := len(got) - len(before)
		at := commonPrefix(got, before)
		for ; at >= 0; at-- {
			if bytes.Equal(got[at+added:], before[at:]) && bytes.HasPrefix(got[at:], []byte("<script src=")) {
				break
			}
		}
		if at < 0 {
			t.Fatalf("got %q, which is not %q with one element more", got, before)
		}
		element := string(got[at : at+added])
		inside := strings.TrimSuffix(strings.TrimPrefix(element, "<script"), "></script>")
		if strings.ContainsAny(inside, "<>'") || strings.Count(inside, `"`) != 2+2*strings.Count(inside, ` nonce="`) {
			t.Fatalf("the element %q can be broken out of", element)
		}
	})
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
