package reuse

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// RTT returns the kernel's estimate of a connection's round trip, or 0.
func RTT(conn syscall.Conn) (rtt time.Duration) {
	onSocket(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPConnectionInfo(fd, unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
		if err == nil {
			rtt = time.Duration(info.Srtt) * time.Millisecond
		}
		return err
	})
	return rtt
}

// LimitUnsent bounds how much the kernel takes from the program before it has
// sent what it took earlier: what waits here cannot be overtaken.
func LimitUnsent(conn syscall.Conn, bytes int) error {
	return onSocket(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
}

// Unsent is 0: this system is not asked.
func Unsent(syscall.Conn) int { return 0 }
