package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// userNAT is a NAT that has every behaviour of RFC 4787 as a field of its Profile. It
// has any number of hosts inside.
type userNAT struct {
	wire
	profile  Profile
	inside   netip.AddrPort // that the server sees
	pool     []netip.Addr   // outside addresses; the first is its own
	rng      *rand.Rand
	mappings map[flow]*mapping
	ports    map[netip.AddrPort]*mapping
	paired   map[netip.Addr]netip.Addr // outside addresses by inside ones
	rates    map[netip.Addr]*limiter   // of SYNs, by inside address
	blocked  map[flow]time.Duration    // until when
	poisoned map[netip.AddrPort]bool   // remote endpoints whose SYN came first
	late     map[flow]*timer           // answers that wait
	next     int                       // of sequential allocation, counted from firstPort
	counted  time.Duration             // up to when what others do is part of next
	blocks   map[netip.Addr]int        // the least port of block allocation, likewise
}

// mapping is an outside endpoint.
type mapping struct {
	key             flow // remote may be zero, or an address alone
	inside, outside netip.AddrPort
	sessions        map[netip.AddrPort]*session
	pinned          bool // the connection to the server keeps it alive
}

// session is one connection of a mapping.
type session struct {
	out, in, closed bool
	expires         time.Duration
	window          *tracked // where tracking is strict
	shift           uint32   // of the sequence numbers of what leaves
}

const (
	userSynSent     = 120 * time.Second
	userEstablished = 7440 * time.Second
	userClosed      = 10 * time.Second
)

// Ports below firstPort are not allocated.
const (
	firstPort = 1024
	portCount = 65536 - firstPort
)

func newUserNAT(w wire, p Profile, inside netip.AddrPort, rng *rand.Rand) *userNAT {
	n := &userNAT{
		wire: w, profile: p, inside: inside, rng: rng, pool: []netip.Addr{w.addr},
		mappings: map[flow]*mapping{}, ports: map[netip.AddrPort]*mapping{}, paired: map[netip.Addr]netip.Addr{},
		rates: map[netip.Addr]*limiter{}, blocked: map[flow]time.Duration{}, poisoned: map[netip.AddrPort]bool{}, late: map[flow]*timer{},
		next: rng.IntN(portCount), blocks: map[netip.Addr]int{},
	}
	for len(n.pool) < p.Addresses {
		n.pool = append(n.pool, n.pool[len(n.pool)-1].Next())
	}
	return n
}

// key is what the mapping of a connection depends on.
func (n *userNAT) key(inside, remote netip.AddrPort) flow {
	switch n.profile.Mapping {
	case EIM:
		if n.poisoned[remote] {
			return flow{inside, remote}
		}
		return flow{inside, netip.AddrPort{}}
	case ADM:
		return flow{inside, netip.AddrPortFrom(remote.Addr(), 0)}
	}
	return flow{inside, remote}
}

// observed implements box. The mapping stays: the connection to the server does.
func (n *userNAT) observed(remote netip.AddrPort) netip.AddrPort {
	return n.observes(n.inside, remote)
}

func (n *userNAT) observes(inside, remote netip.AddrPort) netip.AddrPort {
	m := n.find(inside, remote)
	if m == nil {
		m = n.newMapping(inside, remote)
	}
	m.pinned = true
	return m.outside
}

// find returns the mapping for segments from an inside to a remote endpoint, or nil.
func (n *userNAT) find(inside, remote netip.AddrPort) *mapping {
	if n.profile.Fallback == FallbackPerFlow {
		if m := n.mappings[flow{inside, remote}]; m != nil {
			return m
		}
	}
	return n.mappings[n.key(inside, remote)]
}

// newMapping returns nil if no port is free.
func (n *userNAT) newMapping(inside, remote netip.AddrPort) *mapping {
	addr := n.pooled(inside.Addr())
	key := n.key(inside, remote)
	if n.profile.Fallback == FallbackPerFlow && !n.free(addr, inside, inside.Port()) {
		key = flow{inside, remote}
	}
	port, ok := n.allocate(addr, inside)
	if !ok {
		return nil
	}
	m := &mapping{key: key, inside: inside, outside: netip.AddrPortFrom(addr, port), sessions: map[netip.AddrPort]*session{}}
	n.mappings[key], n.ports[m.outside] = m, m
	return m
}

