package natlab

import (
	"encoding/binary"
	"net/netip"
)

const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	codePort = 3

	icmp6TimeExceeded = 3
)

// newIPv4 makes a frame with a finished IPv4 header and n zero bytes behind it.
func newIPv4(src, dst netip.Addr, proto byte, n int) (f frame, l4 []byte) {
	f = make(frame, vnetLen+20+n)
	ip := f[vnetLen:]
	s, d := src.As4(), dst.As4()
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+n))
	ip[6] = 0x40 // don't fragment
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum16(0, ip[:20])))
	return f, ip[20:]
}

// newTCP makes a bare TCP segment.
func newTCP(src, dst netip.AddrPort, flags TCPFlags, seq, ack uint32) frame {
	f, t := newIPv4(src.Addr(), dst.Addr(), protoTCP, 20)
	binary.BigEndian.PutUint16(t, src.Port())
	binary.BigEndian.PutUint16(t[2:], dst.Port())
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = 5<<4, byte(flags)
	binary.BigEndian.PutUint16(t[16:], ^fold(sum16(pseudoSum(f[vnetLen:], protoTCP, len(t)), t)))
	return f
}

// resetFor answers a segment as a stack without a matching socket does (RFC 9293 §3.10.7.1); nil for a RST.
func resetFor(p *packet) frame {
	switch f := p.flags(); {
	case f&RST != 0:
		return nil
	case f&ACK != 0:
		return newTCP(p.dst, p.src, RST, p.ack(), 0)
	default:
		return newTCP(p.dst, p.src, RST|ACK, 0, p.seq()+p.segmentLen())
	}
}

// icmpError answers a packet with an error from an address, quoting its header and eight bytes (RFC 792). It answers no ICMP
// error (RFC 1122 §3.2.2): then it returns nil.
func icmpError(p *packet, from netip.Addr, typ, code byte) frame {
	if p.proto == protoICMP && !p.echo() {
		return nil
	}
	quote := p.ip[:min(len(p.ip), len(p.ip)-len(p.l4)+8)]
	f, m := newIPv4(from, p.src.Addr(), protoICMP, 8+len(quote))
	m[0], m[1] = typ, code
	copy(m[8:], quote)
	binary.BigEndian.PutUint16(m[2:], ^fold(sum16(0, m)))
	return f
}

// leastMTU6 bounds an ICMPv6 error (RFC 4443 §2.4).
const leastMTU6 = 1280

// expired6 answers an IPv6 packet whose hops are used up. It answers no ICMPv6 packet.
func expired6(p *packet, from netip.Addr) frame {
	if p.proto == protoICMP6 {
		return nil
	}
	quote := p.ip[:min(len(p.ip), leastMTU6-ipv6Len-8)]
	f := make(frame, vnetLen+ipv6Len+8+len(quote))
	ip := f[vnetLen:]
	s, d := from.As16(), p.src.Addr().As16()
	ip[0], ip[6], ip[7] = 6<<4, protoICMP6, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(8+len(quote)))
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	m := ip[ipv6Len:]
	m[0] = icmp6TimeExceeded
	copy(m[8:], quote)
	pseudo := sum16(uint32(protoICMP6)+uint32(len(m)), ip[8:40])
	binary.BigEndian.PutUint16(m[2:], ^fold(sum16(uint32(pseudo), m)))
	return f
}

// echoReply turns an echo request into its answer, in place.
func echoReply(p *packet) {
	src, dst := p.src, p.dst
	p.setSource(dst)
	p.setDestination(src)
	p.l4[0] = icmpEchoReply
	p.finishICMP()
}
