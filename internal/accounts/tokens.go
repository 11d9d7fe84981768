package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

const (
	// maxTokenName is in characters.
	maxTokenName = 64
	// minLifetime and maxLifetime bound a token that ends at all.
	minLifetime = time.Second
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// Tokens are what programs present. Changes store their event in the same transaction.
type Tokens interface {
	// CreateToken gives identity.ErrExists when the owner has a token of that name, identity.ErrNotFound without the owner.
	CreateToken(ctx context.Context, token identity.Token, event audit.Event) error
	// Tokens are those of one user, or of all when userRowID is 0.
	Tokens(ctx context.Context, userRowID int64) ([]identity.Token, []identity.User, error)
	// DeleteToken gives identity.ErrNotFound when there is none.
	DeleteToken(ctx context.Context, hash []byte, event audit.Event) error
}

// NewToken is a token to be made.
type NewToken struct {
	// User is the owner's name or ID, and Name the token's.
	User string
	Name string
	// Role and Location limit what it gives; empty: nothing but the owner's own rights does.
	Role     identity.Role
	Location string
	// Lifetime is from now on; 0: it never ends.
	Lifetime time.Duration
}

// OwnedToken is a token and whose it is.
type OwnedToken struct {
	Token identity.Token
	Owner identity.User
}

// CreateToken makes a token, and returns its text, which is nowhere else, and what the token gives at this moment.
func (s *Service) CreateToken(ctx context.Context, by string, n NewToken) (text string, made OwnedToken, now identity.Identity, err error) {
	if n.Role != "" {
		if n.Role, err = s.roles.Parse(string(n.Role)); err != nil {
			return "", OwnedToken{}, identity.Identity{}, err
		}
	}
	if err := n.check(); err != nil {
		return "", OwnedToken{}, identity.Identity{}, err
	}
	owner, err := s.Get(ctx, n.User)
	if err != nil {
		return "", OwnedToken{}, identity.Identity{}, err
	}
	if owner.Disabled {
		return "", OwnedToken{}, identity.Identity{}, fmt.Errorf("%q is disabled: use enable-user first", owner.Name)
	}
	text, hash := token.New()
	t := identity.Token{
		Hash: hash[:], UserRowID: owner.RowID, Name: n.Name, Role: n.Role, Location: n.Location, CreatedAt: time.Now().UTC(),
	}
	if n.Lifetime > 0 {
		t.ExpiresAt = t.CreatedAt.Add(n.Lifetime)
	}
	ev := tokenEvent(audit.EventTokenCreated, OwnedToken{t, owner}, by)
	if err := s.tokens.CreateToken(ctx, t, ev); err != nil {
		if !errors.Is(err, identity.ErrExists) {
			return "", OwnedToken{}, identity.Identity{}, explain(err, owner.Name)
		}
		return "", OwnedToken{}, identity.Identity{}, problem{
			fmt.Sprintf("%q has a token %q already: choose another name, or use revoke-token first", owner.Name, n.Name), err,
		}
	}
	s.published(ev)
	now = s.roles.Limited(owner.Identity(""), policy.Limit{Role: t.Role, Location: t.Location})
	return text, OwnedToken{t, owner}, now, nil
}

func (n NewToken) check() error {
	switch {
	case strings.TrimSpace(n.Name) == "":
		return errors.New("the token's name is empty: say what it is for")
	case !utf8.ValidString(n.Name) || utf8.RuneCountInString(n.Name) > maxTokenName || strings.ContainsFunc(n.Name, unicode.IsControl):
		return fmt.Errorf("the token's name is too long or has control characters: give at most %d visible ones", maxTokenName)
	case token.Mask(n.Name) != n.Name:
		return errors.New("the token's name looks like a token: say what it is for")
	case n.Lifetime != 0 && (n.Lifetime < minLifetime || n.Lifetime > maxLifetime):
		return errors.New("a token lasts from 1 second to 10 years")
	case n.Location != "":
		return checkPlace("code location", n.Location)
	}
	return nil
}

// Tokens lists the tokens of a user, or of everybody when the name is empty, by owner and name. Some may be over: the server
// sweeps them once a minute, and their names are taken until then.
func (s *Service) Tokens(ctx context.Context, nameOrID string) ([]OwnedToken, error) {
	rowID, err := s.rowID(ctx, nameOrID)
	if err != nil {
		return nil, err
	}
	tokens, owners, err := s.tokens.Tokens(ctx, rowID)
	if err != nil {
		return nil, err
	}
	owned := make([]OwnedToken, len(tokens))
	for i, t := range tokens {
		owned[i] = OwnedToken{t, owners[i]}
	}
	return owned, nil
}

// Token finds the token of that public ID.
func (s *Service) Token(ctx context.Context, id string) (OwnedToken, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	return s.oneToken(ctx, "", func(t OwnedToken) bool { return t.Token.PublicID() == id }, fmt.Sprintf("no token %.80q", id))
}

// RevokeToken ends the token of that public ID, from the next request on, and returns what it was. The token itself is taken as
// well, for one that was found where it should not be.
func (s *Service) RevokeToken(ctx context.Context, by, idOrText string) (OwnedToken, error) {
	id, shown := strings.ToLower(strings.TrimSpace(idOrText)), idOrText
	if text := strings.TrimSpace(idOrText); token.Valid(text) {
		hash := token.Sum(text)
		id = identity.Token{Hash: hash[:]}.PublicID()
		shown = id
	}
	return s.revokeOne(ctx, by, "", func(t OwnedToken) bool { return t.Token.PublicID() == id }, fmt.Sprintf("no token %.80q", shown))
}

// RevokeNamedToken is RevokeToken by the owner's name or ID, and the token's name.
func (s *Service) RevokeNamedToken(ctx context.Context, by, nameOrID, name string) (OwnedToken, error) {
	return s.revokeOne(ctx, by, nameOrID, func(t OwnedToken) bool { return t.Token.Name == name }, fmt.Sprintf("%q has no token %.80q", nameOrID, name))
}

func (s *Service) revokeOne(ctx context.Context, by, nameOrID string, wanted func(OwnedToken) bool, missing string) (OwnedToken, error) {
	found, err := s.oneToken(ctx, nameOrID, wanted, missing)
	if err != nil {
		return OwnedToken{}, err
	}
	ev := tokenEvent(audit.EventTokenRevoked, found, by)
	if err := s.tokens.DeleteToken(ctx, found.Token.Hash, ev); err != nil {
		if errors.Is(err, identity.ErrNotFound) {
			err = noToken(missing)
		}
		return OwnedToken{}, err
	}
	s.published(ev)
	return found, nil
}

func (s *Service) oneToken(ctx context.Context, nameOrID string, wanted func(OwnedToken) bool, missing string) (OwnedToken, error) {
	all, err := s.Tokens(ctx, nameOrID)
	if err != nil {
		return OwnedToken{}, err
	}
	found := slices.DeleteFunc(all, func(t OwnedToken) bool { return !wanted(t) })
	switch len(found) {
	case 0:
		return OwnedToken{}, noToken(missing)
	case 1:
		return found[0], nil
	}
	return OwnedToken{}, errors.New("several tokens have this ID: give --user and --name") // by chance once in 2^48 pairs
}

func noToken(missing string) error {
	return problem{missing + ": see list-tokens", identity.ErrNotFound}
}

func tokenEvent(kind string, t OwnedToken, by string) audit.Event {
	ev := event(kind, t.Owner, by)
	ev.Token, ev.TokenName = t.Token.PublicID(), t.Token.Name
	ev.Targets = map[string][]string{}
	if t.Token.Role != "" {
		ev.Roles = []string{string(t.Token.Role)}
	}
	if t.Token.Location != "" {
		ev.Targets["code_location"] = []string{t.Token.Location}
	}
	if !t.Token.ExpiresAt.IsZero() {
		ev.Targets["expires_at"] = []string{t.Token.ExpiresAt.UTC().Format(time.RFC3339)}
	}
	return ev
}

// AddService makes an account for a program: it has no password, and signs in with tokens alone.
func (s *Service) AddService(ctx context.Context, by, name string, role identity.Role) (identity.User, error) {
	role, err := s.roles.Parse(string(role))
	if err != nil {
		return identity.User{}, err
	}
	if err := identity.CheckName(name); err != nil {
		return identity.User{}, err
	}
	user := identity.User{Backend: service, Subject: identity.NameKey(name), Name: strings.TrimSpace(name), Role: role}
	ev := event(audit.EventUserCreated, user, by)
	made, err := s.users.CreateUser(ctx, user, "", ev)
	if errors.Is(err, identity.ErrExists) {
		return identity.User{}, problem{fmt.Sprintf("there is a service account %q already: use change-role or create-token, or choose another name", name), err}
	}
	if err != nil {
		return identity.User{}, err
	}
	s.published(ev)
	return made, nil
}
