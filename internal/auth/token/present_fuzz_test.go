package token

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// FuzzPresented: whatever stands in the headers, a token that is taken is the whole of its header but for the scheme, and the
// only one in all of them; and what begins as one of ours is never overlooked.
func FuzzPresented(f *testing.F) {
	const one, two = "dak_00000000000000000000000000000000000000000003jZRME", "dak_10000000000000000000000000000000000000000003jZRME"
	for _, seed := range [][3]string{
		{"Bearer " + one, "", ""},
		{"bearer " + one, "", one},
		{"Bearer " + one, "Bearer " + two, ""},
		{"Basic YTpi", "", one},
		{"Bearer\t" + one, "Bearer " + one, two},
		{one, "Bearer " + one + "," + two, " " + one},
		{"", "", "x" + one},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	word := regexp.MustCompile(`dak_[^\s,;"'=]*`)
	f.Fuzz(func(t *testing.T, first, second, cloud string) {
		h := http.Header{"Authorization": {first, second}, CloudHeader: {cloud}}
		text, found := presented(h)
		if text != "" && !found {
			t.Fatalf("%q is not found and is %q", h, text)
		}
		for _, value := range []string{first, second, cloud} {
			begins := strings.HasPrefix(value, Prefix) || len(value) > 7 && strings.EqualFold(value[:7], "Bearer ") && strings.HasPrefix(value[7:], Prefix)
			if begins && !found {
				t.Fatalf("%q: the token in it is overlooked", value)
			}
		}
		if !Valid(text) {
			return
		}
		whole := cloud == text
		for _, value := range []string{first, second} {
			whole = whole || strings.EqualFold(value[:min(len(value), 7)], "Bearer ") && value[7:] == text
		}
		if !whole {
			t.Fatalf("%q: %s is not the whole of a header", h, text)
		}
		for _, value := range []string{first, second, cloud} {
			for _, other := range word.FindAllString(value, -1) {
				if Valid(other) && other != text && ours.MatchString(value) {
					t.Fatalf("%q: taken for %s beside %s", h, text, other)
				}
			}
		}
	})
}
