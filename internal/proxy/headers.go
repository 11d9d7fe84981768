package proxy

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"dagster-authkit/internal/identity"
)

// Forward is what the server established about the sender of a request; Dagster gets it in X-Forwarded-* headers.
type Forward struct {
	User, Email string
	Groups      []string
	// For, Proto and Host are the client's address, "http" or "https", and the Host that the client asked for.
	For, Proto, Host string
	// DropCredentials says that Authorization or Dagster-Cloud-Api-Token signed the sender in to AuthKit. Credentials
	// that AuthKit did not use may be meant for a server between it and Dagster, and go on.
	DropCredentials bool
}

type forwardKey struct{}

// WithForward hands f to the proxy. A request without one is nobody's: it gets no identity and carries no credentials.
func WithForward(ctx context.Context, f Forward) context.Context {
	return context.WithValue(ctx, forwardKey{}, f)
}

func forwardFrom(ctx context.Context) Forward {
	if f, ok := ctx.Value(forwardKey{}).(Forward); ok {
		return f
	}
	return Forward{DropCredentials: true}
}

// identityFamilies are the headers by which proxies tell an application who somebody is or where they come from, as
// identity.HeaderKey writes them. A client must not be able to say any of it, whatever stands behind Dagster's request headers (a
// run launcher may read them): the names of oauth2-proxy, Authelia, authentik, Pomerium, Grafana, Vouch, Kubernetes,
// Louketo, Kong, mod_auth_openidc, Tailscale, Google IAP, AWS ALB, Azure App Service, Cloudflare Access, Envoy, Istio,
// and of TLS-terminating servers. Each stands for itself and for all names that go on after it.
var identityFamilies = []string{
	"cf-access-", "cf-connecting-ip", "cf-ipcountry", "client-ip", "client-cert", "fastly-client-", "forwarded", "gap-auth",
	"gap-signature", "kubeflow-", "mellon-", "oidc-", "remote-", "ssl-client-", "tailscale-", "true-client-ip",
	"x-access-token", "x-amzn-mtls-", "x-amzn-oidc-", "x-anonymous-", "x-auth-", "x-authelia-", "x-authentik-",
	"x-authenticated-", "x-client-cert", "x-client-dn", "x-client-ip", "x-cluster-client-ip", "x-consumer-",
	"x-credential-", "x-email", "x-envoy-", "x-forwarded", "x-goog-authenticated-", "x-goog-iap-", "x-group", "x-id-token",
	"x-jwt-", "x-ms-client-principal", "x-ms-token-", "x-original-", "x-pomerium-", "x-proxy-", "x-real-", "x-remote-",
	"x-rewrite-", "x-role", "x-ssl-", "x-tailscale-", "x-token-", "x-user", "x-vouch-", "x-webauth-",
}

// common are headers of every browser's request, of none of the families, whose names need no looking at.
var common = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Cache-Control": true, "Connection": true, "Content-Length": true,
	"Content-Type": true, "Cookie": true, "Origin": true, "Pragma": true, "Referer": true, "Sec-Ch-Ua": true, "Sec-Ch-Ua-Mobile": true,
	"Sec-Ch-Ua-Platform": true, "Sec-Fetch-Dest": true, "Sec-Fetch-Mode": true, "Sec-Fetch-Site": true, "Sec-Fetch-User": true,
	"Upgrade-Insecure-Requests": true, "User-Agent": true,
}

// cleanHeaders takes out of h what only AuthKit may say and what only AuthKit may see, and writes afresh who is asking.
func (p *Proxy) cleanHeaders(ctx context.Context, h http.Header) {
	forward := forwardFrom(ctx)
	for name := range h {
		if !p.common[name] && p.dropped(identity.HeaderKey(name), forward.DropCredentials) {
			delete(h, name)
		}
	}
	p.cutCookies(h)
	for _, header := range [...]struct{ name, value string }{
		{"X-Forwarded-User", forward.User},
		{"X-Forwarded-Email", forward.Email},
		{"X-Forwarded-For", forward.For},
		{"X-Forwarded-Proto", forward.Proto},
		{"X-Forwarded-Host", forward.Host},
	} {
		if header.value != "" {
			h[header.name] = []string{headerText(header.value, "")}
		}
	}
	if len(forward.Groups) > 0 {
		groups := make([]string, len(forward.Groups))
		for i, group := range forward.Groups {
			groups[i] = headerText(group, ",")
		}
		h.Set("X-Forwarded-Groups", strings.Join(groups, ","))
	}
}

func (p *Proxy) dropped(name string, credentials bool) bool {
	switch name {
	case "authorization", "dagster-cloud-api-token":
		return credentials
	case "proxy": // becomes HTTP_PROXY under CGI: https://httpoxy.org
		return true
	}
	return p.identity[name] || slices.ContainsFunc(identityFamilies, func(family string) bool {
		return strings.HasPrefix(name, family)
	})
}

// headerText writes text so that it is one plain header value whatever is in it: everything but printable ASCII, the
// percent sign itself, the characters of also, and spaces at the ends are percent-encoded as UTF-8 (RFC 3986 section 2.1). Header
// values have no encoding of their own and Dagster's server reads them as Latin-1; this reads back with one unquote
// anywhere, and leaves ordinary names and addresses as they are.
func headerText(text, also string) string {
	const digits = "0123456789ABCDEF"
	plain := func(i int) bool {
		c, edge := text[i], i == 0 || i == len(text)-1
		return c >= ' ' && c < 0x7f && c != '%' && (c != ' ' || !edge) && strings.IndexByte(also, c) < 0
	}
	begin := 0
	for begin < len(text) && plain(begin) {
		begin++
	}
	if begin == len(text) {
		return text
	}
	var b strings.Builder
	b.WriteString(text[:begin])
	for i := begin; i < len(text); i++ {
		c := text[i]
		if plain(i) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// cookieNames adds the prefixed forms of our cookies' names (RFC 6265bis section 4.1.3).
func cookieNames(names []string) map[string]bool {
	all := make(map[string]bool, 3*len(names))
	for _, name := range names {
		for _, prefix := range []string{"", "__Host-", "__Secure-"} {
			all[prefix+name] = true
		}
	}
	return all
}

// cutCookies takes our own cookies out of the Cookie headers and leaves every other byte of them in place.
func (p *Proxy) cutCookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		pairs := slices.DeleteFunc(strings.Split(line, ";"), p.ourCookie)
		if rest := strings.TrimLeft(strings.Join(pairs, ";"), " \t"); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = kept
}

// ourCookie tells whether a name=value pair is a cookie of ours, whole or a numbered chunk.
func (p *Proxy) ourCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	if p.cookies[name] {
		return true
	}
	base := strings.TrimRight(name, "0123456789")
	return base != name && base != "" && strings.ContainsRune("_-", rune(base[len(base)-1])) && p.cookies[base[:len(base)-1]]
}
