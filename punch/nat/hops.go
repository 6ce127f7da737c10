package nat

import "net/netip"

// sharedSpace is what carriers' NATs give their customers (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// hopsOf returns the least TTL that gets past the last of this host's own NATs, of
// which there is one at least,
// given the routers on the way to the server, the nearest first: those with an
// address that is not global, and the one with this host's outside address. 0 is
// unknown: a router between did not answer, or none did.
func hopsOf(routers []netip.Addr, outside netip.Addr) uint8 {
	own := 0
	for i, r := range routers {
		switch {
		case !r.IsValid():
			return 0
		case r == outside || r.IsPrivate() || sharedSpace.Contains(r):
			own = i + 1
		default:
			if own == 0 {
				return 0 // where the NAT is does not show
			}
			return uint8(own + 1)
		}
	}
	return 0 // it may be behind them
}
