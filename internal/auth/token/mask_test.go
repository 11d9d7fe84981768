package token

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	t.Parallel()
	text, _ := New()
	for given, want := range map[string]string{
		"/x/" + text:                           "/x/" + Masked,
		"/x/" + text + "/y;" + text + "?":      "/x/" + Masked + "/y;" + Masked + "?",
		"/x_" + text:                           "/x_" + Masked,
		"/a" + text + "b":                      "/a" + Masked,
		text + text:                            Masked,
		"/" + strings.ToUpper(text) + ".":      "/" + Masked + ".",
		"/" + text[:40]:                        "/" + Masked,
		"/locations/dak_assets/jobs/dak_daily": "/locations/dak_assets/jobs/dak_daily",
		"/runs/" + text[len(Prefix):]:          "/runs/" + text[len(Prefix):],
		"":                                     "",
	} {
		if got := Mask(given); got != want {
			t.Errorf("%s: got %s, want %s", strings.ReplaceAll(given, text, "TOKEN"), got, want)
		}
	}
}
