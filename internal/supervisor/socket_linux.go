package supervisor

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ownsSocket reports whether the socket that listens on the loopback port is held by a process of the group: only then
// is it Dagster who answers there, and not another program of this machine that posed as it.
//
// The open files of another user's process can't be read without CAP_SYS_PTRACE, which containers lack. Then the
// socket's owner decides: it must be the user whom the child runs as.
func ownsSocket(port, group, uid int) (bool, error) {
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return false, fmt.Errorf("look for the child's socket: %w", err)
	}
	defer func() { _ = file.Close() }()
	inode, owner, found := findListener(file, port)
	if !found {
		return false, nil
	}
	all, err := processes()
	if err != nil {
		return false, err
	}
	unreadable := false
	for _, p := range all {
		if p.group != group {
			continue
		}
		held, err := holds(p.pid, inode)
		if held {
			return true, nil
		}
		unreadable = unreadable || errors.Is(err, fs.ErrPermission)
	}
	return unreadable && owner == uid, nil
}

// findListener finds the socket that listens on 127.0.0.1 and that port in a table in the form of /proc/net/tcp.
func findListener(table io.Reader, port int) (inode string, owner int, found bool) {
	// The kernel prints the address as one number in the machine's byte order; state 0A is TCP_LISTEN.
	local := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32([]byte{127, 0, 0, 1}), port)
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[1] != local || fields[3] != "0A" {
			continue
		}
		owner, err := strconv.Atoi(fields[7])
		return fields[9], owner, err == nil
	}
	return "", 0, false
}

// holds reports whether the process has the socket of that inode open.
func holds(pid int, inode string) (bool, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		target, linkErr := os.Readlink(filepath.Join(dir, entry.Name()))
		if target == "socket:["+inode+"]" {
			return true, nil
		}
		err = errors.Join(err, linkErr)
	}
	return false, err
}
