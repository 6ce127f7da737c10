package natlab

import (
	"encoding/binary"
	"net/netip"
)

// A frame is an IPv4 or IPv6 packet behind the virtio_net_hdr that TUN devices exchange with IFF_VNET_HDR:
//
//	0      flags      bit 0: the TCP checksum is still the pseudo header's sum (partial)
//	1      gso_type   0, or 1 for a TCP super-packet that the receiving kernel may cut into segments
//	2–3    hdr_len    4–5 gso_size   6–7 csum_start   8–9 csum_offset
//	10–    the packet
//
// Header lengths never change in the lab, so only flags matter here. A frame is borrowed for the duration of a call: whoever
// wants to keep it copies it.
type frame []byte

const (
	vnetLen       = 10
	vnetNeedsCsum = 1

	protoICMP  = 1
	protoTCP   = 6
	protoICMP6 = 58
)

// TCPFlags is the flags byte of a TCP header.
type TCPFlags uint8

// The flags that matter to a NAT (RFC 9293 §3.1).
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// String lists the flags as tcpdump does: S for SYN, S. for SYN-ACK, R., F., or "." for a bare ACK.
func (f TCPFlags) String() string {
	var s []byte
	for i, c := range "FSRP" {
		if f&(1<<i) != 0 {
			s = append(s, byte(c))
		}
	}
	if f&ACK != 0 {
		s = append(s, '.')
	}
	return string(s)
}

// opens reports whether the segment asks for a connection: SYN without ACK.
func (f TCPFlags) opens() bool { return f&(SYN|ACK|RST) == SYN }

// packet is a checked view of a frame: all offsets that its methods use are inside the frame.
type packet struct {
	frame    frame
	ip       []byte // header and payload, cut to the total length
	l4       []byte
	proto    byte
	partial  bool
	v6       bool
	src, dst netip.AddrPort // the ports are 0 unless this is TCP
}

// parse checks a frame. It refuses fragments: a NAT would have to reassemble them, and TCP on Linux sends none.
func parse(f frame) (packet, bool) {
	if len(f) < vnetLen {
		return packet{}, false
	}
	if f.ipv6() {
		return parse6(f)
	}
	p := packet{frame: f, partial: f[0]&vnetNeedsCsum != 0}
	var ok bool
	if p.ip, p.l4, ok = splitIPv4(f[vnetLen:]); !ok {
		return packet{}, false
	}
	total := int(binary.BigEndian.Uint16(p.ip[2:]))
	if total < len(p.ip)-len(p.l4) || total > len(p.ip) || binary.BigEndian.Uint16(p.ip[6:])&0x3fff != 0 {
		return packet{}, false
	}
	p.l4, p.ip = p.l4[:len(p.l4)-(len(p.ip)-total)], p.ip[:total]
	p.frame, p.proto = f[:vnetLen+total], p.ip[9]
	if !p.checkTransport() {
		return packet{}, false
	}
	p.src, p.dst = endpoints(p.ip, p.l4, p.proto)
	return p, true
}

// ipv6 tells the versions apart, of what may be no packet at all.
func (f frame) ipv6() bool { return len(f) > vnetLen && f[vnetLen]>>4 == 6 }

// ipv6Len is the length of IPv6's header (RFC 8200 §3).
const ipv6Len = 40

// parse6 refuses extension headers, too: TCP and ICMPv6 errors have none.
func parse6(f frame) (packet, bool) {
	ip := f[vnetLen:]
	if len(ip) < ipv6Len {
		return packet{}, false
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	if total > len(ip) {
		return packet{}, false
	}
	p := packet{frame: f[:vnetLen+total], ip: ip[:total], l4: ip[ipv6Len:total], proto: ip[6], partial: f[0]&vnetNeedsCsum != 0, v6: true}
	if !p.checkTransport() {
		return packet{}, false
	}
	var sp, dp uint16
	if p.proto == protoTCP {
		sp, dp = binary.BigEndian.Uint16(p.l4), binary.BigEndian.Uint16(p.l4[2:])
	}
	p.src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:24])), sp)
	p.dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:40])), dp)
	return p, true
}

