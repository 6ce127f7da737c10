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
	return q.withPeer(variant, true, func(b, peer *bench) (string, string, error) { return f(b, peer.here()) })
}

// withPeer makes an attempt with a peer, which has a listener that does not
// answer if full is set.
func (q *inquiry) withPeer(variant string, full bool, f func(b, peer *bench) (result, detail string, err error)) error {
	peer, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer peer.close()
	if full {
		why, err := peer.fill(q.sharing)
		if err != nil {
			return err
		}
		if why != "" {
			q.skip(variant, why)
			return nil
		}
	}
	return q.try(variant, func(b *bench) (string, string, error) { return f(b, peer) })
}

// peersSYN has a peer dial the port that may have a listener, and a socket in
// SYN_SENT to that peer.
func (q *inquiry) peersSYN() error {
	for _, way := range []struct {
		variant          string
		listener, dialer bool
	}{
		{"SYN_SENT to it and a listener", true, true},
		{"SYN_SENT to it without a listener", false, true},
		{"a listener without SYN_SENT", true, false},
		{"neither", false, false},
	} {
		err := q.withPeer(way.variant, way.dialer, func(b, peer *bench) (string, string, error) {
			return q.meeting(b, peer, peer, way.listener, way.dialer)
		})
		if err != nil {
			return err
		}
	}
	const variant = "a listener and SYN_SENT to another peer"
	other, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer other.close()
	return q.withPeer(variant, true, func(b, full *bench) (string, string, error) {
		return q.meeting(b, other, full, true, true)
	})
}

// meeting opens the port's sockets, of which the dialer dials one peer; has a
// peer dial the port; and says who got it.
func (q *inquiry) meeting(port, peer, dialled *bench, withListener, withDialer bool) (result, detail string, err error) {
	var listener, dialer socket
	if withListener {
		if listener, err = port.listening(Wild4, q.sharing); err != nil {
			return "", "", say("listener", err)
		}
	}
	if withDialer {
		if dialer, err = port.bound(Wild4, q.sharing); err == nil {
			err = failed("connect", dialer.connect(dialled.here()))
		}
		if err != nil {
			return "", "", need("a dial from a listener's port", err)
		}
	}
	s, err := peer.bound(Loop4, q.sharing)
	if err != nil {
		return "", "", need("a dial from a listener's port", err)
	}
	if err := peer.connect(s, port.here()); err != nil {
		return "", "", say("nobody gets it; the peer", err)
	}
	byListener := false
	if withListener {
		_, err := port.accepted(listener, settling)
		byListener = err == nil
		if err != nil && !errors.Is(err, errNobody) {
			return "", "", err
		}
	}
	return getter(withDialer && ended(dialer, settling) == nil, byListener), "", nil
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
