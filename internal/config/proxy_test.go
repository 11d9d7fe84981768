package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// header are settings with which the header backend starts.
func header(more ...string) []string {
	return append([]string{"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_PROXY_GROUP_PATTERN=cn={role},ou=groups,dc=x", "DAGSTER_AUTH_TRUSTED_PROXIES=10.0.0.0/8"}, more...)
}

const arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/front/50dc6c495c0c9188"

func TestProxyPresets(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want func(p *Proxy)
	}{
		"none":     {want: func(*Proxy) {}},
		"authelia": {env: []string{"PRESET=Authelia"}, want: func(p *Proxy) { p.GroupsSeparator = "comma" }},
		"authentik, with a header of one's own": {env: []string{"PRESET=authentik", "USER_HEADER=X-Me"}, want: func(p *Proxy) {
			p.UserHeader, p.GroupsHeader, p.EmailHeader, p.NameHeader = "X-Me", "X-authentik-groups", "X-authentik-email", "X-authentik-name"
			p.GroupsSeparator = "pipe"
		}},
		"oauth2-proxy": {env: []string{"PRESET=oauth2-proxy", "LOGOUT_URL=https://x/y"}, want: func(p *Proxy) {
			p.UserHeader, p.GroupsHeader, p.EmailHeader, p.NameHeader = "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username"
			p.GroupsSeparator, p.LogoutURL = "comma", "https://x/y"
		}},
		"cloudflare": {env: []string{"PRESET=cloudflare", "JWT_ISSUER=https://team.cloudflareaccess.com", "JWT_AUDIENCE=tag"}, want: func(p *Proxy) {
			p.TokenHeader, p.Issuer, p.Audience = "Cf-Access-Jwt-Assertion", "https://team.cloudflareaccess.com", "tag"
			p.KeysURL, p.LogoutURL = "https://team.cloudflareaccess.com/cdn-cgi/access/certs", "/cdn-cgi/access/logout"
		}},
		"iap": {env: []string{"PRESET=iap", "JWT_AUDIENCE=/projects/1/global/backendServices/2"}, want: func(p *Proxy) {
			p.TokenHeader, p.Issuer, p.Audience = "X-Goog-Iap-Jwt-Assertion", "https://cloud.google.com/iap", "/projects/1/global/backendServices/2"
			p.KeysURL, p.LogoutURL = "https://www.gstatic.com/iap/verify/public_key-jwk", "/?gcp-iap-mode=CLEAR_LOGIN_COOKIE"
		}},
		"alb": {env: []string{"PRESET=alb", "JWT_AUDIENCE=" + arn}, want: func(p *Proxy) {
			p.TokenHeader, p.Audience, p.KeysURL = "X-Amzn-Oidc-Data", arn, "https://public-keys.auth.elb.eu-west-1.amazonaws.com/"
		}},
		"pomerium": {
			env: []string{"PRESET=pomerium", "JWT_AUDIENCE=d.example.com", "JWT_ISSUER=d.example.com", "JWT_KEYS_URL=https://d.example.com/.well-known/pomerium/jwks.json"},
			want: func(p *Proxy) {
				p.TokenHeader, p.Issuer, p.Audience = "X-Pomerium-Jwt-Assertion", "d.example.com", "d.example.com"
				p.KeysURL, p.LogoutURL = "https://d.example.com/.well-known/pomerium/jwks.json", "/.pomerium/sign_out"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := defaults().Proxy
			want.GroupPattern = "cn={role},ou=groups,dc=x"
			tc.want(&want)
			env := header()
			for _, entry := range tc.env {
				env = append(env, "DAGSTER_AUTH_PROXY_"+entry)
				if preset, ok := strings.CutPrefix(entry, "PRESET="); ok {
					want.Preset = strings.ToLower(preset)
				}
			}
			got, warnings, err := Load(Source{Environ: env})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load: error %v, warnings %v, want none", err, warnings)
			}
			if diff := cmp.Diff(want, got.Proxy); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProxyRules(t *testing.T) {
	t.Parallel()
	got, _, err := Load(Source{Environ: header()})
	if err != nil {
		t.Fatal(err)
	}
	want := []identity.GroupRule{
		{Source: "header", Group: "cn=admins,ou=groups,dc=x", Role: "admin"},
		{Source: "header", Group: "cn=editors,ou=groups,dc=x", Role: "editor"},
		{Source: "header", Group: "cn=launchers,ou=groups,dc=x", Role: "launcher"},
		{Source: "header", Group: "cn=viewers,ou=groups,dc=x", Role: "viewer"},
	}
	if diff := cmp.Diff(want, got.HeaderRules()); diff != "" {
		t.Errorf("HeaderRules (-want +got):\n%s", diff)
	}
}

func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"nobody is trusted":       {[]string{"DAGSTER_AUTH_BACKEND=header"}, "DAGSTER_AUTH_BACKEND: header believes what proxies say of people, and none is named: write their addresses into DAGSTER_AUTH_TRUSTED_PROXIES"},
		"everybody is trusted":    {[]string{"DAGSTER_AUTH_BACKEND=proxy", "DAGSTER_AUTH_PROXY_TRUSTED_IPS=::/0"}, "DAGSTER_AUTH_PROXY_TRUSTED_IPS: with the backend header, ::/0 lets every client say who it is"},
		"half of everybody":       {[]string{"DAGSTER_AUTH_BACKEND=proxy", "DAGSTER_AUTH_TRUSTED_PROXIES=128.0.0.0/1"}, "DAGSTER_AUTH_TRUSTED_PROXIES: with the backend header, 128.0.0.0/1 lets every client say who it is"},
		"one header for two":      {header("DAGSTER_AUTH_PROXY_NAME_HEADER=remote_user"), "DAGSTER_AUTH_BACKEND: the headers Remote-User and remote_user are one"},
		"a header's name":         {header("DAGSTER_AUTH_PROXY_USER_HEADER=Remote User"), `DAGSTER_AUTH_PROXY_USER_HEADER: "Remote User" is no header's name`},
		"a header of another use": {header("DAGSTER_AUTH_PROXY_USER_HEADER=x-forwarded-for"), "DAGSTER_AUTH_PROXY_USER_HEADER: x-forwarded-for means something else"},
		"separator":               {header("DAGSTER_AUTH_PROXY_GROUPS_SEPARATOR=;"), `DAGSTER_AUTH_PROXY_GROUPS_SEPARATOR: ";" is none of`},
		"pattern":                 {[]string{"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_TRUSTED_PROXIES=10.0.0.1", "DAGSTER_AUTH_PROXY_GROUP_PATTERN=cn=admins"}, "DAGSTER_AUTH_PROXY_GROUP_PATTERN: it must have {role} in one place"},
		"sign-out elsewhere":      {header("DAGSTER_AUTH_PROXY_LOGOUT_URL=//evil.example"), "DAGSTER_AUTH_PROXY_LOGOUT_URL: it is neither a URL nor a path"},
		"sign-out by script":      {header("DAGSTER_AUTH_PROXY_LOGOUT_URL=javascript:alert(1)"), "DAGSTER_AUTH_PROXY_LOGOUT_URL: it is neither"},
		"preset":                  {header("DAGSTER_AUTH_PROXY_PRESET=traefik"), `DAGSTER_AUTH_PROXY_PRESET: "traefik" is no preset: write one of authelia,`},
		"keys in clear":           {header("DAGSTER_AUTH_PROXY_JWT_KEYS_URL=http://x/jwks"), "DAGSTER_AUTH_PROXY_JWT_KEYS_URL: keys that come by plain http"},
		"cloudflare, no audience": {header("DAGSTER_AUTH_PROXY_PRESET=cloudflare", "DAGSTER_AUTH_PROXY_JWT_ISSUER=https://t.cloudflareaccess.com"), "DAGSTER_AUTH_PROXY_PRESET: a signed token is verified by DAGSTER_AUTH_PROXY_JWT_AUDIENCE, which is not set: write the application's AUD tag"},
		"cloudflare in clear":     {header("DAGSTER_AUTH_PROXY_PRESET=cloudflare", "DAGSTER_AUTH_PROXY_JWT_ISSUER=http://t.example", "DAGSTER_AUTH_PROXY_JWT_AUDIENCE=x"), "DAGSTER_AUTH_PROXY_PRESET: the keys would come from http://t.example"},
		"alb, no ARN":             {header("DAGSTER_AUTH_PROXY_PRESET=alb", "DAGSTER_AUTH_PROXY_JWT_AUDIENCE=front"), `DAGSTER_AUTH_PROXY_JWT_AUDIENCE: "front" is no load balancer's ARN`},
		"an unknown partition":    {header("DAGSTER_AUTH_PROXY_PRESET=alb", "DAGSTER_AUTH_PROXY_JWT_AUDIENCE="+strings.Replace(arn, "aws", "aws-cn", 1)), "DAGSTER_AUTH_PROXY_PRESET: a signed token is verified by DAGSTER_AUTH_PROXY_JWT_KEYS_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Load(Source{Environ: tc.env})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Load: got error %v, want one line that begins with %q", err, tc.want)
			}
		})
	}
}

