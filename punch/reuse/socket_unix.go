//go:build unix

package reuse

import (
	"io"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func setInteger(fd uintptr, level, number, value int) error {
	return unix.SetsockoptInt(int(fd), level, number, value)
}

// abrupt is SO_LINGER 0.
var abrupt = option{name: "SO_LINGER", set: func(fd uintptr) error {
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}}

// reuseAddr lets a socket be bound over what connections have left behind.
var reuseAddr = integer("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)

// reusePort shares the port with other sockets that have it. The system, or an
// older version of it, may not know it.
func reusePort(number int) option {
	return wished(integer("SO_REUSEPORT", unix.SOL_SOCKET, number, 1))
}

// knowsReusePort reports whether SO_REUSEPORT can be set and is set then.
func knowsReusePort() bool {
	if local.reusePort == 0 {
		return false
	}
	fd, err := newSocket(unix.AF_INET)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if setInteger(uintptr(fd), unix.SOL_SOCKET, local.reusePort, 1) != nil {
		return false
	}
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, local.reusePort)
	return err == nil && value != 0
}

// newSocket returns a socket that no child process gets.
func newSocket(family int) (fd int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if fd, err = unix.Socket(family, unix.SOCK_STREAM, unix.IPPROTO_TCP); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// bind returns a socket that is bound to an address and does nothing else.
func bind(to netip.AddrPort, set options) (io.Closer, error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := newSocket(family)
	if err != nil {
		return nil, err
	}
	if family == unix.AF_INET6 {
		err = os.NewSyscallError("setsockopt IPV6_V6ONLY", setInteger(uintptr(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err == nil {
		err = set.set(uintptr(fd))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(to)))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "held port"), nil
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
