//go:build unix && !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package reuse

import (
	"golang.org/x/sys/unix"
)

// exclusiveOptions is the system's default, which shares a port with nobody.
func exclusiveOptions(uintptr) error { return nil }

// dialOptions is SO_REUSEADDR, all that Solaris, illumos and AIX have in common,
// and SO_LINGER 0 so that a dial that is given up leaves nothing that blocks
// its 4-tuple.
func dialOptions(fd uintptr) error {
	if err := listenOptions(fd); err != nil {
		return err
	}
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

func listenOptions(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}
