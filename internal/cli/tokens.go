package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
)

// defaultExpiry is a quarter: long enough that nobody asks for a token without an end, short enough that one which was
// forgotten somewhere is worthless by next season.
const defaultExpiry = "90d"

func (p program) createToken() *cobra.Command {
	var n accounts.NewToken
	cmd := &cobra.Command{
		Use: "create-token --user NAME --name TOKEN", Short: "Make a token for a program", Args: exactly(),
		Long: "Makes a token with which a program does what its owner may, and writes it, alone, to stdout. It is shown this once.\n" +
			"The owner is a user or a service account (add-service). A token never gives more than its owner may do at the time of a\n" +
			"request. With --role it gives no more than that role has, and with --location it gives it in that code location only,\n" +
			"and reading elsewhere. It ends with --expires, revoke-token or its owner.",
		Example: "  dagster-authkit create-token --user alice --name laptop\n" +
			"  dagster-authkit create-token --user ci --name nightly --role launcher --location etl --expires 30d\n" +
			"  TOKEN=$(dagster-authkit create-token --user ci --name deploy --expires never)",
	}
	databaseFlag(cmd)
	cmd.Flags().StringVar(&n.User, "user", "", "the owner's name or ID")
	cmd.Flags().StringVar(&n.Name, "name", "", "what the token is for, unique among its owner's")
	role := cmd.Flags().String("role", "", "the most that it gives: viewer, launcher, editor, admin or one of the config file (default: all that its owner may do)")
	cmd.Flags().StringVar(&n.Location, "location", "", "the one code location in which it gives that, by its name in Dagster")
	expires := cmd.Flags().String("expires", defaultExpiry, "how long it lasts, such as 12h or 90d, or never")
	for _, flag := range []string{"user", "name", "location"} {
		complete(cmd, flag)
	}
	complete(cmd, "expires", "30d", defaultExpiry, "365d", "never")
	_ = cmd.RegisterFlagCompletionFunc("role", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return p.roleNames(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	for _, flag := range []string{"user", "name"} { // there is no signed-in user here, and a name of the system's is nobody's ID
		_ = cmd.MarkFlagRequired(flag)
	}
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		settings, err := p.shared(cmd)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("role") {
			if n.Role, err = settings.roles.Parse(*role); err != nil {
				return usageError{err}
			}
		}
		if n.Lifetime, err = lifetime(*expires); err != nil {
			return usageError{err}
		}
		if cmd.Flags().Changed("location") && n.Location == "" {
			return errors.New("the code location is empty: give its name")
		}
		return p.openAccounts(cmd.Context(), settings, false, func(ctx context.Context, a *accounts.Service) error {
			return p.giveToken(ctx, a, n)
		})
	})
	return cmd
}

func (p program) giveToken(ctx context.Context, a *accounts.Service, n accounts.NewToken) error {
	text, made, now, err := a.CreateToken(ctx, performer(), n)
	if err != nil {
		return err
	}
	t := made.Token
	p.say("made the token %s (%s) of %s: %s, %s", t.Name, t.PublicID(), made.Owner.Name, rights(now), until(t.ExpiresAt))
	p.say("this is the token; it is not shown again:")
	if _, err := fmt.Fprintln(p.out, text); err != nil {
		return fmt.Errorf("showing the token: %w: take it back with revoke-token %s, and make another", err, t.PublicID())
	}
	return nil
}

// rights say what somebody may do at this moment.
func rights(id identity.Identity) string {
	held := []string{string(id.Role)}
	for _, grant := range id.Grants {
		held = append(held, fmt.Sprintf("%s in %s", grant.Role, grant.Location))
	}
	return strings.Join(held, ", ")
}

func until(expires time.Time) string {
	if expires.IsZero() {
		return "without an end"
	}
	return "until " + moment(expires) + " UTC"
}

// days are what Go's durations do not have.
var days = regexp.MustCompile(`^([0-9]{1,6})d$`)

// lifetime reads "90d", "12h" or "never", which is 0.
func lifetime(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	if found := days.FindStringSubmatch(text); found != nil {
		n, err := strconv.Atoi(found[1])
		if err == nil && n > 0 {
			return min(time.Duration(n), 36500) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("--expires %q is no time from now: write 90d, 12h or never", text)
	}
	return d, nil
}

// tokenRow is one token in list-tokens --output json. Programs read it: names and order stay.
type tokenRow struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Username   string        `json:"username"`
	Identity   string        `json:"identity"`
	Role       identity.Role `json:"role"`     // empty: the owner's
	Location   string        `json:"location"` // empty: wherever the owner has it
	CreatedAt  time.Time     `json:"created_at"`
	ExpiresAt  *time.Time    `json:"expires_at"`
	LastUsedAt *time.Time    `json:"last_used_at"`
}

