package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"dagster-authkit/internal/identity"
)

// presets are the headers of well-known products. What they leave empty stays as it is set otherwise.
func presets() map[string]Proxy {
	//nolint:gosec // the names of headers are no credentials
	return map[string]Proxy{
		"authelia": {GroupsSeparator: "comma"}, // its headers are the defaults
		"authentik": {
			UserHeader: "X-authentik-username", GroupsHeader: "X-authentik-groups", EmailHeader: "X-authentik-email",
			NameHeader: "X-authentik-name", GroupsSeparator: "pipe",
		},
		// X-Forwarded-User is the provider's number for the person; the address is what people call each other by.
		"oauth2-proxy": {
			UserHeader: "X-Forwarded-Email", GroupsHeader: "X-Forwarded-Groups", EmailHeader: "X-Forwarded-Email",
			NameHeader: "X-Forwarded-Preferred-Username", GroupsSeparator: "comma", LogoutURL: "/oauth2/sign_out",
		},
		"cloudflare": {TokenHeader: "Cf-Access-Jwt-Assertion", LogoutURL: "/cdn-cgi/access/logout"},
		"iap": {
			TokenHeader: "X-Goog-Iap-Jwt-Assertion", Issuer: "https://cloud.google.com/iap",
			KeysURL: "https://www.gstatic.com/iap/verify/public_key-jwk", LogoutURL: "/?gcp-iap-mode=CLEAR_LOGIN_COOKIE",
		},
		"alb":      {TokenHeader: "X-Amzn-Oidc-Data"},
		"pomerium": {TokenHeader: "X-Pomerium-Jwt-Assertion", LogoutURL: "/.pomerium/sign_out"},
	}
}

func presetNames() []string {
	return []string{"authelia", "authentik", "oauth2-proxy", "cloudflare", "iap", "alb", "pomerium"}
}

func checkPreset(text string) error {
	if !slices.Contains(presetNames(), text) {
		return fmt.Errorf("%q is no preset: write one of %s", text, strings.Join(presetNames(), ", "))
	}
	return nil
}

// fill puts what the preset says where nothing else was said, and what follows from other settings.
func (p *Proxy) fill(in *input) {
	preset := presets()[p.Preset]
	for _, field := range []struct {
		name  string
		into  *string
		value string
	}{
		{"USER_HEADER", &p.UserHeader, preset.UserHeader},
		{"GROUPS_HEADER", &p.GroupsHeader, preset.GroupsHeader},
		{"EMAIL_HEADER", &p.EmailHeader, preset.EmailHeader},
		{"NAME_HEADER", &p.NameHeader, preset.NameHeader},
		{"GROUPS_SEPARATOR", &p.GroupsSeparator, preset.GroupsSeparator},
		{"LOGOUT_URL", &p.LogoutURL, preset.LogoutURL},
		{"JWT_HEADER", &p.TokenHeader, preset.TokenHeader},
		{"JWT_KEYS_URL", &p.KeysURL, preset.KeysURL},
		{"JWT_ISSUER", &p.Issuer, preset.Issuer},
	} {
		if _, given := in.given[proxyVariable+field.name]; !given && field.value != "" {
			*field.into = field.value
			in.show(proxyVariable+field.name, field.value, "preset "+p.Preset)
		}
	}
	if p.KeysURL != "" {
		return
	}
	switch p.Preset {
	case "cloudflare":
		if p.Issuer != "" {
			p.KeysURL = strings.TrimSuffix(p.Issuer, "/") + "/cdn-cgi/access/certs"
		}
	case "alb":
		p.KeysURL = balancerKeys(p.Audience)
	}
	if p.KeysURL != "" {
		in.show(proxyVariable+"JWT_KEYS_URL", p.KeysURL, "preset "+p.Preset)
	}
}

// show puts another value in the place of a default, as people see it.
func (in *input) show(env, text, from string) {
	for i := range in.values {
		if in.values[i].Name == plainKey(env) {
			in.values[i].Text, in.values[i].From = text, from
		}
	}
}

// balancerARN is that of an Application Load Balancer: partition and region stand in it.
var balancerARN = regexp.MustCompile(`^arn:(aws|aws-us-gov|aws-cn):elasticloadbalancing:([a-z0-9-]{1,32}):[0-9]{12}:loadbalancer/app/[A-Za-z0-9-]{1,32}/[0-9a-f]{1,32}$`)

// balancerKeys is where AWS keeps the keys of a region's load balancers, or "" where that can't be told.
func balancerKeys(arn string) string {
	parts := balancerARN.FindStringSubmatch(arn)
	switch {
	case parts == nil:
		return ""
	case parts[1] == "aws":
		return "https://public-keys.auth.elb." + parts[2] + ".amazonaws.com/"
	case parts[1] == "aws-us-gov":
		return "https://s3-" + parts[2] + ".amazonaws.com/aws-elb-public-keys-prod-" + parts[2] + "/"
	}
	return ""
}

// groupRules are those of the pattern.
func (p Proxy) groupRules() []identity.GroupRule {
	return patternRules(identity.SourceHeader, p.GroupPattern)
}

