//go:build !linux

package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
)

// Origins are the two ports, besides those that serve, from which a server dials
// back; on this system there are none, and it dials back from others only.
type Origins struct{ silent, closed uint16 }

// OpenOrigins takes no port on this system.
func OpenOrigins() (*Origins, error) { return new(Origins), nil }

// Close does nothing.
func (*Origins) Close() error { return nil }

// dialOnce sends one SYN, waits for what it meets, and closes what comes of it
// with a RST. The answer is unknown if no SYN could be sent, and where this system
// does not tell a RST from an ICMP error.
func dialOnce(ctx context.Context, from, to netip.AddrPort, wait time.Duration) proto.NATAnswer {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: wait, KeepAlive: -1}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", to.String())
	var t interface{ Timeout() bool }
	switch {
	case err == nil:
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		return proto.AnswerAccepted
	case ctx.Err() == nil && errors.As(err, &t) && t.Timeout():
		return proto.AnswerDropped
	}
	return proto.AnswerUnknown
}
