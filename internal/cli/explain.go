package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// errRefused says that the user may not do what was asked about. It was shown already.
var errRefused = errors.New("refused")

// question is what explain was asked.
type question struct {
	user, token, file, variables, operation, format string
}

func (p program) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain --user NAME|--token ID [--file DOCUMENT]", Short: "Show whether a user may do what a GraphQL document asks", Args: exactly(),
		Long: "Decides as the server would, runs nothing, and shows for each root field of the document: the permission, the code\n" +
			"location, the role that is held there and why, and the decision. Exit code 0: allowed; 3: refused.\n\n" +
			"With --token it decides for what a token gives now, within its owner's rights and its own limits.\n\n" +
			"Where a run, a backfill, an asset, a schedule or a sensor lives only Dagster knows. Without --upstream it is not asked,\n" +
			"and such a thing counts as one of the whole deployment, where grants do not help.",
		Example: "  dagster-authkit explain --user vic --file launch.graphql --variables launch.json\n" +
			"  echo 'mutation { reloadWorkspace { __typename } }' | dagster-authkit explain --user vic\n" +
			"  dagster-authkit explain --user vic --file terminate.graphql --upstream http://127.0.0.1:3001",
	}
	var q question
	databaseFlag(cmd)
	cmd.Flags().StringVar(&q.user, "user", "", "the user's name or ID")
	complete(cmd, "user")
	cmd.Flags().StringVar(&q.token, "token", "", "a token's ID, as list-tokens shows it")
	complete(cmd, "token")
	cmd.MarkFlagsOneRequired("user", "token")
	cmd.MarkFlagsMutuallyExclusive("user", "token")
	cmd.Flags().StringVar(&q.file, "file", "-", "the GraphQL document; - is standard input")
	cmd.Flags().StringVar(&q.variables, "variables", "", "a JSON file with its variables")
	cmd.Flags().StringVar(&q.operation, "operation-name", "", "the operation to run, when the document has several")
	complete(cmd, "operation-name")
	cmd.Flags().String("upstream", "", "address of a dagster-webserver to ask where things live")
	complete(cmd, "upstream")
	format := outputFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		q.format = *format
		if q.format != formatTable && q.format != formatJSON {
			return p.show(q.format, nil, nil, nil)
		}
		if q.file == "-" && !cmd.Flags().Changed("file") && p.terminal.interactive() {
			return usageError{errors.New("there is no document: add --file, or give it on standard input")}
		}
		return p.answer(cmd, q)
	})
	return cmd
}

func (p program) answer(cmd *cobra.Command, q question) error {
	variables := []string{"DAGSTER_AUTH_PROTECTED_TAGS", "DAGSTER_AUTH_PROTECTED_TAGS_ROLE", "DAGSTER_AUTH_REPORT_ONLY"}
	if cmd.Flags().Changed("upstream") { // nothing is asked of the server's own unless the command line says so
		variables = append(variables, "DAGSTER_AUTH_UPSTREAM")
	}
	settings, err := p.shared(cmd, variables...)
	if err != nil {
		return err
	}
	op, err := p.readOperation(q)
	if err != nil {
		return err
	}
	rules, err := policy.New(policy.Options{
		Roles: settings.roles, ProtectedTags: settings.ProtectedTags, ProtectedTagsRole: settings.ProtectedTagsRole,
	})
	if err != nil {
		return err
	}
	return p.openAccounts(cmd.Context(), settings, false, func(ctx context.Context, a *accounts.Service) error {
		user, err := p.asked(ctx, a, settings, q)
		if err != nil {
			return err
		}
		why, err := decide(ctx, settings, rules, user, op)
		if err != nil {
			return err
		}
		if err := p.show(q.format, why.values(), explainHeader, why.rows()); err != nil {
			return err
		}
		if why.decision.Allowed {
			return nil
		}
		p.say("refused: nothing of it would be run")
		if settings.ReportOnly {
			p.say("but report-only is set: a server with these settings would let it pass, and write it down")
		}
		return errRefused
	})
}