func (p program) listTokens() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-tokens [NAME]", Short: "List the tokens of programs", Args: cobra.MaximumNArgs(1),
		Example: "  dagster-authkit list-tokens\n  dagster-authkit list-tokens ci --output json",
	}
	databaseFlag(cmd)
	format := outputFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		name := ""
		if len(args) > 0 {
			if name = args[0]; name == "" {
				return errors.New("the name is empty: see list-users")
			}
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			tokens, err := a.Tokens(ctx, name)
			if err != nil {
				return err
			}
			return p.showTokens(*format, tokens)
		})
	})
	return cmd
}

func (p program) showTokens(format string, tokens []accounts.OwnedToken) error {
	values := []tokenRow{}
	var rows [][]string
	for _, owned := range tokens {
		t, owner := owned.Token, owned.Owner
		values = append(values, tokenRow{
			ID: t.PublicID(), Name: t.Name, Username: owner.Name, Identity: owner.ID(), Role: t.Role, Location: t.Location,
			CreatedAt: t.CreatedAt.UTC(), ExpiresAt: timeOrNull(t.ExpiresAt), LastUsedAt: timeOrNull(t.LastUsedAt),
		})
		ends := moment(t.ExpiresAt)
		if t.Expired(time.Now()) {
			ends += " (over)"
		}
		rows = append(rows, []string{
			t.PublicID(), t.Name, owner.Name, orDash(string(t.Role)), orDash(t.Location), moment(t.CreatedAt), ends, moment(t.LastUsedAt), owner.ID(),
		})
	}
	return p.show(format, values, []string{"ID", "NAME", "OWNER", "ROLE", "LOCATION", "MADE", "ENDS", "LAST USED", "IDENTITY"}, rows)
}

func (p program) revokeToken() *cobra.Command {
	var user, name string
	cmd := &cobra.Command{
		Use: "revoke-token ID|--user NAME --name TOKEN", Short: "End a token", Args: cobra.MaximumNArgs(1),
		Long: "Ends a token, from the next request on. Open WebSockets are closed within a second. The ID is list-tokens' and that of\n" +
			"the audit trail. A token that was found somewhere may stand in its place.",
		Example: "  dagster-authkit revoke-token 3fa1b2c4d5e6\n  dagster-authkit revoke-token --user ci --name nightly",
	}
	databaseFlag(cmd)
	cmd.Flags().StringVar(&user, "user", "", "the owner's name or ID")
	cmd.Flags().StringVar(&name, "name", "", "the token's name")
	complete(cmd, "user")
	complete(cmd, "name")
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		named := cmd.Flags().Changed("user") && cmd.Flags().Changed("name")
		if named == (len(args) == 1) || named != cmd.Flags().Changed("user") || named != cmd.Flags().Changed("name") {
			return usageError{errors.New("give either ID, or --user and --name")}
		}
		if named && user == "" {
			return errors.New("the name is empty: see list-users")
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) (err error) {
			var ended accounts.OwnedToken
			if named {
				ended, err = a.RevokeNamedToken(ctx, performer(), user, name)
			} else {
				ended, err = a.RevokeToken(ctx, performer(), args[0])
			}
			if err != nil {
				return err
			}
			p.say("the token %s (%s) of %s was revoked", ended.Token.Name, ended.Token.PublicID(), ended.Owner.Name)
			return nil
		})
	})
	return cmd
}

func (p program) addService() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add-service NAME", Short: "Add an account for a program", Args: exactly("NAME"),
		Long: "Adds a service account, as viewer unless another role is given: it has no password, and signs in with the tokens that\n" +
			"create-token makes for it. Roles, grants, disabling and deleting are as for users.",
		Example: "  dagster-authkit add-service ci --role launcher\n  dagster-authkit create-token --user ci --name nightly",
	}
	databaseFlag(cmd)
	role := p.addRoleFlags(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		settings, err := p.shared(cmd)
		if err != nil {
			return err
		}
		given, err := role(settings.roles)
		if err != nil {
			return err
		}
		if err := identity.CheckName(args[0]); err != nil {
			return err
		}
		return p.openAccounts(cmd.Context(), settings, false, func(ctx context.Context, a *accounts.Service) error {
			added, err := a.AddService(ctx, performer(), args[0], given)
			if err != nil {
				return err
			}
			p.say("%s was added as %s; give it a token with create-token --user %s", added.ID(), added.Role, added.ID())
			return nil
		})
	})
	return cmd
}
