package remote_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"dagster-authkit/internal/auth/remote"
)

func TestCheckHeader(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		`{"alg":"RS256","kid":"x"}`:                         "",
		`{"alg":"RS256","typ":"JWT"}`:                       "",
		`{"alg":"RS256","typ":"jwt"}`:                       "",
		`{"alg":"RS256","typ":"application/JWT"}`:           "",
		`{"alg":"RS256","typ":"logout+jwt"}`:                "",
		`{"alg":"RS256","typ":""}`:                          "",
		`{"alg":"RS256","x5t":"x","jku":"https://x"}`:       "",
		`{"alg":"RS256","typ":"at+jwt"}`:                    "type",
		`{"alg":"RS256","typ":"application/at+jwt"}`:        "type",
		`{"alg":"RS256","typ":"Application/At+JWT"}`:        "type",
		`{"alg":"RS256","typ":"dpop+jwt"}`:                  "type",
		`{"alg":"RS256","typ":"secevent+jwt"}`:              "type",
		`{"alg":"RS256","typ":"JOSE"}`:                      "type",
		`{"alg":"RS256","typ":" JWT"}`:                      "type",
		`{"alg":"RS256","typ":1}`:                           "no text",
		`{"alg":"RS256","typ":["JWT"]}`:                     "no text",
		`{"alg":"RS256","typ":"at+jwt","typ":"JWT"}`:        "twice",
		`{"alg":"RS256","zip":"DEF"}`:                       "zip",
		`{"alg":"RS256","zip":null}`:                        "zip",
		`{"alg":"RS256","crit":["b64"],"b64":true}`:         "crit",
		`{"alg":"RS256","crit":[]}`:                         "crit",
		`{"alg":"RS256","b64":false}`:                       "b64",
		`["JWT"]`:                                           "no JSON object",
		``:                                                  "no JSON object",
		`{"alg":"RS256"} {}`:                                "no JSON object",
		`{"alg":"RS256","typ":"` + strings.Repeat("x", 999): "no JSON object",
	} {
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} {
			err := remote.CheckHeader(encoding.EncodeToString([]byte(header))+".e30.AAAA", "jwt", "logout+jwt")
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", header, err, want)
			}
		}
	}
	for _, token := range []string{"!.e30.x", "e.e30.x"} {
		if remote.CheckHeader(token, "jwt") == nil {
			t.Errorf("%s is taken", token)
		}
	}
}
