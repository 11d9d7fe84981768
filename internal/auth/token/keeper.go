package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// ServiceBackend is the backend of programs' own accounts, which have no password and sign in by token alone.
const ServiceBackend = "service"

const (
	// useInterval is how often a token's last use is stored at most.
	useInterval = time.Minute
	// maxCached tokens are kept, of about 1 KiB each.
	maxCached = 10_000
)

// The reasons of a RefusedError, for the trail.
const (
	ReasonUnreadable = "TOKEN_UNREADABLE" // not as New makes them, or several at once
	ReasonUnknown    = "TOKEN_UNKNOWN"    // made up, revoked, or swept after its end
	ReasonExpired    = "TOKEN_EXPIRED"
	ReasonDisabled   = "OWNER_DISABLED"
	ReasonNoRole     = "OWNER_HAS_NO_ROLE" // the owner's backend gives them none any more
	ReasonBackend    = "OWNER_BACKEND_NOT_IN_USE"
	ReasonGone       = "BACKEND_NO_LONGER_VOUCHES" // session.ReasonGone's word
	ReasonUnseen     = "OWNER_NOT_SEEN_LATELY"
)

// Rows are the tokens in the database.
type Rows interface {
	// TokenByHash returns the token, its owner, and the owner's grants in one read, or identity.ErrNotFound.
	TokenByHash(ctx context.Context, hash []byte) (identity.Token, identity.User, error)
	// TouchToken stores when a token was used. It need not move Version.
	TouchToken(ctx context.Context, hash []byte, at time.Time) error
	// Version changes whenever anybody, in this process or another, changed users, grants or tokens. It costs microseconds.
	Version(ctx context.Context) (int64, error)
}

// Options are what a Keeper needs.
type Options struct {
	// Rows and Roles are needed.
	Rows  Rows
	Roles *policy.Roles
	// Backends are those whose users' tokens count, beside those of service accounts; none: everybody's.
	Backends []string
	// Static is the environment's token, if there is one.
	Static Static
	// Confirm is called about owners of the backends in Vouching, once in ConfirmInterval while their tokens are used.
	Confirm         Confirm
	Vouching        []string
	ConfirmInterval time.Duration
	Log             zerolog.Logger
}

// Keeper says whom tokens stand for. It is made by New, and safe for any number of goroutines.
type Keeper struct {
	rows     Rows
	roles    *policy.Roles
	backends []string
	static   Static
	vouching []string
	confirm  confirmer
	log      zerolog.Logger

	mu     sync.Mutex
	cached map[Hash]*entry
	used   map[Hash]time.Time // what was stored lately, so that many requests make one write
}

// entry is a token as it was read at that version of the database, and never changed after.
type entry struct {
	version int64
	token   identity.Token
	owner   identity.User
	who     identity.Identity
}

// NewKeeper makes a Keeper.
func NewKeeper(o Options) (*Keeper, error) {
	if o.Rows == nil || o.Roles == nil {
		return nil, errors.New("token: rows and roles are needed")
	}
	if o.Static.Token != "" && !o.Roles.Known(o.Static.Role) {
		return nil, fmt.Errorf("token: the service token's role %q is not known", o.Static.Role)
	}
	if len(o.Vouching) > 0 && (o.Confirm == nil || o.ConfirmInterval < time.Second) {
		return nil, errors.New("token: backends that vouch need a way to be asked, and an interval of a second at least")
	}
	return &Keeper{
		rows: o.Rows, roles: o.Roles, backends: o.Backends, static: o.Static, log: o.Log, vouching: o.Vouching,
		confirm: confirmer{ask: o.Confirm, interval: o.ConfirmInterval, known: map[int64]confirmation{}},
		cached:  map[Hash]*entry{}, used: map[Hash]time.Time{},
	}, nil
}

// Explicit reports whether the request presents a token. Browsers add none by themselves, so that no foreign page can send one
// in somebody's name.
func (k *Keeper) Explicit(r *http.Request) bool {
	_, found := presented(r.Header)
	static, _ := k.static.presented(r.Header)
	return found || static
}

// Present says whom the request's token stands for; found is false when it has none. The error is a RefusedError, or a fault of
// the store. In the steady state it takes one call of Rows.Version, a hash and a look into a map. The identity's grants are
// shared with other requests and must not be changed.
func (k *Keeper) Present(r *http.Request) (who auth.Presented, found bool, err error) {
	text, found := presented(r.Header)
	static, right := k.static.presented(r.Header)
	switch {
	case !found && !static:
		return auth.Presented{}, false, nil
	case found && static, found && !Valid(text):
		return auth.Presented{}, true, refused(ReasonUnreadable, identity.Identity{})
	case static && !right:
		return auth.Presented{}, true, refused(ReasonUnknown, identity.Identity{})
	case static:
		return k.environment(), true, nil
	}
	now, hash := time.Now().UTC(), Sum(text)
	e, err := k.live(r.Context(), hash, now)
	if err != nil {
		return auth.Presented{}, true, err
	}
	k.note(r.Context(), hash, e.token, now)
	return auth.Presented{Identity: e.who, Look: k.looker(hash, e), Token: true}, true, nil
}

