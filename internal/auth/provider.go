package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"dagster-authkit/internal/identity"
)

// ErrStale says that a sign-in on somebody else's page can't be finished: it was begun in another browser, took too long, or
// was finished before. Whoever meets it begins again.
var ErrStale = errors.New("the sign-in was not begun in this browser, took too long, or is finished")

// Provider is a way to sign in on somebody else's page: a button on ours.
type Provider struct {
	// ID is part of addresses, Name what people read.
	ID, Name string
}

// Departure sends a browser to a provider's page.
type Departure struct {
	Location string
	// State comes back with the browser, and TicketName of it names the cookie that holds Ticket, which is sealed.
	State, Ticket string
	// Lasts is how long the sign-in may take.
	Lasts time.Duration
}

// TicketName tells the tickets of one browser's sign-ins apart. It says nothing of the state.
func TicketName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:8])
}

// Arrival is somebody whom a provider sent back, and who they are.
type Arrival struct {
	User identity.User
	By   identity.Voucher
	// Next is where the person wanted to go, as it was given to Depart.
	Next string
}

// Notice is a provider's word that somebody was signed out there.
type Notice struct {
	// Provider is the ID of the one that spoke, Session what it calls the session that ended, and Subject the subject of the
	// user. One of the last two may be empty; without a session, all that the provider began for the user are over.
	Provider, Session, Subject string
}

// DeclinedError says that somebody may not sign in, although the provider answered.
type DeclinedError struct {
	// Reason is a word for the trail, "EMAIL_DOMAIN", and Message a sentence or two for the person. It has no text of others.
	Reason, Message string
	// Username is who it is, when the provider said so; empty: nobody knows, and anybody may have brought it about.
	Username string
	// Err is for the log; it may be nil.
	Err error
}

func (e *DeclinedError) Error() string {
	if e.Err == nil {
		return "the sign-in is refused: " + e.Reason
	}
	return "the sign-in is refused: " + e.Reason + ": " + e.Err.Error()
}

func (e *DeclinedError) Unwrap() error { return e.Err }
