// Package header takes a proxy's word for who sends a request: in plain headers, which count only from peers that are trusted,
// or in a header that holds a signed token, which proves itself. It is asked at each request, so nothing is remembered that
// the proxy does not say again. What could be read in two ways is refused.
package header

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Name is the backend's part of an identity's ID: "header:alice".
const Name = "header"

// Users are the accounts in the database.
type Users interface {
	// Version changes whenever anybody changed users, grants or sessions. It costs microseconds.
	Version(ctx context.Context) (int64, error)
	// UpsertUser makes or refreshes the account and returns it. It writes nothing when nothing changed.
	UpsertUser(ctx context.Context, user identity.User) (identity.User, error)
	// UserByName finds an account by backend and subject, or gives identity.ErrNotFound.
	UserByName(ctx context.Context, backend, subject string) (identity.User, error)
}

// Options of a Backend.
type Options struct {
	// TrustedProxies are the peers whose word counts; none: nobody's, unless TrustAll or Token is given. With Token and some
	// peers, the token counts from those alone.
	TrustedProxies []netip.Prefix
	// TrustAll takes everybody's word. It is for networks in which only the proxy reaches us.
	TrustAll bool
	// Plain are the headers to read. It does nothing where Token is given.
	Plain Plain
	// Token is the signed token to read; its zero value: none.
	Token Token
	// Rules turn groups into roles; needed.
	Rules *auth.RoleRules
	// Users is needed.
	Users Users
	// Lasting is how long a connection may stay open on the word of the request that began it; at least a second.
	Lasting time.Duration
}

// Plain are the names of the headers that a proxy writes. All but User may be empty; Email may be the same as User.
type Plain struct {
	User, Groups, Email, Name string
	// Separator is what stands between groups; empty: it is found out, where that can be done without doubt.
	Separator string
}

// Backend is made by New and safe for any number of goroutines.
type Backend struct {
	trusted  []netip.Prefix
	trustAll bool
	source   source
	users    Users
	lasting  time.Duration
	accounts accounts
}

// source reads what a proxy says.
type source interface {
	// find gives the text of what the request says, by which it can be recognised; empty: it says nothing.
	find(h http.Header) (text said, err error)
	// read gives who that is, with role and rule grants, and until when it holds; the zero time is for as long as it is said.
	read(ctx context.Context, text said) (user identity.User, until time.Time, err error)
}

// said is the values of the headers: the user's, or the token alone, the groups', the email's and the name's.
type said [4]string

func (s said) empty() bool { return s == said{} }

// key is the same for what is said in the same words.
func (s said) key() [sha256.Size]byte {
	size := len(s)
	for _, text := range s {
		size += len(text)
	}
	all := make([]byte, 0, size)
	for _, text := range s {
		all = append(append(all, text...), 0) // no header holds a zero byte
	}
	return sha256.Sum256(all)
}

// New makes a Backend.
func New(o Options) (*Backend, error) {
	switch {
	case o.Rules == nil || o.Users == nil:
		return nil, errors.New("header: rules and users are needed")
	case o.Lasting < time.Second:
		return nil, errors.New("header: a connection lasts at least a second")
	case o.Token.Header == "" && o.Plain.User == "":
		return nil, errors.New("header: no header is named that says who somebody is")
	case o.Token.Header == "" && len(o.TrustedProxies) == 0 && !o.TrustAll:
		return nil, errors.New("header: nobody's word would count: name the proxies")
	case o.Plain.Separator != "" && o.Plain.Separator != "json" && separators[o.Plain.Separator] == "":
		return nil, fmt.Errorf("header: %q is no separator of groups", o.Plain.Separator)
	}
	b := &Backend{
		trusted: o.TrustedProxies, trustAll: o.TrustAll, users: o.Users, lasting: o.Lasting, accounts: newAccounts(),
	}
	if o.Token.Header == "" {
		b.source = newPlain(o.Plain, o.Rules)
		return b, nil
	}
	// The token proves itself. Where peers are named, it has to come by one of them as well.
	b.trustAll = b.trustAll || len(o.TrustedProxies) == 0
	var err error
	b.source, err = newTokens(o.Token, o.Rules)
	return b, err
}

// Present says who sent the request, by what the proxy says. found is false when it says nothing. The error is a
// RefusedError, a NoRoleError, ErrUnavailable when the keys for tokens can't be had, or the store's.
func (b *Backend) Present(r *http.Request) (presented auth.Presented, found bool, err error) {
	text, err := b.source.find(r.Header)
	if err == nil && text.empty() {
		return auth.Presented{}, false, nil
	}
	if !b.trusts(r.RemoteAddr) {
		return auth.Presented{}, false, auth.Refuse("UNTRUSTED_PROXY",
			"Something between you and this Dagster says who you are, and is not a proxy that Dagster trusts.",
			"the connection comes from "+r.RemoteAddr+", which is not in DAGSTER_AUTH_TRUSTED_PROXIES")
	}
	if err != nil {
		return auth.Presented{}, false, err
	}
	user, err := b.account(r.Context(), text)
	switch {
	case err != nil:
		return auth.Presented{}, false, err
	case user.Disabled:
		return auth.Presented{}, false, &auth.RefusedError{
			Reason: "DISABLED", Message: "Your account is disabled in this Dagster.", Identity: user.Identity(""),
			Cause: errors.New("the account " + user.ID() + " is disabled"),
		}
	}
	return auth.Presented{
		Identity: user.Identity(""), Look: b.look(user.Subject, time.Now().Add(b.lasting)), SignIn: &user,
	}, true, nil
}

// Explicit is false: a proxy adds its headers to whatever a browser sends, also in the name of a foreign page.
func (b *Backend) Explicit(*http.Request) bool { return false }

// trusts is about the peer of the connection: no header says who that is.
func (b *Backend) trusts(remote string) bool {
	if b.trustAll {
		return true
	}
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	address := peer.Addr().Unmap().WithZone("")
	for _, prefix := range b.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// look gives the account as it is now, until the time given: nobody tells us that somebody has signed out at the proxy, so a
// connection has to be opened anew now and then.
func (b *Backend) look(subject string, until time.Time) func(context.Context) (identity.User, error) {
	var user identity.User
	seen, known := int64(0), false
	return func(ctx context.Context) (identity.User, error) {
		if !time.Now().Before(until) {
			return identity.User{}, fmt.Errorf("the proxy's word has grown old: %w", identity.ErrNotFound)
		}
		version, err := b.users.Version(ctx)
		if err != nil || known && version == seen {
			return user, err
		}
		now, err := b.users.UserByName(ctx, Name, subject)
		if err != nil {
			return identity.User{}, err
		}
		user, seen, known = now, version, true
		return user, nil
	}
}
