package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a TCP socket that shows what the kernel was told: Go's net package does not tell a RST from an ICMP error, and
// can't keep a connect hanging while others use its port.
type socket struct{ fd int }

// newSocket binds a socket in a host. Port 0 is any. The port may be shared with other sockets of the host.
func newSocket(h *Host, local netip.AddrPort) (*socket, error) {
	s := &socket{-1}
	return s, h.Do(func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		for _, o := range [][2]int{{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_REUSEPORT}, {unix.SOL_IP, unix.IP_RECVERR}} {
			if err := unix.SetsockoptInt(s.fd, o[0], o[1], 1); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return os.NewSyscallError("bind", unix.Bind(s.fd, sockaddr(local)))
	})
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	if in, ok := sa.(*unix.SockaddrInet4); ok {
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	}
	return netip.AddrPort{}
}

// local is the address that the socket is bound to.
func (s *socket) local() netip.AddrPort {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return fromSockaddr(sa)
}

func (s *socket) listen(backlog int) error {
	return os.NewSyscallError("listen", unix.Listen(s.fd, backlog))
}

// connect starts to connect.
func (s *socket) connect(to netip.AddrPort) error {
	err := unix.Connect(s.fd, sockaddr(to))
	if err == unix.EINPROGRESS {
		return nil
	}
	if err != nil {
		return fmt.Errorf("from %v to %v: %w", s.local(), to, os.NewSyscallError("connect", err))
	}
	return nil
}

// outcome waits for the result of connect.
func (s *socket) outcome(timeout time.Duration) (Answer, error) {
	if !s.poll(unix.POLLOUT, timeout) {
		return Silent, nil
	}
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return Silent, os.NewSyscallError("getsockopt", err)
	}
	switch e := unix.Errno(code); {
	case s.toldByICMP():
		return Unreachable, nil
	case e == 0:
		return Accepted, nil
	case e == unix.ECONNREFUSED || e == unix.ECONNRESET:
		return Reset, nil
	case e == unix.EHOSTUNREACH || e == unix.ENETUNREACH:
		return Unreachable, nil
	default:
		return Silent, os.NewSyscallError("connect", e)
	}
}

// toldByICMP reports whether the socket's error queue holds an ICMP error.
func (s *socket) toldByICMP() bool {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(s.fd, nil, oob, unix.MSG_ERRQUEUE)
	if err != nil {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return false
	}
	for _, m := range messages {
		// struct sock_extended_err: u32 errno, u8 origin.
		if m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) > 4 {
			return m.Data[4] == unix.SO_EE_ORIGIN_ICMP
		}
	}
	return false
}

var errNoConnection = errors.New("natlab: no connection came")

// accept waits for a connection and returns who it is from.
func (s *socket) accept(timeout time.Duration) (*socket, netip.AddrPort, error) {
	if !s.poll(unix.POLLIN, timeout) {
		return nil, netip.AddrPort{}, errNoConnection
	}
	fd, sa, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, netip.AddrPort{}, os.NewSyscallError("accept", err)
	}
	return &socket{fd}, fromSockaddr(sa), nil
}

// poll waits for an event or an error.
func (s *socket) poll(event int16, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: event}}, int((left+time.Millisecond-1)/time.Millisecond))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

// close resets the connection, so that nothing of it stays in the way of the next one.
func (s *socket) close() {
	if s == nil || s.fd < 0 {
		return
	}
	unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(s.fd)
	s.fd = -1
}

func (s *socket) setTTL(ttl int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, unix.SOL_IP, unix.IP_TTL, ttl))
}

// pretend makes the socket an end of a connection that was never made, and has it send a bare acknowledgement.
func (s *socket) pretend(to netip.AddrPort) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(s.fd, sockaddr(to)); err != nil {
		return os.NewSyscallError("connect", err)
	}
	// Leaving the repair mode announces the window.
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF))
}

// pass sends a byte over a connection to its other end and waits for it.
func (s *socket) pass(to *socket) error {
	b := []byte{0}
	if _, err := unix.Write(s.fd, b); err != nil {
		return os.NewSyscallError("write", err)
	}
	if !to.poll(unix.POLLIN, patienceToConnect) {
		return errNoConnection
	}
	_, err := unix.Read(to.fd, b)
	return os.NewSyscallError("read", err)
}
