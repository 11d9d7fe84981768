package oidc_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/internal/auth"
)

// added is the claims as JSON with more members, which a map can't have twice.
func added(t *testing.T, all map[string]any, members string) []byte {
	t.Helper()
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(payload[:len(payload)-1], members...), '}')
}

// signedText is a good token of a payload as it is.
func (s *standIn) signedText(payload []byte) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.keyID}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	object, err := signer.Sign(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// ambiguous are members that make a second reading of an object with the stand-in's claims, and how each is refused.
var ambiguous = map[string]string{
	"SUB":            `,"SUB":"victor"`,
	"Sub":            `,"Sub":"victor"`,
	"a long s":       `,"ſub":"victor"`,
	"sub twice":      `,"sub":"victor"`,
	"sub escaped":    `,"\u0073ub":"victor"`,
	"sub the same":   `,"sub":"42"`,
	"groups twice":   `,"groups":["admins"]`,
	"Groups":         `,"Groups":["admins"]`,
	"an email more":  `,"Email":"boss@company.com"`,
	"verified more":  `,"EMAIL_VERIFIED":true`,
	"twice below":    `,"other":{"list":[{"a":1,"a":2}]}`,
	"an issuer more": `,"ISS":"https://evil.example.com"`,
	"a session more": `,"Sid":"there-2"`,
}

// TestAmbiguousTokens: a good signature says nothing of a token that two programs read differently.
func TestAmbiguousTokens(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	try := func(members string) (auth.Arrival, error) {
		s.change(func(s *standIn) {
			s.sign = func(all map[string]any) string { return s.signedText(added(t, all, members)) }
		})
		return signIn(t, p, s)
	}
	for _, members := range []string{"", `,"SUBJECT":"x","other":{"sub":"a","SUB":"b"}`} {
		if arrival, err := try(members); err != nil || arrival.User.Subject != s.URL+"|42" {
			t.Errorf("the control %s: got %+v, %v", members, arrival.User, err)
		}
	}
	for name, members := range ambiguous {
		if arrival, err := try(members); reason(err) != "PROVIDER_ANSWER" {
			t.Errorf("%s: got %q, %v, want it refused", name, arrival.User.Subject, err)
		}
	}
	for _, members := range []string{`,"aud":"dagster"`, `,"Exp":9999999999`, `,"NBF":1`, `,"Azp":"dagster"`, `,"NONCE":"x"`, `,"AT_HASH":"x"`} {
		if _, err := try(members); reason(err) != "PROVIDER_ANSWER" {
			t.Errorf("%s: got %v, want it refused", members, err)
		}
	}
}

// TestAmbiguousGroups: the steps to the groups have one reading too.
func TestAmbiguousGroups(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	options := s.options()
	options.GroupsClaim = "realm_access.roles"
	p := providers(t, options)
	s.claims["groups"] = nil
	for name, tc := range map[string]struct{ members, want string }{
		"control":    {`,"realm_access":{"roles":["admins"]},"resource_access":{"A":{"Roles":[]},"a":{"roles":[]}}`, ""},
		"the first":  {`,"realm_access":{"roles":["admins"]},"Realm_Access":{"roles":[]}`, "PROVIDER_ANSWER"},
		"the second": {`,"realm_access":{"roles":["admins"],"Roles":[]}`, "PROVIDER_ANSWER"},
		"twice":      {`,"realm_access":{"roles":[],"roles":["admins"]}`, "PROVIDER_ANSWER"},
		"joined":     {`,"realm_access":{"roles":["admins"]},"realm_access.ROLES":[]`, "PROVIDER_ANSWER"},
	} {
		s.change(func(s *standIn) {
			s.sign = func(all map[string]any) string { return s.signedText(added(t, all, tc.members)) }
		})
		if arrival, err := signIn(t, p, s); reason(err) != tc.want || err == nil && arrival.User.Role != "admin" {
			t.Errorf("%s: got the role %q, %v, want %q", name, arrival.User.Role, err, tc.want)
		}
	}
}

// TestAmbiguousUserinfo: nor is an answer believed that has two readings.
func TestAmbiguousUserinfo(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	s.claims["groups"] = nil
	try := func(members string) error {
		s.change(func(s *standIn) {
			s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(added(t, map[string]any{"sub": "42", "groups": []string{"viewers"}}, members))
			}
		})
		_, err := signIn(t, p, s)
		return err
	}
	if err := try(""); err != nil {
		t.Errorf("the control: %v", err)
	}
	for name, members := range ambiguous {
		if err := try(members); reason(err) != "PROVIDER_ANSWER" {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
