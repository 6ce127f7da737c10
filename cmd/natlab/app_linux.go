package main

import (
	"net"

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