// pooled chooses the outside address of a new mapping.
func (n *userNAT) pooled(inside netip.Addr) netip.Addr {
	if n.profile.Pooling == Arbitrary && len(n.pool) > 1 {
		return n.pool[n.rng.IntN(len(n.pool))]
	}
	if _, ok := n.paired[inside]; !ok {
		n.paired[inside] = n.pool[len(n.paired)%len(n.pool)]
	}
	return n.paired[inside]
}

// free reports whether an outside port may be had by an inside endpoint.
func (n *userNAT) free(addr netip.Addr, inside netip.AddrPort, port uint16) bool {
	if n.profile.Parity && (port^inside.Port())&1 != 0 {
		return false
	}
	m := n.ports[netip.AddrPortFrom(addr, port)]
	if m != nil && !n.live(m) {
		n.drop(m)
		return true
	}
	return m == nil
}

// allocate chooses an outside port.
func (n *userNAT) allocate(addr netip.Addr, inside netip.AddrPort) (uint16, bool) {
	from, size := 0, portCount
	switch n.profile.Allocation {
	case Sequential:
		n.others(n.w.now - n.counted)
		n.counted = n.w.now
		for range portCount {
			n.advance()
			if p := uint16(firstPort + n.next); n.free(addr, inside, p) {
				return p, true
			}
		}
		return 0, false
	case Block:
		from, size = n.block(inside.Addr()), n.profile.Size
	case Preserving:
		if p := inside.Port(); p >= firstPort && n.free(addr, inside, p) {
			return p, true
		}
		switch n.profile.Fallback {
		case FallbackNone:
			return 0, false
		case FallbackSequential:
			return n.search(addr, inside, int(inside.Port())-firstPort+1, 0, portCount)
		}
	}
	return n.search(addr, inside, n.rng.IntN(size), from, size)
}

// search takes the first free port of a range from a start in it on.
func (n *userNAT) search(addr netip.Addr, inside netip.AddrPort, start, from, size int) (uint16, bool) {
	for i := range size {
		if p := uint16(firstPort + from + (start+i)%size); n.free(addr, inside, p) {
			return p, true
		}
	}
	return 0, false
}

// block is where the range of an inside address begins.
func (n *userNAT) block(inside netip.Addr) int {
	b, ok := n.blocks[inside]
	if !ok {
		b = n.rng.IntN(portCount/n.profile.Size) * n.profile.Size
		n.blocks[inside] = b
	}
	return b
}

// advance goes on to the next port of a sequence.
func (n *userNAT) advance() { n.next = ((n.next+n.profile.step())%portCount + portCount) % portCount }

// others opens the mappings that others, who share the NAT, open in some time:
// their times are those of a Poisson process.
func (n *userNAT) others(span time.Duration) {
	if n.profile.Background == 0 {
		return
	}
	for at := n.interval(); at < span; at += n.interval() {
		n.advance()
	}
}

func (n *userNAT) interval() time.Duration {
	return time.Duration(n.rng.ExpFloat64() / n.profile.Background * float64(time.Second))
}

// live reports whether anything keeps the mapping.
func (n *userNAT) live(m *mapping) bool {
	if !m.pinned {
		n.sweep(m)
	}
	return m.pinned || len(m.sessions) > 0
}

// sweep removes the sessions that have expired.
func (n *userNAT) sweep(m *mapping) {
	for r, s := range m.sessions {
		if n.w.now > s.expires {
			delete(m.sessions, r)
		}
	}
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
		n.drop(m)
	}
}

// drop removes a mapping.
func (n *userNAT) drop(m *mapping) {
	if n.mappings[m.key] == m {
		delete(n.mappings, m.key)
	}
	if n.ports[m.outside] == m {
		delete(n.ports, m.outside)
	}
}

// add makes a session.
func (n *userNAT) add(m *mapping, remote netip.AddrPort) *session {
	s := &session{}
	n.track(s)
	m.sessions[remote] = s
	return s
}

// track begins to follow a connection's sequence numbers.
func (n *userNAT) track(s *session) {
	switch n.profile.Tracking {
	case Strict:
		s.window = &tracked{}
	case RewriteISN:
		s.shift = n.rng.Uint32()
	}
}

// fromInside implements box.
func (n *userNAT) fromInside(s segment) {
	if !s.hop() {
		n.expired(s, n.deliver)
		return
	}
	switch {
	case slices.Contains(n.pool, s.dst.Addr()):
		n.hairpin(s)
	case s.icmp != noICMP:
		if m := n.find(s.src, s.dst); m != nil && m.sessions[s.dst] != nil {
			s.src = m.outside
			n.send(s)
		}
	default:
		if s, ok := n.leave(s); ok {
			n.send(s)
		}
	}
}

// leave translates a segment from inside, or reports that it does not leave.
func (n *userNAT) leave(s segment) (segment, bool) {
	if s.opens() && !n.rate(s.src.Addr()).allow(n.w.now) {
		return s, false
	}
	m, conn := n.leaving(s)
	if conn == nil {
		if r, due := resetFor(s); due && n.profile.ExpiredRST && !s.opens() {
			n.deliver(r)
		}
		return s, false
	}
	if !n.accepts(conn, &s, false) {
		return s, false
	}
	if s.opens() {
		n.callOff(flow{m.outside, s.dst})
	}
	n.advanceSession(conn, &s, false)
	s.seq += conn.shift
	s.src = m.outside
	return s, true
}

// rate is the bound of an inside address's SYNs; nil is none.
func (n *userNAT) rate(inside netip.Addr) *limiter {
	q := n.profile.Quota
	if q.SYNs == 0 {
		return nil
	}
	if n.rates[inside] == nil {
		n.rates[inside] = &limiter{rate: q.SYNs, burst: q.Burst, tokens: q.Burst}
	}
	return n.rates[inside]
}

// leaving finds the session of a segment from inside, and makes one for a SYN.
func (n *userNAT) leaving(s segment) (*mapping, *session) {
	if n.w.now < n.blocked[flow{s.src, s.dst}] {
		return nil, nil
	}
	m := n.find(s.src, s.dst)
	each := n.profile.Mapping == PerConnection
	if m != nil {
		if conn := n.session(m, s.dst); conn != nil && !(s.opens() && each && conn.closed) {
			return m, conn
		}
	}
	if !s.opens() {
		return nil, nil
	}
	if m != nil && (each || !n.live(m)) {
		n.drop(m)
		m = nil
	}
	if n.exhausted(s.src.Addr(), m == nil) {
		return nil, nil
	}
	if m == nil {
		if m = n.newMapping(s.src, s.dst); m == nil {
			return nil, nil
		}
	}
	return m, n.add(m, s.dst)
}

// exhausted reports whether an inside address may have no further session, or no
// further mapping if it needs one for that.
func (n *userNAT) exhausted(inside netip.Addr, needsMapping bool) bool {
	q := n.profile.Quota
	if q.Ports == 0 && q.Sessions == 0 {
		return false
	}
	ports, sessions := 0, 0
	for _, m := range n.mappings {
		if m.inside.Addr() != inside {
			continue
		}
		if n.sweep(m); !n.live(m) {
			n.drop(m)
			continue
		}
		ports, sessions = ports+1, sessions+len(m.sessions)
	}
	return q.Sessions > 0 && sessions >= q.Sessions || q.Ports > 0 && needsMapping && ports >= q.Ports
}

// hairpin handles a segment from inside to an outside address.
func (n *userNAT) hairpin(s segment) {
	later := func(s segment) { n.w.after(lanDelay, func() { n.deliver(s) }) }
	switch n.profile.Hairpin {
	case HairpinReset:
		if r, due := resetFor(s); due {
			later(r)
		}
	case HairpinInternal:
		if m := n.ports[s.dst]; m != nil && s.hop() {
			s.dst = m.inside
			later(s)
		}
	case HairpinExternal:
		if s, ok := n.leave(s); ok {
			n.w.after(lanDelay, func() { n.fromOutside(s) })
		}
	}
}

