package natlab

import (
	"net/netip"
	"slices"
	"time"
)

// mapKey is what a mapping depends on; remote is zero, an address alone or an endpoint.
type mapKey struct{ inside, remote netip.AddrPort }

func (m Mapping) key(inside, remote netip.AddrPort) mapKey {
	switch m {
	case EIM:
		return mapKey{inside: inside}
	case ADM:
		return mapKey{inside, netip.AddrPortFrom(remote.Addr(), 0)}
	}
	return mapKey{inside, remote}
}

// mapping is an outside endpoint that stands for an inside one. It lives as long as one of its sessions.
type mapping struct {
	key             mapKey
	inside, outside netip.AddrPort
	sessions        map[netip.AddrPort]*session // by remote endpoint
}

// find returns the mapping for segments from an inside to a remote endpoint, or nil.
func (t *translator) find(inside, remote netip.AddrPort) *mapping {
	if t.cfg.Allocation.Fallback == FallbackPerFlow {
		if m := t.mappings[APDM.key(inside, remote)]; m != nil {
			return m
		}
	}
	return t.mappings[t.cfg.Mapping.key(inside, remote)]
}

// newMapping allocates an outside endpoint. It returns nil if none is left.
func (t *translator) newMapping(now time.Time, inside, remote netip.AddrPort) *mapping {
	i := t.pooled(inside.Addr())
	outside, ports := t.pool[i], t.ports[i]
	free := func(p uint16) bool {
		old := ports[p]
		if old != nil && !old.live(now) {
			t.forget(old)
			old = nil
		}
		return old == nil
	}
	key := t.cfg.Mapping.key(inside, remote)
	if t.cfg.Allocation.Fallback == FallbackPerFlow && !free(inside.Port()) {
		key = APDM.key(inside, remote)
	}
	port, ok := t.alloc.next(now, inside, free)
	if !ok {
		return nil
	}
	m := &mapping{key: key, inside: inside, outside: netip.AddrPortFrom(outside, port), sessions: map[netip.AddrPort]*session{}}
	t.mappings[key], ports[port] = m, m
	return m
}

// pooled chooses the outside address of a new mapping.
func (t *translator) pooled(inside netip.Addr) int {
	if len(t.pool) == 1 {
		return 0
	}
	if t.cfg.Pooling == Arbitrary {
		return t.alloc.rng.IntN(len(t.pool))
	}
	i, ok := t.paired[inside]
	if !ok {
		i = len(t.paired) % len(t.pool)
		t.paired[inside] = i
	}
	return i
}

// owner returns the mapping of an outside endpoint, or nil.
func (t *translator) owner(outside netip.AddrPort) *mapping {
	if i := slices.Index(t.pool, outside.Addr()); i >= 0 {
		return t.ports[i][outside.Port()]
	}
	return nil
}

// forget removes a mapping. Sessions of it may still be held by the caller.
func (t *translator) forget(m *mapping) {
	if t.mappings[m.key] == m {
		delete(t.mappings, m.key)
	}
	if t.owner(m.outside) == m {
		delete(t.ports[slices.Index(t.pool, m.outside.Addr())], m.outside.Port())
	}
}

// live removes the sessions that have expired and reports whether any is left.
func (m *mapping) live(now time.Time) bool {
	for r, s := range m.sessions {
		if now.After(s.deadline) {
			delete(m.sessions, r)
		}
	}
	return len(m.sessions) > 0
}

// session returns the session with a remote endpoint, or nil.
func (m *mapping) session(now time.Time, remote netip.AddrPort) *session {
	s := m.sessions[remote]
	if s != nil && now.After(s.deadline) {
		delete(m.sessions, remote)
		return nil
	}
	return s
}

// add makes a session.
func (t *translator) add(m *mapping, remote netip.AddrPort) *session {
	s := &session{remote: remote}
	m.sessions[remote] = s
	t.track(s)
	return s
}

// track begins to follow a connection's sequence numbers.
func (t *translator) track(s *session) {
	switch t.cfg.Tracking {
	case Strict:
		s.window = &window{}
	case RewriteISN:
		s.shift = t.alloc.rng.Uint32()
	}
}

// admits applies the filter to an endpoint with which there is no session.
func (m *mapping) admits(now time.Time, f Filtering, remote netip.AddrPort) bool {
	if !m.live(now) || f == APDF {
		return false
	}
	if f == EIF {
		return true
	}
	for r := range m.sessions {
		if r.Addr() == remote.Addr() {
			return true
		}
	}
	return false
}

// session is the state of one connection in a mapping.
type session struct {
	remote        netip.AddrPort
	out, in       bool // segments were seen in that direction
	finOut, finIn bool
	closed        bool // reset, or closed from both ends
	deadline      time.Time
	window        *window // where tracking is strict
	shift         uint32  // of the sequence numbers of what leaves
}

// unanswered reports whether a SYN went out and nothing has come back.
func (s *session) unanswered() bool { return s.out && !s.in }

// advance takes a segment into account.
func (s *session) advance(now time.Time, p *packet, inbound bool, cfg *NAT) {
	f := p.flags()
	s.out, s.in = s.out || !inbound, s.in || inbound
	s.finOut, s.finIn = s.finOut || !inbound && f&FIN != 0, s.finIn || inbound && f&FIN != 0
	switch {
	case f&RST != 0:
		s.closed, s.deadline = true, now.Add(afterRST)
	case s.finOut && s.finIn:
		s.closed, s.deadline = true, now.Add(afterFIN)
	case s.closed:
	case s.out && s.in && f&SYN == 0:
		s.deadline = now.Add(cfg.established())
	case f&SYN != 0:
		s.deadline = now.Add(cfg.synSent())
	}
}
