// Package smalldisk mounts a small file system of its own for tests that fill a disk. Who may not mount, as most people may not,
// is told so, and tests something else.
package smalldisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotPermitted is the error of Mount where mounting is not allowed.
var ErrNotPermitted = errors.New("mounting is not permitted here")

// Disk is a mounted tmpfs.
type Disk struct{ folder string }

// Mount mounts a disk of that many bytes on the folder, which is made if need be, for the user and group of these numbers.
func Mount(folder string, bytes int64, uid, gid int) (*Disk, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_NODEV|syscall.MS_NOSUID, fmt.Sprintf("size=%d,uid=%d,gid=%d,mode=0700", bytes, uid, gid))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return nil, ErrNotPermitted
	}
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", folder, err)
	}
	return &Disk{folder}, nil
}

// Fill leaves no byte free, until Free. It may be called again, for what has become free meanwhile.
func (d *Disk) Fill() error {
	file, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

// Free is the end of Fill, if there was one.
func (d *Disk) Free() error {
	if err := os.Remove(d.filler()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Disk) filler() string { return filepath.Join(d.folder, "filler") }

// Unmount takes the disk, and all that is on it, away, also from those who have files on it open.
func (d *Disk) Unmount() error { return syscall.Unmount(d.folder, syscall.MNT_DETACH) }
