package nat

import (
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
)

// Sight is one connection as both ends see it.
type Sight struct {
	To      netip.AddrPort
	Inside  netip.AddrPort // this end, as this host has it
	Outside netip.AddrPort // this end, as the server sees it; zero if the connection failed
	At      time.Time      // when the SYN was sent
	RTT     time.Duration  // until the connection was there
}

// ok reports whether the connection came about and was seen.
func (s Sight) ok() bool { return s.Outside.IsValid() }

// views are sights of connections from one inside port.
type views struct {
	first Sight   // at one endpoint of the server
	near  []Sight // at other ports of the same address
	far   []Sight // at other addresses
	again Sight   // a second connection to the first of near
}

// mappingOf tells the mapping behaviour by the outside ports that one inside port
// has at different endpoints. Addresses do not count: a NAT may have several, see
// poolingOf.
func mappingOf(v views) proto.NATMapping {
	if v.first.Outside == v.first.Inside {
		return proto.MappingNone
	}
	near, nearSame := compare(v.first, v.near)
	far, farSame := compare(v.first, v.far)
	switch {
	case near && !nearSame && v.again.ok() && v.again.Outside.Port() != v.near[0].Outside.Port():
		return proto.MappingPerConnection
	case near && !nearSame:
		return proto.MappingAddressPortDependent
	case near && far && farSame:
		return proto.MappingEndpointIndependent
	case near && far:
		return proto.MappingAddressDependent
	}
	return proto.MappingUnknown
}

// compare reports whether there is anything to compare with, and whether all of
// it has the same outside port.
func compare(with Sight, all []Sight) (any, same bool) {
	same = true
	for _, s := range all {
		if s.ok() {
			any = true
			same = same && s.Outside.Port() == with.Outside.Port()
		}
	}
	return any, same
}

// leastPooled is how many mappings must have one address before that counts as
// all: of two addresses chosen at random they would have one by chance in one of
// 128 cases.
const leastPooled = 8

// poolingOf tells whether all mappings have one outside address.
func poolingOf(all []Sight) proto.NATPooling {
	count, first := 0, netip.Addr{}
	for _, s := range all {
		if !s.ok() || s.Outside == s.Inside {
			continue
		}
		if count++; count == 1 {
			first = s.Outside.Addr()
		}
		if s.Outside.Addr() != first {
			return proto.PoolingArbitrary
		}
	}
	if count < leastPooled {
		return proto.PoolingUnknown
	}
	return proto.PoolingPaired
}