// HeaderRules are the rules for the groups that a proxy tells of: those of the pattern, then those of the file.
func (c Config) HeaderRules() []identity.GroupRule {
	return slices.Concat(c.Proxy.groupRules(), c.RulesFor(identity.SourceHeader))
}

// checkProxy looks for what is missing or can't be together.
func (c Config) checkProxy(in *input) []error {
	if !c.Has(BackendHeader) {
		return nil
	}
	if c.Proxy.TokenHeader != "" {
		return c.checkSigned(in)
	}
	var problems []error
	backend := in.givenOr("DAGSTER_AUTH_BACKEND")
	if len(c.TrustedProxies) == 0 && !c.Proxy.TrustAll && !in.bad["DAGSTER_AUTH_TRUSTED_PROXIES"] {
		problems = append(problems, fmt.Errorf("%s: header believes what proxies say of people, and none is named: "+
			"write their addresses into DAGSTER_AUTH_TRUSTED_PROXIES", backend))
	}
	for _, prefix := range c.TrustedProxies {
		if everybody(prefix) && !c.Proxy.TrustAll {
			problems = append(problems, fmt.Errorf("%s: with the backend header, %s lets every client say who it is: write your proxies' addresses",
				in.givenOr("DAGSTER_AUTH_TRUSTED_PROXIES"), prefix))
		}
	}
	seen := map[string]string{}
	for _, name := range c.Proxy.Headers() {
		key := identity.HeaderKey(name)
		if other, twice := seen[key]; twice {
			problems = append(problems, fmt.Errorf("%s: the headers %s and %s are one to some readers: name different ones", backend, other, name))
		}
		seen[key] = name
	}
	return problems
}

func (c Config) checkSigned(in *input) []error {
	var problems []error
	p := c.Proxy
	from := in.givenOr(proxyVariable + "JWT_HEADER")
	if p.Preset != "" {
		from = in.givenOr(proxyVariable + "PRESET")
	}
	needs := func(name, example string) {
		if !in.bad[proxyVariable+name] {
			problems = append(problems, fmt.Errorf("%s: a signed token is verified by %s%s, which is not set: write %s", from, proxyVariable, name, example))
		}
	}
	if p.Audience == "" {
		needs("JWT_AUDIENCE", map[string]string{
			"iap": "/projects/NUMBER/global/backendServices/ID", "alb": "the load balancer's ARN", "cloudflare": "the application's AUD tag",
		}[p.Preset]+orElse(p.Preset == "" || p.Preset == "pomerium", "the audience that the proxy puts in"))
	} else if p.LoadBalancer() && !balancerARN.MatchString(p.Audience) {
		problems = append(problems, fmt.Errorf("%s: %q is no load balancer's ARN: write arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID",
			in.givenOr(proxyVariable+"JWT_AUDIENCE"), p.Audience))
	}
	if p.Issuer == "" && !p.LoadBalancer() {
		needs("JWT_ISSUER", map[string]string{"cloudflare": "https://TEAM.cloudflareaccess.com"}[p.Preset]+orElse(p.Preset != "cloudflare", "the issuer that the proxy puts in"))
	}
	if p.KeysURL == "" && (p.Preset != "cloudflare" || p.Issuer != "") && (!p.LoadBalancer() || balancerARN.MatchString(p.Audience)) {
		needs("JWT_KEYS_URL", "the address of its key set")
	}
	if err := checkKeysURL(p.KeysURL); p.KeysURL != "" && err != nil && !in.bad[proxyVariable+"JWT_KEYS_URL"] {
		problems = append(problems, fmt.Errorf("%s: the keys would come from %s: %w", from, p.KeysURL, err))
	}
	return problems
}

func orElse(wanted bool, text string) string {
	if wanted {
		return text
	}
	return ""
}

// cautionProxy warns of what does nothing or too much.
func (c Config) cautionProxy(in *input) {
	if !c.Has(BackendHeader) {
		for _, s := range proxySettings() {
			if from, given := in.given[s.Env]; given {
				in.warn("%s does nothing without the backend header", from)
			}
		}
		return
	}
	if c.Proxy.TrustAll {
		in.warn("NOT SAFE: %s: whoever reaches AuthKit may be whom they like: write your proxies' addresses into DAGSTER_AUTH_TRUSTED_PROXIES instead",
			in.givenOr(proxyVariable+"TRUST_ALL"))
	}
	if len(c.HeaderRules()) == 0 && c.DefaultRole == "" {
		in.warn("the backend header gives nobody a role: write groups into the config file, or set %sGROUP_PATTERN or DAGSTER_AUTH_DEFAULT_ROLE", proxyVariable)
	}
}

// checkKeysURL wants keys to come by a way on which nobody can change them.
func checkKeysURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "":
		return errors.New("it is no address of a key set: write a URL that begins with https://")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("keys that come by plain http can be changed on the way: use https")
	}
	return nil
}

// checkLogoutURL takes a URL, or a path: "//host" is another site's.
func checkLogoutURL(text string) error {
	u, err := url.Parse(text)
	isURL := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
	isPath := err == nil && u.Scheme == "" && u.Host == "" && strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") && !strings.Contains(text, `\`)
	if !isURL && !isPath {
		return errors.New("it is neither a URL nor a path: write https://auth.example.com/logout or /oauth2/sign_out")
	}
	return nil
}
