//go:build unix

package survey

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a socket that never blocks; each method is one system call, and its
// error the bare errno.
type socket int

// newSocket returns a socket that programs which are started do not inherit.
func newSocket(udp, six bool) (socket, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if six {
		family = unix.AF_INET6
	}
	if udp {
		kind = unix.SOCK_DGRAM
	}
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	return socket(fd), unix.SetNonblock(fd, true)
}

func (s socket) close() { unix.Close(int(s)) }

// set sets one of SO_REUSEADDR and SO_REUSEPORT.
func (s socket) set(o Options) error {
	number := unix.SO_REUSEADDR
	if o == Port {
		number = reusePort
	}
	if number == 0 {
		return errNoOption
	}
	return unix.SetsockoptInt(int(s), unix.SOL_SOCKET, number, 1)
}

// only6 sets IPV6_V6ONLY, or clears it.
func (s socket) only6(only bool) error {
	value := 0
	if only {
		value = 1
	}
	return unix.SetsockoptInt(int(s), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, value)
}

// lingerFor sets SO_LINGER, with 0 seconds so that close resets the connection.
func (s socket) lingerFor(seconds int) error {
	return unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)})
}

// lingerOff clears SO_LINGER, as it is on a new socket.
func (s socket) lingerOff() error {
	return unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
}

func (s socket) bind(to netip.AddrPort) error { return unix.Bind(int(s), sockaddr(to)) }

func (s socket) listen(backlog int) error { return unix.Listen(int(s), backlog) }

// connect starts to connect; wait says when that has ended, and failure how.
func (s socket) connect(to netip.AddrPort) error {
	err := unix.Connect(int(s), sockaddr(to))
	if err == unix.EINPROGRESS || err == unix.EINTR {
		return nil
	}
	return err
}

// failure returns the error that the socket has had since the last call.
func (s socket) failure() error {
	code, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// accept returns the next connection of a listener, or errNobody.
func (s socket) accept() (socket, error) {
	syscall.ForkLock.RLock()
	fd, _, err := unix.Accept(int(s))
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err == unix.EAGAIN || err == unix.ECONNABORTED || err == unix.EINTR {
		return -1, errNobody
	}
	if err != nil {
		return -1, err
	}
	return socket(fd), unix.SetNonblock(fd, true)
}

// endOutput sends a FIN.
func (s socket) endOutput() error { return unix.Shutdown(int(s), unix.SHUT_WR) }

// end reads, and returns the error; at the end of the stream there is none.
func (s socket) end() error {
	_, err := unix.Read(int(s), make([]byte, 1))
	return err
}

func (s socket) local() (netip.AddrPort, error) {
	sa, err := unix.Getsockname(int(s))
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("a socket's address is a %T", sa)
}

// wait waits until the socket can be read from or written to, or has failed.
func (s socket) wait(what direction, limit time.Duration) (ready bool, err error) {
	fds := []unix.PollFd{{Fd: int32(s), Events: unix.POLLIN}}
	if what == output {
		fds[0].Events = unix.POLLOUT
	}
	end := time.Now().Add(limit)
	for {
		left := max(0, time.Until(end))
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err != unix.EINTR {
			return n > 0, err
		}
	}
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// isExhausted reports an error that is about this machine's resources.
func isExhausted(err error) bool {
	switch err {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return true
	}
	return false
}

// isInUse reports whether somebody else has the port.
func isInUse(err error) bool { return err == unix.EADDRINUSE || err == unix.EACCES }

// errnoName returns the name of an errno, as C programs know it.
func errnoName(err error) string {
	if errno, ok := err.(syscall.Errno); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
