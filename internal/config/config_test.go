package config

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// defaults are those of design.md, section 8, of dagster-webserver 1.13.27 --help, and of issue 3.
func defaults() Config {
	return Config{
		Host: "127.0.0.1", Port: 3000, Backends: []string{"local"}, Database: "./dagster_auth.db", DatabaseSchema: "authkit", DatabaseConnections: 10, AuditRetention: 365 * 24 * time.Hour, AdminUser: "admin",
		SessionMaxAge: 24 * time.Hour, CookieName: "dagster_authkit", CookieSecure: "auto", CookieSameSite: http.SameSiteLaxMode,
		ServiceTokenHeader: "Dagster-Cloud-Api-Token", ServiceTokenUser: "service-token", ServiceTokenRole: "viewer", TokenOwnerAge: 30 * 24 * time.Hour,
		RunUserTag: "user", ProtectedTags: []string{"dagster-k8s/*", "dagster-celery*", "ecs/*", "docker/*", "dagster/image", ".dagster/grpc_info"}, ProtectedTagsRole: "editor",
		RefreshInterval: 15 * time.Minute, OIDCUnchecked: 8 * time.Hour, RateLimit: true, RateLimitAttempts: 5, RateLimitWindow: 300 * time.Second, RequestLimit: 5000, SocketLimit: 100, MaxBody: 10 * 1024 * 1024, StaticCacheSize: 64 << 20, Coalesce: true,
		Proxy: Proxy{
			UserHeader: "Remote-User", GroupsHeader: "Remote-Groups", EmailHeader: "Remote-Email", NameHeader: "Remote-Name",
			UserClaim: "email", GroupsClaim: "groups",
		},
		AuditLog: true, LogLevel: zerolog.InfoLevel, WebserverCommand: "dagster-webserver", ShutdownGrace: 10 * time.Second,
		LDAP: LDAP{
			Preset: "openldap", UserFilter: "(uid={username})", SubjectAttribute: "entryUUID", NameAttribute: "uid", EmailAttribute: "mail",
			FullName: []string{"displayName", "cn"}, Groups: "search", GroupFilter: "(|(member={dn})(uniqueMember={dn})(memberUid={username}))",
			Timeout: 10 * time.Second,
		},
	}
}

