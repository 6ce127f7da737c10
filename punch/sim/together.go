package sim

import (
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
)

// lanDelay is how long a segment takes on a network at home, and back from a NAT.
const lanDelay = 100 * time.Microsecond

// join puts both hosts on one network behind A's NAT. The server sees both at
// one address.
func (n *network) join(ab, ba *link) {
	port := n.b.host.addr.Port()
	n.b.host.addr = netip.AddrPortFrom(neighbour(n.a.host.addr.Addr(), 1), port)
	n.b.nat = lodger{n.a.nat, port}
	n.a.nat.connected().deliver = func(s segment) {
		for _, side := range []*side{n.a, n.b} {
			if side.host.addr.Addr() == s.dst.Addr() {
				side.host.receive(s)
			}
		}
	}
	ab.to, ba.to = n.b.host.receive, n.a.host.receive
	n.a.host.send = func(s segment) { n.forward(s, n.b, ab) }
	n.b.host.send = func(s segment) { n.forward(s, n.a, ba) }
	for _, s := range []*side{n.a, n.b} {
		s.host.tracked = false
		s.stated = n.statement(s)
	}
}

// lodger is somebody else's NAT, as far as it matters between neighbours.
type lodger struct {
	box
	port uint16
}

func (l lodger) observed(remote netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(l.box.observed(remote).Addr(), l.port)
}

func neighbour(addr netip.Addr, n int) netip.Addr {
	for range n {
		addr = addr.Next()
	}
	return addr
}

// forward takes a segment to the other host, or to the NAT. Idle addresses do not
// answer.
func (n *network) forward(s segment, to *side, way *link) {
	switch s.dst.Addr() {
	case to.host.addr.Addr():
		way.send(s)
	case outsideA:
		n.a.nat.fromInside(s)
	}
}

// statement is the host's own address, with idle ones before and behind it.
func (n *network) statement(s *side) (list []proto.Candidate) {
	own := source(n.c.Seed, 20+uint64(s.role)).IntN(n.c.Idle + 1)
	base := 2 + int(s.role)*proto.MaxHostCandidates // of the idle addresses
	for i := range n.c.Idle + 1 {
		addr := netip.AddrPortFrom(neighbour(n.a.host.addr.Addr(), base+i), s.host.addr.Port())
		if i == own {
			addr = s.host.addr
		}
		list = append(list, proto.NewCandidate(addr, proto.Host, uint16(100-i)))
	}
	return list
}
