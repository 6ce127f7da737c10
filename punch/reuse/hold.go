package reuse

import (
	"io"
	"net/netip"
)

// hold keeps the port from other programs without a listener: with a socket that
// is bound, as far as our own dials pass it. Where they pass none, the port is
// free for others while nothing of ours is on it.
//
// What a rival can still do: with SO_REUSEPORT a program of the same user can
// bind the port, listen on it and be reached by strangers; it cannot stop our
// dials. Where there is no SO_REUSEPORT, any program that sets SO_REUSEADDR can
// listen, and then no dial of ours can be bound: an error that IsTupleInUse.
func (p *Port) hold(network string) error {
	at := netip.AddrPortFrom(wildcards[network], p.number)
	for _, set := range local.hold {
		held, err := bind(at, set)
		if err != nil {
			continue // such as for what an earlier connection has left
		}
		if passes(at) {
			p.held = append(p.held, held)
			return nil
		}
		held.Close()
	}
	return p.passable(at)
}

var wildcards = map[string]netip.Addr{"tcp4": netip.IPv4Unspecified(), "tcp6": netip.IPv6Unspecified()}

// passes reports whether a dial can be bound to the port now.
func passes(at netip.AddrPort) bool {
	dial, err := bind(at, dialling)
	if err != nil {
		return false
	}
	return dial.Close() == nil
}

// passable makes sure that a dial can be bound without anything that holds the
// port.
func (*Port) passable(at netip.AddrPort) error {
	var dial io.Closer
	dial, err := bind(at, dialling)
	if err == nil {
		dial.Close()
	}
	return err
}
