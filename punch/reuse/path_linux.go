package reuse

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// RTT returns the kernel's estimate of a connection's round trip, or 0.
func RTT(conn syscall.Conn) (rtt time.Duration) {
	onSocket(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
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

// Unsent returns how many bytes the kernel has taken and not sent yet, for which
// the other end has no room or the path is too slow.
func Unsent(conn syscall.Conn) (bytes int) {
	onSocket(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			bytes = int(info.Notsent_bytes)
		}
		return err
	})
	return bytes
}
