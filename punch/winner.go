package punch

import (
	"net/netip"

	"github.com/peerd/peerd/proto"
)

// Winner returns the event that tells how the connection to an endpoint was
// proven: Proven, of a dial of this side, or Accepted, of one of the peer's.
func Winner(events []Event, remote netip.AddrPort) (e Event, found bool) {
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		if (e.Kind == Proven || e.Kind == Accepted) && unmapped(e.To.Addr) == unmapped(remote) {
			return e, true
		}
	}
	return e, false
}

// KindOf returns the kind of candidate at which a connection to a peer was proven.
// Who accepts sees an endpoint and not what the peer calls it: that is looked up
// among what the peer has stated, and "" if it is not there.
func KindOf(peer *proto.Party, proof Event) string {
	if proof.Kind != Accepted {
		return proof.To.Kind.String()
	}
	for _, c := range append([]proto.Candidate{peer.Observed}, peer.Candidates...) {
		if unmapped(c.Addr) == unmapped(proof.To.Addr) {
			return c.Kind.String()
		}
	}
	return ""
}

// unmapped is the endpoint without the IPv4-mapped form of a socket that speaks
// both.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
