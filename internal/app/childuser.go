package app

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// keptFrom refuses to run pipelines as another user who can reach the database after all: by owning it or the secret
// beside it, or by being allowed to put another file in its place.
func keptFrom(account, database string) error {
	who, err := user.Lookup(account)
	if err != nil {
		if who, err = user.LookupId(account); err != nil {
			return fmt.Errorf("--child-user: %w", err)
		}
	}
	for _, path := range []string{filepath.Dir(absolute(database)), database, secretPath(database)} {
		info, err := os.Stat(path)
		if err != nil {
			continue // it is not there yet, and will be made as ours
		}
		if reachable(info, who) {
			return fmt.Errorf("--child-user %s can reach %s, which it is there to prevent: keep the database in a folder that only root may write (chown -R root, chmod 0700)",
				account, path)
		}
	}
	return nil
}

func reachable(info os.FileInfo, who *user.User) bool {
	const groupWrites, othersWrite = 0o020, 0o002
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mode := info.Mode().Perm()
	return strconv.FormatUint(uint64(stat.Uid), 10) == who.Uid || mode&othersWrite != 0 ||
		mode&groupWrites != 0 && strconv.FormatUint(uint64(stat.Gid), 10) == who.Gid
}
