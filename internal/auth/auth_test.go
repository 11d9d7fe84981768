package auth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"dagster-authkit/internal/identity"
)

// Hashes that others made, and their passwords.
const (
	// The reference implementation's own test, phc-winner-argon2/src/test.c.
	referenceArgon2id = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	// dagster-authkit 1.2.0 from PyPI, with bcrypt and without; see internal/store/testdata.
	pythonBcrypt = "$2b$12$XtB6RTU94cpvcu.4vbc8p.wCwXh2GOq7UOtqCNK9zDw5k0c7A64.O"
	pythonLong   = "$2b$12$zpkQq1g1c3Wmq9JQVhXAHOL6xGxWe4JED2NvTtzFh6U./Gmg5stFm"
	pythonPBKDF2 = "pbkdf2:sha256:a31d4a6755d276dac03ff5e6ca47b24734f954db854fa24af01abd9fe41f683d:" +
		"15de23dfacc4c2a47ff6a887818cec2d7d02014c8c28b22f99a3cc01e160b184"
	longPassword = "carol singing out loud, quite a lot longer than the seventy-two bytes which bcrypt would look at"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	own, err := p.Hash(t.Context(), "cafe\u0301 au lait") // e and a combining accent
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, hash, password string
		ok, outdated         bool
	}{
		{"our own", own, "cafe\u0301 au lait", true, false},
		{"composed in another way", own, "caf\u00e9 au lait", true, false},
		{"wrong", own, "cafe au lait", false, false},
		{"reference argon2id", referenceArgon2id, "password", true, true},
		{"Python's bcrypt", pythonBcrypt, "bøb the builder", true, true},
		{"its $2y$ twin", "$2y" + pythonBcrypt[3:], "bøb the builder", true, true},
		{"over 72 bytes", pythonLong, longPassword, true, true},
		{"over 72 bytes, other end", pythonLong, longPassword[:len(longPassword)-1], false, true},
		{"Python's PBKDF2", pythonPBKDF2, "alice in wonderland", true, true},
		{"Python's PBKDF2, wrong", pythonPBKDF2, "alice in wonderlanD", false, true},
		{"no hash", "", "", false, false},
		{"plain text", "secret-password", "secret-password", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ok, outdated, err := p.Verify(t.Context(), tc.hash, tc.password)
			if err != nil || ok != tc.ok || ok && outdated != tc.outdated {
				t.Errorf("got %v, outdated %v, %v, want %v, %v", ok, outdated, err, tc.ok, tc.outdated)
			}
		})
	}
	if other, err := p.Hash(t.Context(), "cafe\u0301 au lait"); err != nil || other == own {
		t.Errorf("two hashes of one password are the same: %v", err)
	}
	// OWASP's figures, in the PHC string format.
	if !strings.HasPrefix(own, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("got %s, want OWASP's parameters", own)
	}
}

