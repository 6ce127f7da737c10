package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// proxy is a router on which TCP ends, as behind slirp or vpnkit: it accepts every
// connection from inside at once, whoever is dialled, then dials by itself from a
// random port, and copies. A dial that fails becomes a RST.
type proxy struct {
	wire
	rng      *rand.Rand
	far      map[netip.Addr]*host // pose as those who are dialled
	own      *host                // the router's stack
	firewall *kernelNAT           // lets in what belongs to its connections
	seen     netip.AddrPort       // by the server
}

// copying is how long it takes the proxy to get to what its kernel has for it.
const copying = 100 * time.Microsecond

func newProxy(w wire, p Profile, rng *rand.Rand) *proxy {
	x := &proxy{wire: w, rng: rng, far: map[netip.Addr]*host{}, own: newHost(w.w, w.name, netip.AddrPortFrom(w.addr, 0), rng.Uint32())}
	through := w
	through.deliver = x.own.receive
	x.firewall = newKernelNAT(through, Profile{Kernel: true, Answer: p.Answer}, x.own.addr, rng, false)
	x.own.send = x.firewall.fromInside
	x.seen = x.fresh()
	return x
}

// fresh is a local endpoint of a dial of the proxy's.
func (p *proxy) fresh() netip.AddrPort {
	return netip.AddrPortFrom(p.addr, uint16(firstPort+p.rng.IntN(portCount)))
}

// observed implements box.
func (p *proxy) observed(netip.AddrPort) netip.AddrPort { return p.seen }

// fromOutside implements box.
func (p *proxy) fromOutside(s segment) { p.firewall.fromOutside(s) }

// fromInside implements box. What comes with few hops left gets here, too.
func (p *proxy) fromInside(s segment) {
	to := s.dst.Addr()
	if p.far[to] == nil {
		h := newHost(p.w, p.name, netip.AddrPortFrom(to, 0), p.rng.Uint32())
		h.listening, h.anyPort = true, true
		h.send = func(s segment) { p.w.after(lanDelay, func() { p.deliver(s) }) }
		h.arrived = func(t *tcp) { p.w.after(copying, func() { p.serve(t) }) }
		p.far[to] = h
	}
	p.far[to].receive(s)
}

// serve carries one connection to where the host wanted it. It goes on dialling when
// the host has given up meanwhile, as it does not look.
func (p *proxy) serve(inside *tcp) {
	outside, err := p.own.connectFrom(p.fresh(), inside.local, 0, false)
	if err != nil {
		inside.close()
		return
	}
	carry := func(to, from *tcp) {
		p.w.after(copying, func() {
			if len(from.received) > 0 {
				to.write(from.received)
			}
		})
	}
	outside.onOpen = func() {
		if inside.state == dead {
			outside.close()
			return
		}
		carry(outside, inside)
		inside.onReceived = func() { carry(outside, inside) }
		inside.onDead = func(error) { outside.close() }
	}
	outside.onReceived = func() { carry(inside, outside) }
	outside.onDead = func(error) { inside.close() }
}
