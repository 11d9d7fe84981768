// Package pgtest starts a real PostgreSQL for tests: a server of its own in a temporary folder, on a free loopback port, as
// an ordinary user when the tests run as root, which PostgreSQL refuses to. It is ended by the process that started it.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"dagster-authkit/e2e/freeport"
	"dagster-authkit/e2e/smalldisk"
)

// Superuser and Password are of the login that every Server has.
const (
	Superuser = "postgres"
	Password  = "correct horse"
)

// ErrMissing is the error of Start when PostgreSQL's programs are not on the machine. Debian keeps them off PATH.
var ErrMissing = errors.New("no PostgreSQL found (initdb on PATH or in /usr/lib/postgresql/*/bin)")

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 3 * time.Minute

// Server is a running PostgreSQL.
type Server struct {
	Port int

	bin, folder string
	settings    []string
	owner       *syscall.Credential
	cmd         *exec.Cmd
	log         string
	mode        string // sslmode
	disk        *smalldisk.Disk
}

// Start makes a cluster and starts it, without fsync: what is tested is not that PostgreSQL keeps what it has. Settings are
// those of postgresql.conf, such as "max_connections=20".
func Start(settings ...string) (*Server, error) {
	s, err := prepare(settings)
	if err != nil {
		return nil, err
	}
	return s.start()
}

// StartTLS is Start of a server that speaks TLS, and nothing else but for Superuser's Exec, with that certificate and key in PEM.
func StartTLS(certificate, key []byte) (*Server, error) {
	s, err := prepare([]string{"ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"})
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{
		"server.crt": certificate, "server.key": key,
		"pg_hba.conf": []byte("local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n"),
	} {
		path := filepath.Join(s.data(), name)
		err = errors.Join(err, os.WriteFile(path, text, 0o600), s.give(path))
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	s.mode = "require"
	return s.start()
}

func prepare(settings []string) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, folder: folder, log: filepath.Join(folder, "log"), settings: append([]string{"fsync=off", "max_connections=200"}, settings...), mode: "disable"}
	if err := s.make(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

func (s *Server) start() (_ *Server, err error) {
	for range 3 { // another process may take the port that was free
		if s.Port, err = freeport.Next(); err != nil {
			break
		}
		if err = s.Up(); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Remove())
}

// programs is the folder of PostgreSQL's programs, the newest that there is.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

func (s *Server) make() error {
	if os.Geteuid() == 0 {
		if err := s.giveAway(); err != nil {
			return err
		}
	}
	password := filepath.Join(s.folder, "password")
	if err := os.WriteFile(password, []byte(Password), 0o644); err != nil { //nolint:gosec // everybody may know it, and the server's user must
		return err
	}
	init := s.command("initdb", "--no-sync", "--auth=scram-sha-256", "--username="+Superuser, "--pwfile="+password,
		"--encoding=UTF8", "--locale=C.UTF-8", s.data())
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// giveAway lets an ordinary user have the folder, and the server.
func (s *Server) giveAway() error {
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, uidErr := strconv.ParseUint(who.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(who.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
	}
	s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(os.Chmod(s.folder, 0o755), s.give(s.folder))
}

// give makes the server's user the owner of a file or folder.
func (s *Server) give(path string) error {
	if s.owner == nil {
		return nil
	}
	return os.Chown(path, int(s.owner.Uid), int(s.owner.Gid))
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...) //nolint:gosec // the programs are PostgreSQL's
	cmd.Dir = s.folder
	// A test that is killed leaves nothing running: SIGQUIT ends PostgreSQL at once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// Up starts the server, on the same port each time, and waits until it answers.
func (s *Server) Up() error {
	args := []string{"-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-k", s.folder}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = s.command("postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	cmd := s.cmd
	go func() { _ = cmd.Wait(); close(ended) }()
	for until := time.Now().Add(startTimeout); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return fmt.Errorf("postgres ended at once: %s", s.Log())
		default:
		}
		if err := s.Exec(context.Background(), "postgres", "SELECT 1"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("postgres does not answer: %s", s.Log())
}

// Programs is the folder of pg_dump and its like.
func (s *Server) Programs() string { return s.bin }

// Log is what the server said.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(bytes.TrimSpace(text))
}

// Down ends the server at once, as a crash does to its clients, and waits for it.
func (s *Server) Down() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	return s.control("stop", "--mode=immediate")
}

func (s *Server) control(args ...string) error {
	out, err := s.command("pg_ctl", append([]string{"-D", s.data(), "-w", "-s"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_ctl %s: %w: %s", args[0], err, out)
	}
	return nil
}

// Remove ends the server and removes its folder.
func (s *Server) Remove() error {
	err := s.Down()
	if s.disk != nil {
		err = errors.Join(err, s.disk.Unmount())
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}

// Freeze stops every process of the server where it is, and Thaw lets them go on.
func (s *Server) Freeze() error { return s.signalAll(syscall.SIGSTOP) }

// Thaw is the end of Freeze.
func (s *Server) Thaw() error { return s.signalAll(syscall.SIGCONT) }

// signalAll is for the server and those of its processes that serve one client each, which are its children.
func (s *Server) signalAll(signal syscall.Signal) error {
	errs := []error{s.cmd.Process.Signal(signal)}
	parent := strconv.Itoa(s.cmd.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == parent {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil {
				err = syscall.Kill(pid, signal)
			}
			if !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// URL is that of a database for a login, with sslmode=disable.
func (s *Server) URL(login, password, database string) string {
	return s.url(login, password, database, "disable")
}

func (s *Server) url(login, password, database, mode string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(login, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		Path: "/" + database, RawQuery: "sslmode=" + mode,
	}).String()
}

// Exec runs statements as the superuser.
func (s *Server) Exec(ctx context.Context, database, statements string) error {
	conn, err := pgx.Connect(ctx, s.url(Superuser, Password, database, s.mode))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statements)
	return errors.Join(err, conn.Close(ctx))
}
