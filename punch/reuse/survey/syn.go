package survey

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// unanswered is how long a SYN on loopback may be without an answer before it
// counts as dropped. The system repeats it after a second or more.
const unanswered = 30 * time.Millisecond

// mostFillers bounds the connections that fill a listener's queue.
const mostFillers = 8

// fill opens a listener on loopback whose queue is full, so that the system
// drops every SYN to it: who dials it stays in SYN_SENT. Otherwise why says what
// the system does instead.
func (b *bench) fill(options Options) (why string, err error) {
	l, err := b.bound(Loop4, options)
	if err == nil {
		err = failed("listen", l.listen(0))
	}
	for range mostFillers {
		if err != nil {
			return "", err
		}
		s, aerr := b.add(false, Loop4)
		if aerr != nil {
			return "", aerr
		}
		err = failed("connect", s.connect(b.here()))
		if err == nil {
			err = failed("connect", ended(s, unanswered))
		}
		switch answer := errnoOf(err); {
		case answer == errTimeout:
			b.drop(s)
			return "", nil
		case answer != nil && exhausted(err) == nil:
			return fmt.Sprintf("needs a dial without an answer, and this system answers one to a full listener with %s: try it against another machine", errnoName(answer)), nil
		}
	}
	return "needs a dial without an answer, and this system completes connections to a full listener: try it against another machine", nil
}

// withFullPeer makes an attempt with a peer that does not answer.
func (q *inquiry) withFullPeer(variant string, f func(b *bench, peer netip.AddrPort) (result, detail string, err error)) error {
	peer, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer peer.close()
	why, err := peer.fill(q.sharing)
	if err != nil {
		return err
	}
	if why != "" {
		q.skip(variant, why)
		return nil
	}
	return q.try(variant, func(b *bench) (string, string, error) { return f(b, peer.here()) })
}

// peersSYN has a peer dial the port that may have a listener, and a socket in
// SYN_SENT to that peer or another.
func (q *inquiry) peersSYN() error {
	ways := []struct {
		variant                    string
		listener, dialer, stranger bool
	}{
		{"SYN_SENT to it and a listener", true, true, false},
		{"SYN_SENT to it without a listener", false, true, false},
		{"a listener without SYN_SENT", true, false, false},
		{"a listener and SYN_SENT to another peer", true, true, true},
		{"neither", false, false, false},
	}
	for _, way := range ways {
		err := q.withTwoPeers(way.variant, func(b, peer, stranger *bench) (string, string, error) {
			m := &meeting{q: q, port: b, peer: peer, to: peer.here()}
			if way.stranger {
				m.to = stranger.here()
			}
			result, err := m.hold(way.listener, way.dialer)
			return result, "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withTwoPeers makes an attempt with two peers that do not answer.
func (q *inquiry) withTwoPeers(variant string, f func(b, peer, stranger *bench) (result, detail string, err error)) error {
	stranger, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer stranger.close()
	peer, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer peer.close()
	for _, b := range []*bench{stranger, peer} {
		why, err := b.fill(q.sharing)
		if err != nil {
			return err
		}
		if why != "" {
			q.skip(variant, why)
			return nil
		}
	}
	return q.try(variant, func(b *bench) (string, string, error) { return f(b, peer, stranger) })
}

// meeting is the dial of a peer to the port.
type meeting struct {
	q          *inquiry
	port, peer *bench
	to         netip.AddrPort // where the port's dialer dials
}

// hold opens the port's sockets, has the peer dial, and says who got it.
func (m *meeting) hold(withListener, withDialer bool) (result string, err error) {
	var listener, dialer socket
	if withListener {
		if listener, err = m.port.listening(Wild4, m.q.sharing); err != nil {
			return "", say("listener", err)
		}
	}
	if withDialer {
		if dialer, err = m.port.bound(Wild4, m.q.sharing); err == nil {
			err = failed("connect", dialer.connect(m.to))
		}
		if err != nil {
			return "", say("dialer", err)
		}
	}
	s, err := m.peer.bound(Loop4, m.q.sharing)
	if err == nil {
		err = m.peer.connect(s, m.port.here())
	}
	if err != nil {
		return "", say("nobody gets it; the peer", err)
	}
	byDialer := withDialer && ended(dialer, settling) == nil
	byListener := false
	if withListener {
		_, err := m.port.accepted(listener, settling)
		byListener = err == nil
		if err != nil && !errors.Is(err, errNobody) {
			return "", err
		}
	}
	return getter(byDialer, byListener), nil
}

func getter(dialer, listener bool) string {
	switch {
	case dialer && listener:
		return "both get it"
	case dialer:
		return "the SYN_SENT socket gets it"
	case listener:
		return "the listener gets it"
	}
	return "the peer connects, and no socket here is told"
}
