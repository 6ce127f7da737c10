package natlab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// quoteAt is where the quoted packet begins in an ICMP error.
const quoteAt = 8

// echo is a mapping for ICMP echo: identifiers take the place of ports.
type echo struct {
	inside, remote netip.Addr
	id             uint16
	deadline       time.Time
}

// echoLife is conntrack's nf_conntrack_icmp_timeout.
const echoLife = 30 * time.Second

func (t *translator) outboundEcho(now time.Time, p *packet, out []emit) []emit {
	want := echo{inside: p.src.Addr(), remote: p.dst.Addr(), id: p.echoID()}
	outside := want.id
	for range 1 << 16 {
		old, taken := t.echoes[outside]
		expired := now.After(old.deadline)
		old.deadline = time.Time{}
		if !taken || expired || old == want {
			want.deadline = now.Add(echoLife)
			t.echoes[outside] = want
			p.setEchoID(outside)
			p.setSource(netip.AddrPortFrom(t.pool[0], 0))
			return append(out, emit{p.frame, false})
		}
		outside++
	}
	return out
}

func (t *translator) inboundEcho(now time.Time, p *packet, out []emit) []emit {
	e, ok := t.echoes[p.echoID()]
	if !ok || e.remote != p.src.Addr() || now.After(e.deadline) || !p.hop() {
		return out
	}
	p.setEchoID(e.id)
	p.setDestination(netip.AddrPortFrom(e.inside, 0))
	return append(out, emit{p.frame, true})
}

// quotes reports whether the packet is an ICMP error that quotes enough of a TCP packet to be translated.
func quotes(p *packet) bool {
	switch p.l4[0] {
	case icmpUnreachable, icmpTimeExceeded, icmpParameter:
	default:
		return false
	}
	ip, l4, ok := splitIPv4(p.l4[quoteAt:])
	return ok && ip[9] == protoTCP && len(l4) >= 8
}

// inboundError translates an ICMP error about one of our packets: the packet inside gets back the source that it had.
func (t *translator) inboundError(now time.Time, p *packet, out []emit) []emit {
	ip, l4, _ := splitIPv4(p.l4[quoteAt:])
	src, remote := endpoints(ip, l4, protoTCP)
	m := t.owner(src)
	if m == nil {
		return out
	}
	s := m.session(now, remote)
	if s == nil || !p.hop() {
		return out
	}
	if s.unanswered() {
		t.punish(now, m, s, t.cfg.OnICMP)
	}
	if s.shift != 0 {
		// The host believes only errors about what it has sent.
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])-s.shift)
	}
	rewriteQuote(ip, l4, 12, 0, m.inside)
	p.finishICMP()
	p.setDestination(m.inside)
	return append(out, emit{p.frame, true})
}

// outboundError translates an ICMP error of an inside host about a packet that came from outside.
func (t *translator) outboundError(p *packet, out []emit) []emit {
	ip, l4, _ := splitIPv4(p.l4[quoteAt:])
	remote, inside := endpoints(ip, l4, protoTCP)
	m := t.find(inside, remote)
	if m == nil || m.sessions[remote] == nil {
		return out
	}
	rewriteQuote(ip, l4, 16, 2, m.outside)
	p.finishICMP()
	p.setSource(netip.AddrPortFrom(m.outside.Addr(), 0))
	return append(out, emit{p.frame, false})
}

// rewriteQuote replaces an endpoint of a quoted packet, whose TCP checksum may have been cut off.
func rewriteQuote(ip, l4 []byte, addrAt, portAt int, to netip.AddrPort) {
	var sum []byte
	if len(l4) >= 18 {
		sum = l4[16:18]
	}
	rewriteAddr(ip, addrAt, to.Addr(), sum, false)
	rewritePort(l4, portAt, to.Port(), sum, false)
}
