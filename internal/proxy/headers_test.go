package proxy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// newTest makes a proxy that is only asked for its headers.
func newTest(t *testing.T, o Options) *Proxy {
	t.Helper()
	if o.Target == nil {
		o.Target = noTarget
	}
	if o.Error == nil {
		o.Error = func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestIdentityHeadersOfClientsAreDropped lists the names under which proxies hand on who somebody is, from their own
// documentation (facts/survey.md section 3), each in several spellings.
func TestIdentityHeadersOfClientsAreDropped(t *testing.T) {
	t.Parallel()
	dropped := []string{
		"Remote-User", "Remote_User", "REMOTE-USER", "remote.user", "Remote-Groups", "Remote-Email", "Remote-Name",
		"X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-For",
		"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Forwarded-Prefix",
		"X_Forwarded-For", "X-Forwarded_Host", "Forwarded", "X-Real-Ip", "X_Real_IP", "True-Client-IP", "CF-Connecting-IP",
		"X-Auth-Request-User", "X-Auth-Request-Groups", "X-Auth-Username", "X-Authentik-Username", "X-authentik-jwt",
		"X-Authelia-User", "X-WEBAUTH-USER", "X-Vouch-User", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes",
		"X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Data",
		"X-Amzn-Mtls-Clientcert", "X-MS-CLIENT-PRINCIPAL", "X-Ms-Client-Principal-Name", "X-MS-TOKEN-AAD-ID-TOKEN",
		"Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion", "X-Pomerium-Jwt-Assertion",
		"X-Pomerium-Claim-Email", "X-User", "X-User-Id", "X-Username", "X-Userinfo", "X-Email", "X-Groups", "X-Roles",
		"X-Id-Token", "X-Access-Token", "X-Consumer-Username", "X-Credential-Identifier", "OIDC_CLAIM_email",
		"Tailscale-User-Login", "Gap-Auth", "GAP-Signature", "X-SSL-Client-S-DN", "Ssl-Client-Cert", "X-Client-Cert",
		"X-Original-URL", "X-Original-URI", "X-Rewrite-Url", "X-Envoy-External-Address", "Kubeflow-Userid", "Proxy",
		"X-Company-Login", "x_company_login",
	}
	kept := []string{
		"User-Agent", "Accept", "Content-Type", "Idempotency-Key", "Origin", "Referer", "Range", "X-Request-Id",
		"X-Requested-With", "Traceparent", "Cache-Control", "Authorization", "Dagster-Cloud-Api-Token",
	}
	p := newTest(t, Options{IdentityHeaders: []string{"X_Company-Login"}})
	h := http.Header{}
	for _, name := range append(dropped, kept...) {
		h[name] = []string{"mallory"}
	}
	p.cleanHeaders(WithForward(t.Context(), Forward{}), h)
	for _, name := range dropped {
		if _, there := h[name]; there {
			t.Errorf("%s was forwarded", name)
		}
	}
	for _, name := range kept {
		if h.Get(name) != "mallory" {
			t.Errorf("%s: got %q, want it kept", name, h.Get(name))
		}
	}
}

func TestCredentialsThatSignedInAreDropped(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		forward *Forward
		want    string
	}{
		"ours":            {&Forward{DropCredentials: true}, ""},
		"somebody else's": {&Forward{}, "Bearer x"},
		"no forward":      {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if test.forward != nil {
				ctx = WithForward(ctx, *test.forward)
			}
			for _, header := range []string{"Authorization", "Dagster-Cloud-Api-Token", "dagster_cloud_api_token"} {
				h := http.Header{header: {"Bearer x"}}
				newTest(t, Options{}).cleanHeaders(ctx, h)
				got := ""
				if values := h[header]; len(values) > 0 {
					got = values[0]
				}
				if got != test.want {
					t.Errorf("%s: got %q, want %q", header, got, test.want)
				}
			}
		})
	}
}

