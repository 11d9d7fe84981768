package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dagster-authkit/internal/config"
)

// arguments are a server's command line, taken apart.
type arguments struct {
	help    bool
	version bool
	flags   config.Values // AuthKit's own, by their long names
	child   []string      // everything else, in order and as it came
}

// splitter reads a command line as click does, because that is who reads the rest of it: an option that takes a value takes
// the next token whatever it looks like, a short option's value may stick to it, and nothing is abbreviated
// (click/parser.py, _process_opts and _get_value_from_state).
type splitter struct {
	own map[string]config.Setting // by long name and by letter
	// asWebserver leaves --version to the real dagster-webserver, whose name we were called by.
	asWebserver bool
	passing     bool // "--" was read: the rest is the child's
	rest        []string
	out         arguments
}

// split tells AuthKit's flags from dagster-webserver's. Flags that nobody knows are the child's, alone: whether such a flag
// takes a value can't be known, and what follows it is read as if it did not.
func split(args []string, settings []config.Setting, asWebserver bool) (arguments, error) {
	s := splitter{own: ownFlags(settings), asWebserver: asWebserver, rest: args, out: arguments{flags: config.Values{}}}
	for len(s.rest) > 0 {
		if err := s.take(s.next()); err != nil {
			return arguments{}, err
		}
	}
	return s.out, nil
}

func ownFlags(settings []config.Setting) map[string]config.Setting {
	own := map[string]config.Setting{}
	for _, setting := range settings {
		if setting.Flag == "" {
			continue
		}
		own["--"+setting.Flag] = setting
		if setting.Short != "" {
			own["-"+setting.Short] = setting
		}
	}
	// The Python AuthKit's name for it.
	own["--db-path"] = own["--db"]
	return own
}

func (s *splitter) next() string {
	token := s.rest[0]
	s.rest = s.rest[1:]
	return token
}

// take handles one token and, where it has one, its value.
func (s *splitter) take(token string) error {
	name, value, attached := parts(token)
	setting, own := s.own[name]
	switch {
	case token == "--":
		return s.startPassing()
	case own:
		return s.takeOwn(setting, name, value, attached)
	case token == "--help" && !s.passing:
		s.out.help = true
	case token == "--version" && !s.passing && !s.asWebserver:
		s.out.version = true
	case takesValue(name) && !attached && len(s.rest) == 0:
		return fmt.Errorf("%s needs a value", name)
	case takesValue(name) && !attached:
		s.out.child = append(s.out.child, token, s.next())
	default:
		s.out.child = append(s.out.child, token)
	}
	return nil
}

// startPassing makes the rest the child's. The "--" itself goes: after it dagster-webserver would take options for
// arguments, of which it has none.
func (s *splitter) startPassing() error {
	if s.passing {
		return errors.New("-- is given twice: dagster-webserver takes no arguments after it")
	}
	s.passing = true
	return nil
}

// takeOwn refuses AuthKit's flags after "--": the child would get a host of its own, and be reached without signing in.
func (s *splitter) takeOwn(setting config.Setting, name, value string, attached bool) error {
	switch {
	case s.passing:
		return fmt.Errorf("%s is AuthKit's flag, not dagster-webserver's: write it before --", name)
	case attached:
	case setting.Switch:
		value = "true"
	case len(s.rest) == 0:
		return fmt.Errorf("%s needs a value", name)
	default:
		value = s.next()
	}
	s.out.flags[setting.Flag] = value
	return nil
}

// parts gives a token's flag and the value that sticks to it: --port=80, -p80 and -p=80, the last of which pflag's users
// write.
func parts(token string) (name, value string, attached bool) {
	switch {
	case strings.HasPrefix(token, "--"):
		name, value, attached = strings.Cut(token, "=")
		return name, value, attached
	case len(token) > 2 && token[0] == '-':
		return token[:2], strings.TrimPrefix(token[2:], "="), true
	}
	return token, "", false
}

// takesValue reports whether dagster-webserver's flag takes a value. The list is that of `dagster-webserver --help` from
// 1.10.0 to 1.13.27, with the two hidden ones (dagster_webserver/cli.py); a test compares it with that text.
func takesValue(name string) bool {
	return slices.Contains([]string{
		"-a", "--attribute",
		"-d", "--working-directory",
		"-f", "--python-file",
		"-m", "--module-name",
		"-w", "--workspace",
		"--autoload-defs-module-name",
		"--code-server-log-level",
		"--dagster-log-level",
		"--db-pool-max-overflow",
		"--db-pool-recycle",
		"--db-statement-timeout",
		"--grpc-host",
		"--grpc-port",
		"--grpc-socket",
		"--instance-ref",
		"--live-data-poll-rate",
		"--log-format",
		"--log-level",
		"--package-name",
		"--shutdown-pipe",
		"--uvicorn-log-level",
	}, name)
}
