package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPatience is longer than any migration of a database of this kind takes.
	lockPatience = time.Minute
	lockPoll     = 10 * time.Millisecond
)

// lockFile keeps other processes, and other Stores of this one, from making, migrating or taking over the same database
// until unlock is called. goose has no lock for SQLite. The lock is the kernel's and ends with its process; the file
// "<database>.lock" stays, as removing it would let two processes lock two files of that name.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	name := path + ".lock"
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, private) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("open the lock of the database: %w", err)
	}
	_ = file.Chmod(private) // a umask may have taken more than others' rights; who is not the owner need not mind
	giveToOwner(file, path)
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // closing unlocks, and can't fail in a way that matters
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %q: %w", name, err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another process is preparing the database (it holds %q): %w", name, ctx.Err()), file.Close())
		case <-time.After(lockPoll):
		}
	}
}

// giveToOwner hands the lock that root made to the database's owner, as SQLite does with -wal and -shm: a command run
// once with sudo must not lock the service out. For anyone else than root it does nothing.
func giveToOwner(lock *os.File, path string) {
	info, err := os.Stat(path)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		// When it fails, the owner's next start says that it can't open the lock.
		_ = lock.Chown(int(stat.Uid), int(stat.Gid))
	}
}
