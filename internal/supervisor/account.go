package supervisor

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that the child runs as.
type account struct {
	name, home string
	credential syscall.Credential
}

// lookupAccount finds a user by name or number. Only a start as root can change users.
func lookupAccount(name string, euid int) (*account, error) {
	if euid != 0 {
		return nil, errors.New("only a start as root can run Dagster as another user")
	}
	u, err := user.Lookup(name)
	if _, numeric := strconv.ParseUint(name, 10, 32); err != nil && numeric == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	ids, err := parseIDs(slices.Concat([]string{u.Uid, u.Gid}, groups))
	if err != nil {
		return nil, fmt.Errorf("numbers of %s: %w", u.Username, err)
	}
	credential := syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}
	return &account{name: u.Username, home: u.HomeDir, credential: credential}, nil
}

func parseIDs(texts []string) ([]uint32, error) {
	ids := make([]uint32, 0, len(texts))
	for _, text := range texts {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// env replaces the variables that name the user: with root's HOME the child would look for its files where it may not.
func (a *account) env(environ []string) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "HOME" || name == "USER" || name == "LOGNAME"
	})
	return append(env, "HOME="+a.home, "USER="+a.name, "LOGNAME="+a.name)
}
