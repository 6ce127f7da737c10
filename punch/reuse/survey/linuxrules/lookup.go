package linuxrules

import (
	"net/netip"
	"slices"
)

// receivers follows __inet_lookup and inet_lhash2_lookup: who may get the first
// SYN from a peer to an address of the port. The established hash comes first,
// and a socket is in it from connect on. Then come the listeners of that very
// address, then those of the wildcard; among those that share by SO_REUSEPORT a
// hash of the 4-tuple decides.
func (p *port) receivers(from netip.AddrPort, at netip.Addr) []*socket {
	for _, sk := range p.sockets {
		if sk.state == established && sk.local == at && sk.peer == from {
			return []*socket{sk}
		}
	}
	if own := p.listenersOn(at); own != nil {
		return own
	}
	return p.listenersOn(netip.IPv4Unspecified())
}

// listenersOn follows inet_lookup_reuseport and reuseport_select_sock. A pinned
// listener has a program that always says the first of the group.
func (p *port) listenersOn(at netip.Addr) []*socket {
	var found []*socket
	for _, sk := range p.sockets {
		if sk.state == listening && sk.local == at {
			found = append(found, sk)
		}
	}
	if slices.ContainsFunc(found, func(sk *socket) bool { return sk.pinned }) {
		return found[:1]
	}
	return found
}

// shareOf says how much another than the first listener gets, as a survey says
// it.
func shareOf(receivers []*socket, first, other *socket, name string) string {
	switch {
	case !slices.Contains(receivers, other):
		return name + " gets none"
	case !slices.Contains(receivers, first):
		return name + " gets all"
	}
	return name + " gets some"
}
