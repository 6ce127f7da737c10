package natlab

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// translator is a NAT without I/O: frames and the time go in, frames come out. It is unsafe for concurrent use.
type translator struct {
	cfg     NAT
	lan     netip.Prefix
	gateway netip.Addr   // its inside address
	pool    []netip.Addr // outside addresses; the first is its own

	mappings map[mapKey]*mapping
	ports    []map[uint16]*mapping   // for each of the pool, by outside port
	paired   map[netip.Addr]int      // which of the pool an inside address has
	synRates map[netip.Addr]*limiter // by inside address
	alloc    allocator
	echoes   map[uint16]echo // by outside identifier
	blocked  map[pair]time.Time
	limit    limiter
	pending  []delayed
}

// emit is a frame to be sent, to the inside or to the outside.
type emit struct {
	f      frame
	inside bool
}

// pair is a session as seen from the inside.
type pair struct{ inside, remote netip.AddrPort }

// delayed is an answer that an outbound SYN for the same session calls off.
type delayed struct {
	due time.Time
	f   frame
	// outside and remote are the ends of what would be the session.
	outside, remote netip.AddrPort
}

func newTranslator(cfg NAT, lan netip.Prefix, gateway netip.Addr, pool []netip.Addr, rng *rand.Rand) *translator {
	t := &translator{
		cfg: cfg, lan: lan, gateway: gateway, pool: pool,
		mappings: map[mapKey]*mapping{},
		paired:   map[netip.Addr]int{},
		synRates: map[netip.Addr]*limiter{},
		alloc:    newAllocator(cfg.Allocation, rng),
		echoes:   map[uint16]echo{},
		blocked:  map[pair]time.Time{},
		limit:    limiter{rate: cfg.Unsolicited.Rate, burst: cfg.Unsolicited.Burst},
	}
	for range pool {
		t.ports = append(t.ports, map[uint16]*mapping{})
	}
	return t
}

// fromInside takes a frame from the LAN and appends what comes of it to out. It may rewrite the frame in place.
func (t *translator) fromInside(now time.Time, f frame, out []emit) []emit {
	p, ok := parse(f)
	if !ok || !t.lan.Contains(p.src.Addr()) {
		return out
	}
	switch dst := p.dst.Addr(); {
	case dst == t.gateway:
		return t.toGateway(&p, out)
	case t.lan.Contains(dst):
		if t.cfg.Isolated {
			return out
		}
		return append(out, emit{p.frame, true})
	case !p.hop():
		return appendFrame(out, icmpError(&p, t.gateway, icmpTimeExceeded, 0), true)
	case slices.Contains(t.pool, dst):
		return t.hairpin(now, &p, out)
	}
	return t.outbound(now, &p, out)
}

// toGateway answers as the router's own stack does: it can be pinged, and all its ports are closed.
func (t *translator) toGateway(p *packet, out []emit) []emit {
	if p.proto == protoTCP {
		return appendFrame(out, resetFor(p), true)
	}
	if p.l4[0] != icmpEcho {
		return out
	}
	echoReply(p)
	return append(out, emit{p.frame, true})
}

func (t *translator) outbound(now time.Time, p *packet, out []emit) []emit {
	switch {
	case p.proto == protoTCP:
		return t.outboundTCP(now, p, out)
	case p.l4[0] == icmpEcho:
		return t.outboundEcho(now, p, out)
	case quotes(p):
		return t.outboundError(p, out)
	}
	return out
}

func (t *translator) outboundTCP(now time.Time, p *packet, out []emit) []emit {
	if !t.synMayLeave(now, p) {
		return out
	}
	m, s := t.outboundSession(now, p)
	if s == nil {
		if t.cfg.ExpiredRST && !p.flags().opens() {
			out = appendFrame(out, resetFor(p), true)
		}
		return out
	}
	if !t.accepts(s, p, false) {
		return out
	}
	if p.flags().opens() {
		t.callOff(m.outside, p.dst)
	}
	s.advance(now, p, false, &t.cfg)
	if s.shift != 0 {
		p.shiftSequence(s.shift)
	}
	p.setSource(m.outside)
	return append(out, emit{p.frame, false})
}

// accepts reports whether a segment is in its session's window. A new connection in a closed session starts all over.
func (t *translator) accepts(s *session, p *packet, inbound bool) bool {
	if s.closed && p.flags().opens() {
		*s = session{remote: s.remote}
		t.track(s)
	}
	return s.window == nil || s.window.accept(p, inbound, s.unanswered())
}

// outboundSession finds the session of a segment from inside, and makes one for a SYN.
func (t *translator) outboundSession(now time.Time, p *packet) (*mapping, *session) {
	if t.isBlocked(now, pair{p.src, p.dst}) {
		return nil, nil
	}
	m := t.find(p.src, p.dst)
	if m != nil {
		if s := m.session(now, p.dst); s != nil && !(p.flags().opens() && t.cfg.Mapping == PerConnection && s.closed) {
			return m, s
		}
	}
	if !p.flags().opens() {
		return nil, nil
	}
	if m != nil && (!m.live(now) || t.cfg.Mapping == PerConnection) {
		t.forget(m)
		m = nil
	}
	if t.exhausted(now, p.src.Addr(), m == nil) {
		return nil, nil
	}
	if m == nil {
		if m = t.newMapping(now, p.src, p.dst); m == nil {
			return nil, nil
		}
	}
	return m, t.add(m, p.dst)
}

