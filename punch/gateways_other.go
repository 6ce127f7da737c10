//go:build !linux

package punch

import "net/netip"

// gateways returns nothing: this system's routing table is not read. The other
// rules of Admission hold all the same.
func gateways() []netip.Addr { return nil }
