//go:build unix

package survey

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// System returns the operating system's name and release.
func System() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "an unknown system"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// nobody is the number that most systems give to the user of that name.
const nobody = 65534

// otherUser says why no other process can be another user's.
func otherUser() string {
	if os.Geteuid() != 0 {
		return `only root can start another user's process: run "sudo peerd sockets"`
	}
	return ""
}

// becomeOther makes this process one of the user nobody.
func becomeOther() error {
	uid := nobody
	if u, err := user.Lookup("nobody"); err == nil {
		if n, err := strconv.ParseInt(u.Uid, 10, 64); err == nil {
			uid = int(n)
		}
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("cannot become user %d: %s; run it outside the container", uid, errnoName(err))
	}
	return nil
}
