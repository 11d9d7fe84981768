package supervisor

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
)

// childHost is where the child listens: nobody but this machine may reach Dagster without passing AuthKit.
const childHost = "127.0.0.1"

// childArgs adds host, port and prefix to the user's arguments.
//
// They come after the user's, because click lets the last of two win: whatever finds its way into the user's arguments,
// the child listens on our host. They come before a "--", behind which click knows no options. A trailing option of the
// user's that lacks its value takes our "-h" for it; then click is left with a stray "127.0.0.1" and ends with code 2,
// so that mistake fails closed (tried with 1.13.27).
func childArgs(user []string, port int, prefix string) []string {
	ours := []string{"-h", childHost, "-p", strconv.Itoa(port)}
	if prefix != "" {
		ours = append(ours, "-l", prefix)
	}
	at := slices.Index(user, "--")
	if at < 0 {
		at = len(user)
	}
	return slices.Concat(user[:at], ours, user[at:])
}

// hidden reports whether a variable of that name must not reach the child: our own settings, which hold secrets that
// pipeline code could read; the addresses that dagster-webserver would take from the environment (it copies DAGIT_* over
// to DAGSTER_WEBSERVER_*); and systemd's socket, on which only AuthKit may speak.
func hidden(name string) bool {
	switch name {
	case "DAGSTER_WEBSERVER_HOST", "DAGSTER_WEBSERVER_PORT", "DAGSTER_WEBSERVER_PATH_PREFIX",
		"DAGIT_HOST", "DAGIT_PORT", "DAGIT_PATH_PREFIX", "NOTIFY_SOCKET":
		return true
	}
	return strings.HasPrefix(name, "DAGSTER_AUTH_")
}

// childEnv returns the environment without what is hidden from the child.
func childEnv(environ []string) []string {
	env := make([]string, 0, len(environ))
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); !hidden(name) {
			env = append(env, entry)
		}
	}
	return env
}

// pickPort returns a loopback port that is free now. Somebody may take it before the child does; Run tries again then.
func pickPort(ctx context.Context) (int, error) {
	l, err := listen(ctx, 0)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// listen takes a loopback port just as the child will.
func listen(ctx context.Context, port int) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp4", hostPort(port))
}

// hostPort is where a child with that port listens.
func hostPort(port int) string { return net.JoinHostPort(childHost, strconv.Itoa(port)) }
