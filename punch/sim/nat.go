package sim

import (
	"net/netip"
	"time"
)

// box is what stands between a host and the network.
type box interface {
	fromInside(segment)
	fromOutside(segment)
	// observed is the endpoint that somebody outside sees the host as.
	observed(remote netip.AddrPort) netip.AddrPort
	// connected is what the side of the host is wired with.
	connected() *wire
}

// wire is what every box is connected to. A box is a router, a hop on the way,
// unless it is none at all.
type wire struct {
	w       *world
	name    string
	addr    netip.Addr    // outside
	send    func(segment) // into the network
	deliver func(segment) // to the host
	answer  Answer
	limit   *limiter // of answers; nil: none
}

func (n *wire) connected() *wire { return n }

// unsolicited answers what nothing lets in.
func (n *wire) unsolicited(s segment) {
	if n.answer == Drop || s.icmp != noICMP || s.flags&rst != 0 || !n.limit.allow(n.w.now) {
		return
	}
	r, due := resetFor(s)
	if n.answer == Unreachable {
		r, due = errorFor(s, portUnreachable)
	}
	if due {
		n.send(r)
	}
}

// expired says that a segment's hops were used up, to where it came from.
func (n *wire) expired(s segment, to func(segment)) {
	n.w.logf("%s: TTL used up: %v", n.name, s)
	if r, due := errorFor(s, timeExceeded); due {
		to(r)
	}
}

// limiter is a token bucket.
type limiter struct {
	rate, burst, tokens float64
	last                time.Duration
}

func (l *limiter) allow(now time.Duration) bool {
	if l == nil {
		return true
	}
	l.tokens = min(l.burst, l.tokens+(now-l.last).Seconds()*l.rate)
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// public is no NAT at all, and no hop.
type public struct {
	wire
	host netip.AddrPort
}

func (p *public) fromInside(s segment)                   { p.send(s) }
func (p *public) fromOutside(s segment)                  { p.deliver(s) }
func (p *public) observed(netip.AddrPort) netip.AddrPort { return p.host }

// chain is a NAT behind another one.
type chain struct {
	inner, outer box
}

func (c *chain) fromInside(s segment)                          { c.inner.fromInside(s) }
func (c *chain) fromOutside(s segment)                         { c.outer.fromOutside(s) }
func (c *chain) connected() *wire                              { return c.inner.connected() }
func (c *chain) observed(remote netip.AddrPort) netip.AddrPort { return c.outer.observed(remote) }
