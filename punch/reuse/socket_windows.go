package reuse

import (
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/windows"
)

func setInteger(fd uintptr, level, number, value int) error {
	return windows.SetsockoptInt(windows.Handle(fd), level, number, value)
}

func getInteger(fd uintptr, level, number int) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), level, number)
}

// abrupt is SO_LINGER 0.
var abrupt = option{name: "SO_LINGER", set: func(fd uintptr) error {
	return windows.SetsockoptLinger(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_LINGER, &windows.Linger{Onoff: 1})
}}

// bound is a socket that does nothing but be bound.
type bound windows.Handle

// Close closes the socket.
func (b bound) Close() error { return windows.Closesocket(windows.Handle(b)) }

// bind returns a socket that is bound to an address and does nothing else.
func bind(at netip.AddrPort, set options) (io.Closer, error) {
	family, sa := int32(windows.AF_INET6), windows.Sockaddr(&windows.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, sa = windows.AF_INET, &windows.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	// Sockets for IPv6 are for that alone here unless told otherwise.
	fd, err := windows.WSASocket(family, windows.SOCK_STREAM, windows.IPPROTO_TCP, nil, 0,
		windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err = set.set(uintptr(fd)); err == nil {
		err = os.NewSyscallError("bind", windows.Bind(fd, sa))
	}
	if err != nil {
		windows.Closesocket(fd)
		return nil, err
	}
	return bound(fd), nil
}
