package linuxrules

import "net/netip"

// Errors by their names, as package survey prints them.
const (
	ok           = ""
	addrInUse    = "EADDRINUSE"
	addrNotAvail = "EADDRNOTAVAIL"
)

// bindTCP follows inet_bind and __inet6_bind.
func (p *port) bindTCP(sk *socket) string {
	sk.bind6Only()
	if err := p.get(sk); err != ok {
		return err
	}
	p.add(sk)
	return ok
}

// listenTCP follows inet_csk_listen_start, which asks for the port again as a
// listener.
func (p *port) listenTCP(sk *socket) string {
	sk.state = listening
	err := p.get(sk)
	if err != ok {
		sk.state = closed
	}
	return err
}

// get follows inet_csk_get_port.
func (p *port) get(sk *socket) string {
	if !p.remembers(sk) && p.has(sk, conflictTCP) {
		return addrInUse
	}
	p.remember(sk, len(p.sockets) == 0)
	return ok
}

// conflictTCP follows inet_csk_bind_conflict and inet_bhash2_addr_any_conflict:
// a socket with an address of its own is compared with those in the buckets of
// that address and of the wildcards, a wildcard with all.
func conflictTCP(sk, other *socket) bool {
	if sk.local.IsUnspecified() {
		return sameReceiver(sk, other) && !share(sk, other)
	}
	return sameBucket(sk, other) && !share(sk, other)
}

// sameBucket follows inet_bind2_bucket_match, inet_bind2_bucket_match_addr_any
// and __inet_bhash2_conflict. The bucket of :: holds for both families, that
// of 0.0.0.0 for IPv4.
func sameBucket(sk, other *socket) bool {
	switch {
	case other.only6 && !sk.ipv6:
		return false
	case other.local.IsUnspecified():
		return other.ipv6 || !sk.ipv6
	}
	return other.ipv6 == sk.ipv6 && other.local == sk.local
}

// share follows inet_bind_conflict: SO_REUSEADDR on both lets them share unless
// the other listens; else SO_REUSEPORT on both does, for one user's sockets.
// What is left of a connection (TIME_WAIT) is nobody's. A newcomer that brings a
// program of its own (reuseport_cb_ok) cannot join by SO_REUSEPORT.
func share(sk, other *socket) bool {
	if sk.reuse && other.reuse && other.state != listening {
		return true
	}
	if sk.pinned || !sk.reusePort || !other.reusePort {
		return false
	}
	return other.state == timeWait || sk.uid == other.uid
}

// connectTCP follows tcp_v4_connect and tcp_v6_connect: a socket on a wildcard
// takes the address that the route says, and moves to that address's bucket
// (inet_bhash2_update_saddr) without being asked about conflicts there. Then
// its 4-tuple has to be free (__inet_check_established).
func (p *port) connectTCP(sk *socket, source netip.Addr, to netip.AddrPort) string {
	before := sk.local
	if sk.local.IsUnspecified() {
		sk.local = source
	}
	sk.peer = to
	if p.has(sk, sameTuple) {
		sk.local, sk.peer = before, netip.AddrPort{}
		return addrNotAvail
	}
	p.dropTimeWait(sk)
	sk.state = established
	return ok
}

// sameTuple follows __inet_check_established and tcp_twsk_unique: a 4-tuple in
// TIME_WAIT may be taken over by a socket that was bound to its port (twp is
// NULL there, so that net.ipv4.tcp_tw_reuse is not asked) if the connection
// had timestamps. No option of either socket matters.
func sameTuple(sk, other *socket) bool {
	if other.peer != sk.peer || other.local != sk.local {
		return false
	}
	return other.state == established || other.state == timeWait && other.noStamps
}

// dropTimeWait removes the TIME_WAIT that a new connection took over.
func (p *port) dropTimeWait(sk *socket) {
	for _, other := range p.sockets {
		if other.state == timeWait && other.peer == sk.peer && other.local == sk.local {
			p.remove(other)
			return
		}
	}
}
