//go:build !linux

package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// CanDialQuietly says whether this system can dial with a TTL.
const CanDialQuietly = false

// dial leaves the connection to package net.
func (p *Port) dial(ctx context.Context, to netip.AddrPort, ttl int) (net.Conn, error) {
	if ttl > 0 {
		return nil, errors.ErrUnsupported
	}
	local := net.TCPAddr{IP: net.IPv4zero, Port: int(p.number)}
	if to.Addr().Is6() {
		local.IP = net.IPv6zero
	}
	d := net.Dialer{LocalAddr: &local, Control: control(dialOptions), KeepAlive: -1}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", to.String())
}
