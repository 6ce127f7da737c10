package punch

import "net/netip"

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

// unmapped is the endpoint without the IPv4-mapped form of a socket that speaks
// both.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
