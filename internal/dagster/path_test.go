package dagster

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestReadPath(t *testing.T) {
	t.Parallel()
	// The left side is what stands on the request line; which of them Dagster runs as which route was measured on 1.13.27
	// and 1.10.0 (POSTs of a mutation that did, or did not, leave its partition key behind).
	tests := []struct {
		line    string
		route   Route
		escaped string
		err     error
	}{
		{"/graphql", GraphQL, "/graphql", nil},
		{"/%67raphql", GraphQL, "/graphql", nil},
		{"/graph%71l", GraphQL, "/graphql", nil},
		{"/graphql/", Page, "/graphql/", nil},
		{"//graphql", Page, "//graphql", nil},
		{"/GRAPHQL", Page, "/GRAPHQL", nil},
		{"/graphql%2F", Page, "/graphql%2F", nil},
		{"/graphql%3F", Page, "/graphql%3F", nil},
		{"/graphql;x", Page, "/graphql;x", nil},
		{"/graphql%20", Page, "/graphql%20", nil},
		{"/%2567raphql", Page, "/%2567raphql", nil},
		{"/graphql%00", 0, "", ErrPath},
		{"/./graphql", 0, "", ErrPath},
		{"/x/../graphql", 0, "", ErrPath},
		{"/x/%2e%2e/graphql", 0, "", ErrPath},
		{"/_next/../graphql", 0, "", ErrPath},
		{`/x\graphql`, 0, "", ErrPath},
		{"/x%5Cgraphql", 0, "", ErrPath},
		{"/%ff", 0, "", ErrPath},
		{"/server_info", ServerInfo, "/server_info", nil},
		{"/dagit_info", ServerInfo, "/dagit_info", nil},
		{"/notebook", Notebook, "/notebook", nil},
		{"/dagit/notebook", Notebook, "/dagit/notebook", nil},
		{"/logs/a/b", Logs, "/logs/a/b", nil},
		{"/logs/a%2Fb", Logs, "/logs/a/b", nil},
		{"/logs", Page, "/logs", nil},
		{"/download_debug/123", DownloadDebug, "/download_debug/123", nil},
		{"/download_debug/123/4", Page, "/download_debug/123/4", nil},
		{"/download_debug/", Page, "/download_debug/", nil},
		{"/report%5Fasset%5Fmaterialization/x", ReportAsset, "/report_asset_materialization/x", nil},
		{"/report_asset_check/enc%2Fkey%20x", ReportAsset, "/report_asset_check/enc/key%20x", nil},
		{"/report_asset_observation/", ReportAsset, "/report_asset_observation/", nil},
		{"//report_asset_materialization/x", Page, "//report_asset_materialization/x", nil},
		{"/report_asset_materialization", Page, "/report_asset_materialization", nil},
		{"/_next/static/x.js", Static, "/_next/static/x.js", nil},
		{"/assets/a%2Fb/c", Page, "/assets/a%2Fb/c", nil},
		{"/", Page, "/", nil},
	}
	for _, test := range tests {
		for _, prefix := range []string{"", "/dag", "/a/b"} {
			u, err := url.ParseRequestURI(prefix + test.line)
			if err != nil {
				t.Fatalf("%s: %v", test.line, err)
			}
			got, err := ReadPath(u, prefix)
			if !errors.Is(err, test.err) || test.err == nil && err != nil {
				t.Errorf("%s: got error %v, want %v", u, err, test.err)
				continue
			}
			want := test.escaped
			if test.err == nil {
				want = prefix + want
			}
			if got.Route != test.route || got.Escaped != want {
				t.Errorf("%s: got route %d as %q, want %d as %q", u, got.Route, got.Escaped, test.route, want)
			}
		}
	}
}

func TestReadPathOutsideThePrefix(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"/", "/dag", "/dagger/graphql", "/graphql", "/DAG/graphql"} {
		u, err := url.ParseRequestURI(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPath(u, "/dag"); !errors.Is(err, ErrOutsidePrefix) {
			t.Errorf("%s: got error %v, want %v", line, err, ErrOutsidePrefix)
		}
	}
}

// FuzzReadPath: what is forwarded reads back, decoded once as Dagster does it, as the route that was judged.
func FuzzReadPath(f *testing.F) {
	for _, line := range []string{"/graphql", "/%67raphql", "/x/%2e%2e/graphql", "/logs/a%2Fb?x", "/dag/report_asset_check/%F0%9F%98%80", "//x", "/a%2Fb;c"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		u, err := url.ParseRequestURI(line)
		if err != nil {
			return
		}
		for _, prefix := range []string{"", "/dag"} {
			path, err := ReadPath(u, prefix)
			if err != nil {
				continue
			}
			decoded, err := url.PathUnescape(path.Escaped)
			if err != nil {
				t.Fatalf("%q forwards %q, which can't be decoded", line, path.Escaped)
			}
			rest, inside := strings.CutPrefix(decoded, prefix)
			route, _ := routeOf(rest)
			if !inside || route != path.Route || decoded != u.Path {
				t.Fatalf("%q is judged as route %d and forwarded as %q, which is route %d", line, path.Route, path.Escaped, route)
			}
			if strings.ContainsAny(path.Escaped, " \x00\r\n\t\\?#") || !strings.HasPrefix(path.Escaped, "/") {
				t.Fatalf("%q is forwarded as %q", line, path.Escaped)
			}
		}
	})
}