// splitIPv4 separates header and payload; the payload may be cut short, as it is inside ICMP errors.
func splitIPv4(b []byte) (ip, l4 []byte, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, nil, false
	}
	ihl := int(b[0]&15) * 4
	if ihl < 20 || ihl > len(b) {
		return nil, nil, false
	}
	return b, b[ihl:], true
}

func (p *packet) checkTransport() bool {
	switch p.proto {
	case protoTCP:
		return len(p.l4) >= 20 && p.l4[12]>>4 >= 5 && int(p.l4[12]>>4)*4 <= len(p.l4)
	case protoICMP:
		return len(p.l4) >= 8 && !p.v6
	case protoICMP6:
		return len(p.l4) >= 8 && p.v6
	}
	return false
}

// endpoints reads addresses, and for TCP the ports. The caller has checked that four bytes of l4 are there.
func endpoints(ip, l4 []byte, proto byte) (src, dst netip.AddrPort) {
	var sp, dp uint16
	if proto == protoTCP {
		sp, dp = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), sp),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), dp)
}

func (p *packet) flags() TCPFlags { return TCPFlags(p.l4[13]) }
func (p *packet) seq() uint32     { return binary.BigEndian.Uint32(p.l4[4:]) }
func (p *packet) ack() uint32     { return binary.BigEndian.Uint32(p.l4[8:]) }

// ttl is the time to live, or IPv6's hop limit.
func (p *packet) ttl() int {
	if p.v6 {
		return int(p.ip[7])
	}
	return int(p.ip[8])
}

// payload is the number of TCP payload bytes.
func (p *packet) payload() int { return len(p.l4) - int(p.l4[12]>>4)*4 }

// segmentLen is what the segment takes in sequence space.
func (p *packet) segmentLen() uint32 {
	n := uint32(p.payload())
	if p.flags()&SYN != 0 {
		n++
	}
	if p.flags()&FIN != 0 {
		n++
	}
	return n
}

// hop decrements the time to live; false means that it was used up.
func (p *packet) hop() bool {
	if p.ttl() <= 1 {
		return false
	}
	if p.v6 {
		p.ip[7]--
		return true
	}
	old := binary.BigEndian.Uint16(p.ip[8:])
	p.ip[8]--
	replaceSum(p.ip[10:], old, binary.BigEndian.Uint16(p.ip[8:]))
	return true
}

func (p *packet) setSource(to netip.AddrPort) {
	p.src = to
	p.rewrite(12, 0, to)
}

func (p *packet) setDestination(to netip.AddrPort) {
	p.dst = to
	p.rewrite(16, 2, to)
}

func (p *packet) rewrite(addrAt, portAt int, to netip.AddrPort) {
	if p.proto != protoTCP {
		rewriteAddr(p.ip, addrAt, to.Addr(), nil, false)
		return
	}
	rewriteAddr(p.ip, addrAt, to.Addr(), p.l4[16:18], p.partial)
	rewritePort(p.l4, portAt, to.Port(), p.l4[16:18], p.partial)
}

// echo reports whether this is an ICMP echo request or reply.
func (p *packet) echo() bool {
	return p.proto == protoICMP && (p.l4[0] == icmpEcho || p.l4[0] == icmpEchoReply)
}

func (p *packet) echoID() uint16 { return binary.BigEndian.Uint16(p.l4[4:]) }

func (p *packet) setEchoID(id uint16) {
	binary.BigEndian.PutUint16(p.l4[4:], id)
	p.finishICMP()
}

// finishICMP computes the ICMP checksum anew. An update would do for most packets, but one whose words have all become zero
// needs the other zero of one's complement.
func (p *packet) finishICMP() {
	p.l4[2], p.l4[3] = 0, 0
	binary.BigEndian.PutUint16(p.l4[2:], ^fold(sum16(0, p.l4)))
}

// spoil changes the first bytes of a TCP segment's payload. The checksum stays right.
func (p *packet) spoil() {
	word := p.l4[len(p.l4)-p.payload():]
	old := binary.BigEndian.Uint16(word)
	binary.BigEndian.PutUint16(word, ^old)
	if !p.partial {
		replaceSum(p.l4[16:], old, ^old)
	}
}
