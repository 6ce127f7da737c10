package sim

import (
	"math/rand/v2"
	"net/netip"
)

// kernelNAT is a masquerading Linux router. With one and the same address on both
// sides it is a stateful firewall.
type kernelNAT struct {
	wire
	profile Profile
	inside  netip.AddrPort // that the server sees
	rules   *ctRules
	rng     *rand.Rand
	taken   uint16 // the outside port of inside's, which is somebody else's; 0: it is free
	seen    netip.AddrPort
	entries map[flow]*ctEntry // by inside endpoint
	outer   map[flow]*ctEntry // by outside endpoint
	// kept are the outside ports of the latest connection of each inside endpoint.
	kept map[netip.AddrPort]uint16
}

// flow is the two ends of a connection as one side of a NAT sees them.
type flow struct{ local, remote netip.AddrPort }

// ctEntry is a connection and its translation.
type ctEntry struct {
	*conntrack
	in, out flow
	// strayed makes it one that came from outside, for a host that is not there.
	strayed bool
}

func newKernelNAT(w wire, p Profile, inside netip.AddrPort, rng *rand.Rand, taken bool) *kernelNAT {
	n := &kernelNAT{wire: w, profile: p, inside: inside, rules: rulesOf(p), rng: rng, entries: map[flow]*ctEntry{}, outer: map[flow]*ctEntry{}, kept: map[netip.AddrPort]uint16{}}
	if taken {
		n.taken = n.anyPort()
	}
	return n
}

// anyPort is one of those that masquerade draws from.
func (n *kernelNAT) anyPort() uint16 { return uint16(1024 + n.rng.IntN(64512)) }

// observed implements box. LINUX-TCP.md, 10: a port is the same one towards
// everyone, unless each connection has its own.
func (n *kernelNAT) observed(remote netip.AddrPort) netip.AddrPort {
	if !n.seen.IsValid() {
		n.seen = n.outside(flow{n.inside, remote})
	}
	return n.seen
}

// outside chooses the outside endpoint of a connection. A port that was chosen because
// another was taken stays for all destinations: what netfilter looks for first is the
// latest connection of the same inside endpoint.
func (n *kernelNAT) outside(in flow) netip.AddrPort {
	port := in.local.Port()
	switch {
	case n.profile.Mapping == PerConnection:
		port = n.anyPort()
	case n.taken != 0 && in.local == n.inside:
		port = n.taken
	case n.kept[in.local] != 0:
		port = n.kept[in.local]
	}
	for n.find(n.outer, flow{netip.AddrPortFrom(n.addr, port), in.remote}) != nil {
		port = n.anyPort()
	}
	return netip.AddrPortFrom(n.addr, port)
}

// find returns the live entry of a flow, or nil.
func (n *kernelNAT) find(entries map[flow]*ctEntry, f flow) *ctEntry {
	e := entries[f]
	if e != nil && n.w.now >= e.expires {
		n.forget(e)
		return nil
	}
	return e
}

func (n *kernelNAT) add(e *ctEntry) {
	n.outer[e.out] = e
	if !e.strayed {
		n.entries[e.in] = e
	}
}

func (n *kernelNAT) forget(e *ctEntry) {
	delete(n.outer, e.out)
	if !e.strayed {
		delete(n.entries, e.in)
	}
}

// remember makes the entry of a connection that the server's clients had earlier.
func (n *kernelNAT) remember(remote netip.AddrPort, c *conntrack) {
	c.rules = n.rules
	n.add(&ctEntry{conntrack: c, in: flow{n.inside, remote}, out: flow{n.observed(remote), remote}})
}

// fromInside implements box.
func (n *kernelNAT) fromInside(s segment) {
	in := flow{s.src, s.dst}
	e := n.find(n.entries, in)
	switch {
	case s.icmp != noICMP:
		if e != nil {
			s.src = e.out.local
			n.send(s)
		}
		return
	case s.dst.Addr() == n.addr:
		n.hairpin(s)
		return
	}
	fresh := false
	if e != nil {
		switch e.track(n.w.now, original, &s) {
		case ctReject:
			n.w.logf("%s: INVALID, leaves untranslated: %v", n.name, s)
			return
		case ctKilled:
			n.forget(e)
		case ctRepeat:
			n.forget(e)
			e = nil
		}
	}
	if e == nil {
		c := newConntrack(n.w.now, &s, n.rules)
		if c == nil {
			n.w.logf("%s: INVALID, belongs to nothing: %v", n.name, s)
			return
		}
		e, fresh = &ctEntry{conntrack: c, in: in, out: flow{n.outside(in), s.dst}}, true
	}
	if !s.hop() {
		n.expired(s, n.deliver) // a new entry is not confirmed
		return
	}
	if fresh {
		n.add(e)
		n.kept[in.local] = e.out.local.Port()
	}
	s.src = e.out.local
	n.send(s)
}

// hairpin is what the router's own stack says to its own hosts: its ports are
// closed.
func (n *kernelNAT) hairpin(s segment) {
	if r, due := resetFor(s); due && n.profile.Hairpin == HairpinReset {
		n.w.after(lanDelay, func() { n.deliver(r) })
	}
}

// fromOutside implements box.
func (n *kernelNAT) fromOutside(s segment) {
	e := n.find(n.outer, flow{s.dst, s.src})
	switch {
	case e == nil:
		n.stray(s)
		return
	case e.strayed:
		if s.icmp == noICMP && e.track(n.w.now, original, &s) == ctKilled {
			n.forget(e)
		}
		return
	case s.icmp != noICMP:
		// RELATED: passed on, and the entry is none the wiser.
	default:
		switch e.track(n.w.now, reply, &s) {
		case ctReject, ctRepeat:
			n.w.logf("%s: INVALID from outside: %v", n.name, s)
			n.unsolicited(s)
			return
		case ctKilled:
			n.forget(e)
		}
	}
	// Tracking comes before routing: what dies here has changed the entry.
	if !s.hop() {
		n.expired(s, n.send)
		return
	}
	s.dst = e.in.local
	n.deliver(s)
}

// stray takes what belongs to nothing. A router that sends it all to one host takes
// it for a connection of that host's, though nobody is there: what another one sends
// to the same endpoint has to leave from another port (NAT.md, "inbound-first
// poisoning").
func (n *kernelNAT) stray(s segment) {
	if !n.profile.Poisoned {
		n.unsolicited(s)
		return
	}
	if s.icmp != noICMP || !s.hop() {
		return
	}
	if c := newConntrack(n.w.now, &s, n.rules); c != nil {
		n.add(&ctEntry{conntrack: c, out: flow{s.dst, s.src}, strayed: true})
	}
}
