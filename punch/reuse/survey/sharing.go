package survey

import "net/netip"

// bothWork is the answer where two sockets share a port.
const bothWork = "both work"

func (q *inquiry) listenerPlusDialer() error {
	return pairsOfOptions(func(name string, listener, dialer Options) error {
		err := q.try("listener first, "+name, func(b *bench) (string, string, error) { return b.listenThenDial(listener, dialer) })
		if err != nil {
			return err
		}
		return q.try("dialer first, "+name, func(b *bench) (string, string, error) { return b.dialThenListen(listener, dialer) })
	})
}

func (b *bench) listenThenDial(listener, dialer Options) (result, detail string, err error) {
	l, err := b.listening(Wild4, listener)
	if err != nil {
		return "", "", say("listener", err)
	}
	if _, err := b.dialling(dialer); err != nil {
		return "", "", say("dialer", err)
	}
	return bothWork, "", say("dial to the listener", b.reach(l))
}

func (b *bench) dialThenListen(listener, dialer Options) (result, detail string, err error) {
	if _, err := b.dialling(dialer); err != nil {
		return "", "", say("dialer", err)
	}
	l, err := b.listening(Wild4, listener)
	if err != nil {
		return "", "", say("listener", err)
	}
	return bothWork, "", say("dial to the listener", b.reach(l))
}

// dialling returns a socket of the port that is connected to some listener.
func (b *bench) dialling(options Options) (socket, error) {
	s, err := b.bound(Wild4, options)
	if err == nil {
		err = b.connectFar(s)
	}
	return s, err
}

// here is the port on loopback.
func (b *bench) here() netip.AddrPort { return netip.AddrPortFrom(b.host.addrs[Loop4], b.number) }

// reach shows that a listener of the port gets a connection.
func (b *bench) reach(l socket) error {
	s, err := b.add(false, Loop4)
	if err == nil {
		err = b.connect(s, b.here())
	}
	if err == nil {
		_, err = b.accepted(l, patience)
	}
	return err
}

func (q *inquiry) twoDialers() error {
	return pairsOfOptions(func(name string, first, second Options) error {
		return q.try(name, func(b *bench) (string, string, error) {
			if _, err := b.dialling(first); err != nil {
				return "", "", say("first", err)
			}
			_, err := b.dialling(second)
			return bothWork, "", say("second", err)
		})
	})
}

// sameTuple lets a socket of the port connect where another one is connecting,
// is connected, or was connected from.
func (q *inquiry) sameTuple() error {
	if err := q.withFullPeer("first connecting", q.connectTwice); err != nil {
		return err
	}
	if err := q.withFullPeer("first connecting and closed", q.connectAgain); err != nil {
		return err
	}
	if err := q.try("first connected", q.connectBeside); err != nil {
		return err
	}
	return q.try("first accepted by a listener of the port", q.connectBack)
}

func (q *inquiry) connectTwice(b *bench, peer netip.AddrPort) (result, detail string, err error) {
	if err := q.begin(b, peer); err != nil {
		return "", "", say("first", err)
	}
	return "second: connects", "", say("second", q.begin(b, peer))
}

func (q *inquiry) connectAgain(b *bench, peer netip.AddrPort) (result, detail string, err error) {
	if err := q.begin(b, peer); err != nil {
		return "", "", say("first", err)
	}
	b.drop(b.sockets[len(b.sockets)-1])
	return "second: connects", "", say("second", q.begin(b, peer))
}

// begin starts to connect a new socket of the port.
func (q *inquiry) begin(b *bench, to netip.AddrPort) error {
	s, err := b.bound(Wild4, q.sharing)
	if err != nil {
		return err
	}
	return failed("connect", s.connect(to))
}

func (q *inquiry) connectBeside(b *bench) (result, detail string, err error) {
	_, to, err := b.far(Loop4)
	if err != nil {
		return "", "", err
	}
	for _, who := range []string{"first", "second"} {
		s, err := b.bound(Wild4, q.sharing)
		if err == nil {
			err = b.connect(s, to)
		}
		if err != nil {
			return "", "", say(who, err)
		}
	}
	return "second: connects", "", nil
}

// connectBack connects to where an accepted connection came from. Nobody listens
// there: a system that does not mind the connection sends a SYN to it.
func (q *inquiry) connectBack(b *bench) (result, detail string, err error) {
	l, err := b.listening(Wild4, q.sharing)
	if err != nil {
		return "", "", say("listener", err)
	}
	if err := b.reach(l); err != nil {
		return "", "", say("dial to the listener", err)
	}
	dialler := b.sockets[len(b.sockets)-2]
	from, err := dialler.local()
	if err != nil {
		return "", "", failed("getsockname", err)
	}
	return "second: connects", "", say("second", q.begin(b, from))
}

func (q *inquiry) listenAgain() error {
	return pairsOfOptions(func(name string, first, second Options) error {
		return q.try(name, func(b *bench) (string, string, error) {
			l, err := b.listening(Wild4, first)
			if err != nil {
				return "", "", say("first", err)
			}
			if err := b.reach(l); err != nil {
				return "", "", say("dial to the listener", err)
			}
			b.drop(l)
			again, err := b.listening(Wild4, second)
			if err != nil {
				return "", "", say("second", err)
			}
			return "works", "", say("dial to the listener", b.reach(again))
		})
	})
}

// exclusive binds the port beside a listener that has the option for it.
func (q *inquiry) exclusive() error {
	if exclusiveName == "" {
		q.skip("any", "this system has no such option; a socket without options is the nearest to it, and the tables have that")
		return nil
	}
	for _, second := range allOptions {
		err := q.try(exclusiveName+", then "+second.String(), func(b *bench) (string, string, error) {
			l, err := b.exclusive(false, Wild4)
			if err == nil {
				err = failed("listen", l.listen(backlog))
			}
			if err != nil {
				return "", "", say("first", err)
			}
			_, err = b.listening(Wild4, second)
			return bothWork, "", say("second", err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