// asked is whom the question is about: a user, or what a token gives of its owner's rights.
func (p program) asked(ctx context.Context, a *accounts.Service, settings shared, q question) (account, error) {
	if q.token == "" {
		return p.account(ctx, a, settings, q.user)
	}
	found, err := a.Token(ctx, q.token)
	if err != nil {
		return account{}, err
	}
	if found.Token.Expired(time.Now()) {
		p.say("the token %s is over: it is refused, whatever follows", found.Token.Name)
	}
	user, err := p.account(ctx, a, settings, found.Owner.ID())
	if err != nil {
		return account{}, err
	}
	limit := policy.Limit{Role: found.Token.Role, Location: found.Token.Location}
	now := settings.roles.Limited(user.Identity(""), limit)
	user.Role, user.Grants, user.grants = now.Role, now.Grants, nil
	for _, grant := range now.Grants {
		user.grants = append(user.grants, identity.HeldGrant{Grant: grant})
	}
	return user, nil
}

// decide takes the steps of the server's own decision.
func decide(ctx context.Context, settings shared, rules *policy.Policy, user account, op *graphql.Operation) (explanation, error) {
	why := explanation{op: op, user: user, mayRead: settings.roles.Known(user.Role), asked: settings.Upstream != nil}
	id := user.Identity("")
	about := dagster.New(dagster.Options{Log: zerolog.Nop()})
	if why.asked {
		if err := about.Learn(ctx, settings.Upstream); err != nil {
			return explanation{}, fmt.Errorf("%w: give --upstream the address of a dagster-webserver, not of AuthKit", err)
		}
		settings.roles.Restrict(policy.KnownWith(about.Permissions(), about.Schema()))
	}
	actions := rules.Actions(op, about.Schema())
	why.wanted = rules.Unlocated(id, actions)
	if !why.asked {
		why.decision = rules.Decide(id, actions, nil)
		return why, nil
	}
	var err error
	if why.decision, why.located, err = rules.Settle(ctx, id, actions, asked{about, settings.Upstream}); err != nil {
		return why, err
	}
	return why, sendable(op, about.Schema(), rules.Rules(id, about.Schema()))
}

// sendable finds what the server refuses of a request whatever the role: keys and variables that it can't tell apart from its own.
func sendable(op *graphql.Operation, schema *graphql.Schema, rules func(parent, field string) *graphql.Rule) error {
	if _, err := dagster.Parents(nil).SignRuns(op, schema, "user", "explain"); err != nil {
		return fmt.Errorf("the server would not take the document: %w", err)
	}
	if _, err := graphql.NewRewriting(op, schema, rules); err != nil {
		return fmt.Errorf("the server would not take the document: %w", err)
	}
	return nil
}

// asked is the Dagster that --upstream names.
type asked struct {
	*dagster.Upstream
	base *url.URL
}

// Locate finds the code locations of things.
func (a asked) Locate(ctx context.Context, references []policy.Reference) (policy.Located, error) {
	return a.Upstream.Locate(ctx, a.base, references)
}

// Runs finds runs.
func (a asked) Runs(ctx context.Context, ids []string) (map[string]policy.KnownRun, error) {
	return a.Upstream.Runs(ctx, a.base, ids)
}

// readOperation reads the document and its variables as the server would read them in one request.
func (p program) readOperation(q question) (*graphql.Operation, error) {
	limits := graphql.DefaultLimits()
	document, err := p.readInput(q.file, int64(limits.Document))
	if err != nil {
		return nil, err
	}
	body := map[string]any{"query": string(document)}
	if q.operation != "" {
		body["operationName"] = q.operation
	}
	if q.variables != "" {
		variables, err := p.readInput(q.variables, limits.Body/2)
		if err != nil {
			return nil, err
		}
		if trimmed := bytes.TrimSpace(variables); !json.Valid(trimmed) || trimmed[0] != '{' {
			return nil, fmt.Errorf("%s: the variables are no JSON object", q.variables)
		}
		body["variables"] = json.RawMessage(variables)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	request, err := http.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(text)) //nolint:noctx // It is read here, and never sent.
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	read, err := graphql.ReadHTTP(request, limits)
	if err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	op, err := graphql.Parse(read, limits)
	if err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	return op, nil
}

func (p program) readInput(path string, limit int64) ([]byte, error) {
	in, name := p.in, "standard input"
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // The path is the user's own.
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in, name = file, path
	}
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%s is too large: at most %d bytes are read", name, limit)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	case !utf8.Valid(data):
		return nil, fmt.Errorf("%s is no UTF-8 text", name)
	}
	return data, nil
}
