package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// open makes a socket that lives until the end of the probe.
func (p *prober) open(h *Host, local netip.AddrPort) (*socket, error) {
	s, err := newSocket(h, local)
	p.sockets = append(p.sockets, s)
	return s, err
}

func (p *prober) close() {
	if p.inside != nil {
		p.inside.Close()
	}
	for _, s := range p.sockets {
		s.close()
	}
}

// inner is an endpoint of the host with a port, or any.
func (p *prober) inner(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.host.Addr(), port) }

// listen opens a listener on one of the server's addresses.
func (p *prober) listen(a netip.Addr) (*socket, error) {
	l, err := p.open(p.lab.Server, netip.AddrPortFrom(a, 0))
	if err != nil {
		return nil, err
	}
	return l, l.listen(64)
}

// meet connects from an inside port to a listener, and returns the connection's inside end and its outside endpoint.
func (p *prober) meet(port uint16, l *socket) (*socket, netip.AddrPort, error) {
	s, err := p.open(p.host, p.inner(port))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	if err := s.connect(l.local()); err != nil {
		return nil, netip.AddrPort{}, err
	}
	c, from, err := l.accept(patienceToConnect)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	p.sockets = append(p.sockets, c)
	if a, err := s.outcome(patienceToConnect); a != Accepted {
		return nil, from, orAnswer(err, "connect to the server", a)
	}
	return s, from, nil
}

// start begins to connect from the server.
func (p *prober) start(from, to netip.AddrPort) (*socket, error) {
	s, err := p.open(p.lab.Server, from)
	if err != nil {
		return nil, err
	}
	return s, s.connect(to)
}

// dial connects from the server and waits for the outcome.
func (p *prober) dial(from, to netip.AddrPort) (Answer, error) {
	s, err := p.start(from, to)
	if err != nil {
		return Silent, err
	}
	return p.outcome(s)
}

// connectControl makes the connection that tells silence.
func (p *prober) connectControl() error {
	l, err := p.listen(p.lab.Server.Addr())
	if err != nil {
		return err
	}
	if p.control[0], _, err = p.meet(0, l); err != nil {
		return err
	}
	p.control[1] = p.sockets[len(p.sockets)-1] // what was accepted
	return nil
}

// ping has the control connection carry a round trip.
func (p *prober) ping() error {
	for i, from := range p.control {
		if err := from.pass(p.control[1-i]); err != nil {
			return err
		}
	}
	return nil
}

// until waits until something is so, or silence is told.
func (p *prober) until(so func() bool) (bool, error) {
	pause := p.lab.cfg.RTT + p.lab.cfg.Jitter + silentPause
	for range silentRounds {
		for deadline := time.Now().Add(pause); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			if so() {
				return true, nil
			}
		}
		if err := p.ping(); err != nil {
			return false, err
		}
	}
	return so(), nil
}

// outcome waits for the result of a connect.
func (p *prober) outcome(s *socket) (Answer, error) {
	if _, err := p.until(func() bool { return s.poll(unix.POLLOUT, 0) }); err != nil {
		return Silent, err
	}
	return s.outcome(0)
}

// mute makes an endpoint of the server that answers no SYN: a listener whose queue is full.
func (p *prober) mute() (netip.AddrPort, error) {
	l, err := p.open(p.lab.Server, netip.AddrPortFrom(p.lab.Server.Addr(), 0))
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := l.listen(0); err != nil {
		return netip.AddrPort{}, err
	}
	a, err := p.dial(netip.AddrPortFrom(p.lab.Server.Addr(), 0), l.local())
	if a != Accepted {
		return netip.AddrPort{}, orAnswer(err, "fill a listener's queue", a)
	}
	return l.local(), nil
}

// refusing is an endpoint of the server where nobody listens.
func (p *prober) refusing() (netip.AddrPort, error) {
	s, err := p.open(p.lab.Server, netip.AddrPortFrom(p.lab.Server.Addr(), 0))
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer s.close()
	return s.local(), nil
}

var errNothingLeft = errors.New("no SYN left for the Internet")

// syn is [prober.trySYN] with the usual TTL.
func (p *prober) syn(port uint16, to netip.AddrPort) (*socket, Packet, error) {
	return p.trySYN(port, to, fullTTL)
}

// fullTTL is the usual one.
const fullTTL = 64

// trySYN begins to connect from a port of the host, or any, and waits for the SYN, which it returns, to arrive at the server.
// With less than the full TTL it waits for it to leave the NAT. The error is errNothingLeft if no SYN comes.
func (p *prober) trySYN(port uint16, to netip.AddrPort, ttl int) (*socket, Packet, error) {
	event := Sent
	if ttl == fullTTL {
		event = Delivered
	}
	left := make(chan Packet, 1)
	defer p.lab.Tap(func(k Packet) {
		if k.Event == event && k.Dst == to && k.Flags.opens() {
			select {
			case left <- k:
			default:
			}
		}
	})()
	s, err := p.open(p.host, p.inner(port))
	if err == nil {
		err = s.setTTL(ttl)
	}
	if err == nil {
		err = s.connect(to)
	}
	if err != nil {
		return nil, Packet{}, err
	}
	switch came, err := p.until(func() bool { return len(left) > 0 }); {
	case err != nil:
		return s, Packet{}, err
	case !came:
		return s, Packet{}, errNothingLeft
	}
	return s, <-left, nil
}

// reaches dials from an endpoint of the server, and reports whether a SYN of it gets to the host.
func (p *prober) reaches(from, to netip.AddrPort) (bool, error) {
	before := len(p.inside.Packets())
	s, err := p.start(from, to)
	if err != nil {
		return false, err
	}
	defer s.close()
	return p.until(func() bool {
		return slices.ContainsFunc(p.inside.Packets()[before:], func(k Packet) bool {
			return k.Event == Delivered && k.Src == from && k.Dst.Addr() == p.host.Addr() && k.Flags.opens()
		})
	})
}

// listenBeside listens on a socket's port.
func (p *prober) listenBeside(s *socket) error {
	l, err := p.open(p.host, s.local())
	if err != nil {
		return err
	}
	return l.listen(8)
}

// orAnswer explains why something was not accepted.
func orAnswer(err error, what string, a Answer) error {
	if err == nil {
		err = errors.New(a.String())
	}
	return fmt.Errorf("%s: %w", what, err)
}
