//go:build !linux

package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Dial is a dial that Wait makes, with package net.
type Dial struct {
	port uint16 // that it is made from
	to   netip.AddrPort
	opts DialOptions
}

// BeginWith prepares to connect to an address. Wait must be called on the result.
// A TTL above 0 is an error on this system, and Since means nothing.
func (p *Port) BeginWith(to netip.AddrPort, o DialOptions) *Dial { return &Dial{o.from(p), to, o} }

// Wait connects. If ctx ends first, the socket is closed with SO_LINGER 0: in
// SYN_SENT nothing is sent and the 4-tuple is free at once. IsRefused,
// IsTupleInUse and IsNoAnswer judge the error. It is to be called once.
func (d *Dial) Wait(ctx context.Context) (net.Conn, error) {
	if d.opts.TTL > 0 {
		return nil, errors.ErrUnsupported
	}
	network := networkOf(d.to.Addr())
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(wildcards[network], d.port))
	dialer := net.Dialer{LocalAddr: from, Control: d.opts.set().control, KeepAlive: -1}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, network, d.to.String())
	if err != nil {
		return nil, dialError(d.port, d.to, err)
	}
	// From here on an ordinary close: what was written is to arrive.
	if err := conn.(*net.TCPConn).SetLinger(-1); err != nil { // it may be over already
		conn.Close() // with a RST still
		return nil, dialError(d.port, d.to, err)
	}
	return conn, nil
}

// IsMuted is false: this system has no quiet dials.
func IsMuted(error) bool { return false }

// IsRepeated is false: this system is not asked.
func IsRepeated(error) bool { return false }

// Acknowledged is true: this system is not asked.
func (*Dial) Acknowledged() bool { return true }

// Answered is false: this system is not asked.
func (*Dial) Answered() bool { return false }