// fromOutside takes a frame from the Internet and appends what comes of it to out. It may rewrite the frame in place.
func (t *translator) fromOutside(now time.Time, f frame, out []emit) []emit {
	p, ok := parse(f)
	if !ok || !slices.Contains(t.pool, p.dst.Addr()) {
		return out
	}
	switch {
	case p.proto == protoTCP:
		return t.inboundTCP(now, &p, out)
	case p.l4[0] == icmpEcho:
		echoReply(&p)
		return append(out, emit{p.frame, false})
	case p.l4[0] == icmpEchoReply:
		return t.inboundEcho(now, &p, out)
	case quotes(&p):
		return t.inboundError(now, &p, out)
	}
	return out
}

func (t *translator) inboundTCP(now time.Time, p *packet, out []emit) []emit {
	m := t.owner(p.dst)
	if m == nil {
		return t.unsolicited(now, p, out)
	}
	if t.isBlocked(now, pair{m.inside, p.src}) {
		return out
	}
	s := m.session(now, p.src)
	if s == nil {
		if !p.flags().opens() || !m.admits(now, t.cfg.Filtering, p.src) {
			return t.unsolicited(now, p, out)
		}
		s = t.add(m, p.src)
	} else if s.unanswered() && p.flags().opens() && t.cfg.InboundAfterOutbound != AcceptInbound {
		if t.cfg.InboundAfterOutbound == ResetInbound {
			out = appendFrame(out, resetFor(p), false)
		}
		return out
	}
	if s.shift != 0 {
		p.unshiftAcknowledgement(s.shift)
	}
	if !t.accepts(s, p, true) {
		return out
	}
	if s.unanswered() && p.flags()&RST != 0 {
		t.punish(now, m, s, t.cfg.OnRST)
	} else {
		s.advance(now, p, true, &t.cfg)
	}
	return t.deliver(p, m, out)
}

// deliver passes a segment to the mapping's inside endpoint. The NAT is a hop, so the segment may end here.
func (t *translator) deliver(p *packet, m *mapping, out []emit) []emit {
	if !p.hop() {
		return appendFrame(out, icmpError(p, t.pool[0], icmpTimeExceeded, 0), t.lan.Contains(p.src.Addr()))
	}
	p.setDestination(m.inside)
	return append(out, emit{p.frame, true})
}

// unsolicited answers a segment that nothing lets in.
func (t *translator) unsolicited(now time.Time, p *packet, out []emit) []emit {
	u := &t.cfg.Unsolicited
	if p.flags()&RST != 0 || u.Answer == Silent || !t.limit.allow(now) {
		return out
	}
	f := icmpError(p, p.dst.Addr(), icmpUnreachable, codePort)
	if u.Answer == Reset {
		f = resetFor(p)
	}
	if u.After > 0 && p.flags().opens() {
		t.pending = append(t.pending, delayed{now.Add(u.After), f, p.dst, p.src})
		return out
	}
	return append(out, emit{f, false})
}

// callOff drops the delayed answers for a connection whose SYN has left.
func (t *translator) callOff(outside, remote netip.AddrPort) {
	t.pending = slices.DeleteFunc(t.pending, func(d delayed) bool { return d.outside == outside && d.remote == remote })
}

// tick appends the delayed answers that are due.
func (t *translator) tick(now time.Time, out []emit) []emit {
	for len(t.pending) > 0 && !now.Before(t.pending[0].due) {
		out = append(out, emit{t.pending[0].f, false})
		t.pending = t.pending[1:]
	}
	return out
}

// punish applies a policy to a session that met an error before it was answered.
func (t *translator) punish(now time.Time, m *mapping, s *session, policy ErrorPolicy) {
	if policy == Keep {
		return
	}
	delete(m.sessions, s.remote)
	if len(m.sessions) == 0 {
		t.forget(m)
	}
	if policy == DeleteAndBlock {
		t.blocked[pair{m.inside, s.remote}] = now.Add(t.cfg.BlockFor)
	}
}

func (t *translator) isBlocked(now time.Time, who pair) bool {
	until, ok := t.blocked[who]
	if ok && !now.Before(until) {
		delete(t.blocked, who)
		return false
	}
	return ok
}

// hairpin handles a packet from inside to the outside address.
func (t *translator) hairpin(now time.Time, p *packet, out []emit) []emit {
	if p.proto != protoTCP {
		return out
	}
	switch t.cfg.Hairpin {
	case HairpinReset:
		return appendFrame(out, resetFor(p), true)
	case HairpinInternal:
		if m := t.owner(p.dst); m != nil {
			return t.deliver(p, m, out)
		}
	case HairpinExternal:
		return t.hairpinExternal(now, p, out)
	}
	return out
}

// hairpinExternal sends a segment through its own mapping and back in through the other one.
func (t *translator) hairpinExternal(now time.Time, p *packet, out []emit) []emit {
	n := len(out)
	out = t.outboundTCP(now, p, out)
	if len(out) == n || out[n].inside {
		return out
	}
	out = t.inboundTCP(now, p, out[:n])
	for i := n; i < len(out); i++ {
		// What the outside of the NAT answers goes to one of its own mappings, too.
		if !out[i].inside {
			return t.fromOutside(now, out[i].f, out[:i])
		}
	}
	return out
}

func appendFrame(out []emit, f frame, inside bool) []emit {
	if f == nil {
		return out
	}
	return append(out, emit{f, inside})
}
