package punch

import "github.com/peerd/peerd/proto"

// How both sides open their NATs.
//
// A NAT that has no entry for the peer's SYN may answer it with an ICMP error.
// The error ends the peer's dial, but not the entry in the peer's own NAT, and
// until the peer dials again no socket stands behind that. If our SYN leaves in
// the very moment after our NAT has refused the peer's, it follows close behind the
// error and comes through that entry to nobody, which holds both sequence numbers
// against us for two minutes (see quiet.go). Two programs of which one starts half
// a round trip after the other do just that, and machines that are busy are late by
// some milliseconds: in the lab it was one of 300 pairs.
//
// So, from plan version 3 on, where the initiator is who is heard first (where only the
// responder's dials can arrive, in version 4, the two change places; see climb):
//
//   - The initiator's first dial is deaf: its SYN has half of the usual TTL, and
//     the socket takes in nothing that has no more than that, as the SYN has in the
//     quotation of an ICMP error. A socket stands behind its entry whatever
//     happens. Both sides cannot be so, for the peer's SYN must come with more.
//   - Where the round trip is not long against that lateness, the responder's first
//     dial is quiet: nothing refuses it, and nobody hears of it. The initiator's SYN
//     meets it and is answered as soon as if it had been heard. Where either may be, it is the
//     initiator that is heard because that speaks first on the connection, too.
//   - A NAT that forgets its entry at the ICMP error that ends a quiet SYN, or that
//     is behind another one, is still closed then. So the responder is heard after a
//     while, when nothing comes. It may be refused only by a NAT that has forgotten
//     the entry of the initiator, too, and such a one remembers no sequence numbers.
//   - Two NATs that forget need two SYNs that cross: that is what Cross is for. It is
//     later than the SYN that replaces the initiator's first, which meets another
//     quiet dial where only the initiator's NAT forgets.
//   - Who is late is heard at once: the other side waits.
const (
	// nearRTT is up to where the jitter of two programs' starts, on busy machines,
	// may come to half a round trip.
	nearRTT = 100_000
	// quietMargin is how much longer than the round trip the responder is quiet.
	quietMargin = 30_000
	// A deaf dial outlives the answer that the quiet side's host repeats after a
	// second: another SYN would not get in any more.
	deafMin  = 1_100_000
	deafRTTs = 2
	// quietMin is for how long a first dial was quiet in plan versions 1 and 2,
	// besides four round trips.
	quietMin  = 40_000
	quietRTTs = 4
)

// openQuietly has one side's first dial be quiet, and that of the side with the given role
// be heard.
func (p *Plan) openQuietly(first proto.Role) {
	quiet, heard := &p.Steps(first.Peer())[0], &p.Steps(first)[0]
	if p.Version > 2 {
		heard.Deaf, p.Deaf = true, p.Hold
	}
	switch {
	case p.RTT > nearRTT, p.Version < 3 && p.RTT > shortRTT:
		return
	case p.Version < 3:
		quiet, heard = heard, quiet
		p.Quiet = quietMin + quietRTTs*p.RTT
	default:
		p.Quiet = p.RTT + quietMargin
		p.Deaf = p.deafLong()
		if p.RTT > shortRTT {
			p.Cross = heard.At + p.Deaf + p.RTT/4
		}
	}
	quiet.Quiet = true
	if p.RTT <= shortRTT {
		heard.At += quietLead
	}
}

// deafLong is for how long a deaf dial is held whose answer may come late.
func (p *Plan) deafLong() uint32 { return max(p.Hold, deafMin+deafRTTs*p.RTT) }

// deafFor is for how long a step's deaf dial is held.
func (p *Plan) deafFor(s Step) uint32 {
	if s.Idea == Spare {
		return p.deafLong()
	}
	return p.Deaf
}