func TestLoadReadsSettings(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 32)
	for name, tc := range map[string]struct {
		flags Values
		env   []string
		want  func(c *Config)
	}{
		"nothing given":                  {want: func(*Config) {}},
		"empty values are not given":     {env: []string{"DAGSTER_AUTH_BACKEND=", "DAGSTER_WEBSERVER_PORT="}, want: func(*Config) {}},
		"host from dagster's variable":   {env: []string{"DAGSTER_WEBSERVER_HOST=0.0.0.0"}, want: func(c *Config) { c.Host = "0.0.0.0" }},
		"host from dagit's variable":     {env: []string{"DAGIT_HOST=0.0.0.0"}, want: func(c *Config) { c.Host = "0.0.0.0" }},
		"the new name is before the old": {env: []string{"DAGIT_PORT=1", "DAGSTER_WEBSERVER_PORT=2"}, want: func(c *Config) { c.Port = 2 }},
		"a flag is before the environment": {
			flags: Values{"port": "3"}, env: []string{"DAGSTER_WEBSERVER_PORT=2"}, want: func(c *Config) { c.Port = 3 },
		},
		"an empty flag is given": {
			flags: Values{"path-prefix": ""}, env: []string{"DAGSTER_WEBSERVER_PATH_PREFIX=/a"}, want: func(*Config) {},
		},
		"the first of two entries counts": {env: []string{"DAGSTER_WEBSERVER_PORT=1", "DAGSTER_WEBSERVER_PORT=2"}, want: func(c *Config) { c.Port = 1 }},
		"the way to Dagster": {
			flags: Values{"coalesce": "false", "upstream-places": "8"},
			want:  func(c *Config) { c.Coalesce, c.UpstreamPlaces = false, 8 },
		},
		"any free port":            {flags: Values{"port": "0"}, want: func(c *Config) { c.Port = 0 }},
		"IPv6 in brackets":         {flags: Values{"host": "[::1]"}, want: func(c *Config) { c.Host = "::1" }},
		"a prefix of two segments": {flags: Values{"path-prefix": "/a/b-c"}, want: func(c *Config) { c.PathPrefix = "/a/b-c" }},
		"backend local":            {env: []string{"DAGSTER_AUTH_BACKEND=local"}, want: func(*Config) {}},
		"backend SQL":              {env: []string{"DAGSTER_AUTH_BACKEND=SQL"}, want: func(*Config) {}},
		"backend dummy":            {env: []string{"DAGSTER_AUTH_BACKEND=dummy"}, want: func(c *Config) { c.Backends = []string{"dummy"} }},
		"backends in order": {
			env: []string{
				"DAGSTER_AUTH_BACKEND=LDAP, oauth,proxy,sqlite", "DAGSTER_AUTH_PROXY_TRUSTED_IPS=10.0.0.1 10.0.0.2", "DAGSTER_AUTH_DEFAULT_ROLE=viewer",
				"DAGSTER_AUTH_LDAP_SERVER=ldaps://x", "DAGSTER_AUTH_LDAP_BASE_DN=ou=p,dc=x",
				"DAGSTER_AUTH_EXTERNAL_URL=https://dagster.example.com", "DAGSTER_AUTH_OIDC_PRESET=google", "DAGSTER_AUTH_OIDC_CLIENT_ID=x",
			},
			want: func(c *Config) {
				c.Backends, c.DefaultRole = []string{"ldap", "oidc", "header", "local"}, "viewer"
				c.TrustedProxies = prefixes("10.0.0.1/32", "10.0.0.2/32")
				c.LDAP.Servers, c.LDAP.BaseDN, c.LDAP.GroupBaseDN = []string{"ldaps://x:636"}, "ou=p,dc=x", "dc=x"
				c.ExternalURL = &url.URL{Scheme: "https", Host: "dagster.example.com"}
				c.OIDC = []OIDCProvider{{ID: "google", Preset: "google", ClientID: "x"}}
			},
		},
		"roles from elsewhere": {
			env: []string{"DAGSTER_AUTH_DEFAULT_ROLE=Viewer", "DAGSTER_AUTH_CONTACT=the data platform team", "DAGSTER_AUTH_REFRESH_INTERVAL=60"},
			want: func(c *Config) {
				c.DefaultRole, c.Contact, c.RefreshInterval = "viewer", "the data platform team", time.Minute
			},
		},
		"dummy for everyone": {
			flags: Values{"allow-insecure-dummy": "true", "host": "0.0.0.0"}, env: []string{"DAGSTER_AUTH_BACKEND=dummy"},
			want: func(c *Config) { c.Backends, c.Host, c.AllowInsecureDummy = []string{"dummy"}, "0.0.0.0", true },
		},
		"database":               {env: []string{"DAGSTER_AUTH_DB=/data/x.db"}, want: func(c *Config) { c.Database = "/data/x.db" }},
		"database URL is first":  {env: []string{"DAGSTER_AUTH_DB=/data/x.db", "DAGSTER_AUTH_DATABASE_URL=sqlite:///y.db"}, want: func(c *Config) { c.Database = "y.db" }},
		"the flag is before all": {flags: Values{"db": "z.db"}, env: []string{"DAGSTER_AUTH_DATABASE_URL=sqlite:///y.db"}, want: func(c *Config) { c.Database = "z.db" }},
		"seconds and durations": {
			env: []string{"DAGSTER_AUTH_SESSION_MAX_AGE=3600", "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT=30m", "DAGSTER_AUTH_RATE_LIMIT_WINDOW=1h30m"},
			want: func(c *Config) {
				c.SessionMaxAge, c.SessionIdleTimeout, c.RateLimitWindow = time.Hour, 30*time.Minute, 90*time.Minute
			},
		},
		"secret key": {env: []string{"DAGSTER_AUTH_SECRET_KEY=" + key}, want: func(c *Config) { c.SecretKey = NewSecret(key) }},
		"cookie": {env: []string{"DAGSTER_AUTH_COOKIE_NAME=x-y", "DAGSTER_AUTH_COOKIE_SECURE=True", "DAGSTER_AUTH_COOKIE_SAMESITE=Strict"}, want: func(c *Config) {
			c.CookieName, c.CookieSecure, c.CookieSameSite = "x-y", "true", http.SameSiteStrictMode
		}},
		"switched off":       {env: []string{"DAGSTER_AUTH_RATE_LIMIT=false", "DAGSTER_AUTH_AUDIT_LOG=off", "DAGSTER_AUTH_REQUEST_LIMIT=0"}, want: func(c *Config) { c.RateLimit, c.AuditLog, c.RequestLimit = false, false, 0 }},
		"Python's log level": {env: []string{"DAGSTER_AUTH_LOG_LEVEL=WARNING"}, want: func(c *Config) { c.LogLevel = zerolog.WarnLevel }},
		"proxies": {
			env:  []string{"DAGSTER_AUTH_TRUSTED_PROXIES=10.1.2.3/8, 192.168.1.4 ::ffff:1.2.3.4,fd00::/8"},
			want: func(c *Config) { c.TrustedProxies = prefixes("10.0.0.0/8", "192.168.1.4/32", "1.2.3.4/32", "fd00::/8") },
		},
		"external URL": {
			flags: Values{"path-prefix": "/dag"}, env: []string{"DAGSTER_AUTH_EXTERNAL_URL=https://Dagster.Example.com:443/dag/"},
			want: func(c *Config) {
				c.PathPrefix, c.ExternalURL = "/dag", &url.URL{Scheme: "https", Host: "dagster.example.com"}
			},
		},
		"upstream here":   {flags: Values{"upstream": "http://localhost:3001"}, want: func(c *Config) { c.Upstream = &url.URL{Scheme: "http", Host: "localhost:3001"} }},
		"upstream by TLS": {flags: Values{"upstream": "https://d.example.com/"}, want: func(c *Config) { c.Upstream = &url.URL{Scheme: "https", Host: "d.example.com"} }},
		"upstream in clear": {
			flags: Values{"upstream": "http://d:3000", "upstream-insecure": "true"},
			want:  func(c *Config) { c.Upstream, c.UpstreamInsecure = &url.URL{Scheme: "http", Host: "d:3000"}, true },
		},
		"child": {
			flags: Values{"webserver-command": "/opt/dw", "child-port": "4000", "child-user": "dagster", "shutdown-grace": "30", "max-body": "512KiB"},
			want: func(c *Config) {
				c.WebserverCommand, c.ChildPort, c.ChildUser, c.ShutdownGrace, c.MaxBody = "/opt/dw", 4000, "dagster", 30*time.Second, 512*1024
			},
		},
		"first admin":        {env: []string{"DAGSTER_AUTH_ADMIN_USER=root", "DAGSTER_AUTH_ADMIN_PASSWORD=pw"}, want: func(c *Config) { c.AdminUser, c.AdminPassword = "root", NewSecret("pw") }},
		"roles as they are":  {env: []string{"DAGSTER_AUTH_UNKNOWN_MUTATION_ROLE=ADMIN", "DAGSTER_AUTH_REST_WRITE_ROLE=EDITOR"}, want: func(*Config) {}},
		"a service's names":  {env: []string{"DAGSTER_AUTH_PORT=tcp://10.0.0.1:80", "DAGSTER_AUTH_SERVICE_HOST=10.0.0.1", "DAGSTER_AUTH_PORT_80_TCP_ADDR=10.0.0.1", "DAGSTER_AUTH_POSTGRES_SERVICE_PORT_HTTP=80"}, want: func(*Config) {}},
		"others' variables":  {env: []string{"DAGSTER_HOME=/x", "DAGSTER_AUTHKIT_X=1", "no equals sign"}, want: func(*Config) {}},
		"report only":        {flags: Values{"report-only": "true"}, want: func(c *Config) { c.ReportOnly = true }},
		"no tag of the user": {env: []string{"DAGSTER_AUTH_RUN_USER_TAG="}, want: func(c *Config) { c.RunUserTag = "" }},
		"tags": {
			env: []string{"DAGSTER_AUTH_RUN_USER_TAG=who", "DAGSTER_AUTH_PROTECTED_TAGS=a/*, b,,a/*", "DAGSTER_AUTH_PROTECTED_TAGS_ROLE=Launcher"},
			want: func(c *Config) {
				c.RunUserTag, c.ProtectedTags, c.ProtectedTagsRole = "who", []string{"a/*", "b"}, "launcher"
			},
		},
		"protected tags can't be emptied": {env: []string{"DAGSTER_AUTH_PROTECTED_TAGS="}, want: func(*Config) {}},
		"the metrics' token":              {env: []string{"DAGSTER_AUTH_METRICS_TOKEN=abc"}, want: func(c *Config) { c.MetricsToken = NewSecret("abc") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := defaults()
			tc.want(&want)
			got, warnings, err := Load(Source{Flags: tc.flags, Environ: tc.env})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load: error %v, warnings %v, want none", err, warnings)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
		})
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags Values
		env   string
		args  []string
		want  string // begins with the setting's name, and says what to write
	}{
		"port":                {flags: Values{"port": "80a"}, want: `--port: "80a" is no whole number from 0 to 65535`},
		"port too large":      {env: "DAGSTER_WEBSERVER_PORT=65536", want: "DAGSTER_WEBSERVER_PORT: "},
		"host with a port":    {flags: Values{"host": "localhost:80"}, want: "--host: "},
		"empty host":          {flags: Values{"host": ""}, want: "--host: "},
		"host is a URL":       {flags: Values{"host": "http://x"}, want: "--host: "},
		"prefix unrooted":     {flags: Values{"path-prefix": "dag"}, want: `--path-prefix: "dag" must begin with a slash and not end with one: write /dag`},
		"prefix trailing":     {flags: Values{"path-prefix": "/dag/"}, want: "--path-prefix: \"/dag/\" must"},
		"prefix is root":      {flags: Values{"path-prefix": "/"}, want: "--path-prefix: "},
		"prefix with dots":    {flags: Values{"path-prefix": "/a/../b"}, want: "--path-prefix: "},
		"prefix with quote":   {flags: Values{"path-prefix": `/a"b`}, want: "--path-prefix: "},
		"prefix template":     {flags: Values{"path-prefix": "/{x}"}, want: "--path-prefix: "},
		"prefix escaped":      {flags: Values{"path-prefix": "/a%2fb"}, want: "--path-prefix: "},
		"prefix two slashes":  {flags: Values{"path-prefix": "/a//b"}, want: "--path-prefix: "},
		"backend twice":       {env: "DAGSTER_AUTH_BACKEND=sqlite,local", want: `DAGSTER_AUTH_BACKEND: "sqlite,local" names a backend twice`},
		"backend missing":     {env: "DAGSTER_AUTH_BACKEND=ldap,", want: `DAGSTER_AUTH_BACKEND: "" is no backend`},
		"dummy and another":   {env: "DAGSTER_AUTH_BACKEND=dummy,sqlite", want: `DAGSTER_AUTH_BACKEND: "dummy,sqlite": the dummy backend stands alone`},
		"default role":        {env: "DAGSTER_AUTH_DEFAULT_ROLE=boss", want: `DAGSTER_AUTH_DEFAULT_ROLE: "boss" is no role`},
		"contact":             {env: "DAGSTER_AUTH_CONTACT=a\nb", want: "DAGSTER_AUTH_CONTACT: it is too long or no text"},
		"refresh too often":   {env: "DAGSTER_AUTH_REFRESH_INTERVAL=1s", want: `DAGSTER_AUTH_REFRESH_INTERVAL: "1s" is too short`},
		"backend unknown":     {env: "DAGSTER_AUTH_BACKEND=ldpa", want: `DAGSTER_AUTH_BACKEND: "ldpa" is no backend`},
		"postgres":            {env: "DAGSTER_AUTH_DATABASE_URL=postgres://u:hunter2@h/d", want: "DAGSTER_AUTH_SECRET_KEY is needed with PostgreSQL, the same for all instances: make one with: openssl rand"},
		"postgres URL":        {env: "DAGSTER_AUTH_DATABASE_URL=postgres://u:hunter2%zz@h/d", want: "DAGSTER_AUTH_DATABASE_URL: it is no URL"},
		"schema":              {env: "DAGSTER_AUTH_DATABASE_SCHEMA=a b", want: "DAGSTER_AUTH_DATABASE_SCHEMA: "},
		"connections":         {env: "DAGSTER_AUTH_DB_MAX_CONNECTIONS=1", want: "DAGSTER_AUTH_DB_MAX_CONNECTIONS: "},
		"retention":           {env: "DAGSTER_AUTH_AUDIT_RETENTION=1h", want: "DAGSTER_AUTH_AUDIT_RETENTION: "},
		"mysql":               {env: "DAGSTER_AUTH_DATABASE_URL=mysql+pymysql://u:hunter2@h/d", want: "DAGSTER_AUTH_DATABASE_URL: mysql+pymysql databases are not supported"},
		"user tag of Dagster": {env: "DAGSTER_AUTH_RUN_USER_TAG=dagster/user", want: `DAGSTER_AUTH_RUN_USER_TAG: "dagster/user": tags that begin with dagster/ are Dagster's own`},
		"user tag protected":  {env: "DAGSTER_AUTH_RUN_USER_TAG=ecs/user", want: `DAGSTER_AUTH_RUN_USER_TAG: "ecs/user" is a protected tag (ecs/*)`},
		"user tag too long":   {env: "DAGSTER_AUTH_RUN_USER_TAG=" + strings.Repeat("é", 256), want: "DAGSTER_AUTH_RUN_USER_TAG: the tag is too long"},
		"user tag of control": {env: "DAGSTER_AUTH_RUN_USER_TAG=a\tb", want: `DAGSTER_AUTH_RUN_USER_TAG: "a\tb" is no tag`},
		"no protected tags":   {env: "DAGSTER_AUTH_PROTECTED_TAGS=,", want: "DAGSTER_AUTH_PROTECTED_TAGS: there is no tag in it"},
		"protected: control":  {env: "DAGSTER_AUTH_PROTECTED_TAGS=a,b\x7f", want: `DAGSTER_AUTH_PROTECTED_TAGS: "b\x7f" is no tag`},
		"protected: role":     {env: "DAGSTER_AUTH_PROTECTED_TAGS_ROLE=operator", want: `DAGSTER_AUTH_PROTECTED_TAGS_ROLE: unknown role "operator": use viewer`},
		"memory":              {flags: Values{"db": ":memory:"}, want: "--db: the database must be a file"},
		"no file":             {flags: Values{"db": ""}, want: "--db: it names no file"},
		"a folder":            {env: "DAGSTER_AUTH_DB=/data/", want: "DAGSTER_AUTH_DB: "},
		"short key":           {env: "DAGSTER_AUTH_SECRET_KEY=hunter2", want: "DAGSTER_AUTH_SECRET_KEY: 7 bytes are too few, it needs 32: make one with `openssl rand -base64 48`"},
		"age":                 {env: "DAGSTER_AUTH_SESSION_MAX_AGE=1d", want: "DAGSTER_AUTH_SESSION_MAX_AGE: \"1d\" is no duration: write seconds (86400)"},
		"age zero":            {env: "DAGSTER_AUTH_SESSION_MAX_AGE=0", want: "DAGSTER_AUTH_SESSION_MAX_AGE: \"0\" is too short: write at least 1m0s"},
		"age negative":        {env: "DAGSTER_AUTH_SESSION_MAX_AGE=-5", want: "DAGSTER_AUTH_SESSION_MAX_AGE: \"-5\" is negative"},
		"age overflows":       {env: "DAGSTER_AUTH_SESSION_MAX_AGE=9223372036854775807", want: "DAGSTER_AUTH_SESSION_MAX_AGE: "},
		"idle too short":      {env: "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT=60", want: "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT: \"60\" is too short: write at least 2m0s"},
		"attempts":            {env: "DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS=0", want: "DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS: "},
		"requests":            {env: "DAGSTER_AUTH_REQUEST_LIMIT=-1", want: "DAGSTER_AUTH_REQUEST_LIMIT: \"-1\" is no whole number from 0 to 1000000"},
		"boolean":             {env: "DAGSTER_AUTH_AUDIT_LOG=maybe", want: `DAGSTER_AUTH_AUDIT_LOG: "maybe" is neither yes nor no`},
		"cookie name":         {env: "DAGSTER_AUTH_COOKIE_NAME=a b", want: "DAGSTER_AUTH_COOKIE_NAME: "},
		"cookie prefix":       {env: "DAGSTER_AUTH_COOKIE_NAME=__Host-x", want: "DAGSTER_AUTH_COOKIE_NAME: "},
		"cookie secure":       {env: "DAGSTER_AUTH_COOKIE_SECURE=maybe", want: "DAGSTER_AUTH_COOKIE_SECURE: "},
		"same site none":      {env: "DAGSTER_AUTH_COOKIE_SAMESITE=None", want: `DAGSTER_AUTH_COOKIE_SAMESITE: "None" would send`},
		"proxies":             {env: "DAGSTER_AUTH_TRUSTED_PROXIES=10.0.0.0/8,x,10.0.0.0/33", want: `DAGSTER_AUTH_TRUSTED_PROXIES: "x", "10.0.0.0/33": not an address`},
		"external URL":        {env: "DAGSTER_AUTH_EXTERNAL_URL=dagster.example.com", want: "DAGSTER_AUTH_EXTERNAL_URL: it is no URL"},
		"external path":       {env: "DAGSTER_AUTH_EXTERNAL_URL=https://x/dag", want: `DAGSTER_AUTH_EXTERNAL_URL: its path is "/dag" but there is no path prefix: add --path-prefix /dag`},
		"external query":      {env: "DAGSTER_AUTH_EXTERNAL_URL=https://x/?a=b", want: "DAGSTER_AUTH_EXTERNAL_URL: "},
		"external user":       {env: "DAGSTER_AUTH_EXTERNAL_URL=https://u:hunter2@x/", want: "DAGSTER_AUTH_EXTERNAL_URL: a user name or password"},
		"upstream in clear":   {flags: Values{"upstream": "http://d:3000"}, want: "--upstream: plain http to another machine can be read"},
		"upstream and child":  {flags: Values{"upstream": "https://d"}, args: []string{"-f", "x.py"}, want: `--upstream: no dagster-webserver is started, so there is nothing to pass "-f" to`},
		"child port":          {flags: Values{"child-port": "3000"}, want: "--child-port: 3000 is AuthKit's own port"},
		"grace":               {flags: Values{"shutdown-grace": "soon"}, want: "--shutdown-grace: "},
		"body":                {flags: Values{"max-body": "10 apples"}, want: "--max-body: "},
		"no places":           {flags: Values{"upstream-places": "-1"}, want: "--upstream-places: "},
		"coalesce perhaps":    {flags: Values{"coalesce": "perhaps"}, want: "--coalesce: "},
		"body too small":      {flags: Values{"max-body": "1"}, want: "--max-body: "},
		"command":             {flags: Values{"webserver-command": ""}, want: "--webserver-command: it is empty"},
		"level":               {env: "DAGSTER_AUTH_LOG_LEVEL=loud", want: "DAGSTER_AUTH_LOG_LEVEL: "},
		"admin name":          {env: "DAGSTER_AUTH_ADMIN_USER=a\tb", want: "DAGSTER_AUTH_ADMIN_USER: "},
		"metrics token":       {env: "DAGSTER_AUTH_METRICS_TOKEN=hunter2 hunter2", want: "DAGSTER_AUTH_METRICS_TOKEN: "},
		"service token":       {env: "DAGSTER_AUTH_SERVICE_TOKEN=hunter2", want: "DAGSTER_AUTH_SERVICE_TOKEN: 7 characters are too few, it needs 32"},
		"service token blank": {env: "DAGSTER_AUTH_SERVICE_TOKEN=hunter2\t" + strings.Repeat("k", 32), want: "DAGSTER_AUTH_SERVICE_TOKEN: it has characters"},
		"service token, ours": {env: "DAGSTER_AUTH_SERVICE_TOKEN=dak_" + strings.Repeat("k", 32), want: "DAGSTER_AUTH_SERVICE_TOKEN: tokens of create-token"},
		"service header":      {env: "DAGSTER_AUTH_SERVICE_TOKEN_HEADER=Cookie", want: `DAGSTER_AUTH_SERVICE_TOKEN_HEADER: "Cookie" can't be`},
		"service header name": {env: "DAGSTER_AUTH_SERVICE_TOKEN_HEADER=X Token", want: `DAGSTER_AUTH_SERVICE_TOKEN_HEADER: "X Token" can't be`},
		"service role":        {env: "DAGSTER_AUTH_SERVICE_TOKEN_ROLE=boss", want: `DAGSTER_AUTH_SERVICE_TOKEN_ROLE: "boss" is no role`},
		"service user":        {env: "DAGSTER_AUTH_SERVICE_TOKEN_USER=a\tb", want: "DAGSTER_AUTH_SERVICE_TOKEN_USER: it is too long"},
		"configuration file":  {env: "DAGSTER_AUTH_CONFIG=/etc/x.yaml", want: "DAGSTER_AUTH_CONFIG: open /etc/x.yaml"},
		"a stricter role":     {env: "DAGSTER_AUTH_REST_WRITE_ROLE=ADMIN", want: "DAGSTER_AUTH_REST_WRITE_ROLE: the /report_asset_ routes need editor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Load(Source{Flags: tc.flags, Environ: []string{tc.env}, ChildArgs: tc.args})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("Load: got error %v, want one that begins with %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("Load: error %q holds a secret or more than one line", err)
			}
		})
	}
}

func TestLoadReportsAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := Load(Source{
		Flags:   Values{"port": "x", "host": "0.0.0.0"},
		Environ: []string{"DAGSTER_AUTH_BACKEND=dummy", "DAGSTER_AUTH_SECRET_KEY=short", "DAGSTER_AUTH_CONFIG=x"},
	})
	if err == nil {
		t.Fatal("Load: got no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"DAGSTER_AUTH_CONFIG", "--port", "DAGSTER_AUTH_SECRET_KEY", "DAGSTER_AUTH_BACKEND: the dummy backend"} {
		if len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of %q: want it to begin with %q", i, lines, want)
		}
	}
}

func TestLoadWarns(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags Values
		env   []string
		want  string
	}{
		"kubernetes' port":    {env: []string{"DAGSTER_WEBSERVER_PORT=tcp://10.0.0.1:80"}, want: "DAGSTER_WEBSERVER_PORT=tcp://10.0.0.1:80 is ignored: Kubernetes sets it"},
		"kubernetes' dagit":   {env: []string{"DAGIT_PORT=tcp://10.0.0.1:80"}, want: "DAGIT_PORT=tcp"},
		"a typing error":      {env: []string{"DAGSTER_AUTH_COOKIE_SECRUE=true"}, want: "DAGSTER_AUTH_COOKIE_SECRUE is not a setting and is ignored: did you mean DAGSTER_AUTH_COOKIE_SECURE?"},
		"something unknown":   {env: []string{"DAGSTER_AUTH_XYZZY=1"}, want: "DAGSTER_AUTH_XYZZY is not a setting and is ignored: see"},
		"redis":               {env: []string{"DAGSTER_AUTH_REDIS_URL=redis://:hunter2@x"}, want: "DAGSTER_AUTH_REDIS_URL is not needed and ignored"},
		"a laxer role":        {env: []string{"DAGSTER_AUTH_UNKNOWN_MUTATION_ROLE=VIEWER"}, want: "DAGSTER_AUTH_UNKNOWN_MUTATION_ROLE is ignored"},
		"no service token":    {env: []string{"DAGSTER_AUTH_SERVICE_TOKEN_ROLE=ADMIN"}, want: "DAGSTER_AUTH_SERVICE_TOKEN_ROLE does nothing"},
		"a powerful token":    {env: []string{"DAGSTER_AUTH_SERVICE_TOKEN=hunter2" + strings.Repeat("k", 32), "DAGSTER_AUTH_SERVICE_TOKEN_ROLE=ADMIN"}, want: "whoever has DAGSTER_AUTH_SERVICE_TOKEN is admin"},
		"ldap":                {env: []string{"DAGSTER_AUTH_LDAP_SERVER=ldap://x"}, want: "DAGSTER_AUTH_LDAP_SERVER does nothing without the ldap backend"},
		"no secret":           {env: []string{"DAGSTER_AUTH_BACKEND_FILE=/x"}, want: "DAGSTER_AUTH_BACKEND_FILE is ignored: only secrets"},
		"admin, no password":  {env: []string{"DAGSTER_AUTH_ADMIN_USER=root"}, want: "DAGSTER_AUTH_ADMIN_USER does nothing"},
		"everyone is trusted": {env: []string{"DAGSTER_AUTH_TRUSTED_PROXIES=0.0.0.0/0"}, want: "DAGSTER_AUTH_TRUSTED_PROXIES: 0.0.0.0/0 lets every client"},
		"an eighth of IPv6":   {env: []string{"DAGSTER_AUTH_TRUSTED_PROXIES=2000::/3"}, want: "DAGSTER_AUTH_TRUSTED_PROXIES: 2000::/3 lets every client"},
		"everyone an admin":   {env: []string{"DAGSTER_AUTH_DEFAULT_ROLE=admin"}, want: "DAGSTER_AUTH_DEFAULT_ROLE: everybody whom"},
		"cookie in clear":     {env: []string{"DAGSTER_AUTH_EXTERNAL_URL=https://x", "DAGSTER_AUTH_COOKIE_SECURE=false"}, want: "DAGSTER_AUTH_COOKIE_SECURE=false lets"},
		"cookie dropped":      {env: []string{"DAGSTER_AUTH_EXTERNAL_URL=http://x", "DAGSTER_AUTH_COOKIE_SECURE=true"}, want: "DAGSTER_AUTH_COOKIE_SECURE=true with"},
		"no upstream":         {flags: Values{"upstream-insecure": "true"}, want: "--upstream-insecure does nothing"},
		"password on a command line": {
			flags: Values{"db": "postgres://u:hunter2@h/d"}, env: []string{"DAGSTER_AUTH_SECRET_KEY=" + strings.Repeat("x", 40)},
			want: "--db has a password, which other users of this machine can read",
		},
		"password for pipelines": {
			env:  []string{"DAGSTER_AUTH_DATABASE_URL=postgres://u@h/d", "PGPASSWORD=hunter2", "DAGSTER_AUTH_SECRET_KEY=" + strings.Repeat("x", 40)},
			want: "PGPASSWORD reaches dagster-webserver",
		},
		"no child": {flags: Values{"upstream": "https://x", "child-port": "1"}, want: "--child-port does nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := Load(Source{Flags: tc.flags, Environ: tc.env})
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			if len(warnings) != 1 || !strings.HasPrefix(string(warnings[0]), tc.want) || strings.Contains(string(warnings[0]), "hunter2") {
				t.Errorf("Load: got warnings %q, want one that begins with %q", warnings, tc.want)
			}
		})
	}
}

func TestLoadReadsSecretsFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", "pass word \n\n")
	for name, tc := range map[string]struct {
		env  []string
		want string // the password, or the error's beginning
		bad  bool
	}{
		"one line ending goes":  {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + good}, want: "pass word \n"},
		"a Windows line ending": {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + write("crlf", "pw\r\n")}, want: "pw"},
		"an empty value":        {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + good, "DAGSTER_AUTH_ADMIN_PASSWORD="}, want: "pass word \n"},
		"both":                  {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + good, "DAGSTER_AUTH_ADMIN_PASSWORD=x"}, want: "DAGSTER_AUTH_ADMIN_PASSWORD and DAGSTER_AUTH_ADMIN_PASSWORD_FILE are both given", bad: true},
		"missing":               {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + dir + "/none"}, want: "DAGSTER_AUTH_ADMIN_PASSWORD_FILE: open ", bad: true},
		"empty":                 {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + write("empty", "\n")}, want: "DAGSTER_AUTH_ADMIN_PASSWORD_FILE: ", bad: true},
		"too large":             {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=" + write("large", strings.Repeat("x", 1<<17))}, want: "DAGSTER_AUTH_ADMIN_PASSWORD_FILE: ", bad: true},
		"endless":               {env: []string{"DAGSTER_AUTH_ADMIN_PASSWORD_FILE=/dev/zero"}, want: "DAGSTER_AUTH_ADMIN_PASSWORD_FILE: ", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := Load(Source{Environ: tc.env})
			if tc.bad && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
				t.Errorf("Load: got error %v, want one that begins with %q", err, tc.want)
			}
			if !tc.bad && (err != nil || got.AdminPassword.Reveal() != tc.want) {
				t.Errorf("Load: got %q and error %v, want %q", got.AdminPassword.Reveal(), err, tc.want)
			}
		})
	}
}

