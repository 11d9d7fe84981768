package accounts

import (
	"context"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// SignIn is a session and whose it is.
type SignIn struct {
	Session identity.Session
	User    identity.User
}

// Sessions lists the sessions of the user, or of everybody when the name is empty, the last used first. Those past their
// lifetime are left out; they are deleted by a sweep that may not have come yet.
func (s *Service) Sessions(ctx context.Context, nameOrID string) ([]SignIn, error) {
	rowID, err := s.rowID(ctx, nameOrID)
	if err != nil {
		return nil, err
	}
	sessions, users, err := s.sessions.Sessions(ctx, rowID)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var live []SignIn
	for i, session := range sessions {
		if now.Before(session.ExpiresAt) {
			live = append(live, SignIn{session, users[i]})
		}
	}
	return live, nil
}

// RevokeSessions ends all sessions of the user and says how many there were. One event is stored for each.
func (s *Service) RevokeSessions(ctx context.Context, by, nameOrID string) (int, error) {
	user, err := s.Get(ctx, nameOrID)
	if err != nil {
		return 0, err
	}
	return s.revoke(ctx, by, user.RowID)
}

// RevokeAll ends everybody's sessions and says how many there were.
func (s *Service) RevokeAll(ctx context.Context, by string) (int, error) { return s.revoke(ctx, by, 0) }

func (s *Service) revoke(ctx context.Context, by string, rowID int64) (int, error) {
	return s.ended(s.sessions.RevokeSessions(ctx, rowID, audit.Event{
		Type: audit.EventSessionRevoked, PerformedBy: by, Timestamp: time.Now().UTC(),
	}))
}

// ReasonSignedOutAtProvider is why a session ended of which its provider said that it is over.
const ReasonSignedOutAtProvider = "SIGNED_OUT_AT_PROVIDER"

// SignedOutAtProvider ends what a provider began and says is over, and says how many sessions that were. With a session of the
// provider it is that one, without all of the subject's. One event is stored for each; requestID and address are of the
// provider's request.
func (s *Service) SignedOutAtProvider(ctx context.Context, backend string, notice auth.Notice, requestID, address string) (int, error) {
	return s.ended(s.sessions.RevokeProviderSessions(ctx, backend, notice.Provider, notice.Session, notice.Subject, audit.Event{
		Type: audit.EventSessionRevoked, PerformedBy: backend + ":" + notice.Provider, Reason: ReasonSignedOutAtProvider,
		Timestamp: time.Now().UTC(), RequestID: requestID, IP: address,
	}))
}

// ended tells of sessions that have ended, of which there may be some with an error, too.
func (s *Service) ended(events []audit.Event, err error) (int, error) {
	for _, ev := range events {
		s.published(ev)
	}
	return len(events), err
}
