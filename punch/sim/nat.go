package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// box is what stands between a host and the network.
type box interface {
	fromInside(segment)
	fromOutside(segment)
	// observed is the endpoint that somebody outside sees the host as.
	observed(remote netip.AddrPort) netip.AddrPort
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
func (c *chain) observed(remote netip.AddrPort) netip.AddrPort { return c.outer.observed(remote) }

// userNAT is a NAT without connection tracking: it has every behaviour of
// RFC 4787 as a field of its Profile, and looks at no sequence number.
type userNAT struct {
	wire
	profile  Profile
	inside   netip.AddrPort
	rng      *rand.Rand
	mappings map[mappingKey]*mapping
	ports    map[uint16]*mapping
	blocked  map[netip.AddrPort]time.Duration // until when, by remote endpoint
	next     uint16                           // of sequential allocation
	counted  time.Duration                    // up to when what others do is part of next
	block    uint16                           // the least port of block allocation
	poisoned map[netip.AddrPort]bool          // remote endpoints whose SYN came first
}

// mappingKey is what a mapping depends on: an inside endpoint and, perhaps, a part of
// the remote one.
type mappingKey struct{ inside, remote netip.AddrPort }

// mapping is an outside port.
type mapping struct {
	port     uint16
	key      mappingKey
	sessions map[netip.AddrPort]*session
	pinned   bool // the connection to the server keeps it alive
}

// session is one connection of a mapping.
type session struct {
	out, in, closed bool
	expires         time.Duration
}

const (
	userSynSent     = 120 * time.Second
	userEstablished = 7440 * time.Second
	userClosed      = 10 * time.Second
)

func newUserNAT(w wire, p Profile, inside netip.AddrPort, rng *rand.Rand) *userNAT {
	return &userNAT{
		wire: w, profile: p, inside: inside, rng: rng,
		mappings: map[mappingKey]*mapping{}, ports: map[uint16]*mapping{},
		blocked: map[netip.AddrPort]time.Duration{}, next: uint16(20000 + rng.IntN(20000)),
		block: uint16(2048 + rng.IntN(60000-p.Size)), poisoned: map[netip.AddrPort]bool{},
	}
}

// key is what the mapping of a connection depends on.
func (n *userNAT) key(inside, remote netip.AddrPort) mappingKey {
	switch n.profile.Mapping {
	case EIM:
		if n.poisoned[remote] {
			return mappingKey{inside, remote}
		}
		return mappingKey{inside, netip.AddrPort{}}
	case ADM:
		return mappingKey{inside, netip.AddrPortFrom(remote.Addr(), 0)}
	}
	return mappingKey{inside, remote}
}

// observed implements box. The mapping stays: the connection to the server does.
func (n *userNAT) observed(remote netip.AddrPort) netip.AddrPort {
	key := n.key(n.inside, remote)
	m := n.mappings[key]
	if m == nil {
		m = n.newMapping(key)
	}
	m.pinned = true
	return netip.AddrPortFrom(n.addr, m.port)
}

// newMapping returns nil if no port is free.
func (n *userNAT) newMapping(key mappingKey) *mapping {
	port := key.inside.Port()
	if n.profile.Allocation == Sequential {
		n.others(n.w.now - n.counted)
		n.counted = n.w.now
	}
	for tries := 0; tries == 0 && n.profile.Allocation != Preserving || n.ports[port] != nil; tries++ {
		if tries == maxTries {
			return nil
		}
		switch n.profile.Allocation {
		case Sequential:
			n.next += uint16(n.profile.step())
			port = n.next
		case Block:
			port = n.block + uint16(n.rng.IntN(n.profile.Size))
		default:
			port = uint16(1024 + n.rng.IntN(64512))
		}
	}
	m := &mapping{port: port, key: key, sessions: map[netip.AddrPort]*session{}}
	n.mappings[key], n.ports[port] = m, m
	return m
}

// maxTries is when a NAT takes it that all ports of a block are in use.
const maxTries = 1 << 15

// others opens the mappings that others, who share the NAT, open in some time:
// their times are those of a Poisson process.
func (n *userNAT) others(span time.Duration) {
	if n.profile.Background == 0 {
		return
	}
	for at := n.interval(); at < span; at += n.interval() {
		n.next += uint16(n.profile.step())
	}
}

func (n *userNAT) interval() time.Duration {
	return time.Duration(n.rng.ExpFloat64() / n.profile.Background * float64(time.Second))
}

// sample is the outside port of a mapping that was made some time ago.
func (n *userNAT) sample(age time.Duration) uint16 {
	port := n.newMapping(mappingKey{n.inside, netip.AddrPortFrom(serverAddr.Addr(), 1)}).port
	n.others(age)
	return port
}

// session returns the live session of a mapping with a remote endpoint, or nil.
func (n *userNAT) session(m *mapping, remote netip.AddrPort) *session {
	s := m.sessions[remote]
	if s != nil && n.w.now > s.expires {
		delete(m.sessions, remote)
		return nil
	}
	return s
}

// forget removes a session, and the mapping if nothing else keeps it.
func (n *userNAT) forget(m *mapping, remote netip.AddrPort) {
	delete(m.sessions, remote)
	if len(m.sessions) == 0 && !m.pinned {
		delete(n.mappings, m.key)
		delete(n.ports, m.port)
	}
}

// fromInside implements box.
func (n *userNAT) fromInside(s segment) {
	if s.icmp != noICMP || n.w.now < n.blocked[s.dst] {
		return
	}
	if !s.hop() {
		n.expired(s, n.deliver)
		return
	}
	key := n.key(s.src, s.dst)
	m := n.mappings[key]
	if m == nil && s.opens() {
		m = n.newMapping(key)
	}
	if m == nil {
		return
	}
	conn := n.session(m, s.dst)
	if conn == nil {
		if !s.opens() {
			return
		}
		conn = &session{}
		m.sessions[s.dst] = conn
	}
	conn.advance(n.w.now, &s, false)
	s.src = netip.AddrPortFrom(n.addr, m.port)
	n.send(s)
}

// fromOutside implements box.
func (n *userNAT) fromOutside(s segment) {
	m := n.ports[s.dst.Port()]
	if m == nil {
		n.unsolicited(s)
		return
	}
	if n.w.now < n.blocked[s.src] {
		return
	}
	conn := n.session(m, s.src)
	switch {
	case s.icmp != noICMP:
		if conn != nil {
			n.punish(m, s.src, conn, n.profile.OnICMP)
			n.pass(s, m.key.inside)
		}
	case conn == nil && !(s.opens() && n.admits(m, s.src)):
		if n.profile.Poisoned && s.opens() {
			n.poisoned[s.src] = true
		}
		n.unsolicited(s)
	case conn == nil:
		conn = &session{}
		m.sessions[s.src] = conn
		conn.advance(n.w.now, &s, true)
		n.pass(s, m.key.inside)
	case conn.unanswered() && s.opens() && n.profile.Inbound != AcceptInbound:
		if r, due := resetFor(s); due && n.profile.Inbound == ResetInbound {
			n.send(r)
		}
	case conn.unanswered() && s.flags&rst != 0:
		n.punish(m, s.src, conn, n.profile.OnRST)
		conn.advance(n.w.now, &s, true)
		n.pass(s, m.key.inside)
	default:
		conn.advance(n.w.now, &s, true)
		n.pass(s, m.key.inside)
	}
}

func (n *userNAT) pass(s segment, inside netip.AddrPort) {
	if !s.hop() {
		n.expired(s, n.send)
		return
	}
	s.dst = inside
	n.deliver(s)
}

// punish applies a policy to a session that met an error before it was answered.
func (n *userNAT) punish(m *mapping, remote netip.AddrPort, conn *session, policy ErrorPolicy) {
	if !conn.unanswered() || policy == Keep {
		return
	}
	n.forget(m, remote)
	if policy == DeleteAndBlock {
		n.blocked[remote] = n.w.now + n.profile.BlockFor
	}
}

// admits applies the filter to an endpoint without a session.
func (n *userNAT) admits(m *mapping, remote netip.AddrPort) bool {
	if n.profile.Filtering != ADF {
		return n.profile.Filtering == EIF
	}
	// The order does not matter: any one will do.
	for r, s := range m.sessions {
		if r.Addr() == remote.Addr() && n.w.now <= s.expires {
			return true
		}
	}
	return false
}

// unanswered reports whether a SYN went out and nothing has come back.
func (s *session) unanswered() bool { return s.out && !s.in }

// advance takes a segment into account.
func (s *session) advance(now time.Duration, seg *segment, inbound bool) {
	if s.closed && seg.opens() {
		*s = session{}
	}
	s.out, s.in = s.out || !inbound, s.in || inbound
	switch {
	case seg.flags&rst != 0:
		s.closed, s.expires = true, now+userClosed
	case s.closed:
	case s.out && s.in && seg.flags&syn == 0:
		s.expires = now + userEstablished
	case seg.flags&syn != 0:
		s.expires = now + userSynSent
	}
}