func TestParseDatabase(t *testing.T) {
	t.Parallel()
	// The URLs are those of SQLAlchemy's documentation ("Database URLs", SQLite), which peewee reads alike.
	for text, want := range map[string]string{
		"users.db": "users.db", "/var/lib/users.db": "/var/lib/users.db", "sqlite:///foo.db": "foo.db",
		"sqlite:////absolute/path/to/foo.db": "/absolute/path/to/foo.db", "sqlite:///./dagster_auth.db": "./dagster_auth.db",
		"sqlite://foo.db": "foo.db", "sqlite:///with%20blank.db": "with blank.db", "odd?name#.db": "odd?name#.db",
	} {
		if got, err := parseDatabase(text); got.path != want || err != nil {
			t.Errorf("parseDatabase(%q): got %q, %v, want %q", text, got.path, err, want)
		}
	}
	for _, text := range []string{"", "sqlite://", "sqlite:///", "sqlite:///x.db?mode=ro", "sqlite:///%zz", ":memory:", "sqlite:///:memory:", "file:x.db", "a\x00b", "hunter2 ://x"} {
		if got, err := parseDatabase(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("parseDatabase(%q): got %q, %v, want an error without the text", text, got.path, err)
		}
	}
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "::1": true, "localhost": true, "LOCALHOST.": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": false, "::": false, "192.168.1.1": false, "localhost.example.com": false, "": false,
	} {
		if got := (Config{Host: host}).LoopbackOnly(); got != want {
			t.Errorf("LoopbackOnly of %q: got %v, want %v", host, got, want)
		}
	}
	if got, want := (Config{Host: "::1", Port: 80}).Address(), "[::1]:80"; got != want {
		t.Errorf("Address: got %q, want %q", got, want)
	}
}

