package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"dagster-authkit/internal/identity"
)

// valueKey names what a gorilla session of ours holds. Nothing else fits into the row, so nothing else is accepted.
type valueKey string

const (
	userValue    valueKey = "user"    // identity.User
	sessionValue valueKey = "session" // identity.Session, once stored
	addressValue valueKey = "address" // string, for a new one
	voucherValue valueKey = "voucher" // identity.Voucher, for a new one
)

// maxUserAgent is in bytes.
const maxUserAgent = 256

// Get returns the request's session, the same one each time it is asked for in a request.
func (m *Manager) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(m, name)
}

// New returns the session that the request's cookie names, or a new one when there is none. The error is the store's; the
// session is new then too, but must not be taken for nobody's.
func (m *Manager) New(r *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(m, name)
	s.Options = m.options(r)
	s.IsNew = true
	if name != m.name {
		return s, fmt.Errorf("there are no sessions named %q here", name)
	}
	t, e, err := m.find(r, m.held)
	if errors.Is(err, ErrNone) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.IsNew = false
	s.ID = base64.RawURLEncoding.EncodeToString(t[:])
	s.Values[userValue] = e.user
	s.Values[sessionValue] = e.session
	return s, nil
}

// Save makes a row and a cookie for a session without an ID, and ends the request's sessions when MaxAge is below 0. A
// session that is stored has nothing that could be saved again.
func (m *Manager) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	switch {
	case s.Name() != m.name:
		return fmt.Errorf("there are no sessions named %q here", s.Name())
	case s.Options.MaxAge < 0:
		_, err := m.End(w, r)
		return err
	case s.ID != "":
		return nil
	}
	for key := range s.Values {
		if key, ours := key.(valueKey); !ours {
			return fmt.Errorf("a session can't hold %v", key)
		}
	}
	user, ok := s.Values[userValue].(identity.User)
	if !ok || user.RowID == 0 {
		return errors.New("a session without a user can't be saved")
	}
	address, _ := s.Values[addressValue].(string)
	by, _ := s.Values[voucherValue].(identity.Voucher)
	return m.create(r, w, s, user, address, by)
}

func (m *Manager) create(
	r *http.Request, w http.ResponseWriter, s *sessions.Session, user identity.User, address string, by identity.Voucher,
) error {
	var t token
	if _, err := rand.Read(t[:]); err != nil {
		return fmt.Errorf("make a session token: %w", err)
	}
	name := m.nameFor(r)
	value, err := m.codec.Encode(name, t[:])
	if err != nil {
		return fmt.Errorf("sign the session cookie: %w", err)
	}
	h, now := t.hash(), time.Now().UTC().Truncate(time.Millisecond) // as the database keeps it
	row := identity.Session{
		TokenHash: h[:], UserRowID: user.RowID, UserEpoch: user.Epoch, CreatedAt: now, ExpiresAt: now.Add(m.maxAge), LastSeenAt: now,
		Address: address, UserAgent: cut(r.UserAgent(), maxUserAgent), Voucher: by,
	}
	row.RefreshedAt = row.RefreshedAt.Truncate(time.Millisecond)
	row.Secret = m.refresh.seal(h, by.Secret)
	if err := m.rows.CreateSession(r.Context(), row); err != nil {
		return fmt.Errorf("store the session: %w", err)
	}
	s.ID, s.IsNew = base64.RawURLEncoding.EncodeToString(t[:]), false
	s.Values[sessionValue] = row
	http.SetCookie(w, sessions.NewCookie(name, value, s.Options))
	return nil
}

// Start signs user in: a new token always, whatever cookie came, so that one planted before is worth nothing after. The
// sessions of the cookies that came are ended. The caller has verified who it is, and that they are not disabled. by is the
// zero Voucher unless the user's backend is to be asked about them later.
func (m *Manager) Start(
	w http.ResponseWriter, r *http.Request, user identity.User, address string, by identity.Voucher,
) (identity.Session, error) {
	s, err := m.Get(r, m.name)
	if err != nil {
		return identity.Session{}, err
	}
	if _, err := m.endAll(r); err != nil {
		return identity.Session{}, err
	}
	s.ID, s.IsNew, s.Options = "", true, m.options(r)
	s.Values = map[any]any{userValue: user, addressValue: address, voucherValue: by}
	if err := s.Save(r, w); err != nil {
		return identity.Session{}, err
	}
	row, _ := s.Values[sessionValue].(identity.Session)
	return row, nil
}

// End signs out: the request's sessions are deleted and their cookies cleared. It returns who was signed in, nobody if no
// one was, which is no error. On an error the cookie stays, because the session may still be there.
func (m *Manager) End(w http.ResponseWriter, r *http.Request) (identity.Identity, error) {
	who, err := m.endAll(r)
	if err != nil {
		return identity.Identity{}, err
	}
	m.Clear(w, r)
	return who, nil
}

// endAll deletes the sessions of every cookie that we signed, those of the other name too, and returns whose the first was.
func (m *Manager) endAll(r *http.Request) (identity.Identity, error) {
	var who identity.Identity
	fitting := m.nameFor(r)
	for _, name := range m.ownNames() {
		for _, t := range m.tokens(r, name) {
			ended, err := m.end(r.Context(), t.hash())
			if err != nil {
				return identity.Identity{}, err
			}
			if name == fitting && who.Nobody() {
				who = ended
			}
		}
	}
	return who, nil
}

func (m *Manager) end(ctx context.Context, h hash) (identity.Identity, error) {
	e, err := m.held(ctx, h)
	if err != nil && !errors.Is(err, ErrNone) {
		return identity.Identity{}, err
	}
	if e == nil {
		return identity.Identity{}, nil
	}
	deleted, err := m.rows.DeleteSession(ctx, h[:])
	if err != nil {
		return identity.Identity{}, fmt.Errorf("end the session: %w", err)
	}
	if !deleted {
		return identity.Identity{}, nil
	}
	return e.user.Identity(e.session.PublicID()), nil
}

// Touch stores that a person was active in the session just now, at most once a minute, and at most four times per idle
// timeout where that is more often. Sessions ended meanwhile stay ended.
func (m *Manager) Touch(ctx context.Context, s identity.Session) error {
	if len(s.TokenHash) != len(hash{}) {
		return errors.New("touch the session: it has no token")
	}
	interval, now, h := touchInterval, time.Now().UTC(), hash(s.TokenHash)
	if m.idleTimeout > 0 {
		interval = min(interval, m.idleTimeout/4)
	}
	if now.Sub(s.LastSeenAt) < interval || !m.touches.due(h, now, interval) {
		return nil
	}
	if err := m.rows.TouchSession(ctx, s.TokenHash, now); err != nil {
		m.touches.failed(h)
		m.storeFailed(ctx, true)
		return fmt.Errorf("touch the session: %w", err)
	}
	m.outage.went(true)
	return nil
}

// cut keeps at most limit bytes of s, in valid UTF-8 and without U+0000, which PostgreSQL refuses.
func cut(s string, limit int) string {
	s = strings.ReplaceAll(s[:min(len(s), limit)], "\x00", "")
	return strings.ToValidUTF8(s, "")
}
