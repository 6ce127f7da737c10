package natlab

import "encoding/binary"

// window follows the sequence numbers of a connection as netfilter does (tcp_in_window, after van Rooij, "Real Stateful TCP
// Packet Filtering in IP Filter"): each side may send what the other has announced, and acknowledge what the other has sent.
// The zero value has seen nothing.
type window struct{ out, in side }

// side is one sender of a connection.
type side struct {
	known  bool
	end    uint32 // after the last octet that it has sent
	maxEnd uint32 // after the last octet that it may send
	maxWin uint32 // largest window that it has announced
	scale  uint8
}

// leastAckWindow is netfilter's MAXACKWINCONST: how far an acknowledgement may lag at least.
const leastAckWindow = 66000

// accept reports whether a segment belongs to the connection, and takes it into account if so. Unanswered says that the inside
// has sent a SYN and the outside nothing yet.
func (w *window) accept(p *packet, inbound, unanswered bool) bool {
	from, to := &w.out, &w.in
	if inbound {
		from, to = to, from
	}
	f, seq, ack := p.flags(), p.seq(), p.ack()
	end := seq + p.segmentLen()
	switch {
	case f&SYN != 0 && (!from.known || unanswered && !inbound && int32(end-from.end) > 0):
		from.begin(p, end)
		if f&ACK == 0 {
			return true
		}
	case !from.known && f&RST != 0 && seq == 0: // the answer of a closed port
		seq, end = from.end, from.end
	case !from.known:
		from.join(p, end)
	}
	if f&ACK == 0 {
		ack = to.end
	}
	if !from.mayAcknowledge(ack, to) || from.known && !from.maySend(seq, end, to) {
		return false
	}
	from.sent(p, end, ack, to)
	return true
}

// begin takes a SYN.
func (s *side) begin(p *packet, end uint32) {
	*s = side{known: true, end: end, maxEnd: end, maxWin: max(1, p.window()), scale: p.windowScale()}
}

// join takes the first segment of a connection of which the SYN was not seen.
func (s *side) join(p *packet, end uint32) {
	if p.flags()&RST == 0 {
		*s = side{known: true, end: end, maxEnd: end + max(1, p.window()), maxWin: max(1, p.window())}
	}
}

// maySend compares what a segment takes with what the receiver has announced.
func (s *side) maySend(seq, end uint32, receiver *side) bool {
	fresh := !receiver.known || int32(end-(s.end-receiver.maxWin)) >= 0
	return int32(seq-s.maxEnd) <= 0 && fresh
}

// mayAcknowledge compares an acknowledgement with what was sent.
func (s *side) mayAcknowledge(ack uint32, sender *side) bool {
	if !sender.known {
		return true
	}
	return int32(ack-sender.end) <= 0 && int32(ack-(sender.end-max(s.maxWin, leastAckWindow))) >= 0
}

// sent notes a segment that was accepted.
func (s *side) sent(p *packet, end, ack uint32, receiver *side) {
	win := p.window()
	if p.flags()&SYN == 0 {
		win <<= s.scale
	}
	s.maxWin = max(s.maxWin, win)
	if int32(end-s.end) > 0 {
		s.end = end
	}
	if receiver.known && p.flags()&ACK != 0 && int32(ack+max(1, win)-receiver.maxEnd) > 0 {
		receiver.maxEnd = ack + max(1, win)
	}
}

// window is the segment's, not scaled.
func (p *packet) window() uint32 { return uint32(binary.BigEndian.Uint16(p.l4[14:])) }

// TCP options (RFC 9293 §3.2, RFC 7323, RFC 2018).
const (
	optionEnd   = 0
	optionNoOp  = 1
	optionScale = 3
	optionSACK  = 5
)

// windowScale is the scale that a SYN announces.
func (p *packet) windowScale() (scale uint8) {
	p.options(func(kind byte, value []byte) {
		if kind == optionScale && len(value) == 1 {
			scale = min(value[0], 14)
		}
	})
	return scale
}

// options calls f for each option with a value.
func (p *packet) options(f func(kind byte, value []byte)) {
	o := p.l4[20 : int(p.l4[12]>>4)*4]
	for len(o) > 0 && o[0] != optionEnd {
		if o[0] == optionNoOp {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return
		}
		f(o[0], o[2:o[1]])
		o = o[o[1]:]
	}
}

// shiftSequence adds to the sequence number.
func (p *packet) shiftSequence(by uint32) {
	add32(p.l4[4:], by)
	p.finishTCP()
}

// unshiftAcknowledgement takes off the acknowledgement number, and off selective acknowledgements.
func (p *packet) unshiftAcknowledgement(by uint32) {
	if p.flags()&ACK != 0 {
		add32(p.l4[8:], -by)
	}
	p.options(func(kind byte, edges []byte) {
		for ; kind == optionSACK && len(edges) >= 4; edges = edges[4:] {
			add32(edges, -by)
		}
	})
	p.finishTCP()
}

func add32(b []byte, n uint32) { binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+n) }

// finishTCP computes the TCP checksum anew. A partial one does not cover the segment.
func (p *packet) finishTCP() {
	if p.partial {
		return
	}
	p.l4[16], p.l4[17] = 0, 0
	binary.BigEndian.PutUint16(p.l4[16:], ^fold(sum16(pseudoSum(p.ip, protoTCP, len(p.l4)), p.l4)))
}
