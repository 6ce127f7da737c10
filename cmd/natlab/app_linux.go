package main

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitUnread waits until the kernel holds bytes that nobody has read, and leaves
// them there.
func awaitUnread(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		var n int
		n, _, failed = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return n > 0 || failed != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return failed
}

// sharePort sets what the sockets of a node's port have.
func sharePort(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1)
			}
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}
