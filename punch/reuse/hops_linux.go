package reuse

import (
	"context"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// InOrder says that the SYN of a dial has been sent when Begin returns.
const InOrder = true

// Hops returns the addresses of the routers on the way to an address, the nearest
// first, as far as they say when a SYN's TTL ends there, and at most max of them.
// One that does not answer before ctx ends is invalid; the address itself is the
// last if it is not further away. It needs no privileges: a socket with IP_RECVERR
// is told who has sent the ICMP error that ended its connect.
func Hops(ctx context.Context, to netip.AddrPort, max int) []netip.Addr {
	var probes []*hopProbe
	defer func() {
		for _, p := range probes {
			p.f.Close()
		}
	}()
	for ttl := 1; ttl <= max; ttl++ {
		p, err := beginHop(to, ttl)
		if err != nil {
			return nil
		}
		probes = append(probes, p)
	}
	var routers []netip.Addr
	for _, p := range probes {
		addr, reached := p.wait(ctx)
		routers = append(routers, addr)
		if reached {
			break
		}
	}
	return routers
}

// hopProbe is a dial whose SYN has a TTL of its own.
type hopProbe struct {
	f  *os.File
	to netip.AddrPort
}

func beginHop(to netip.AddrPort, ttl int) (*hopProbe, error) {
	level, hops, errors := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	if to.Addr().Is6() {
		level, hops, errors = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
	}
	set := options{abrupt, integer("TTL", level, hops, ttl), integer("RECVERR", level, errors, 1), integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1)}
	fd, err := boundSocket(netip.AddrPortFrom(wildcards[networkOf(to.Addr())], 0), set)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // before package os looks
		unix.Close(fd)
		return nil, err
	}
	p := &hopProbe{os.NewFile(uintptr(fd), "hop"), to}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
		p.f.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	return p, nil
}

// wait returns who ended the dial: the address itself if the SYN has reached it.
func (p *hopProbe) wait(ctx context.Context) (addr netip.Addr, reached bool) {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return addr, false
	}
	stop := context.AfterFunc(ctx, func() { p.f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw.Write(func(fd uintptr) bool {
		done, failure := connected(int(fd))
		if !done {
			return false
		}
		if addr = offender(int(fd)); !addr.IsValid() && (failure == nil || isAny(failure, local.refused)) {
			addr, reached = p.to.Addr(), true
		}
		return true
	})
	return addr, reached
}

// offender returns who sent the ICMP error that a socket's error queue holds.
func offender(fd int) (addr netip.Addr) {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE)
	if err != nil {
		return addr
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return addr
	}
	for _, m := range messages {
		// struct sock_extended_err has 16 bytes: u32 errno, u8 origin, … A sockaddr
		// follows: of 16 bytes with the address at 4, or of 28 with it at 8.
		switch d := m.Data; {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR && len(d) >= 32 && d[4] == unix.SO_EE_ORIGIN_ICMP:
			addr = netip.AddrFrom4([4]byte(d[20:24]))
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR && len(d) >= 44 && d[4] == unix.SO_EE_ORIGIN_ICMP6:
			addr = netip.AddrFrom16([16]byte(d[24:40]))
		}
	}
	return addr
}