func TestForwardHeaders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		forward Forward
		want    http.Header
	}{
		"all": {
			Forward{User: "alice", Email: "alice@example.org", Groups: []string{"editor", "team a"}, For: "2001:db8::1", Proto: "https", Host: "dagster.example.org:8443"},
			http.Header{
				"X-Forwarded-User": {"alice"}, "X-Forwarded-Email": {"alice@example.org"}, "X-Forwarded-Groups": {"editor,team a"},
				"X-Forwarded-For": {"2001:db8::1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"dagster.example.org:8443"},
			},
		},
		"nobody":      {Forward{For: "192.0.2.1"}, http.Header{"X-Forwarded-For": {"192.0.2.1"}}},
		"not ascii":   {Forward{User: "Zoë"}, http.Header{"X-Forwarded-User": {"Zo%C3%AB"}}},
		"injection":   {Forward{User: "a\r\nX-Admin: 1"}, http.Header{"X-Forwarded-User": {"a%0D%0AX-Admin: 1"}}},
		"percent":     {Forward{User: "50%41"}, http.Header{"X-Forwarded-User": {"50%2541"}}},
		"spaces":      {Forward{User: " a b "}, http.Header{"X-Forwarded-User": {"%20a b%20"}}},
		"comma":       {Forward{Groups: []string{"a,b", "c"}}, http.Header{"X-Forwarded-Groups": {"a%2Cb,c"}}},
		"bad for":     {Forward{For: "192.0.2.1\x00"}, http.Header{"X-Forwarded-For": {"192.0.2.1%00"}}},
		"spoof stays": {Forward{}, http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{"X-Forwarded-User": {"mallory"}, "X-Forwarded-Groups": {"admin"}, "X-Forwarded-For": {"127.0.0.1"}}
			newTest(t, Options{}).cleanHeaders(WithForward(t.Context(), test.forward), h)
			if diff := cmp.Diff(test.want, h); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOwnCookiesAreCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ sent, want []string }{
		"ours alone":     {[]string{"dagster_authkit=secret"}, nil},
		"first":          {[]string{"dagster_authkit=secret; a=1"}, []string{"a=1"}},
		"middle":         {[]string{`a="x y";  dagster_authkit=secret;b = 2 ;c`}, []string{`a="x y";b = 2 ;c`}},
		"last":           {[]string{"a=1; dagster_authkit=secret"}, []string{"a=1"}},
		"host prefix":    {[]string{"__Host-dagster_authkit=secret; a=1"}, []string{"a=1"}},
		"secure prefix":  {[]string{"a=1; __Secure-dagster_authkit=secret"}, []string{"a=1"}},
		"chunks":         {[]string{"dagster_authkit_0=s; dagster_authkit_1=e; dagster_authkit-12=c; a=1"}, []string{"a=1"}},
		"second name":    {[]string{"authkit_state=secret; a=1"}, []string{"a=1"}},
		"twice":          {[]string{"dagster_authkit=secret; dagster_authkit=secret"}, nil},
		"two headers":    {[]string{"dagster_authkit=secret", "a=1"}, []string{"a=1"}},
		"equals sign":    {[]string{"a=b=c; dagster_authkit=x=y"}, []string{"a=b=c"}},
		"others stay":    {[]string{"dagster_authkit2=1; xdagster_authkit=2; dagster_authkit_x=3; Dagster_authkit=4"}, []string{"dagster_authkit2=1; xdagster_authkit=2; dagster_authkit_x=3; Dagster_authkit=4"}},
		"no value":       {[]string{"dagster_authkit; a=1"}, []string{"a=1"}},
		"empty segments": {[]string{";; a=1;"}, []string{";; a=1;"}},
		"none":           {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if test.sent != nil {
				h["Cookie"] = test.sent
			}
			newTest(t, Options{CookieNames: []string{"dagster_authkit", "authkit_state"}}).cutCookies(h)
			if diff := cmp.Diff(test.want, h["Cookie"]); diff != "" {
				t.Errorf("cookies (-want +got):\n%s", diff)
			}
		})
	}
}

// The common headers are not looked at, so none of them may be one that has to go.
func TestCommonHeadersNameNobody(t *testing.T) {
	t.Parallel()
	p := &Proxy{}
	for name := range common {
		if p.dropped(identity.HeaderKey(name), true) || http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s is passed over, and would be dropped or is not written as Go does", name)
		}
	}
	if !p.dropped("x-forwarded-user", true) {
		t.Error("an identity is not dropped")
	}
}
