package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
)

// sessionRow is one session in list-sessions --output json. Programs read it: names and order stay.
type sessionRow struct {
	ID         string    `json:"id"`
	Username   string    `json:"username"`
	Backend    string    `json:"backend"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	Identity   string    `json:"identity"`
}

func (p program) listSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-sessions [NAME]", Short: "List who is signed in", Args: cobra.MaximumNArgs(1),
		Example: "  dagster-authkit list-sessions\n  dagster-authkit list-sessions alice --output json",
	}
	databaseFlag(cmd)
	format := outputFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			sessions, err := a.Sessions(ctx, name)
			if err != nil {
				return err
			}
			return p.showSessions(*format, sessions)
		})
	})
	return cmd
}

func (p program) showSessions(format string, sessions []accounts.SignIn) error {
	values := []sessionRow{}
	var rows [][]string
	for _, s := range sessions {
		values = append(values, sessionRow{
			ID: s.Session.PublicID(), Username: s.User.Name, Backend: s.User.Backend, CreatedAt: s.Session.CreatedAt.UTC(),
			LastSeenAt: s.Session.LastSeenAt.UTC(), ExpiresAt: s.Session.ExpiresAt.UTC(), IP: s.Session.Address, UserAgent: s.Session.UserAgent,
			Identity: s.User.ID(),
		})
		rows = append(rows, []string{
			s.Session.PublicID(), s.User.Name, moment(s.Session.CreatedAt), moment(s.Session.LastSeenAt), moment(s.Session.ExpiresAt),
			orDash(s.Session.Address), orDash(s.Session.UserAgent), s.User.ID(),
		})
	}
	return p.show(format, values, []string{"ID", "USER", "SIGNED IN", "LAST ACTIVE", "ENDS", "ADDRESS", "BROWSER", "IDENTITY"}, rows)
}

func (p program) revokeSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke-sessions NAME|--all", Short: "Sign a user out everywhere", Args: cobra.MaximumNArgs(1),
		Long:    "Ends all sessions of a user, or of everybody, within a second: open pages and WebSockets too.",
		Example: "  dagster-authkit revoke-sessions alice\n  dagster-authkit revoke-sessions --all",
	}
	databaseFlag(cmd)
	all := cmd.Flags().Bool("all", false, "everybody's")
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		if *all == (len(args) == 1) {
			return usageError{errors.New("give either NAME or --all")}
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) (err error) {
			var ended int
			if *all {
				ended, err = a.RevokeAll(ctx, performer())
			} else {
				ended, err = a.RevokeSessions(ctx, performer(), args[0])
			}
			if err != nil {
				return err
			}
			p.say("ended %s", count(ended, "session"))
			return nil
		})
	})
	return cmd
}

func (p program) unlock() *cobra.Command {
	cmd := &cobra.Command{
		Use: "unlock NAME", Short: "Forget a user's failed attempts to sign in", Args: exactly("NAME"),
		Long: "Forgets the failed attempts to sign in with a name, from wherever they came, so that the right password is\n" +
			"taken again at once.",
		Example: "  dagster-authkit unlock alice",
	}
	databaseFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			forgotten, err := a.Unlock(ctx, args[0])
			if err != nil {
				return err
			}
			p.say("forgot %s of %s", count(forgotten, "failed attempt"), args[0])
			return nil
		})
	})
	return cmd
}
