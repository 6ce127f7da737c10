package reuse

import (
	"net/netip"
)

// hold keeps the port from other programs while there is no listener, with a
// socket that is bound, if our own dials can be bound beside it. On a system
// where they cannot the port is anybody's while nothing of ours is on it.
//
// What a rival can still do beside a held port: a program of the same user that
// sets what our dials set can listen on it, and is reached by strangers; our
// dials go on. Where SO_REUSEPORT is missing, that is every program that sets
// SO_REUSEADDR, and on Linux its listener then keeps our dials from being bound:
// they fail with an error that IsTupleInUse.
func (p *Port) hold(network string) error {
	at := netip.AddrPortFrom(wildcards[network], p.number)
	for _, set := range local.hold {
		held, err := bind(at, set)
		if isAny(err, local.portInUse) {
			continue // by what is left of earlier connections
		}
		if err != nil {
			return err
		}
		if err = tryBind(at); err == nil {
			p.held = append(p.held, held)
			return nil
		}
		held.Close()
		if !isAny(err, local.portInUse) {
			return err
		}
	}
	return tryBind(at)
}

var wildcards = map[string]netip.Addr{"tcp4": netip.IPv4Unspecified(), "tcp6": netip.IPv6Unspecified()}

// tryBind binds a socket as a dial does, and closes it.
func tryBind(at netip.AddrPort) error {
	s, err := bind(at, dialling)
	if err != nil {
		return err
	}
	return s.Close()
}
