//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package reuse

import (
	"golang.org/x/sys/unix"
)

// exclusiveOptions lets a listen fail if any program holds the port: on the
// BSDs SO_REUSEADDR passes over connections that have ended, and nothing else.
func exclusiveOptions(fd uintptr) error { return set(fd, unix.SO_REUSEADDR, 1) }

// dialOptions are SO_REUSEADDR and SO_REUSEPORT, and SO_LINGER 0 so that a dial
// that is given up leaves nothing that blocks its 4-tuple.
func dialOptions(fd uintptr) error {
	if err := listenOptions(fd); err != nil {
		return err
	}
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// listenOptions are SO_REUSEADDR and SO_REUSEPORT; SO_REUSEPORT_LB, which
// spreads connections over several listeners, is not wanted.
func listenOptions(fd uintptr) error {
	if err := set(fd, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return set(fd, unix.SO_REUSEPORT, 1)
}

func set(fd uintptr, option, value int) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value)
}
