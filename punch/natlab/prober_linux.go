package natlab

import (
	"errors"
	"fmt"
	"net/netip"
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
	return s.outcome(p.wait)
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

// syn is [prober.synWithin] with the usual TTL and all the time that it needs.
func (p *prober) syn(port uint16, to netip.AddrPort) (*socket, Packet, error) {
	return p.synWithin(port, to, fullTTL, patienceToConnect)
}

// fullTTL is the usual one.
const fullTTL = 64

// synWithin begins to connect from a port of the host, or any, and waits for the SYN, which it returns, to arrive at the server.
// With less than the full TTL it waits for it to leave the NAT. The error is errNothingLeft if the connect fails first, or the
// SYN does not come in time.
func (p *prober) synWithin(port uint16, to netip.AddrPort, ttl int, patience time.Duration) (*socket, Packet, error) {
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
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case k := <-left:
			return s, k, nil
		case <-time.After(5 * time.Millisecond):
			if s.poll(unix.POLLOUT, 0) && len(left) == 0 {
				return s, Packet{}, errNothingLeft
			}
		}
	}
	return s, Packet{}, errNothingLeft
}

// reaches dials from an endpoint of the server, and reports whether a SYN of it gets to the host.
func (p *prober) reaches(from, to netip.AddrPort) (bool, error) {
	before := len(p.inside.Packets())
	s, err := p.start(from, to)
	if err != nil {
		return false, err
	}
	defer s.close()
	for deadline := time.Now().Add(p.wait); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, k := range p.inside.Packets()[before:] {
			if k.Event == Delivered && k.Src == from && k.Dst.Addr() == p.host.Addr() && k.Flags.opens() {
				return true, nil
			}
		}
	}
	return false, nil
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
