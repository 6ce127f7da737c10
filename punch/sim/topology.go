package sim

import (
	"net/netip"

	"github.com/peerd/peerd/proto"
)

// subscribe puts both sides' NATs behind one carrier's, A's. There is no other way
// between them.
func (n *network) subscribe() {
	a, b := n.a.nat.(*chain), n.b.nat.(*chain)
	carrier := a.outer.(*userNAT)
	b.outer = carrier
	carrier.deliver = func(s segment) {
		switch s.dst.Addr() {
		case sharedA:
			a.inner.fromOutside(s)
		case sharedB:
			b.inner.fromOutside(s)
		}
	}
	n.b.nat = subscriber{b, carrier}
}

// subscriber is a chain whose outer NAT is somebody else's, too.
type subscriber struct {
	*chain
	carrier *userNAT
}

func (s subscriber) observed(remote netip.AddrPort) netip.AddrPort {
	return s.carrier.observes(s.inner.observed(remote), remote)
}

// dual is a NAT for IPv4 and a stateful firewall, or nothing, for IPv6, side by side.
type dual struct {
	box
	six box
}

func (d dual) fromInside(s segment) { d.of(s.dst.Addr()).fromInside(s) }

func (d dual) fromOutside(s segment) { d.of(s.dst.Addr()).fromOutside(s) }

func (d dual) of(addr netip.Addr) box {
	if addr.Is6() {
		return d.six
	}
	return d.box
}

// addIPv6 gives the host an IPv6 address, and out is where to.
func (s *side) addIPv6(addr netip.Addr, out func(segment)) {
	s.host.addr6 = netip.AddrPortFrom(addr, s.host.addr.Port())
	s.stated = append(s.stated, proto.NewCandidate(s.host.addr6, proto.Host, 0))
	conn := wire{w: s.host.w, name: "firewall " + s.name, addr: addr, send: out, deliver: s.host.receive}
	d := dual{box: s.nat, six: &public{conn, s.host.addr6}}
	if s.NAT.translates() {
		d.six = newKernelNAT(conn, Profile{Kernel: true}, s.host.addr6, nil, false)
	}
	s.nat = d
}
