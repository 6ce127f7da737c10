//go:build !linux

package reuse

import (
	"context"
	"net/netip"
)

// InOrder is false: a dial's SYN is sent when Wait is called.
const InOrder = false

// Hops returns nothing: this system does not tell who sent an ICMP error.
func Hops(context.Context, netip.AddrPort, int) []netip.Addr { return nil }
