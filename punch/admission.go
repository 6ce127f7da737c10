package punch

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/peerd/peerd/proto"
)

// Admission decides which candidates may be dialled from this host. Candidates
// come from the other peer, so they are hostile until proven: without these
// rules an introduction could aim our SYNs at our own services, at the router,
// or at somebody who has nothing to do with it.
type Admission struct {
	// OnLink are the networks that this host has an interface in.
	OnLink []netip.Prefix
	// Gateways are the routers of this host.
	Gateways []netip.Addr
	// Server is the address of the rendezvous server as this host dialled it.
	// An observed endpoint that is not global is believed only if the server is
	// itself on such a network: then all of it is a private matter.
	Server netip.Addr
}

// ForbiddenError says which rule keeps a candidate from being dialled.
type ForbiddenError struct {
	Candidate proto.Candidate
	Rule      string
}

// Error names the candidate and the rule.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%s is not dialled: %s", e.Candidate, e.Rule)
}

// Admit returns a *ForbiddenError if the step's candidate must not be dialled.
func (a Admission) Admit(s Step) error {
	if rule := a.forbids(s); rule != "" {
		return &ForbiddenError{s.To, rule}
	}
	return nil
}

func (a Admission) forbids(s Step) string {
	addr := s.To.Addr.Addr()
	switch {
	case s.To.Addr.Port() == 0:
		return "port 0"
	case addr.IsLoopback() && s.To.Kind == proto.Observed && a.Server.IsLoopback():
		return "" // server and peers share one host
	case !addr.IsGlobalUnicast() || isBroadcast(addr):
		return "loopback, link-local, multicast and unspecified addresses are no peers"
	case slices.Contains(a.Gateways, addr):
		return "it is this host's gateway"
	}
	if s.To.Kind == proto.Observed {
		return a.forbidsObserved(addr)
	}
	return a.forbidsHost(s)
}

// forbidsObserved judges the endpoint that the server states.
func (a Admission) forbidsObserved(addr netip.Addr) string {
	if !isGlobal(addr) && isGlobal(a.Server) {
		return "a server on the Internet cannot have observed a private address"
	}
	return ""
}

// forbidsHost judges an address that only the peer vouches for: on this host's
// own networks, or global IPv6 with a single SYN.
func (a Admission) forbidsHost(s Step) string {
	addr := s.To.Addr.Addr()
	for _, p := range a.OnLink {
		if p.Contains(addr) && addr != directedBroadcast(p) && addr != p.Masked().Addr() {
			return ""
		}
	}
	if s.Once && globalV6(s.To) {
		return ""
	}
	return "it is on none of this host's networks"
}

func isBroadcast(addr netip.Addr) bool {
	return addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// directedBroadcast returns the last address of an IPv4 network, or the zero
// Addr for networks that have no broadcast address (IPv6, RFC 3021).
func directedBroadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
