package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// CanDialQuietly says whether this system can dial with a TTL.
const CanDialQuietly = true

// minTTL is the least TTL that a quiet dial accepts of what comes back, and of
// its own packet as ICMP errors quote it. A packet from a peer started at 64 or
// more and has come far less than 48 hops; our own was sent with less than
// this.
const minTTL = 16

// dial makes the connection by system calls of its own: package net cannot
// change an option between the SYN and the end of the handshake.
func (p *Port) dial(ctx context.Context, to netip.AddrPort, ttl int) (net.Conn, error) {
	fd, err := p.socket(to.Addr())
	if err != nil {
		return nil, dialError(to, err)
	}
	f := os.NewFile(uintptr(fd), "dial") // owns fd from here on
	defer f.Close()
	if err := connect(fd, to, ttl); err != nil {
		return nil, dialError(to, err)
	}
	if err := awaitConnected(ctx, f); err != nil {
		return nil, dialError(to, err)
	}
	conn, err := ordinary(f, hopLimitOf(to.Addr()))
	if err != nil {
		return nil, dialError(to, err)
	}
	return conn, nil
}

// ordinary makes a connected socket one of package net's, without the options
// that were for dialling only.
func ordinary(f *os.File, hops hopLimit) (net.Conn, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if cerr := raw.Control(func(fd uintptr) { err = hops.limit(int(fd), -1, 0) }); cerr != nil || err != nil {
		return nil, errors.Join(cerr, err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetKeepAlive(false)
}

// dialError is the error that package net would return.
func dialError(to netip.AddrPort, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// socket returns a socket that is bound to the port.
func (p *Port) socket(to netip.Addr) (fd int, err error) {
	family, local := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(p.number)})
	if to.Is6() {
		family, local = unix.AF_INET6, &unix.SockaddrInet6{Port: int(p.number)}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = dialOptions(uintptr(fd)); err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, local))
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// connect sends the SYN: with a TTL if that is not 0, which is back to normal
// for everything that follows.
func connect(fd int, to netip.AddrPort, ttl int) error {
	hops := hopLimitOf(to.Addr())
	if ttl > 0 {
		if err := hops.limit(fd, ttl, minTTL); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, sockaddr(to))
	if err != nil && err != unix.EINPROGRESS {
		return os.NewSyscallError("connect", err)
	}
	if ttl > 0 {
		return hops.limit(fd, -1, minTTL)
	}
	return nil
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// hopLimit names a family's options.
type hopLimit struct{ level, send, least int }

func hopLimitOf(addr netip.Addr) hopLimit {
	if addr.Is6() {
		return hopLimit{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT}
	}
	return hopLimit{unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL}
}

// limit sets the TTL of what is sent (-1 is the system's default) and the least
// one of what is accepted (0 accepts all).
func (h hopLimit) limit(fd, send, least int) error {
	if err := unix.SetsockoptInt(fd, h.level, h.send, send); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, h.level, h.least, least))
}

// awaitConnected waits for the end of the handshake or of ctx.
func awaitConnected(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var result error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, result = connected(int(fd))
		return done
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return result
}

// connected reports whether the dial has ended, and how.
func connected(fd int) (done bool, err error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return true, os.NewSyscallError("connect", unix.Errno(code))
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return false, nil // still connecting
	}
	return true, nil
}