// TestHostileHashes counts the work done for hashes that somebody put into the database: none.
func TestHostileHashes(t *testing.T) {
	t.Parallel()
	c := newCounter(1)
	good := "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, change := range [][2]string{
		{"m=19456", "m=4194304"},
		{"m=19456", "m=65537"},
		{"m=19456", "m=4294967297"},
		{"m=19456", "m=7"},
		{"m=19456", "m=-1"},
		{"t=2", "t=11"},
		{"t=2", "t=0"},
		{"p=1", "p=5"},
		{"p=1", "p=0"},
		{"p=1", "p=257"},
		{"p=1", "p=1 "},
		{"p=1", "p=1,x=1"},
		{"t=2", "t=02"},
		{"v=19", "v=16"},
		{"v=19", "v=19 "},
		{"$v=19", ""},
		{"argon2id", "argon2i"},
		{"argon2id", "argon2d"},
		{"c29tZXNhbHQ", "c29tZXNhbHR"},
		{"c29tZXNhbHQ", "c29tZXNhbHQ="},
		{"c29tZXNhbHQ", ""},
		{"c29tZXNhbHQ", strings.Repeat("AAAA", 40)},
		{"c29tZXNhbHQ", strings.Repeat("AAAA", 1<<20)},
		{"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFh"},
		{"RPPc", "RPPc$"},
	} {
		hash := strings.Replace(good, change[0], change[1], 1)
		if ok, _, _ := c.compare(hash, "password"); ok || len(c.work()) > 0 {
			t.Errorf("%.120q: got %v after work %v, want none", hash, ok, c.work())
		}
	}
	for _, hash := range []string{
		"$2b$31$" + pythonBcrypt[7:], "$2b$17$" + pythonBcrypt[7:], "$2b$03$" + pythonBcrypt[7:], "$2b$+9$" + pythonBcrypt[7:],
		"$2x$12$" + pythonBcrypt[7:], "$2b$12", "pbkdf2:sha512" + pythonPBKDF2[13:], "pbkdf2:sha256:xx:yy", "pbkdf2:sha256::",
		"pbkdf2:", pythonPBKDF2 + "00", strings.Replace(pythonPBKDF2, "sha256:", "sha256:"+strings.Repeat("00", 1<<10), 1),
	} {
		if ok, _, _ := c.compare(hash, "password"); ok || len(c.work()) > 0 {
			t.Errorf("%.120q: got %v after work %v, want none", hash, ok, c.work())
		}
	}
	c.compare(good, "password")
	if diff := cmp.Diff([]string{"argon2id m=19456 t=2 p=1"}, c.work()); diff != "" {
		t.Errorf("the control (-want +got):\n%s", diff)
	}
}

// counter is a Passwords that notes the work instead of doing it, and says no to everything.
type counter struct {
	*Passwords
	mu   sync.Mutex
	done []string
}

func newCounter(cores int) *counter {
	c := &counter{}
	note := func(format string, args ...any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done = append(c.done, fmt.Sprintf(format, args...))
	}
	c.Passwords = &Passwords{
		slots: make(chan struct{}, cores),
		argon2id: func(_, _ []byte, p argonParams, length int) []byte {
			note("argon2id m=%d t=%d p=%d", p.memory, p.passes, p.lanes)
			return make([]byte, length)
		},
		bcrypt: func(hash, _ []byte) error {
			cost, err := bcrypt.Cost(hash)
			note("bcrypt %d %v", cost, err)
			return bcrypt.ErrMismatchedHashAndPassword
		},
		pbkdf2: func(_ string, salt []byte) ([]byte, error) {
			note("pbkdf2 %d", len(salt))
			return make([]byte, 32), nil
		},
	}
	return c
}

// work is what was done since the last call, in the order of the words.
func (c *counter) work() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.done
	c.done = nil
	slices.Sort(done)
	return done
}

// fakeUsers are Users with function fields; a nil ReplaceHash must not be called.
type fakeUsers struct {
	credentials func(name string) (identity.User, string, error)
	replace     func(rowID int64, old, new string) error
	legacy      func() ([]string, error)
}

func (f fakeUsers) Credentials(_ context.Context, name string) (identity.User, string, error) {
	return f.credentials(name)
}

func (f fakeUsers) ReplaceHash(_ context.Context, rowID int64, old, new string) error {
	return f.replace(rowID, old, new)
}

func (f fakeUsers) LegacyHashes(context.Context) ([]string, error) { return f.legacy() }

