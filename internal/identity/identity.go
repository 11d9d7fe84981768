// Package identity holds the words that every other package shares: who somebody is (Identity), the account behind
// them (User), a sign-in of theirs (Session), and what they may do (Role, Permission, Grant). It knows no HTTP and no SQL.
package identity

import (
	"errors"
	"slices"
	"time"
)

// Sentinels of the stored things. They stand here because the store returns them and the rules branch on them.
var (
	// ErrNotFound says that there is no such user, session, grant or token.
	ErrNotFound = errors.New("not found")
	// ErrExists says that a user of that name, or a token of that name and user, is there already.
	ErrExists = errors.New("already exists")
	// ErrLastAdmin says that the change would leave nobody who can administer AuthKit.
	ErrLastAdmin = errors.New("last admin")
	// ErrUnwritable says that the database can be read, and takes no changes: its disk is full, or it is a standby.
	ErrUnwritable = errors.New("the database takes no changes")
)

// Identity is the person or program behind a request, as it is at the moment of that request: role and grants are read
// anew each time, never remembered. The zero Identity is nobody and may do nothing.
type Identity struct {
	// ID is backend and subject, "local:alice". Limits, audit and grants use it; a name alone is never a link.
	ID        string
	Backend   string
	Username  string
	Email     string
	FullName  string
	Role      Role
	Grants    []Grant
	SessionID string
	// TokenID and TokenName are those of the token that a program presented; empty for people with a session.
	TokenID   string
	TokenName string
}

// Nobody reports whether no one is signed in.
func (i Identity) Nobody() bool { return i.ID == "" }

// Equal reports whether the two are the same in everything: who was judged as one would be judged as the other.
func (i Identity) Equal(o Identity) bool {
	return i.ID == o.ID && i.Backend == o.Backend && i.Username == o.Username && i.Email == o.Email && i.FullName == o.FullName &&
		i.Role == o.Role && i.SessionID == o.SessionID && i.TokenID == o.TokenID && i.TokenName == o.TokenName && slices.Equal(i.Grants, o.Grants)
}

// Grant is a role in one code location. It only ever adds to the role that its holder has everywhere.
type Grant struct {
	Location string `json:"location"`
	Role     Role   `json:"role"`
}

// User is an account: a row of the users table without its password hash.
type User struct {
	// RowID is the store's own number; it appears in no interface.
	RowID int64
	// Backend and Subject are the account's lasting name: "local" and the NameKey for local users.
	Backend string
	Subject string
	// Name is as it was typed when the account was made; it is compared by NameKey.
	Name     string
	Email    string
	FullName string
	Role     Role
	// Grants are the user's own and those of the user's groups, as they are read; only the former are written with a new user.
	Grants []Grant
	// Groups are what another backend tells of the user at sign-in, GroupSource who told (as in GroupRule; without it they count
	// for nothing), and RuleGrants what the config file's rules give for them. They are written only: what they give is in Grants.
	Groups      []string
	GroupSource string
	RuleGrants  []Grant
	Disabled    bool
	// Epoch moves with every password change and disabling: a sign-in that was checked in an earlier one starts no session.
	Epoch       int64
	CreatedAt   time.Time
	LastLoginAt time.Time // zero: never
}

// ID is the name by which limits, audit and grants know the account.
func (u User) ID() string { return u.Backend + ":" + u.Subject }

// GroupNames are the user's groups as grants name them.
func (u User) GroupNames() []string {
	if u.GroupSource == "" {
		return nil
	}
	names := make([]string, 0, len(u.Groups))
	for _, group := range u.Groups {
		if group != "" {
			names = append(names, GroupName(u.GroupSource, group))
		}
	}
	return names
}

// Identity is who the user is in the session of the given public ID.
func (u User) Identity(sessionID string) Identity {
	return Identity{
		ID: u.ID(), Backend: u.Backend, Username: u.Name, Email: u.Email, FullName: u.FullName,
		Role: u.Role, Grants: u.Grants, SessionID: sessionID,
	}
}

// Session is one sign-in. Only the SHA-256 of its token is ever stored.
type Session struct {
	TokenHash  []byte
	UserRowID  int64
	UserEpoch  int64 // the user's Epoch at sign-in; it is looked at once, when the session is stored
	CreatedAt  time.Time
	ExpiresAt  time.Time // absolute: no activity moves it
	LastSeenAt time.Time // the last activity of a person, not of a polling tab
	Address    string    // client address at sign-in
	UserAgent  string    // at most 256 bytes
	Voucher
}

// Voucher is what ties a session to a backend that keeps its users elsewhere, and is asked now and then whether it still
// vouches for the session's user. The zero Voucher is that of a session for which nobody has to be asked.
type Voucher struct {
	// Provider is which of the backend's providers began the session, and ProviderSession what that one calls it.
	Provider        string
	ProviderSession string
	// RefreshedAt is when the backend last vouched; zero: it is never asked.
	RefreshedAt time.Time
	// Secret is what the backend is asked with, a refresh token. It is read for that alone, and in the database encrypted.
	Secret []byte
}

// PublicID names a session in lists and events: the first 12 hex digits of its token's hash, which reveal nothing of the token.
func (s Session) PublicID() string { return publicID(s.TokenHash) }

func publicID(hash []byte) string {
	const digits = "0123456789abcdef"
	n := min(6, len(hash))
	id := make([]byte, 0, 2*n)
	for _, b := range hash[:n] {
		id = append(id, digits[b>>4], digits[b&15])
	}
	return string(id)
}
