package linuxrules

// bindUDP follows udp_lib_get_port. A multicast group is an address like any
// other here: who joined it is not asked.
func (p *port) bindUDP(sk *socket) string {
	sk.bind6Only()
	if p.has(sk, conflictUDP) {
		return addrInUse
	}
	p.add(sk)
	return ok
}

// conflictUDP follows udp_lib_lport_inuse: SO_REUSEADDR on both lets them share
// whatever the address, else SO_REUSEPORT on both does, for one user's sockets.
func conflictUDP(sk, other *socket) bool {
	switch {
	case sk.reuse && other.reuse, !sameReceiver(sk, other):
		return false
	case sk.reusePort && other.reusePort:
		return sk.uid != other.uid
	}
	return true
}

// connectUDP follows __ip4_datagram_connect and __ip6_datagram_connect, which
// ask whether there is a route and not whether another socket has the same two
// ends.
func connectUDP() string { return ok }