func newLocal(t *testing.T, users Users, p *Passwords) *Local {
	t.Helper()
	l, err := NewLocal(LocalOptions{Users: users, Passwords: p})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSameWorkForEveryFailure counts hashes, not time: of every sort that is in the database, one, whichever account it
// is that the sign-in failed for.
func TestSameWorkForEveryFailure(t *testing.T) {
	t.Parallel()
	current := "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	accounts := map[string]string{"argon": current, "bcrypt": pythonBcrypt, "bcrypt10": "$2a$10$" + pythonBcrypt[7:], "pbkdf2": pythonPBKDF2, "broken": "x"}
	for _, tc := range []struct {
		name   string
		legacy []string
		users  []string
		want   []string
	}{
		{"no legacy hash is left", nil, []string{"argon", "broken"}, []string{"argon2id m=19456 t=2 p=1"}},
		{
			"bcrypt is left",
			[]string{"$2b$12$"},
			[]string{"argon", "bcrypt", "broken"},
			[]string{"argon2id m=19456 t=2 p=1", "bcrypt 12 <nil>"},
		},
		{
			"everything is left",
			[]string{"$2a$10$", "$2b$12$", "pbkdf2:", "$2b$99$", "$2x$12$"},
			[]string{"argon", "bcrypt", "bcrypt10", "pbkdf2", "broken"},
			[]string{"argon2id m=19456 t=2 p=1", "bcrypt 10 <nil>", "bcrypt 12 <nil>", "pbkdf2 32"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCounter(1)
			disabled := false
			l := newLocal(t, fakeUsers{
				credentials: func(name string) (identity.User, string, error) {
					if hash, ok := accounts[name]; ok {
						return identity.User{Name: name, Disabled: disabled}, hash, nil
					}
					return identity.User{}, "", fmt.Errorf("read: %w", identity.ErrNotFound)
				},
				legacy: func() ([]string, error) { return tc.legacy, nil },
			}, c.Passwords)
			for _, disabled = range []bool{false, true} {
				for _, name := range append(tc.users, "nobody", "") {
					_, err := l.Authenticate(t.Context(), Credentials{name, "wrong password"})
					if !errors.Is(err, ErrInvalid) {
						t.Errorf("%s: got %v, want ErrInvalid", name, err)
					}
					if diff := cmp.Diff(tc.want, c.work()); diff != "" {
						t.Errorf("%q, disabled %v (-want +got):\n%s", name, disabled, diff)
					}
				}
			}
			// The right password of a disabled account is one more failure.
			c.bcrypt = func(hash, _ []byte) error {
				cost, err := bcrypt.Cost(hash)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.done = append(c.done, fmt.Sprintf("bcrypt %d %v", cost, err))
				return nil
			}
			if !slices.Contains(tc.users, "bcrypt") {
				return
			}
			if _, err := l.Authenticate(t.Context(), Credentials{"bcrypt", "right"}); !errors.Is(err, ErrInvalid) {
				t.Errorf("disabled: got %v, want ErrInvalid", err)
			}
			if diff := cmp.Diff(tc.want, c.work()); diff != "" {
				t.Errorf("right password of a disabled account (-want +got):\n%s", diff)
			}
		})
	}
}

// memory is one account, as the store would keep it.
type memory struct {
	mu     sync.Mutex
	user   identity.User
	hash   string
	before func(reads int) // called at each read, with the lock held
	reads  int
}

func (m *memory) users() fakeUsers {
	return fakeUsers{
		credentials: func(name string) (identity.User, string, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.reads++; m.before != nil {
				m.before(m.reads)
			}
			if identity.NameKey(name) != m.user.Subject {
				return identity.User{}, "", identity.ErrNotFound
			}
			return m.user, m.hash, nil
		},
		replace: func(rowID int64, old, new string) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if rowID != m.user.RowID || m.hash != old {
				return identity.ErrNotFound
			}
			m.hash = new
			return nil
		},
		legacy: func() ([]string, error) { return nil, nil },
	}
}

func bob(hash string) *memory {
	return &memory{user: identity.User{RowID: 7, Backend: "local", Subject: "bob", Name: "Bob", Role: identity.Editor}, hash: hash}
}

