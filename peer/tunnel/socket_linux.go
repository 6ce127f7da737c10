package tunnel

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// tcpClose is the state of a TCP socket that is not connected any more; the
// value is that of <netinet/tcp.h>.
const tcpClose = 7

// isDisconnected reports whether a TCP connection is no more: it was reset, or
// both sides have ended it.
func isDisconnected(conn net.Conn) bool {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), syscall.IPPROTO_TCP, unix.TCP_INFO)
	})
	return err == nil && failed == nil && info.State == tcpClose
}