// TestSettingsHaveTheNamesOfTheDesign holds the names and defaults that design.md, section 8, promises.
func TestSettingsHaveTheNamesOfTheDesign(t *testing.T) {
	t.Parallel()
	byName := map[string]Setting{}
	for _, s := range Settings() {
		if s.Meaning == "" || !strings.HasSuffix(s.Meaning, ".") {
			t.Errorf("%s: its meaning %q is no sentence", s.Env, s.Meaning)
		}
		for _, name := range append([]string{s.Env}, s.Others...) {
			if _, double := byName[name]; double {
				t.Errorf("%s is read by two settings", name)
			}
			byName[name] = s
		}
	}
	for name, want := range map[string]string{
		"DAGSTER_AUTH_SECRET_KEY": "", "DAGSTER_AUTH_SESSION_MAX_AGE": "86400", "DAGSTER_AUTH_BACKEND": "sqlite",
		"DAGSTER_AUTH_DB": "./dagster_auth.db", "DAGSTER_AUTH_RATE_LIMIT": "true", "DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS": "5",
		"DAGSTER_AUTH_RATE_LIMIT_WINDOW": "300", "DAGSTER_AUTH_AUDIT_LOG": "true", "DAGSTER_AUTH_ADMIN_USER": "admin",
		"DAGSTER_AUTH_ADMIN_PASSWORD": "", "DAGSTER_AUTH_DATABASE_URL": "./dagster_auth.db", "DAGSTER_AUTH_TRUSTED_PROXIES": "",
		"DAGSTER_AUTH_COOKIE_SECURE": "auto", "DAGSTER_AUTH_EXTERNAL_URL": "", "DAGSTER_AUTH_METRICS_TOKEN": "",
		"DAGSTER_AUTH_LOG_LEVEL": "info", "DAGSTER_AUTH_COOKIE_NAME": "dagster_authkit", "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT": "0",
		"DAGSTER_WEBSERVER_HOST": "127.0.0.1", "DAGSTER_WEBSERVER_PORT": "3000", "DAGSTER_WEBSERVER_PATH_PREFIX": "",
	} {
		if s, ok := byName[name]; !ok || s.Default != want {
			t.Errorf("%s: got %+v (there: %v), want default %q", name, s, ok, want)
		}
	}
	secrets := []string{"DAGSTER_AUTH_SECRET_KEY", "DAGSTER_AUTH_ADMIN_PASSWORD", "DAGSTER_AUTH_METRICS_TOKEN", "DAGSTER_AUTH_DATABASE_URL", "DAGSTER_AUTH_SERVICE_TOKEN", "DAGSTER_AUTH_LDAP_BIND_PASSWORD", "DAGSTER_AUTH_OIDC_CLIENT_SECRET"}
	for name, s := range byName {
		if s.Env == name && s.Secret != slices.Contains(secrets, name) {
			t.Errorf("%s: Secret is %v", name, s.Secret)
		}
	}
}

