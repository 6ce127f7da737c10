package linuxrules

// memory is what a bind bucket keeps so that it need not look at its sockets:
// fastreuse and fastreuseport. With two sockets it never changes an answer. With
// three it can: beside A and AP it lets P in, whom A alone would keep out.
type memory struct {
	reuse  bool    // all have SO_REUSEADDR, and none listens
	like   *socket // as it was when it came: who is like it shares by SO_REUSEPORT
	strict bool    // like is not the first, and its address has to cover the newcomer's
}

// remembers reports whether the memory alone lets a socket have the port.
func (m *memory) remembers(sk *socket) bool { return m.reuse && reuses(sk) || m.matches(sk) }

func reuses(sk *socket) bool { return sk.reuse && sk.state != listening }

// matches follows sk_reuseport_match.
func (m *memory) matches(sk *socket) bool {
	if m.like == nil || !sk.reusePort || sk.pinned || m.like.uid != sk.uid {
		return false
	}
	return !m.strict || covers(m.like, sk)
}

// covers follows inet_rcv_saddr_equal with the wildcard of the first only.
func covers(known, sk *socket) bool {
	wild := known.local.IsUnspecified()
	switch {
	case known.ipv6 != sk.ipv6 && known.ipv6:
		return wild && !known.only6
	case known.ipv6 != sk.ipv6:
		return wild && !sk.only6
	}
	return wild || known.local == sk.local
}

// remember follows inet_csk_update_fastreuse.
func (m *memory) remember(sk *socket, first bool) {
	if first {
		*m = memory{reuse: reuses(sk)}
	}
	if !reuses(sk) {
		m.reuse = false
	}
	switch {
	case !sk.reusePort:
		m.like = nil
	case !m.matches(sk):
		now := *sk
		m.like, m.strict = &now, !first
	}
}
