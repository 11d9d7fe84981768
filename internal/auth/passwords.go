package auth

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// maxWaiting is how many may wait for a core. Beyond, an answer would come too late to be of use.
const maxWaiting = 64

const sortArgon2id = "$argon2id$"

// Passwords makes and verifies password hashes, as many at once as there are cores: one takes 19 MiB and some
// hundredths of a second, and a flood of sign-ins must not take all memory, nor the cores from the rest of the program.
type Passwords struct {
	slots   chan struct{}
	waiting atomic.Int64

	// The work, one function for each sort of hash. Tests count here what is done.
	argon2id func(password, salt []byte, p argonParams, length int) []byte
	bcrypt   func(hash, password []byte) error
	pbkdf2   func(password string, salt []byte) ([]byte, error)
}

// NewPasswords makes the one Passwords of a program.
func NewPasswords() *Passwords {
	return &Passwords{
		slots:    make(chan struct{}, runtime.GOMAXPROCS(0)),
		argon2id: deriveArgon2id, bcrypt: bcrypt.CompareHashAndPassword, pbkdf2: derivePBKDF2,
	}
}

// Hash makes an argon2id hash with a new salt. The error is ErrBusy or that of ctx.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	h := argonHash{params: currentParams, salt: newSalt()}
	h.key = p.argon2id(normal(password), h.salt, h.params, keyBytes)
	return h.String(), nil
}

// Verify tells whether the hash is the password's, and if so, whether it is one to be replaced by a new one.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (ok, outdated bool, err error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	ok, _, outdated = p.compare(hash, password)
	return ok, outdated, nil
}

// guess is a sign-in to be judged.
type guess struct {
	hash     string // empty: there is no such account
	password string
	barred   bool     // fails even with the right password
	sorts    []string // legacy sorts of hashes that some account has
}

// judge is Verify for sign-ins: when it fails, one hash of every sort that any account has was computed, whichever the
// account has itself, if it is there at all, so that the time tells nothing about the account.
func (p *Passwords) judge(ctx context.Context, g guess) (ok, outdated bool, err error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	ok, done, outdated := p.compare(g.hash, g.password)
	if ok && !g.barred {
		return true, outdated, nil
	}
	for _, sort := range append([]string{sortArgon2id}, g.sorts...) {
		if sort != done {
			p.pretend(sort, g.password)
		}
	}
	return false, false, nil
}

// enter waits for a core. Every nil error must be followed by one call of leave.
func (p *Passwords) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-p.slots }
	select {
	case p.slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return nil, ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
}

// compare computes the hash anew. done is the sort of the work that was done, empty when the hash is not one of ours.
func (p *Passwords) compare(hash, password string) (ok bool, done string, outdated bool) {
	if strings.HasPrefix(hash, sortArgon2id) {
		h, err := parseArgon2id(hash)
		if err != nil {
			return false, "", false
		}
		key := p.argon2id(normal(password), h.salt, h.params, len(h.key))
		return equal(key, h.key), sortArgon2id, h.params != currentParams || len(h.key) != keyBytes
	}
	sort, known := legacySort(hash)
	switch {
	case !known:
		return false, "", false
	case sort != sortPBKDF2:
		return p.bcrypt([]byte(hash), prehash(password)) == nil, sort, true
	}
	salt, want, err := parsePBKDF2(hash)
	if err != nil {
		return false, "", false
	}
	key, err := p.pbkdf2(password, salt)
	return err == nil && equal(key, want), sort, true
}

// pretend does the work of a hash of that sort, for nothing.
func (p *Passwords) pretend(sort, password string) {
	salt := make([]byte, saltBytes)
	switch known, ok := legacySort(sort); {
	case sort == sortArgon2id:
		p.argon2id(normal(password), salt, currentParams, keyBytes)
	case ok && known == sortPBKDF2:
		_, _ = p.pbkdf2(password, slices.Repeat(salt, 2))
	case ok:
		_ = p.bcrypt([]byte(known+bcryptTail), prehash(password))
	}
}

// normal is what is hashed: NIST SP 800-63B-4 asks for NFKC, as keyboards differ in how they compose a character.
func normal(password string) []byte { return norm.NFKC.Bytes([]byte(password)) }
