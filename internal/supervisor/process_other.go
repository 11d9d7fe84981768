//go:build !linux

package supervisor

import (
	"os"
	"syscall"
)

// sysProcAttr puts the child into a process group of its own. There is no parent-death signal here.
func sysProcAttr(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &a.credential
	}
	return attr
}

// ClearDumpable does nothing here: the flag is Linux's.
func ClearDumpable() error { return nil }

// bootTicks is not needed, as processes lists nothing.
func bootTicks() uint64 { return 0 }

// processes lists nothing: without /proc a run can't be told from an idle code server, so nothing but the webserver
// itself is ever ended, and what it leaves ends by itself when it misses the heartbeat (45 s).
func processes() ([]process, error) { return nil, nil }

// signal is never called, as processes lists nothing.
func (p process) signal(os.Signal) error { return nil }
