package natlab

import (
	"errors"
	"fmt"
	"net/netip"
)

// open makes a socket that lives until the end of the probe.
func (p *prober) open(h *Host, local netip.AddrPort) (*socket, error) {
	s, err := newSocket(h, local)
	p.sockets = append(p.sockets, s)
	return s, err
}

func (p *prober) close() {
	for _, s := range p.sockets {
		s.close()
	}
}

// inner is an endpoint of the host with a port, or any.
func (p *prober) inner(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.host.addr, port) }

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

// mute makes an endpoint of the server that answers no SYN.
func (p *prober) mute() (*socket, error) {
	l, err := p.open(p.lab.Server, netip.AddrPortFrom(p.lab.Server.addr, 0))
	if err != nil {
		return nil, err
	}
	if err := l.listen(0); err != nil {
		return nil, err
	}
	a, err := p.dial(netip.AddrPortFrom(p.lab.Server.addr, 0), l.local())
	if a != Accepted {
		return nil, orAnswer(err, "fill a listener's queue", a)
	}
	return l, nil
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