func TestMarkdownHasEverySetting(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(Markdown()), "\n")
	if got, want := len(lines), len(Settings())+5; got != want {
		t.Fatalf("Markdown: got %d lines, want %d", got, want)
	}
	for _, line := range lines {
		if strings.Count(line, " | ") != 4 {
			t.Errorf("Markdown: %q has not five columns", line)
		}
	}
	want := "| `DAGSTER_WEBSERVER_PORT`, else `DAGIT_PORT` | `-p`, `--port` | `port` | `3000` | Port to listen on; 0 is any free one. |"
	if !slices.Contains(lines, want) {
		t.Errorf("Markdown: got\n%s\nwant the line\n%s", Markdown(), want)
	}
}

// TestDatabaseURLIsHidden: a URL with a password is shown nowhere, in whatever way the password stands in it.
func TestDatabaseURLIsHidden(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"postgres://u:hunter2@h:5432/d?sslmode=disable", "postgresql://h/d?user=u&password=hunter2"} {
		cfg, values, _, err := Inspect(Source{Environ: []string{"DAGSTER_AUTH_DATABASE_URL=" + source, "DAGSTER_AUTH_SECRET_KEY=" + strings.Repeat("x", 40)}})
		if err != nil {
			t.Fatal(err)
		}
		if shown := fmt.Sprintf("%+v %v", cfg, values); strings.Contains(shown, "hunter2") {
			t.Errorf("%s is shown: %s", source, shown)
		}
		if !cfg.Postgres() || !cfg.PasswordShown() || cfg.DatabaseSource() != source {
			t.Errorf("%s: got %q, PostgreSQL %t, password %t", source, cfg.DatabaseSource(), cfg.Postgres(), cfg.PasswordShown())
		}
	}
	cfg, _, err := Load(Source{Environ: []string{"DAGSTER_AUTH_DATABASE_URL=postgres://u@h/d", "DAGSTER_AUTH_SECRET_KEY=" + strings.Repeat("x", 40)}})
	if err != nil || cfg.PasswordShown() {
		t.Errorf("the control: %v, password %t", err, cfg.PasswordShown())
	}
}
