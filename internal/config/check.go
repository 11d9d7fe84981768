package config

import (
	"fmt"
	"net/netip"
	"net/url"

	"dagster-authkit/internal/identity"
)

// check looks at settings that are right alone and wrong together. It sees what was readable; what was not is an error
// already.
func (c Config) check(in *input) []error {
	var problems []error
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Has(BackendDummy) && c.Host != "" && !c.LoopbackOnly() && !c.AllowInsecureDummy {
		fail("%s: the dummy backend's passwords are public, so it serves on loopback addresses only, "+
			"not on %s: use --host 127.0.0.1, another backend, or --allow-insecure-dummy", in.givenOr("DAGSTER_AUTH_BACKEND"), c.Host)
	}
	for _, base := range []struct {
		env string
		url *url.URL
	}{{"DAGSTER_AUTH_EXTERNAL_URL", c.ExternalURL}, {"DAGSTER_AUTH_UPSTREAM", c.Upstream}} {
		if base.url == nil || in.bad["DAGSTER_WEBSERVER_PATH_PREFIX"] {
			continue
		}
		if err := checkBasePath(base.url, c.PathPrefix); err != nil {
			fail("%s: %w", in.given[base.env], err)
		}
	}
	problems = append(problems, c.checkRoles(in)...)
	problems = append(problems, c.checkOIDC(in)...)
	problems = append(problems, c.checkProxy(in)...)
	problems = append(problems, c.checkServiceRole(in)...)
	problems = append(problems, c.checkLDAP(in)...)
	if _, given := in.given[secretKeyVariable]; c.Postgres() && !given {
		// A secret in a database that pipelines may reach would let them forge sessions, and one of each instance's own would
		// sign people out at every other request.
		fail("%s is needed with PostgreSQL, the same for all instances: make one with: openssl rand -base64 48", secretKeyVariable)
	}
	for _, pattern := range c.ProtectedTags {
		if c.RunUserTag != "" && protects(pattern, c.RunUserTag) {
			fail("%s: %q is a protected tag (%s), which launchers may not set: choose another",
				in.givenOr("DAGSTER_AUTH_RUN_USER_TAG"), c.RunUserTag, pattern)
		}
	}
	if c.Upstream != nil {
		from := in.given["DAGSTER_AUTH_UPSTREAM"]
		if c.Upstream.Scheme == "http" && !isLoopback(c.Upstream.Hostname()) && !c.UpstreamInsecure {
			fail("%s: plain http to another machine can be read and changed on the way: use https, or add --upstream-insecure", from)
		}
		if len(c.ChildArgs) > 0 {
			fail("%s: no dagster-webserver is started, so there is nothing to pass %q to: leave it out", from, c.ChildArgs[0])
		}
	} else if c.Port != 0 && c.Port == c.ChildPort {
		fail("%s: %d is AuthKit's own port: choose another", in.givenOr("DAGSTER_AUTH_CHILD_PORT"), c.ChildPort)
	}
	return problems
}

// caution warns of settings that do nothing, or are less safe than they look.
func (c Config) caution(in *input) {
	if _, flag := in.flags["db"]; flag && c.PasswordShown() {
		in.warn("--db has a password, which other users of this machine can read: use %s, %s_FILE or PGPASSFILE", databaseVariable, databaseVariable)
	}
	if in.env["PGPASSWORD"] != "" && c.Postgres() && !c.PasswordShown() && c.Upstream == nil {
		in.warn("PGPASSWORD reaches dagster-webserver, and the pipelines in it, too: put the whole URL into a file and name that in %s_FILE", databaseVariable)
	}
	if _, named := in.given["DAGSTER_AUTH_ADMIN_USER"]; named && !c.AdminPassword.IsSet() {
		in.warn("DAGSTER_AUTH_ADMIN_USER does nothing without DAGSTER_AUTH_ADMIN_PASSWORD")
	}
	for _, env := range []string{"DAGSTER_AUTH_SERVICE_TOKEN_HEADER", "DAGSTER_AUTH_SERVICE_TOKEN_ROLE", "DAGSTER_AUTH_SERVICE_TOKEN_USER"} {
		if from, given := in.given[env]; given && !c.ServiceToken.IsSet() {
			in.warn("%s does nothing without DAGSTER_AUTH_SERVICE_TOKEN", from)
		}
	}
	if c.ServiceToken.IsSet() && c.ServiceTokenRole != identity.Viewer {
		in.warn("whoever has DAGSTER_AUTH_SERVICE_TOKEN is %s, and it never expires: tokens of create-token do, and can be revoked", c.ServiceTokenRole)
	}
	for _, prefix := range c.TrustedProxies {
		if everybody(prefix) {
			in.warn("DAGSTER_AUTH_TRUSTED_PROXIES: %s lets every client say where it comes from: write your proxies' addresses", prefix)
		}
	}
	if c.DefaultRole == identity.Admin {
		in.warn("%s: everybody whom a directory or a provider lets in may do everything: write groups into the config file",
			in.givenOr("DAGSTER_AUTH_DEFAULT_ROLE"))
	}
	c.cautionProxy(in)
	if c.ExternalURL != nil {
		if c.ExternalURL.Scheme == "https" && c.CookieSecure == SecureNever {
			in.warn("DAGSTER_AUTH_COOKIE_SECURE=false lets the session cookie travel without TLS: use auto")
		}
		if c.ExternalURL.Scheme == "http" && c.CookieSecure == SecureAlways {
			in.warn("DAGSTER_AUTH_COOKIE_SECURE=true with an http DAGSTER_AUTH_EXTERNAL_URL: browsers will drop the cookie, so signing in won't work")
		}
	}
	c.cautionLDAP(in)
	c.cautionOIDC(in)
	if c.UpstreamInsecure && c.Upstream == nil {
		in.warn("%s does nothing without --upstream", in.given["DAGSTER_AUTH_UPSTREAM_INSECURE"])
	}
	if c.Upstream != nil {
		for _, env := range []string{"DAGSTER_AUTH_WEBSERVER_COMMAND", "DAGSTER_AUTH_CHILD_PORT", "DAGSTER_AUTH_CHILD_USER"} {
			if from, given := in.given[env]; given {
				in.warn("%s does nothing with --upstream: no dagster-webserver is started", from)
			}
		}
	}
}

// everybody says that a range is wider than the largest networks that are anybody's own: 10.0.0.0/8 (RFC 1918) and fc00::/7 (RFC 4193).
func everybody(prefix netip.Prefix) bool {
	if prefix.Addr().Is4() {
		return prefix.Bits() < 8
	}
	return prefix.Bits() < 7
}