// environment is the Static token's identity. It holds for as long as the process does.
func (k *Keeper) environment() auth.Presented {
	user := k.static.user()
	who := user.Identity("")
	who.TokenName = "DAGSTER_AUTH_SERVICE_TOKEN"
	return auth.Presented{
		Identity: who, Token: true,
		Look: func(context.Context) (identity.User, error) { return user, nil },
	}
}

// looker reads the token anew. It ends with the token even while the database does not answer.
func (k *Keeper) looker(hash Hash, last *entry) func(context.Context) (identity.User, error) {
	expiring := last.token
	return func(ctx context.Context) (identity.User, error) {
		now := time.Now().UTC()
		e, err := k.live(ctx, hash, now)
		switch {
		case errors.Is(err, auth.ErrInvalid) || errors.Is(err, auth.ErrUnavailable) || err != nil && expiring.Expired(now):
			// Unavailable: the owner's backend is overdue in vouching for them, and new requests are not let in either.
			return identity.User{}, identity.ErrNotFound
		case err != nil:
			return identity.User{}, err
		}
		user := e.owner
		user.Role, user.Grants = e.who.Role, e.who.Grants
		return user, nil
	}
}

// live returns the token if it counts at this moment.
func (k *Keeper) live(ctx context.Context, hash Hash, now time.Time) (*entry, error) {
	version, err := k.rows.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database's version: %w", err)
	}
	e, err := k.row(ctx, hash, version)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil, refused(ReasonUnknown, identity.Identity{})
	case err != nil:
		return nil, fmt.Errorf("look up the token: %w", err)
	case e.token.Expired(now):
		return nil, refused(ReasonExpired, e.who)
	case e.owner.Disabled:
		return nil, refused(ReasonDisabled, e.who)
	case e.owner.Role == "":
		return nil, refused(ReasonNoRole, e.who)
	case e.owner.Backend != ServiceBackend && len(k.backends) > 0 && !slices.Contains(k.backends, e.owner.Backend):
		return nil, refused(ReasonBackend, e.who)
	case slices.Contains(k.vouching, e.owner.Backend):
		return k.vouched(ctx, hash, e, now)
	}
	return e, nil
}

// vouched has the owner's backend asked where that is due, and returns the token as it is after the answer.
func (k *Keeper) vouched(ctx context.Context, hash Hash, e *entry, now time.Time) (*entry, error) {
	fresh, err := k.confirm.check(ctx, e.owner, now)
	switch {
	case errors.Is(err, ErrUnseen):
		return nil, refused(ReasonUnseen, e.who)
	case errors.Is(err, auth.ErrGone):
		return nil, refused(ReasonGone, e.who)
	case err != nil:
		return nil, err
	case !fresh:
		return e, nil
	}
	return k.live(ctx, hash, now)
}

// row returns the token as it is at that version of the database, which the caller asked for before: a change that falls between
// the two makes the entry worthless, not wrong.
func (k *Keeper) row(ctx context.Context, hash Hash, version int64) (*entry, error) {
	k.mu.Lock()
	e := k.cached[hash]
	k.mu.Unlock()
	if e != nil && e.version == version {
		return e, nil
	}
	token, owner, err := k.rows.TokenByHash(ctx, hash[:])
	if err != nil {
		return nil, err
	}
	e = &entry{version: version, token: token, owner: owner}
	e.who = k.roles.Limited(owner.Identity(""), policy.Limit{Role: token.Role, Location: token.Location})
	e.who.TokenID, e.who.TokenName = token.PublicID(), token.Name
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.cached) >= maxCached {
		clear(k.cached) // the living ones come back with one read each
	}
	k.cached[hash] = e
	return e, nil
}

// note stores that the token was used, at most once a minute. That it can't be stored keeps nobody out.
func (k *Keeper) note(ctx context.Context, hash Hash, token identity.Token, now time.Time) {
	if now.Sub(token.LastUsedAt) < useInterval || !k.dueUse(hash, now) {
		return
	}
	if err := k.rows.TouchToken(ctx, hash[:], now); err != nil {
		k.mu.Lock()
		delete(k.used, hash)
		k.mu.Unlock()
		k.log.Warn().Err(err).Str("token", token.PublicID()).Msg("noting the token's use failed")
	}
}

// dueUse reports whether the caller is to store the use, and then takes it on itself.
func (k *Keeper) dueUse(hash Hash, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.used[hash]) < useInterval {
		return false
	}
	if len(k.used) >= maxCached {
		clear(k.used)
	}
	k.used[hash] = now
	return true
}

func refused(reason string, whose identity.Identity) error {
	message := "This token is not valid: it is unknown, revoked or expired, or its owner is disabled."
	switch reason {
	case ReasonUnreadable:
		message = "This is no token: send exactly one, whole and unchanged, as in Authorization: Bearer " + Prefix + "..."
	case ReasonUnseen:
		message = "The owner of this token has not signed in for too long. It is good again once they have."
	}
	return &auth.RefusedError{Reason: reason, Message: message, Token: true, Identity: whose}
}
