package sim

import (
	"fmt"
	"net/netip"
)

// segment is a TCP segment, or an ICMP error about one.
type segment struct {
	src, dst netip.AddrPort
	flags    flags
	seq, ack uint32
	data     []byte
	ttl      int
	// icmp makes it an ICMP error about the segment that went from dst to src
	// with the sequence number seq and still had the TTL quoted.
	icmp   icmp
	quoted int
}

// icmp is a kind of ICMP error. What it means to a host and to a NAT is the
// same for all of them.
type icmp uint8

const (
	noICMP icmp = iota
	portUnreachable
	timeExceeded
)

// hostTTL is what a packet starts with unless its socket says otherwise.
const hostTTL = 64

// hop takes the segment over a router, and reports whether it lives on.
func (s *segment) hop() bool {
	if s.ttl <= 1 {
		return false
	}
	s.ttl--
	return true
}

type flags uint8

const (
	syn flags = 1 << iota
	ack
	rst
)

// end is the sequence number behind the segment.
func (s *segment) end() uint32 {
	n := s.seq + uint32(len(s.data))
	if s.flags&syn != 0 {
		n++
	}
	return n
}

// opens reports whether the segment is a SYN that acknowledges nothing.
func (s *segment) opens() bool { return s.icmp == noICMP && s.flags == syn }

func (s segment) String() string {
	if s.icmp != noICMP {
		what := [...]string{portUnreachable: "port unreachable", timeExceeded: "time exceeded"}[s.icmp]
		return fmt.Sprintf("%v → %v ICMP %s, quoting seq %d ttl %d", s.src, s.dst, what, s.seq, s.quoted)
	}
	names := [...]string{"none", "SYN", "ACK", "SYN-ACK", "RST", "RST+SYN", "RST-ACK", "RST+SYN-ACK"}
	return fmt.Sprintf("%v → %v %s seq %d ack %d len %d ttl %d", s.src, s.dst, names[s.flags], s.seq, s.ack, len(s.data), s.ttl)
}

// resetFor is the RST that answers a segment nobody expects (RFC 9293, 3.5.2),
// or false if none is due.
func resetFor(s segment) (segment, bool) {
	if s.icmp != noICMP || s.flags&rst != 0 {
		return segment{}, false
	}
	r := segment{src: s.dst, dst: s.src, flags: rst | ack, ack: s.end(), ttl: hostTTL}
	if s.flags&ack != 0 {
		r.flags, r.seq, r.ack = rst, s.ack, 0
	}
	return r, true
}

// errorFor is the ICMP error that answers a segment, or false if none is due.
// Its source stands for the far end of what it is about, whoever sends it.
func errorFor(s segment, what icmp) (segment, bool) {
	return segment{src: s.dst, dst: s.src, seq: s.seq, ttl: hostTTL, icmp: what, quoted: s.ttl}, s.icmp == noICMP
}

// before and after compare sequence numbers (RFC 9293, 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return before(b, a) }
