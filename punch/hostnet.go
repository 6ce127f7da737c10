package punch

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/peerd/peerd/proto"
)

// HostNetwork is what this host knows of its own networks at one moment.
type HostNetwork struct {
	Addrs    []netip.Addr   // unicast addresses of interfaces that are up; no loopback, no link-local
	OnLink   []netip.Prefix // their networks
	Gateways []netip.Addr   // next hops of default routes, where the system tells
}

// ReadHostNetwork asks the operating system.
func ReadHostNetwork() (HostNetwork, error) {
	var h HostNetwork
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return h, fmt.Errorf("reading this host's addresses: %w", err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue // not an IP network
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits())
		if p.Addr().IsGlobalUnicast() {
			h.Addrs = append(h.Addrs, p.Addr())
			h.OnLink = append(h.OnLink, p.Masked())
		}
	}
	h.Gateways = gateways()
	return h, nil
}

// Candidates returns the host candidates on the given port: at most
// proto.MaxHostCandidates, IPv4 first, because a NAT for IPv4 is why most
// people need peerd, and then in order of address so that the list is stable.
func (h HostNetwork) Candidates(port uint16) []proto.Candidate {
	addrs := slices.Clone(h.Addrs)
	slices.SortFunc(addrs, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(a.BitLen(), b.BitLen()), a.Compare(b))
	})
	addrs = slices.Compact(addrs)
	var list []proto.Candidate
	for i, addr := range addrs[:min(len(addrs), proto.MaxHostCandidates)] {
		list = append(list, proto.NewCandidate(netip.AddrPortFrom(addr, port), proto.Host, uint16(65535-i)))
	}
	return list
}

// Admission returns the rules for this host, given the server that introduces.
func (h HostNetwork) Admission(server netip.Addr) Admission {
	return Admission{OnLink: h.OnLink, Gateways: h.Gateways, Server: server.Unmap().WithZone("")}
}