// fromOutside implements box.
func (n *userNAT) fromOutside(s segment) {
	m := n.ports[s.dst]
	if m == nil {
		n.refuse(s)
		return
	}
	if n.w.now < n.blocked[flow{m.inside, s.src}] {
		return
	}
	conn := n.session(m, s.src)
	switch {
	case s.icmp != noICMP:
		if conn != nil {
			n.punish(m, s.src, conn, n.profile.OnICMP)
			s.seq -= conn.shift
			n.pass(s, m.inside)
		}
		return
	case conn == nil && !(s.opens() && n.admits(m, s.src)):
		if n.profile.Poisoned && s.opens() {
			n.poisoned[s.src] = true
		}
		n.refuse(s)
		return
	case conn == nil:
		conn = n.add(m, s.src)
	case conn.unanswered() && s.opens() && n.profile.Inbound != AcceptInbound:
		if r, due := resetFor(s); due && n.profile.Inbound == ResetInbound {
			n.send(r)
		}
		return
	}
	if s.flags&ack != 0 {
		s.ack -= conn.shift
	}
	if !n.accepts(conn, &s, true) {
		return
	}
	if conn.unanswered() && s.flags&rst != 0 {
		n.punish(m, s.src, conn, n.profile.OnRST)
	} else {
		n.advanceSession(conn, &s, true)
	}
	n.pass(s, m.inside)
}

// refuse answers what nothing lets in: at once, or late unless that is called off.
func (n *userNAT) refuse(s segment) {
	if n.profile.After == 0 || !s.opens() {
		n.unsolicited(s)
		return
	}
	f := flow{s.dst, s.src}
	if n.late[f] == nil {
		n.late[f] = n.w.after(n.profile.After, func() { delete(n.late, f); n.unsolicited(s) })
	}
}

// callOff drops the late answer for a connection whose SYN has left.
func (n *userNAT) callOff(f flow) {
	n.late[f].stop()
	delete(n.late, f)
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
		n.blocked[flow{m.inside, remote}] = n.w.now + n.profile.BlockFor
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

// accepts reports whether a segment is in its session's window. A new connection in a
// closed session starts all over.
func (n *userNAT) accepts(conn *session, s *segment, inbound bool) bool {
	if conn.closed && s.opens() {
		*conn = session{}
		n.track(conn)
	}
	return conn.window == nil || conn.window.accept(s, inbound, conn.unanswered())
}

// unanswered reports whether a SYN went out and nothing has come back.
func (s *session) unanswered() bool { return s.out && !s.in }

// advanceSession takes a segment into account.
func (n *userNAT) advanceSession(conn *session, s *segment, inbound bool) {
	conn.out, conn.in = conn.out || !inbound, conn.in || inbound
	switch {
	case s.flags&rst != 0:
		conn.closed, conn.expires = true, n.w.now+userClosed
	case conn.closed:
	case conn.out && conn.in && s.flags&syn == 0:
		conn.expires = n.w.now + orDefault(n.profile.Established, userEstablished)
	case s.flags&syn != 0:
		conn.expires = n.w.now + orDefault(n.profile.SynSent, userSynSent)
	}
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// tracked follows the sequence numbers of a connection, as the lab's NATs with a
// strict window do: each side may send what the other has announced, and
// acknowledge what the other has sent.
type tracked struct{ out, in extent }

// extent is one sender of a connection.
type extent struct {
	known       bool
	end, maxEnd uint32 // behind the last octet that it has sent, or may send
}

// accept reports whether a segment belongs to the connection, and takes it into
// account if so.
func (w *tracked) accept(s *segment, inbound, unanswered bool) bool {
	from, to := &w.out, &w.in
	if inbound {
		from, to = to, from
	}
	seq, acked, end := s.seq, s.ack, s.end()
	switch {
	case s.flags&syn != 0 && (!from.known || unanswered && !inbound && after(end, from.end)):
		*from = extent{known: true, end: end, maxEnd: end}
		if s.flags&ack == 0 {
			return true
		}
	case !from.known && s.flags&rst != 0 && seq == 0: // the answer of a closed port
		seq, end = from.end, from.end
	case !from.known && s.flags&rst == 0:
		*from = extent{known: true, end: end, maxEnd: end + window}
	}
	if s.flags&ack == 0 {
		acked = to.end
	}
	switch {
	case to.known && (after(acked, to.end) || before(acked, to.end-leastAckWindow)):
		return false
	case from.known && (after(seq, from.maxEnd) || to.known && before(end, from.end-window)):
		return false
	}
	if after(end, from.end) {
		from.end = end
	}
	if to.known && s.flags&ack != 0 && after(acked+window, to.maxEnd) {
		to.maxEnd = acked + window
	}
	return true
}

// leastAckWindow is netfilter's MAXACKWINCONST.
const leastAckWindow = 66000
