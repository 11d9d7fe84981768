package dagster

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Route is one of the doors of dagster-webserver, the same in 1.10 to 1.13 (its build_routes).
type Route int

// The routes, by what they need to be judged as.
const (
	// Page is index.html for every path that no other route takes, and the few files that lie beside it.
	Page Route = iota
	// GraphQL is /graphql: GET, POST and the WebSocket.
	GraphQL
	// ServerInfo is /server_info and /dagit_info, which probes ask without signing in.
	ServerInfo
	// Static is a build file below /_next/ or /vendor/: it changes nothing and carries nothing of the user's.
	Static
	// Logs is /logs/{path}: what a pipeline printed.
	Logs
	// Notebook is /notebook and /dagit/notebook: an HTML page that pipeline code wrote.
	Notebook
	// DownloadDebug is /download_debug/{run_id}.
	DownloadDebug
	// ReportAsset is POST /report_asset_{materialization,check,observation}/{asset_key}.
	ReportAsset
)

// Path is a request's path, read as Dagster reads it.
type Path struct {
	Route Route
	// Name is the route's own name for limits, metrics and audit: "graphql", "report_asset_materialization".
	Name string
	// Escaped is the spelling to forward, prefix included: canonical for a route of Dagster's that was recognised, as it
	// came for a page (asset keys hold %2F, which only the page's own script reads).
	Escaped string
	// Decoded is Escaped percent-decoded once, without the prefix.
	Decoded string
}

// ErrPath refuses a path that Dagster and a proxy could read differently.
var ErrPath = errors.New("the path has control characters, backslashes, dot segments or invalid escapes: use the address as Dagster shows it")

// ErrOutsidePrefix says that the path does not begin with the path prefix.
var ErrOutsidePrefix = errors.New("outside the path prefix")

// ReadPath reads the path of a request as uvicorn and starlette do: percent-decoded once, nothing cleaned. The prefix has no
// trailing slash and may be empty. It must see the path as it was on the request line (url.URL.EscapedPath).
func ReadPath(u *url.URL, prefix string) (Path, error) {
	if err := checkPath(u.EscapedPath(), u.Path); err != nil {
		return Path{}, err
	}
	decoded, inside := strings.CutPrefix(u.Path, prefix)
	if !inside || !strings.HasPrefix(decoded, "/") {
		return Path{}, ErrOutsidePrefix
	}
	route, name := routeOf(decoded)
	path := Path{Route: route, Name: name, Decoded: decoded, Escaped: (&url.URL{Path: prefix + decoded}).EscapedPath()}
	if route == Page || route == Static {
		path.Escaped = u.EscapedPath()
	}
	return path, nil
}

func checkPath(escaped, decoded string) error {
	if !strings.HasPrefix(escaped, "/") || !utf8.ValidString(decoded) {
		return ErrPath
	}
	again, err := url.PathUnescape(escaped)
	if err != nil || again != decoded {
		return ErrPath
	}
	for _, r := range decoded {
		if unicode.IsControl(r) || r == '\\' {
			return ErrPath
		}
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "." || segment == ".." {
			return ErrPath
		}
	}
	return nil
}

// routeOf matches the decoded path as starlette's patterns do: {path:path} takes anything, nothing too; {run_id:str} takes
// at least one character and no slash; letters count with their case.
func routeOf(decoded string) (Route, string) {
	switch decoded {
	case "/graphql":
		return GraphQL, "graphql"
	case "/server_info", "/dagit_info":
		return ServerInfo, "server_info"
	case "/notebook", "/dagit/notebook":
		return Notebook, "notebook"
	}
	first, rest, deeper := strings.Cut(decoded[1:], "/")
	if !deeper {
		return Page, "page"
	}
	switch first {
	case "report_asset_materialization", "report_asset_check", "report_asset_observation":
		return ReportAsset, first
	case "logs":
		return Logs, first
	case "download_debug":
		if rest != "" && !strings.Contains(rest, "/") {
			return DownloadDebug, first
		}
	case "_next", "vendor":
		return Static, "static"
	}
	return Page, "page"
}
