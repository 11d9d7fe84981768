package proxy

import (
	"bytes"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxPage is the size, in bytes, up to which a page is read to be changed. Dagster's is 2.6 kB in all versions from 1.10
// to 1.13; whatever is larger is not it.
const maxPage = 1 << 20

// pageMark is in Dagster's own page and in nothing else that it serves: the element with the settings of its UI.
const pageMark = `id="initialization-data"`

// nonceSource is a nonce in a Content-Security-Policy (CSP3 section 2.3.1: base64 or base64url).
var nonceSource = regexp.MustCompile(`^'nonce-([A-Za-z0-9+/_-]+={0,2})'$`)

// Inject puts the user menu's script before the end of the head of Dagster's page, or of its body when it has no head, and
// reports whether it did. All else of the page stays as it is; a page that is not Dagster's own, or that gives any doubt
// about the place, is returned untouched. The nonce may be empty.
func Inject(page []byte, nonce, src string) ([]byte, bool) {
	if src == "" || len(page) > maxPage {
		return page, false
	}
	mark := bytes.Index(page, []byte(pageMark))
	if mark < 0 {
		return page, false
	}
	at := onlyTag(page, "</head>")
	if at < 0 {
		at = onlyTag(page, "</body>")
	}
	if at < mark {
		return page, false
	}
	return slices.Concat(page[:at], scriptTag(nonce, src), page[at:]), true
}

// scriptTag writes the element. It is deferred, so that it runs after the page is read and never holds Dagster's up.
func scriptTag(nonce, src string) []byte {
	var b bytes.Buffer
	b.WriteString(`<script src="` + html.EscapeString(src) + `"`)
	if nonce != "" {
		b.WriteString(` nonce="` + html.EscapeString(nonce) + `"`)
	}
	b.WriteString(` defer></script>`)
	return b.Bytes()
}

// onlyTag finds a tag, given in lower case, that stands in the page exactly once; otherwise it is -1. Twice means that one
// of them may be in a script or a comment.
func onlyTag(page []byte, tag string) int {
	found := -1
	for from := 0; ; {
		next := bytes.IndexByte(page[from:], '<')
		if next < 0 {
			return found
		}
		from += next
		if len(page)-from >= len(tag) && asciiFold(page[from:from+len(tag)], tag) {
			if found >= 0 {
				return -1
			}
			found = from
		}
		from++
	}
}

// asciiFold compares as HTML compares the names of tags: without the case of ASCII letters, and of those only
// (bytes.EqualFold would take the Kelvin sign for a k).
func asciiFold(b []byte, lower string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// scriptNonce finds the nonce that lets a script into a page with these headers. A page without any policy takes every
// script, and the nonce is empty; ok is false when there is a policy that no nonce satisfies, or several.
func scriptNonce(h http.Header) (nonce string, ok bool) {
	policies := strings.Split(strings.Join(h.Values("Content-Security-Policy"), ","), ",")
	policies = slices.DeleteFunc(policies, func(policy string) bool { return strings.TrimSpace(policy) == "" })
	switch len(policies) {
	case 0:
		return "", true
	case 1:
	default:
		return "", false
	}
	for _, directive := range []string{"script-src-elem", "script-src", "default-src"} {
		for written := range strings.SplitSeq(policies[0], ";") {
			words := strings.Fields(written)
			if len(words) == 0 || !strings.EqualFold(words[0], directive) {
				continue
			}
			return firstNonce(words[1:])
		}
	}
	return "", false
}

func firstNonce(sources []string) (nonce string, ok bool) {
	for _, source := range sources {
		if found := nonceSource.FindStringSubmatch(source); found != nil {
			return found[1], true
		}
	}
	return "", false
}
