package pgtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dagster-authkit/e2e/freeport"
)

// ErrNoPooler is the error of StartPooler when PgBouncer is not on the machine.
var ErrNoPooler = errors.New("no pgbouncer found")

// Pooler is a PgBouncer before a Server.
type Pooler struct {
	server *Server
	port   int
	cmd    *exec.Cmd
}

// StartPooler starts a PgBouncer before the server, for logins by name and password. Settings are those of its section
// [pgbouncer], such as "pool_mode=transaction".
func (s *Server) StartPooler(logins map[string]string, settings ...string) (*Pooler, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return nil, ErrNoPooler
		}
	}
	p := &Pooler{server: s}
	if p.port, err = freeport.Next(); err != nil {
		return nil, err
	}
	var users strings.Builder
	for name, password := range logins {
		fmt.Fprintf(&users, "%q %q\n", name, password)
	}
	folder, err := os.MkdirTemp(s.folder, "pooler-")
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nunix_socket_dir=\nauth_type=trust\nauth_file=%s\n%s\n",
		s.Port, p.port, filepath.Join(folder, "users"), strings.Join(settings, "\n"))
	for name, text := range map[string]string{"users": users.String(), "ini": config} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil { //nolint:gosec // the pooler's user reads them
			return nil, err
		}
	}
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // so does it look into the folder
		return nil, err
	}
	p.cmd = exec.Command(program, filepath.Join(folder, "ini")) //nolint:gosec // the program is PgBouncer
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, p.wait()
}

func (p *Pooler) wait() error {
	for until := time.Now().Add(startTimeout); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))); err == nil {
			return conn.Close()
		}
	}
	return errors.Join(errors.New("pgbouncer does not answer"), p.Stop())
}

// URL is that of a database for a login, through the pooler.
func (p *Pooler) URL(login, password, database string) string {
	through := *p.server
	through.Port = p.port
	return through.URL(login, password, database)
}

// Stop ends the pooler.
func (p *Pooler) Stop() error {
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
	return err
}
