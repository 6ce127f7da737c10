package natlab

import (
	"fmt"
	"net/netip"
	"time"
)

// Packet is an observed packet. A TCP super-packet that the kernel did not cut into segments yet counts as one.
type Packet struct {
	Time time.Time
	// Link is where it was seen: "A", "B" or "server".
	Link  string
	Event Event
	// Proto is 6 for TCP, 1 for ICMP and 58 for ICMPv6, of which ports, Flags, Seq and Ack stay 0.
	Proto    uint8
	Src, Dst netip.AddrPort
	Flags    TCPFlags
	Seq, Ack uint32
	Payload  int // bytes of TCP payload
	TTL      int
	// Type and Code are those of an ICMP or ICMPv6 packet.
	Type, Code uint8
}

// Event says what happened to an observed packet.
type Event uint8

const (
	Sent      Event = iota // left the site for the Internet, or the host for its LAN
	Delivered              // arrived at the site from the Internet, or at the host
	Dropped                // lost, cut off, out of hops, without a route, or too many for a queue
)

func (e Event) String() string { return name(e, "sent", "delivered", "dropped") }

func (p Packet) String() string {
	what := fmt.Sprintf("%v seq %d ack %d len %d", p.Flags, p.Seq, p.Ack, p.Payload)
	if p.Proto != protoTCP {
		what = fmt.Sprintf("icmp type %d code %d", p.Type, p.Code)
	}
	return fmt.Sprintf("%s %s %v %v > %v %s", p.Time.Format("15:04:05.000000"), p.Link, p.Event, p.Src, p.Dst, what)
}

func observe(now time.Time, link string, e Event, p *packet) Packet {
	o := Packet{Time: now, Link: link, Event: e, Proto: p.proto, Src: p.src, Dst: p.dst, TTL: p.ttl()}
	if p.proto == protoTCP {
		o.Flags, o.Seq, o.Ack, o.Payload = p.flags(), p.seq(), p.ack(), p.payload()
		return o
	}
	o.Type, o.Code = p.l4[0], p.l4[1]
	return o
}
