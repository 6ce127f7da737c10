package natlab

import (
	"net/netip"
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

// mapping is an outside port that stands for an inside endpoint. It lives as long as one of its sessions.
type mapping struct {
	key      mapKey
	inside   netip.AddrPort
	port     uint16
	sessions map[netip.AddrPort]*session // by remote endpoint
}

// newMapping allocates an outside port. It returns nil if none is left.
func (t *translator) newMapping(now time.Time, key mapKey, inside netip.AddrPort) *mapping {
	port, ok := t.alloc.next(now, inside, func(p uint16) bool {
		old := t.ports[p]
		if old != nil && !old.live(now) {
			t.forget(old)
			old = nil
		}
		return old == nil
	})
	if !ok {
		return nil
	}
	m := &mapping{key: key, inside: inside, port: port, sessions: map[netip.AddrPort]*session{}}
	t.mappings[key], t.ports[port] = m, m
	return m
}

// forget removes a mapping. Sessions of it may still be held by the caller.
func (t *translator) forget(m *mapping) {
	if t.mappings[m.key] == m {
		delete(t.mappings, m.key)
	}
	if t.ports[m.port] == m {
		delete(t.ports, m.port)
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

func (m *mapping) add(remote netip.AddrPort) *session {
	s := &session{remote: remote}
	m.sessions[remote] = s
	return s
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
}

// unanswered reports whether a SYN went out and nothing has come back.
func (s *session) unanswered() bool { return s.out && !s.in }

// advance takes a segment into account.
func (s *session) advance(now time.Time, p *packet, inbound bool, cfg *NAT) {
	f := p.flags()
	if s.closed && f.opens() {
		*s = session{remote: s.remote}
	}
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
