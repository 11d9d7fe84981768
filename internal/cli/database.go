package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/store"
)

// databaseCommands are those that look after users, their grants, sessions and tokens.
func (p program) databaseCommands() []*cobra.Command {
	return []*cobra.Command{
		p.initDB(), p.addUser(), p.listUsers(), p.changePassword(), p.changeRole(), p.disableUser(), p.enableUser(), p.deleteUser(),
		p.grant(), p.revokeGrant(), p.listGrants(), p.unlock(), p.listSessions(), p.revokeSessions(),
		p.addService(), p.createToken(), p.listTokens(), p.revokeToken(),
		p.backup(), p.moveStore(),
	}
}

// databaseFlag adds --db and --config, and --db-path as the Python AuthKit calls the first.
func databaseFlag(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "the database: a path or URL (default $DAGSTER_AUTH_DATABASE_URL, $DAGSTER_AUTH_DB or ./dagster_auth.db)")
	cmd.Flags().String("db-path", "", "")
	// The one error is a flag that was not added, two lines above.
	_ = cmd.Flags().MarkHidden("db-path")
	cmd.Flags().String("config", "", "a YAML file with settings and custom roles (default $DAGSTER_AUTH_CONFIG)")
}

// These name settings that the commands share with the server.
const (
	databaseVariable = "DAGSTER_AUTH_DATABASE_URL"
	schemaVariable   = "DAGSTER_AUTH_DATABASE_SCHEMA"
	adminVariable    = "DAGSTER_AUTH_ADMIN_USER"
)

// shared are the settings that a command shares with the server, and the roles that there are.
type shared struct {
	config.Config
	roles *policy.Roles
}

// shared reads the custom roles, where the database is, and the settings of the variables named.
func (p program) shared(cmd *cobra.Command, variables ...string) (shared, error) {
	flags := config.Values{}
	for _, name := range []struct{ flag, setting string }{{"db-path", "db"}, {"db", "db"}, {"config", "config"}, {"upstream", "upstream"}} {
		if flag := cmd.Flags().Lookup(name.flag); flag != nil && flag.Changed {
			flags[name.setting] = flag.Value.String()
		}
	}
	return p.settings(flags, "--db", variables...)
}

// settings reads them. dbFlag is the flag by which the database was named, if it was.
func (p program) settings(flags config.Values, dbFlag string, variables ...string) (shared, error) {
	cfg, err := config.Shared(p.source(flags), append(variables, databaseVariable, schemaVariable)...)
	if err != nil {
		return shared{}, settingsError{err}
	}
	roles, err := policy.NewRoles(cfg.Roles)
	if err != nil {
		return shared{}, settingsError{err}
	}
	if flags["db"] != "" && cfg.PasswordShown() {
		p.say("%s: warning: %s has a password, which other users of this machine can read: use %s, %s_FILE or PGPASSFILE",
			programName, dbFlag, databaseVariable, databaseVariable)
	}
	return shared{cfg, roles}, nil
}

// withAccounts opens the database, hands over the rules for what is in it, and closes it. Only the commands that put the
// first user there may make the file: a mistyped --db of the others must not leave an empty database behind.
func (p program) withAccounts(cmd *cobra.Command, mayMake bool, do func(ctx context.Context, a *accounts.Service) error) error {
	settings, err := p.shared(cmd)
	if err != nil {
		return err
	}
	return p.openAccounts(cmd.Context(), settings, mayMake, do)
}

// openAccounts is withAccounts for commands that have read the settings.
func (p program) openAccounts(ctx context.Context, settings shared, mayMake bool, do func(ctx context.Context, a *accounts.Service) error) (err error) {
	_, missing := os.Stat(settings.Database)
	options := settings.options(p.log())
	options.MustExist = !mayMake
	rows, err := store.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if errors.Is(missing, fs.ErrNotExist) && !settings.Postgres() {
		p.say("made %s", settings.Database)
	}
	service, err := accounts.New(accounts.Options{
		Users: rows, Sessions: rows, Tokens: rows, Attempts: rows, Passwords: auth.NewPasswords(), Roles: settings.roles,
	})
	if err != nil {
		return err
	}
	return do(ctx, service)
}

// options are those with which the database is opened.
func (s shared) options(log zerolog.Logger) store.Options {
	return store.Options{URL: s.DatabaseSource(), Schema: s.DatabaseSchema, MaxConnections: commandConnections, Log: log}
}

// mustExist is options for what is only read.
func (s shared) mustExist(log zerolog.Logger) store.Options {
	o := s.options(log)
	o.MustExist = true
	return o
}

// log is what the store has to say, on stderr and for people.
func (p program) log() zerolog.Logger {
	return zerolog.New(zerolog.ConsoleWriter{Out: p.err, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}).Level(zerolog.InfoLevel)
}

// commandConnections is enough for a command, which does one thing after the other.
const commandConnections = 3

// performer is who typed the command, for the audit trail. The number is looked up, as the variables that name a person,
// $USER and $SUDO_USER, can be set by anybody.
func performer() string {
	id := strconv.Itoa(os.Getuid())
	current, err := user.LookupId(id)
	if err != nil {
		return "cli:uid " + id
	}
	return "cli:" + current.Username
}