// cheapBcrypt is what the Python AuthKit would make of "bøb the builder" at the least cost. That its own hashes verify is
// TestVerify's to show; each takes a quarter of a second.
func cheapBcrypt(t *testing.T) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword(prehash("bøb the builder"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestLegacyHashIsReplaced(t *testing.T) {
	t.Parallel()
	for hash, password := range map[string]string{cheapBcrypt(t): "bøb the builder", pythonPBKDF2: "alice in wonderland"} {
		m := bob(hash)
		l := newLocal(t, m.users(), NewPasswords())
		if _, err := l.Authenticate(t.Context(), Credentials{"bob", "wrong"}); !errors.Is(err, ErrInvalid) || m.hash != hash {
			t.Errorf("wrong password: got %v, hash %s", err, m.hash)
		}
		var wg sync.WaitGroup
		for range 3 { // all of them sign in, whoever replaces it
			wg.Go(func() {
				user, err := l.Authenticate(t.Context(), Credentials{"BOB", password})
				if diff := cmp.Diff(m.user, user); err != nil || diff != "" {
					t.Errorf("right password: %v (-want +got):\n%s", err, diff)
				}
			})
		}
		wg.Wait()
		if !strings.HasPrefix(m.hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("the hash was not replaced: %s", m.hash)
		}
		replaced := m.hash
		if _, err := l.Authenticate(t.Context(), Credentials{"bob", password}); err != nil || m.hash != replaced {
			t.Errorf("with the new hash: %v; replaced again: %v", err, m.hash != replaced)
		}
	}
}

// TestChangeDuringSignIn changes the account between the two reads of one sign-in.
func TestChangeDuringSignIn(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	hash, err := p.Hash(t.Context(), "the old password")
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.Hash(t.Context(), "the new password")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m *memory){
		"password": func(m *memory) { m.hash = other },
		"disabled": func(m *memory) { m.user.Disabled = true },
		"deleted":  func(m *memory) { m.user.Subject = "" },
		"nothing":  nil,
		"role":     func(m *memory) { m.user.Role = identity.Viewer },
	} {
		m := bob(hash)
		m.before = func(reads int) {
			if reads == 2 && change != nil {
				change(m)
			}
		}
		user, err := newLocal(t, m.users(), p).Authenticate(t.Context(), Credentials{"bob", "the old password"})
		switch name {
		case "nothing", "role":
			if err != nil || user.Role != m.user.Role {
				t.Errorf("%s: got %v, %v, want the role as it is now", name, user.Role, err)
			}
		default:
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: got %v, want ErrInvalid", name, err)
			}
		}
	}
}

