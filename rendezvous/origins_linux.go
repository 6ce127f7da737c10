package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/proto"
)

// Origins are the two ports, besides those that serve, from which a server dials
// back. They stay as they are until Close.
type Origins struct {
	silent, closed uint16
	sockets        []int
}

// OpenOrigins takes two free ports of this host: one that answers no SYN, because
// a filter drops everything before the listener sees it, and one where nothing
// listens, so that the system answers with a RST.
func OpenOrigins() (*Origins, error) {
	o := new(Origins)
	var err error
	if o.silent, err = o.open(true); err == nil {
		o.closed, err = o.open(false)
	}
	if err != nil {
		o.Close()
		return nil, fmt.Errorf("opening the ports for dialling back: %w", err)
	}
	return o, nil
}

// Close gives the ports up.
func (o *Origins) Close() error {
	var errs []error
	for _, fd := range o.sockets {
		errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
	}
	o.sockets = nil
	return errors.Join(errs...)
}

// dropAll is a classic filter that takes nothing of any packet.
var dropAll = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// open takes a free port for all addresses.
func (o *Origins) open(silent bool) (port uint16, err error) {
	family := unix.AF_INET6
	fd, err := shareable(family)
	if err != nil {
		family = unix.AF_INET
		if fd, err = shareable(family); err != nil {
			return 0, err
		}
	}
	o.sockets = append(o.sockets, fd)
	var at unix.Sockaddr = &unix.SockaddrInet4{}
	if family == unix.AF_INET6 {
		at = &unix.SockaddrInet6{}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	if silent {
		prog := &unix.SockFprog{Len: uint16(len(dropAll)), Filter: &dropAll[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			return 0, os.NewSyscallError("listen", err)
		}
	}
	return boundPort(fd)
}

func boundPort(fd int) (uint16, error) {
	at, err := unix.Getsockname(fd)
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return uint16(at.Port), nil
	case *unix.SockaddrInet6:
		return uint16(at.Port), nil
	}
	return 0, os.NewSyscallError("getsockname", err)
}

// shareable returns a socket whose port others of this program may have, too.
func shareable(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, o := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	return fd, nil
}

// dialOnce sends one SYN, waits for what it meets, and closes what comes of it
// with a RST. The answer is unknown if no SYN could be sent.
func dialOnce(ctx context.Context, from, to netip.AddrPort, wait time.Duration) proto.NATAnswer {
	fd, err := beginDial(from, to)
	if err != nil {
		return proto.AnswerUnknown
	}
	f := os.NewFile(uintptr(fd), "dial-back") // owns fd from here on
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return proto.AnswerUnknown
	}
	f.SetWriteDeadline(time.Now().Add(wait))
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := proto.AnswerDropped
	raw.Write(func(fd uintptr) (done bool) {
		answer, done = outcome(int(fd))
		return done
	})
	if ctx.Err() != nil {
		return proto.AnswerUnknown
	}
	return answer
}

// beginDial sends the SYN.
func beginDial(from, to netip.AddrPort) (int, error) {
	family, level, errors := unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR
	if to.Addr().Is6() {
		family, level, errors = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	fd, err := shareable(family)
	if err != nil {
		return -1, err
	}
	for _, o := range [][3]int{{level, errors, 1}, {unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1}} {
		if err == nil {
			err = unix.SetsockoptInt(fd, o[0], o[1], o[2])
		}
	}
	if err == nil {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(from))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(to))
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// outcome says what a SYN has met so far: that it was dropped, as long as the dial
// is not done.
func outcome(fd int) (answer proto.NATAnswer, done bool) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return proto.AnswerUnknown, true
	}
	switch e := unix.Errno(code); {
	case e != 0 && toldByICMP(fd):
		return proto.AnswerUnreachable, true
	case e == unix.ECONNREFUSED || e == unix.ECONNRESET:
		return proto.AnswerReset, true
	case e == unix.EHOSTUNREACH || e == unix.ENETUNREACH:
		return proto.AnswerUnreachable, true
	case e == unix.ETIMEDOUT:
		return proto.AnswerDropped, true
	case e != 0:
		return proto.AnswerUnknown, true
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return proto.AnswerUnknown, true
	}
	if info.State == tcpSynSent || info.State == tcpSynReceived {
		return proto.AnswerDropped, false
	}
	return proto.AnswerAccepted, true
}

// States of TCP_INFO (linux/tcp_states.h).
const (
	tcpSynSent     = 2
	tcpSynReceived = 3
)

// toldByICMP reports whether the socket's error queue holds an ICMP error, which
// tells ECONNREFUSED by a port unreachable from one by a RST.
func toldByICMP(fd int) bool {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE)
	if err != nil {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return false
	}
	for _, m := range messages {
		// struct sock_extended_err: u32 errno, u8 origin.
		is4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		is6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if (is4 || is6) && len(m.Data) > 4 {
			return m.Data[4] == unix.SO_EE_ORIGIN_ICMP || m.Data[4] == unix.SO_EE_ORIGIN_ICMP6
		}
	}
	return false
}
