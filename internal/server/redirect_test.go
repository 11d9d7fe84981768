package server

import (
	"net/url"
	"strings"
	"testing"
)

func TestSafeRedirect(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, prefix, want string }{
		{"/", "", "/"},
		{"/runs?status=failed&x=%2F", "", "/runs?status=failed&x=%2F"},
		{"/assets/a%2Fb", "", "/assets/a%2Fb"},
		{"/dag/runs", "/dag", "/dag/runs"},
		{"/runs#frag", "", "/runs#frag"},
		{"", "", "/"},
		{"", "/dag", "/dag/"},
		{"/runs", "/dag", "/dag/"},
		{"/dagger", "/dag", "/dag/"},
		{"//evil.example", "", "/"},
		{"///evil.example", "", "/"},
		{`/\evil.example`, "", "/"},
		{"/%5cevil.example", "", "/"},
		{"/%2f/evil.example", "", "/"},
		{"/\t/evil.example", "", "/"},
		{"/\n/evil.example", "", "/"},
		{"/ /evil.example", "", "/"},
		{"/\u00a0/evil.example", "", "/"},
		{"https://evil.example/", "", "/"},
		{"javascript:alert(1)", "", "/"},
		{"/x/../..//evil.example", "", "/"},
		{"/%2e%2e//evil.example", "", "/"},
		{"/auth/logout", "", "/"},
		{"/auth/login?next=/x", "", "/"},
		{"/" + strings.Repeat("a", 5000), "", "/"},
		{"/\xff", "", "/"},
	}
	for _, test := range tests {
		if got := safeRedirect(test.raw, test.prefix); got != test.want {
			t.Errorf("safeRedirect(%q, %q): got %q, want %q", test.raw, test.prefix, got, test.want)
		}
	}
}

// FuzzSafeRedirect: wherever a browser would end up, it is this site and below the prefix.
func FuzzSafeRedirect(f *testing.F) {
	for _, raw := range []string{"/runs", "//evil.example", `/\evil.example`, "/\t//evil", "https://evil.example", "/a?b=//c#d", "/%2f%2fevil"} {
		f.Add(raw)
	}
	base, err := url.Parse("https://dagster.example/dag/auth/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, prefix := range []string{"", "/dag"} {
			got := safeRedirect(raw, prefix)
			// Browsers drop tabs and newlines and take a backslash for a slash (WHATWG URL Standard, 4.4).
			seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(got)
			target, err := base.Parse(seen)
			if err != nil {
				t.Fatalf("%q leads to %q, which is no address: %v", raw, got, err)
			}
			if target.Host != base.Host || target.Scheme != base.Scheme || !strings.HasPrefix(target.Path, prefix+"/") {
				t.Fatalf("%q leads to %q, which a browser reads as %s", raw, got, target)
			}
		}
	})
}