func TestAuthenticateFaults(t *testing.T) {
	t.Parallel()
	fault := errors.New("disk on fire")
	m := bob(cheapBcrypt(t))
	broken := func(change func(f *fakeUsers)) *Local {
		f := m.users()
		change(&f)
		return newLocal(t, f, NewPasswords())
	}
	for name, l := range map[string]*Local{
		"read": broken(func(f *fakeUsers) {
			f.credentials = func(string) (identity.User, string, error) { return identity.User{}, "", fault }
		}),
		"sorts":   broken(func(f *fakeUsers) { f.legacy = func() ([]string, error) { return nil, fault } }),
		"replace": broken(func(f *fakeUsers) { f.replace = func(int64, string, string) error { return fault } }),
	} {
		if _, err := l.Authenticate(t.Context(), Credentials{"bob", "bøb the builder"}); !errors.Is(err, fault) || errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want the fault", name, err)
		}
	}
	l := newLocal(t, m.users(), NewPasswords())
	for _, password := range []string{"", strings.Repeat("x", 4097)} {
		if _, err := l.Authenticate(t.Context(), Credentials{"bob", password}); !errors.Is(err, ErrInvalid) {
			t.Errorf("password of %d bytes: got %v, want ErrInvalid", len(password), err)
		}
	}
	if _, err := NewLocal(LocalOptions{}); err == nil {
		t.Error("a backend without users was made")
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const cores = 2
		c := newCounter(cores)
		running, most := 0, 0
		var mu sync.Mutex
		c.argon2id = func(_, _ []byte, _ argonParams, length int) []byte {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return make([]byte, length)
		}
		var wg sync.WaitGroup
		results := make(chan error, 200)
		hash := func(ctx context.Context) {
			wg.Go(func() {
				_, err := c.Hash(ctx, "x")
				results <- err
			})
		}
		leaving, leave := context.WithCancel(t.Context())
		for range cores {
			hash(t.Context())
		}
		synctest.Wait() // those have the cores, whichever goroutine is first to run
		for range 32 {
			hash(leaving)
			hash(t.Context())
		}
		synctest.Wait()
		if _, err := c.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("with 64 waiting: got %v, want ErrBusy", err)
		}
		leave()
		synctest.Wait()
		for range 32 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("of those who left: got %v, want that they left", err)
			}
		}
		hash(t.Context()) // the control: there is room again
		start := time.Now()
		wg.Wait()
		close(results)
		n := 0
		for err := range results {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if want := cores + 32 + 1; n != want || most != cores {
			t.Errorf("%d were hashed, at most %d at once, want %d and %d", n, most, want, cores)
		}
		if got := time.Since(start); got != 18*time.Second { // 35 on 2 cores
			t.Errorf("took %v, want 18s", got)
		}
	})
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ password, want string }{
		{"correct horse", ""},
		{"1234567", "too short"},
		{"ééééééé", "too short"}, // 14 bytes
		{"e\u0301e\u0301e\u0301e\u0301", "too short"},
		{"", "too short"},
		{"xY7-xY7-", ""},
		{"пароль-ы", ""},
		{strings.Repeat("aβ", 512), ""},
		{strings.Repeat("aβ", 512) + "c", "too long"},
		{"alice.liddell", "user's name"},
		{"ALICE.Liddell ", "user's name"},
		{"alice.liddell2", ""},
		{"Password1", "most common"},
		{"ｐａｓｓｗｏｒｄ", "most common"},
		{"123456789", "most common"},
		{"password\n12345678", ""},
		{"Dagster123", "most common"},
		{"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", "UTF-8"},
	} {
		err := CheckPassword("Alice.Liddell", tc.password)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%.20q: got %v, want %q", tc.password, err, tc.want)
		}
		if err != nil && len(tc.password) > 7 && strings.Contains(err.Error(), tc.password) {
			t.Errorf("%.20q: the error shows it: %v", tc.password, err)
		}
	}
}

func TestCommonPasswordsFile(t *testing.T) {
	t.Parallel()
	file, err := os.Open("common-passwords.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		word := lines.Text()
		if len(word) < 8 || word != strings.ToLower(word) || seen[word] || CheckPassword("", word) == nil {
			t.Errorf("%q: too short, not in lower case, there twice, or not refused", word)
		}
		seen[word] = true
	}
	if len(seen) != 3000 { // OWASP ASVS 5.0, 6.2.4
		t.Errorf("got %d passwords, want 3000", len(seen))
	}
}

func TestDummy(t *testing.T) {
	t.Parallel()
	want := identity.User{
		Backend: "dummy", Subject: "launcher", Name: "launcher", Email: "launcher@localhost", FullName: "Launcher User", Role: identity.Launcher,
	}
	got, err := NewDummy().Authenticate(t.Context(), Credentials{"Launcher", "launcher"})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("launcher: %v (-want +got):\n%s", err, diff)
	}
	for _, c := range []Credentials{{"admin", ""}, {"admin", "editor"}, {"", ""}, {"root", "root"}, {"admin", "ADMIN"}} {
		if _, err := NewDummy().Authenticate(t.Context(), c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: got %v, want ErrInvalid", c, err)
		}
	}
	for _, role := range identity.Roles() {
		if user, err := NewDummy().Authenticate(t.Context(), Credentials{string(role), string(role)}); err != nil || user.Role != role {
			t.Errorf("%s: got %v, %v", role, user.Role, err)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	p := NewPasswords()
	for b.Loop() {
		if _, err := p.Hash(b.Context(), "correct horse"); err != nil {
			b.Fatal(err)
		}
	}
}
