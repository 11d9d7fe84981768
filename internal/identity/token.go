package identity

import "time"

// Token is what a program presents in place of a person's session. Only its SHA-256 is ever stored.
type Token struct {
	Hash      []byte
	UserRowID int64
	// Name is its owner's word for it, unique among the owner's tokens.
	Name string
	// Role is the most that it gives; empty: all that its owner may do. Location is the one code location in which it gives
	// more than reading; empty: it is as its owner's.
	Role     Role
	Location string

	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // zero: never; about a minute behind
}

// PublicID names a token in lists and events: the first 12 hex digits of its hash, which reveal nothing of it.
func (t Token) PublicID() string { return publicID(t.Hash) }

// Expired reports whether the token is over at that time.
func (t Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }
