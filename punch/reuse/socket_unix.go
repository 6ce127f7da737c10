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

func getInteger(fd uintptr, level, number int) (int, error) {
	return unix.GetsockoptInt(int(fd), level, number)
}

// wished is an option that a version of the system, or a system that imitates
// it, may not know.
func wished(o option) option {
	o.wish = true
	return o
}

// abrupt is SO_LINGER 0.
var abrupt = option{name: "SO_LINGER", set: func(fd uintptr) error {
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}}

// reuseAddr lets a socket be bound over what connections have left behind.
var reuseAddr = integer("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)

// bind returns a socket that is bound to an address and does nothing else.
func bind(at netip.AddrPort, set options) (io.Closer, error) {
	fd, err := boundSocket(at, set)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "port"), nil
}

func boundSocket(at netip.AddrPort, set options) (fd int, err error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family, set = unix.AF_INET6, options{onlyIPv6}.and(set)
	}
	if fd, err = newSocket(family); err != nil {
		return -1, err
	}
	if err = set.set(uintptr(fd)); err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(at)))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// onlyIPv6 keeps a socket from IPv4's half of the port, as package net does
// where it can be chosen.
var onlyIPv6 = wished(integer("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))

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

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
