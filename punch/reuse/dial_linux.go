package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dial is a dial under way. It is made by system calls of our own: package net
// cannot change an option between the SYN and the end of the handshake.
type Dial struct {
	port uint16 // that it is made from
	to   netip.AddrPort
	f    *os.File // the socket
	err  error    // why there is none, or no SYN
	sent bool     // there is a SYN

	repeated bool // the SYN of a dial that failed
	conn     syscall.Conn
}

// BeginWith starts to connect to an address. Wait must be called on the result.
//
// A TTL above 0 is that of the SYN, and what has no more when it comes back is not
// taken in: neither an ICMP error, of which counts what is left to the SYN that it
// quotes, nor a packet of the peer. A low one makes it a quiet dial, whose SYN
// opens this side's NATs and dies before the other side's; the socket waits for
// the peer's. One of half of what hosts send with makes it a deaf dial, whose SYN
// arrives. The kernel repeats the SYN after a second, with the normal TTL.
//
// What connections to the same address from before Since have left on the way is
// passed over, as far as it can be told; nothing is if Since is zero. A quiet dial
// passes over all that is older than itself.
func (p *Port) BeginWith(to netip.AddrPort, o DialOptions) *Dial {
	d := &Dial{port: o.from(p), to: to}
	var fd int
	if fd, d.err = boundSocket(netip.AddrPortFrom(wildcards[networkOf(to.Addr())], d.port), o.set()); d.err != nil {
		return d
	}
	d.err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)) // before package os looks
	d.f = os.NewFile(uintptr(fd), "dial")                           // owns fd from here on
	if d.err == nil {
		d.sent, d.err = connect(fd, to, o.TTL, o.Since)
	}
	return d
}

// Wait returns the connection. If ctx ends first, the socket is closed with
// SO_LINGER 0: in SYN_SENT nothing is sent and the 4-tuple is free at once.
// IsRefused, IsTupleInUse and IsNoAnswer judge the error. It is to be called
// once.
func (d *Dial) Wait(ctx context.Context) (net.Conn, error) {
	conn, err := d.wait(ctx)
	switch {
	case err == nil:
		d.conn = conn.(*net.TCPConn)
		return conn, nil
	case d.repeated:
		return nil, &repeatedError{dialError(d.port, d.to, err)}
	case !d.sent:
		return nil, &unsentError{dialError(d.port, d.to, err)}
	}
	return nil, dialError(d.port, d.to, err)
}

func (d *Dial) wait(ctx context.Context) (net.Conn, error) {
	if d.f == nil {
		return nil, d.err
	}
	defer d.f.Close()
	if d.err != nil {
		return nil, d.err
	}
	if err := awaitConnected(ctx, d.f); err != nil {
		d.repeated = wasRepeated(d.f)
		return nil, err
	}
	return ordinary(d.f, hopLimitOf(d.to.Addr()))
}

// repeatedError is why a dial has ended whose SYN the kernel had repeated.
type repeatedError struct{ error }

// Unwrap returns the error that it would be otherwise.
func (e *repeatedError) Unwrap() error { return e.error }

// IsRepeated reports whether the system had repeated the SYN of a dial that
// failed. The repetition of a quiet SYN is not quiet: it has the normal TTL.
func IsRepeated(err error) bool {
	var repeated *repeatedError
	return errors.As(err, &repeated)
}

func wasRepeated(f *os.File) (repeated bool) {
	onSocket(f, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		repeated = err == nil && info.Total_retrans > 0
		return err
	})
	return repeated
}

// Acknowledged reports whether the other end has acknowledged any of what was sent
// on the connection that Wait has returned, or may do so still: the system does not
// repeat what it has sent before the round trip that it has measured has passed. A
// system that counts nothing leaves it at that.
func (d *Dial) Acknowledged() (acknowledged bool) {
	onSocket(d.conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		acknowledged = err != nil || info.Bytes_acked != 1 || info.Bytes_retrans == 0 // the one is the SYN
		return err
	})
	return acknowledged
}

// Answered reports whether the peer's SYN or SYN-ACK has come. It may be called
// at any time, and is false once Wait has returned.
func (d *Dial) Answered() bool {
	if d.f == nil {
		return false
	}
	raw, err := d.f.SyscallConn()
	if err != nil {
		return false
	}
	answered := false
	raw.Control(func(fd uintptr) {
		state, err := tcpState(int(fd))
		answered = err == nil && (state == tcpSynReceived || state == tcpEstablished)
	})
	return answered
}

// ordinary makes a connected socket one of package net's, without the options
// that were for dialling only.
func ordinary(f *os.File, hops hopLimit) (net.Conn, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	// A filter that stays takes nothing from the connection for as long as the clock does not
	// come to its half again: 24 days, or more. Where none can be set there is none.
	if cerr := raw.Control(func(fd uintptr) {
		err = hops.limit(int(fd), -1, 0)
		takeStale(int(fd))
	}); cerr != nil || err != nil {
		return nil, errors.Join(cerr, err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	// From here on an ordinary close: what was written is to arrive.
	if err := errors.Join(tcp.SetLinger(-1), tcp.SetKeepAlive(false)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect sends the SYN, and reports whether it has: with a TTL if that is not 0,
// which is back to normal for everything that follows.
func connect(fd int, to netip.AddrPort, ttl int, since time.Time) (sent bool, err error) {
	hops := hopLimitOf(to.Addr())
	if ttl > 0 {
		if err := hops.limit(fd, ttl, ttl+1); err != nil {
			return false, err
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
		return err == unix.ECONNREFUSED, os.NewSyscallError("connect", err) // by this host itself
	}
	if ttl > 0 {
		if err := hops.limit(fd, -1, ttl+1); err != nil {
			return true, err
		}
	}
	if 0 < ttl && ttl < arrives {
		since = time.Now()
		if err := muted(fd); err != nil {
			return true, err
		}
	}
	if !since.IsZero() {
		dropStale(fd, time.Since(since)) // if it can't be, there is more to go wrong
	}
	return true, nil
}

// arrives tells a deaf dial's TTL from a quiet one's.
const arrives = 16

// errMuted is why a quiet dial ends whose SYN-ACK, too, was quiet: the process was
// kept from running since the SYN, and the peer's SYN has come meanwhile. The kernel
// would send the SYN-ACK again after a second only, and no other one will do: NATs
// that look at sequence numbers expect this one. The RST of the close has them expect
// nothing.
var errMuted = errors.New("the answer to the peer's SYN has left with the TTL of a quiet dial")

// IsMuted reports whether a quiet dial has ended for that reason.
func IsMuted(err error) bool { return errors.Is(err, errMuted) }

// muted returns errMuted if the answer has left.
func muted(fd int) error {
	if state, err := tcpState(fd); err == nil && state == tcpSynReceived {
		return errMuted
	}
	return nil
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

// connected reports whether the dial has ended, and how. The kernel sets the error
// before the state, so the state is looked at first: one that ends in between would
// be taken for a connection.
func connected(fd int) (done bool, err error) {
	state, err := tcpState(fd)
	if err != nil {
		return true, err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return true, os.NewSyscallError("connect", unix.Errno(code))
	}
	return state != tcpSynSent && state != tcpSynReceived, nil
}

// States of TCP_INFO (linux/tcp_states.h).
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpSynReceived = 3
)

func tcpState(fd int) (uint8, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return info.State, nil
}
