package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// hostName is a name as DNS and /etc/hosts have them; underscores stand in the names of Docker Compose services.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?$`)

// prefixSegment is one segment of a path prefix. Only characters that read the same in a URL, a cookie's Path, HTML and
// Starlette's route templates are taken; Dagster itself would accept some that then break its pages.
var prefixSegment = regexp.MustCompile(`^[A-Za-z0-9._~@:+-]+$`)

// parseHost reads the address to listen on: a name or an IP address, without a port.
func parseHost(text string) (string, error) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return text, nil
	}
	if !hostName.MatchString(text) {
		return "", fmt.Errorf("%q is no host: write a name or an IP address alone (0.0.0.0 for every one of this machine's); the port is --port", text)
	}
	return text, nil
}

// isLoopback reports whether host can only be reached from this machine. RFC 6761, section 6.3, reserves localhost for that.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// parsePathPrefix has the rules of dagster-webserver (dagster_webserver/app.py, 1.10 to 1.13: a leading slash, no
// trailing one) and says what to write instead.
func parsePathPrefix(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	wanted := "/" + strings.Trim(text, "/")
	if wanted == "/" {
		return "", errors.New(`"/" is no prefix: leave it out to serve at the root`)
	}
	for segment := range strings.SplitSeq(wanted[1:], "/") {
		if !prefixSegment.MatchString(segment) || segment == "." || segment == ".." {
			return "", fmt.Errorf("%q is no path prefix: write something like /dagster, of letters, digits and - . _ ~", text)
		}
	}
	if text != wanted {
		return "", fmt.Errorf("%q must begin with a slash and not end with one: write %s", text, wanted)
	}
	return text, nil
}

// parseBaseURL reads scheme://host[:port], and keeps the path for checkBasePath, which needs the path prefix.
func parseBaseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		// The text is not shown: it may hold a password.
		return nil, errors.New("it is no URL of a web server: write something like https://dagster.example.com")
	case u.User != nil:
		return nil, errors.New("a user name or password in the URL is not used: leave it out")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%q has a query or a fragment: leave it out", text)
	}
	// Browsers write an Origin in lower case and without the scheme's own port (RFC 6454, section 6.1), and it is
	// compared with this.
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" || port == "" {
		u.Host = strings.TrimSuffix(strings.TrimSuffix(u.Host, port), ":")
	}
	return u, nil
}

// checkBasePath says what is wrong when the URL's path is not the path prefix. No path at all is right with any prefix.
func checkBasePath(u *url.URL, prefix string) error {
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if path == "" || path == prefix {
		return nil
	}
	if prefix == "" {
		return fmt.Errorf("its path is %q but there is no path prefix: add --path-prefix %s, or leave the path out", path, path)
	}
	return fmt.Errorf("its path is %q but the path prefix is %q: make them the same, or leave the path out", path, prefix)
}
