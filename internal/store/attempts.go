package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

const (
	// knownFor is how long an address counts as one from which an account signed in lately. A month outlasts holidays.
	knownFor = 30 * 24 * time.Hour
	// maxKey bounds what an attempt stores of a name or address, in bytes: strangers choose both.
	maxKey = 64
)

// Attempt is a sign-in that somebody wants to try, and how many failures may be before it.
type Attempt struct {
	// Account is the name as it was typed, known or not.
	Account string
	// Address is the client's, in the form by which clients are told apart.
	Address string
	Now     time.Time
	// Window is how far back failures count.
	Window time.Duration
	// PerPair, PerAddress and PerAccount limit the failures of this account from this address, of whatever account from
	// this address, and of this account from everywhere. The last does not hold for an address from which the account
	// signed in during the last 30 days, so that strangers can't lock the owner out. 0: no such limit.
	PerPair, PerAddress, PerAccount int
}

// TakeAttempt counts the failures in the window and, unless there are too many, records one more: the attempt is a
// failure until ClearAttempts says otherwise, so that parallel guesses can't outrun the count. A refused attempt is not
// recorded, and does not make the wait longer. The result is how long to wait until an attempt would pass; 0: go on.
func (s *Store) TakeAttempt(ctx context.Context, a Attempt) (retryAfter time.Duration, err error) {
	account, address := accountKey(a.Account), bounded(a.Address)
	err = s.attempt(ctx, "take sign-in attempt", account, address, func(tx *sql.Tx) error {
		retryAfter, err = wait(ctx, tx, a, account, address)
		if err != nil || retryAfter > 0 {
			return err
		}
		_, err = change(ctx, tx, `INSERT INTO login_attempts (account, address, at) VALUES ($1, $2, $3)`,
			account, address, a.Now.UnixMilli())
		return err
	})
	if err != nil {
		return 0, err
	}
	return retryAfter, nil
}

// attempt runs f in a transaction beside which no other one counts or changes the attempts of that account or address.
func (s *Store) attempt(ctx context.Context, step, account, address string, f func(tx *sql.Tx) error) error {
	return s.note(ctx, step, func(tx *sql.Tx) error {
		if err := s.engine.hold(ctx, tx, "account "+account, "address "+address); err != nil {
			return err
		}
		return f(tx)
	})
}