func TestProxyWarns(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"everybody is trusted": {header("DAGSTER_AUTH_PROXY_TRUST_ALL=true"), "NOT SAFE: DAGSTER_AUTH_PROXY_TRUST_ALL: whoever reaches AuthKit"},
		"nobody has a role":    {[]string{"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_TRUSTED_PROXIES=10.0.0.1"}, "the backend header gives nobody a role"},
		"another backend":      {[]string{"DAGSTER_AUTH_PROXY_USER_HEADER=X-Me"}, "DAGSTER_AUTH_PROXY_USER_HEADER does nothing without the backend header"},
		"a typing error":       {header("DAGSTER_AUTH_PROXY_USER_HAEDER=X-Me"), "DAGSTER_AUTH_PROXY_USER_HAEDER is not a setting and is ignored: did you mean DAGSTER_AUTH_PROXY_USER_HEADER?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := Load(Source{Environ: tc.env})
			if err != nil || len(warnings) != 1 || !strings.HasPrefix(string(warnings[0]), tc.want) {
				t.Errorf("Load: got warnings %q and error %v, want one that begins with %q", warnings, err, tc.want)
			}
		})
	}
}

// TestProxyFromFile: the settings and rules in a file, and where each value came from.
func TestProxyFromFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "backend: [header, sqlite]\ntrusted_proxies: 127.0.0.1\nproxy_preset: pomerium\nproxy_jwt_issuer: d\nproxy_jwt_audience: d\n"+
		"proxy_jwt_keys_url: https://d/jwks.json\ngroups:\n  - {group: staff, role: editor}\n")
	got, values, warnings, err := Inspect(Source{Flags: Values{"config": path}})
	if err != nil || len(warnings) > 0 || got.Proxy.TokenHeader != "X-Pomerium-Jwt-Assertion" || len(got.HeaderRules()) != 1 {
		t.Errorf("Inspect: got %+v, warnings %q and error %v", got.Proxy, warnings, err)
	}
	want := map[string]Value{
		"proxy_jwt_header": {Name: "proxy_jwt_header", Text: "X-Pomerium-Jwt-Assertion", From: "preset pomerium"},
		"proxy_jwt_issuer": {Name: "proxy_jwt_issuer", Text: "d", From: path + ":4"},
	}
	for _, value := range values {
		if wanted, asked := want[value.Name]; asked && wanted != value {
			t.Errorf("got %+v, want %+v", value, wanted)
		}
	}
}
