package survey

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
)

// Host is this machine, with the addresses that cases are tried on. It is made
// by Open, has nothing to close, and is safe for concurrent use.
type Host struct {
	addrs   map[Address]netip.Addr
	leftOut []string
	turn    atomic.Uint32 // of the port numbers
}

// groups have a scope within the site (RFC 2365, RFC 4291 section 2.7), and
// nobody's number.
var groups = map[Address]netip.Addr{
	Group4: netip.MustParseAddr("239.255.112.101"),
	Group6: netip.MustParseAddr("ff15::7065:6572"),
}

// Open finds this machine's addresses.
func Open() (*Host, error) {
	loop4 := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if err := canUse(loop4); exhausted(err) != nil {
		return nil, exhausted(err)
	} else if err != nil {
		return nil, fmt.Errorf("%v cannot be used on this machine: %w; bring its loopback interface up", loop4, err)
	}
	h := &Host{addrs: map[Address]netip.Addr{Wild4: netip.IPv4Unspecified(), Loop4: loop4, Group4: groups[Group4]}}
	h.turn.Store(rand.Uint32N(numbers)) // not all programs that start now want the same
	own := ownAddresses()
	if err := h.specific(Specific4, append(own, netip.AddrFrom4([4]byte{127, 0, 0, 2}))); err != nil {
		h.leave(err, Specific4)
	}
	loop6 := netip.IPv6Loopback()
	if err := canUse(loop6); err != nil {
		h.leave(fmt.Errorf("%v cannot be used: %w", loop6, err), Wild6, Loop6, Specific6, WildDual, Group6)
		return h, nil
	}
	h.addrs[Wild6], h.addrs[WildDual] = netip.IPv6Unspecified(), netip.IPv6Unspecified()
	h.addrs[Loop6], h.addrs[Group6] = loop6, groups[Group6]
	if err := h.specific(Specific6, own); err != nil {
		h.leave(err, Specific6)
	}
	return h, nil
}

// canUse binds a socket to an address and connects another to it, which sends
// nothing: Linux lets 127.0.0.1 be bound on a loopback interface that is down.
// Sockets of package net ask for more than every system has.
func canUse(addr netip.Addr) error {
	bound, err := newSocket(true, addr.Is6())
	if err != nil {
		return failed("socket", err)
	}
	defer bound.close()
	if err := bound.bind(netip.AddrPortFrom(addr, 0)); err != nil {
		return failed("bind", err)
	}
	to, err := bound.local()
	if err != nil {
		return failed("getsockname", err)
	}
	other, err := newSocket(true, addr.Is6())
	if err != nil {
		return failed("socket", err)
	}
	defer other.close()
	return failed("connect", other.connect(to))
}

// ownAddresses are those of the interfaces. A system that does not tell them has
// none.
func ownAddresses() (own []netip.Addr) {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

// specific takes the first of the candidates that can be used.
func (h *Host) specific(kind Address, candidates []netip.Addr) error {
	for _, addr := range candidates {
		if addr.Is6() == kind.Is6() && canUse(addr) == nil {
			h.addrs[kind] = addr
			return nil
		}
	}
	return errors.New("no interface but loopback has one")
}

func (h *Host) leave(why error, kinds ...Address) {
	for _, kind := range kinds {
		h.leftOut = append(h.leftOut, fmt.Sprintf("%v: %v", kind, why))
	}
}

// LeftOut says which addresses this machine lacks, and why, each as "ADDRESS:
// REASON"; no case has them.
func (h *Host) LeftOut() []string { return h.leftOut }

// Addresses returns the kinds of address that this machine has, in order.
func (h *Host) Addresses() []Address {
	var kinds []Address
	for kind := range Address(len(addressNames)) {
		if h.has(kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func (h *Host) has(kind Address) bool { return h.addrs[kind].IsValid() }

// Addr returns the address that stands for a kind on this machine; it is the
// zero Addr if the machine lacks it.
func (h *Host) Addr(kind Address) netip.Addr { return h.addrs[kind] }

// Cases returns everything that can be tried here: all ordered pairs of
// addresses with all pairs of options, and for TCP in all states.
func (h *Host) Cases() (cases []Case) {
	for _, state := range []State{Bound, Listening, Connected} {
		cases = h.pairs(cases, Case{State: state})
	}
	return h.pairs(cases, Case{UDP: true})
}

// pairs appends a case for every pair of addresses.
func (h *Host) pairs(cases []Case, c Case) []Case {
	for _, c.First = range h.Addresses() {
		for _, c.Second = range h.Addresses() {
			if c.UDP || !c.First.IsGroup() && !c.Second.IsGroup() {
				cases = withOptions(cases, c)
			}
		}
	}
	return cases
}

// withOptions appends the case with every pair of options.
func withOptions(cases []Case, c Case) []Case {
	for _, c.FirstOptions = range allOptions {
		for _, c.SecondOptions = range allOptions {
			cases = append(cases, c)
		}
	}
	return cases
}