// wait is the longest wait that any of the three limits asks for.
func wait(ctx context.Context, db querier, a Attempt, account, address string) (time.Duration, error) {
	known := false
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM login_addresses
		WHERE account = $1 AND address = $2 AND at > $3)`, account, address, a.Now.Add(-knownFor).UnixMilli()).Scan(&known)
	if err != nil {
		return 0, fmt.Errorf("look for known address: %w", err)
	}
	if known {
		a.PerAccount = 0
	}
	var longest time.Duration
	for _, rule := range []struct {
		limit int
		where string
		args  []any
	}{
		{a.PerPair, `account = $1 AND address = $2`, []any{account, address}},
		{a.PerAddress, `address = $1`, []any{address}},
		{a.PerAccount, `account = $1`, []any{account}},
	} {
		if rule.limit <= 0 {
			continue
		}
		left, err := remaining(ctx, db, a, rule.limit, rule.where, rule.args)
		if err != nil {
			return 0, err
		}
		longest = max(longest, left)
	}
	return longest, nil
}

// remaining is the time until fewer than limit failures are in the window, which is when the limit-newest one leaves it.
// Failures from the far future, which a clock that was wrong left behind, count for nothing.
func remaining(ctx context.Context, db querier, a Attempt, limit int, where string, args []any) (time.Duration, error) {
	n := len(args)
	query := fmt.Sprintf(`SELECT at FROM login_attempts WHERE %s AND at > $%d AND at <= $%d ORDER BY at DESC LIMIT 1 OFFSET $%d`,
		where, n+1, n+2, n+3)
	args = append(args, a.Now.Add(-a.Window).UnixMilli(), a.Now.Add(a.Window).UnixMilli(), limit-1)
	var at int64
	err := db.QueryRowContext(ctx, query, args...).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count failures: %w", err)
	}
	return min(time.UnixMilli(at).Add(a.Window).Sub(a.Now), a.Window), nil
}

// DropAttempt forgets the newest failure of the account at the address: it was none, since nobody looked at the password.
func (s *Store) DropAttempt(ctx context.Context, account, address string) error {
	account, address = accountKey(account), bounded(address)
	return s.attempt(ctx, "drop sign-in attempt", account, address, func(tx *sql.Tx) error {
		_, err := change(ctx, tx, `DELETE FROM login_attempts WHERE id =
			(SELECT max(id) FROM login_attempts WHERE account = $1 AND address = $2)`, account, address)
		return err
	})
}

// ClearAttempts forgets the failures of the account at that address after a success, and remembers the address as one
// from which the account signed in.
func (s *Store) ClearAttempts(ctx context.Context, account, address string, now time.Time) error {
	account, address = accountKey(account), bounded(address)
	return s.attempt(ctx, "clear sign-in attempts", account, address, func(tx *sql.Tx) error {
		if _, err := change(ctx, tx, `DELETE FROM login_attempts WHERE account = $1 AND address = $2`, account, address); err != nil {
			return err
		}
		_, err := change(ctx, tx, `INSERT INTO login_addresses (account, address, at) VALUES ($1, $2, $3)
			ON CONFLICT (account, address) DO UPDATE SET at = excluded.at`, account, address, now.UnixMilli())
		return err
	})
}

// ForgetAttempts forgets all failures of the account, from wherever, and says how many there were.
func (s *Store) ForgetAttempts(ctx context.Context, account string) (int, error) {
	var n int64
	err := s.note(ctx, "forget sign-in attempts", func(tx *sql.Tx) (err error) {
		n, err = change(ctx, tx, `DELETE FROM login_attempts WHERE account = $1`, accountKey(account))
		return err
	})
	return int(n), err
}

// SweepAttempts deletes at most limit failures older than before, and at most as many addresses that are no longer known, the
// oldest first, unless another process is at it. more is true when there may be others left.
func (s *Store) SweepAttempts(ctx context.Context, before time.Time, limit int) (more bool, err error) {
	err = s.note(ctx, "sweep sign-in attempts", func(tx *sql.Tx) error {
		more = false
		if alone, err := s.engine.alone(ctx, tx, "sweep sign-in attempts"); err != nil || !alone {
			return err
		}
		for statement, than := range map[string]time.Time{
			`DELETE FROM login_attempts WHERE id IN (SELECT id FROM login_attempts WHERE at < $1 ORDER BY at LIMIT $2)`: before,
			`DELETE FROM login_addresses WHERE (account, address) IN
				(SELECT account, address FROM login_addresses WHERE at < $1 ORDER BY at LIMIT $2)`: before.Add(-knownFor),
		} {
			n, err := change(ctx, tx, statement, than.UnixMilli(), limit)
			if err != nil {
				return err
			}
			more = more || n == int64(limit)
		}
		return nil
	})
	return more && err == nil, err
}

func forgetAddresses(ctx context.Context, db querier, userRowID int64) error {
	var name string
	if err := db.QueryRowContext(ctx, `SELECT name FROM users WHERE id = $1`, userRowID).Scan(&name); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return fmt.Errorf("read name: %w", err)
	}
	if _, err := change(ctx, db, `DELETE FROM login_addresses WHERE account = $1`, accountKey(name)); err != nil {
		return fmt.Errorf("forget addresses: %w", err)
	}
	return nil
}

// accountKey is the same for every spelling that finds the same account, so that spelling it anew gains no attempts.
func accountKey(name string) string {
	if key, possible := nameKey(name); possible {
		return bounded(key)
	}
	return bounded(name)
}

// bounded gives a key of at most 64 bytes of text: the SHA-256 of any other has exactly that in hex.
func bounded(key string) string {
	if len(key) <= maxKey && isText(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
