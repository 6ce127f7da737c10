package linuxrules

import (
	"net/netip"
	"slices"
)

// state is what the rules ask of sk_state.
type state uint8

const (
	closed state = iota // TCP_CLOSE: bound at most
	listening
	established
	timeWait
)

// A socket is the part of struct sock that the rules look at.
type socket struct {
	ipv6      bool           // AF_INET6
	local     netip.Addr     // sk_rcv_saddr, or sk_v6_rcv_saddr of an IPv6 socket
	only6     bool           // ipv6_only_sock
	reuse     bool           // SO_REUSEADDR
	reusePort bool           // SO_REUSEPORT
	uid       int            // of the user who made it
	state     state          //
	peer      netip.AddrPort // of a connection
	noStamps  bool           // a TIME_WAIT whose connection had no timestamps
	pinned    bool           // SO_ATTACH_REUSEPORT_CBPF, with a program that returns 0
}

// bind6Only follows __inet6_bind: a socket that is bound to one IPv6 address is
// IPv6 only from then on, whatever IPV6_V6ONLY was.
func (sk *socket) bind6Only() {
	if sk.ipv6 && !sk.local.IsUnspecified() {
		sk.only6 = true
	}
}

// sameReceiver follows inet_rcv_saddr_equal: could both sockets be meant by one
// packet? It is not symmetric where only6 differs: sk is the newcomer.
func sameReceiver(sk, other *socket) bool {
	switch {
	case sk.ipv6:
		return sameReceiver6(sk, other)
	case other.only6:
		return false
	case other.ipv6:
		// Its sk_rcv_saddr is 0.0.0.0 while it is bound to ::, and an
		// address of no IPv4 socket (LOOPBACK4_IPV6) once it has connected.
		return sk.local.IsUnspecified() || other.local.IsUnspecified()
	}
	return sk.local == other.local || sk.local.IsUnspecified() || other.local.IsUnspecified()
}

// sameReceiver6 follows ipv6_rcv_saddr_equal for addresses that are not
// IPv4-mapped. Of an IPv4 socket it sees only that it is one.
func sameReceiver6(sk, other *socket) bool {
	switch {
	case other.ipv6 && other.local.IsUnspecified():
		return true
	case sk.local.IsUnspecified():
		return other.ipv6 || !sk.only6
	}
	return other.ipv6 && sk.local == other.local
}

// A port is a bind bucket: the sockets of one protocol on one port number.
type port struct {
	sockets []*socket
	memory  // of TCP only
}

func (p *port) add(sk *socket) { p.sockets = append(p.sockets, sk) }

// remove follows inet_bind_bucket_destroy: an empty bucket is forgotten.
func (p *port) remove(sk *socket) {
	p.sockets = slices.DeleteFunc(p.sockets, func(other *socket) bool { return other == sk })
	if len(p.sockets) == 0 {
		*p = port{}
	}
}

// has reports whether the port has a socket other than sk for which conflict
// is true.
func (p *port) has(sk *socket, conflict func(sk, other *socket) bool) bool {
	return slices.ContainsFunc(p.sockets, func(other *socket) bool { return other != sk && conflict(sk, other) })
}
