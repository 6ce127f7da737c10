package natlab

import (
	"encoding/binary"
	"net/netip"
)

// replaceSum updates the Internet checksum at sum for one 16-bit word that changes: HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3).
func replaceSum(sum []byte, old, new uint16) {
	hc := binary.BigEndian.Uint16(sum)
	binary.BigEndian.PutUint16(sum, ^fold(uint32(^hc)+uint32(^old)+uint32(new)))
}

// replacePartial does the same for a sum that was not complemented yet.
func replacePartial(sum []byte, old, new uint16) {
	s := binary.BigEndian.Uint16(sum)
	binary.BigEndian.PutUint16(sum, fold(uint32(s)+uint32(^old)+uint32(new)))
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// rewriteAddr replaces the address at an offset of an IPv4 header and corrects the header's checksum and, if l4sum is not nil,
// that of the transport, whose pseudo header contains the address.
func rewriteAddr(ip []byte, at int, to netip.Addr, l4sum []byte, partial bool) {
	a := to.As4()
	for i := 0; i < 4; i += 2 {
		old, new := binary.BigEndian.Uint16(ip[at+i:]), binary.BigEndian.Uint16(a[i:])
		replaceSum(ip[10:], old, new)
		switch {
		case l4sum == nil:
		case partial:
			replacePartial(l4sum, old, new)
		default:
			replaceSum(l4sum, old, new)
		}
	}
	copy(ip[at:], a[:])
}

// rewritePort replaces a port. A partial sum covers the pseudo header alone, so a port does not touch it.
func rewritePort(l4 []byte, at int, to uint16, l4sum []byte, partial bool) {
	old := binary.BigEndian.Uint16(l4[at:])
	binary.BigEndian.PutUint16(l4[at:], to)
	if l4sum != nil && !partial {
		replaceSum(l4sum, old, to)
	}
}

// sum16 adds b to s as big-endian words.
func sum16(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return uint32(fold(s))
}

func pseudoSum(ip []byte, proto byte, n int) uint32 {
	return sum16(uint32(proto)+uint32(n), ip[12:20])
}
