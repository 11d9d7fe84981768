package config

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// leastSecret is 256 bits, the output of the HMAC that the key is for (RFC 2104, section 3: not less than the output).
const leastSecret = 32

// cookieName is the token of RFC 6265, section 4.1.1.
var cookieName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")

func checkCookieName(text string) error {
	if !cookieName.MatchString(text) {
		return fmt.Errorf("%q is no cookie name: write letters, digits, - and _", text)
	}
	if lower := strings.ToLower(text); strings.HasPrefix(lower, "__host-") || strings.HasPrefix(lower, "__secure-") {
		return fmt.Errorf("%q: leave the prefix out, it is added where browsers accept it", text)
	}
	return nil
}

func checkSecretKey(text string) error {
	if len(text) < leastSecret {
		return fmt.Errorf("%d bytes are too few, it needs %d: make one with `openssl rand -base64 48`", len(text), leastSecret)
	}
	return nil
}

// checkMetricsToken refuses what can't stand in an Authorization header, as it could never match.
func checkMetricsToken(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("it has characters that a header can't hold: make one with `openssl rand -base64 32`")
	}
	return nil
}

func durationFrom(text string, least time.Duration) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d < least {
		return 0, fmt.Errorf("%q is too short: write at least %s", text, least)
	}
	return d, err
}

// parseIdle wants twice the minute in which activity is written down at most once, or an active user would be signed out.
func parseIdle(text string) (time.Duration, error) {
	if d, err := parseDuration(text); err != nil || d == 0 {
		return d, err
	}
	return durationFrom(text, 2*time.Minute)
}

func parseCommand(text string) (string, error) {
	if text == "" {
		return "", errors.New("it is empty: write the name or path of dagster-webserver")
	}
	return text, nil
}

func parseMaxBody(text string) (int64, error) {
	n, err := parseSize(text)
	if err == nil && (n < 1<<10 || n > 1<<30) {
		return 0, fmt.Errorf("%q is out of range: write a size from 1KiB to 1GiB", text)
	}
	return n, err
}

// parseBackends reads the ways to sign in, in their order, by our names and those of the Python AuthKit.
func parseBackends(text string) ([]string, error) {
	names := map[string]string{
		"sqlite": BackendLocal, "local": BackendLocal, "sql": BackendLocal, "ldap": BackendLDAP,
		"oidc": BackendOIDC, "oauth": BackendOIDC, "header": BackendHeader, "proxy": BackendHeader, "dummy": BackendDummy,
	}
	var backends []string
	for word := range strings.SplitSeq(text, ",") {
		backend, known := names[strings.ToLower(strings.TrimSpace(word))]
		switch {
		case !known:
			return nil, fmt.Errorf("%q is no backend: write sqlite, ldap, oidc, header or dummy, or several with commas between", strings.TrimSpace(word))
		case slices.Contains(backends, backend):
			return nil, fmt.Errorf("%q names a backend twice: leave one of them out", text)
		}
		backends = append(backends, backend)
	}
	if len(backends) > 1 && slices.Contains(backends, BackendDummy) {
		return nil, fmt.Errorf("%q: the dummy backend stands alone, as everybody knows its passwords", text)
	}
	return backends, nil
}

func parseCookieSecure(text string) (CookieSecure, error) {
	if strings.EqualFold(text, string(SecureAuto)) {
		return SecureAuto, nil
	}
	on, err := parseBool(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q is none of auto, true and false", text)
	case on:
		return SecureAlways, nil
	}
	return SecureNever, nil
}

func parseSameSite(text string) (http.SameSite, error) {
	switch strings.ToLower(text) {
	case "lax":
		return http.SameSiteLaxMode, nil
	case "strict":
		return http.SameSiteStrictMode, nil
	case "none":
		return 0, fmt.Errorf("%q would send the cookie along with other sites' requests: write lax or strict", text)
	}
	return 0, fmt.Errorf("%q is neither lax nor strict", text)
}
