package punch

import "github.com/peerd/peerd/proto"

// Plan version 4 is version 3 and what both sides' NAT reports add to it. Nothing,
// where nothing is reported and where both NATs show everybody one port and do nothing
// odd: the ladder must cost the plain pairs no microsecond. Otherwise its rungs,
// of which a pair gets those that its NATs call for:
//
//	a side that lets in whoever dials        plain dials (NAT.md, 8)
//	address-dependent filtering              one opener; the other side dials (9)
//	a SYN too early does harm                opener and follower (3, 5, 12, 14)
//	sequential × steady                      a window of predicted ports (10)
//	sequential × sequential                  windows of both sides that cross
//	random or block × steady                 many sockets, many guesses (11), unless a side does not guess
//	one NAT, no hairpinning                  the local network, or hopeless (7, 14)
//	anything else                            hopeless, known at once (12, 13, 14)
//
// A report is its sender's own statement. It decides what is tried with its
// sender, at the one address at which the server has observed it, and within
// bounds that are constants.

// nature is how much a peer's NAT lets one know of its next outside port.
type nature uint8

const (
	steady     nature = iota // the observed one, or nothing is known
	sequential               // the last one and a step
	block                    // at random in a small range
	random                   // at random
	unknown                  // another one; how it is chosen was not found out
)

// surelyNot is the confidence below which an allocation counts as unknown; 0 is
// none stated.
const surelyNot = 50

// outlook is what the plan makes of one party.
type outlook struct {
	party  *proto.Party
	role   proto.Role
	nat    proto.NATReport // zero if there is none
	nature nature
	stated uint32 // how long before time 0 the report was made
}

func outlookOf(t *proto.Transcript, role proto.Role) *outlook {
	o := &outlook{party: t.Party(role), role: role}
	if o.party.NAT != nil {
		o.nat = *o.party.NAT
	}
	o.nature = natureOf(&o.nat)
	// The initiator states its own before the server has heard the responder's.
	o.stated = rttOf(*o.party) / 2
	if role == proto.Initiator {
		o.stated += rttOf(t.Responder)
	}
	return o
}

func natureOf(r *proto.NATReport) nature {
	switch r.Mapping {
	case proto.MappingAddressDependent, proto.MappingAddressPortDependent, proto.MappingPerConnection:
	default:
		return steady
	}
	switch doubtful := 0 < r.Confidence && r.Confidence < surelyNot; {
	case r.Allocation == proto.AllocationPreserving:
		return steady
	case doubtful:
		return unknown
	case r.Allocation == proto.AllocationSequential && len(r.Samples) > 0:
		return sequential
	case r.Allocation == proto.AllocationBlock:
		return block
	case r.Allocation == proto.AllocationRandom:
		return random
	}
	return unknown
}

func (o *outlook) proxied() bool { return o.nat.Proxied == proto.TruthYes }

// isOpen reports whether whoever dials the observed endpoint is let in, and
// answered.
func (o *outlook) isOpen() bool {
	return o.nat.Filtering == proto.FilteringEndpointIndependent && o.party.PortMode.Listens()
}

// admitsAddress reports whether whoever has an address that was dialled is let in
// at the observed endpoint, and answered.
func (o *outlook) admitsAddress() bool {
	return o.nature == steady && o.nat.Filtering == proto.FilteringAddressDependent && o.party.PortMode.Listens()
}

// filtersPorts reports whether only endpoints that were dialled are let in.
func (o *outlook) filtersPorts() bool {
	return o.nat.Filtering == proto.FilteringAddressPortDependent
}

// strict reports whether even a SYN from an endpoint that was dialled is refused.
func (o *outlook) strict() bool { return refuses(o.nat.Crossing) }

// refuses reports whether an answer keeps a SYN out.
func refuses(a proto.NATAnswer) bool { return a == proto.AnswerDropped || speaks(a) }

// speaks reports whether an answer ends the dial that it is for.
func speaks(a proto.NATAnswer) bool {
	return a == proto.AnswerReset || a == proto.AnswerUnreachable || a == proto.AnswerDelayed
}

// silent reports whether a SYN that the side's NAT did not expect is known to have no
// consequences.
func (o *outlook) silent() bool { return o.nat.Unsolicited == proto.AnswerDropped && !o.isPoisoned() }

func (o *outlook) isPoisoned() bool { return o.nat.Poisoned == proto.TruthYes }

// ttl is that of the side's quiet dials: with it they pass the side's own NATs, and
// end at the router behind the last (see proto.NATReport.Hops).
// It stays below the least that a quiet dial accepts of what comes back.
func (o *outlook) ttl() uint8 {
	if !BehindNAT(o.party) {
		return quietTTL - 1
	}
	return min(max(quietTTL, o.nat.Hops), maxQuietTTL)
}

const maxQuietTTL = 14

// climb adds the rungs that both reports call for. It reports whether they say who
// is heard first, so that the plan is not to be opened in the ordinary way.
func (p *Plan) climb(t *proto.Transcript) (opened bool) {
	i, r := outlookOf(t, proto.Initiator), outlookOf(t, proto.Responder)
	if t.Initiator.NAT == nil && t.Responder.NAT == nil {
		return false
	}
	if t.Initiator.Observed.Addr.Addr() == t.Responder.Observed.Addr.Addr() {
		p.LocalOnly = refuses(i.nat.Hairpin) && refuses(r.nat.Hairpin)
		return false // they are neighbours, whatever else their NAT does
	}
	p.pass(i)
	p.pass(r)
	oneSocket := t.Initiator.PortMode == proto.PortSequential || t.Responder.PortMode == proto.PortSequential
	switch reason := despair(i, r); {
	case reason != 0:
		p.giveUp(reason)
	case i.isOpen() && r.nature != steady:
		p.openQuietly(proto.Responder) // only its dials can arrive
		return true
	case i.isOpen(), r.isOpen():
	case i.nature == steady && r.nature == steady:
		return p.takeTurns(i, r)
	case oneSocket: // a window needs many
	case i.nature == sequential && r.nature == sequential:
		p.cross(i, r)
		return true
	case i.nature != steady && r.nature != steady:
	case i.nature != steady:
		return p.chase(i, r, noGuess(t))
	default:
		return p.chase(r, i, noGuess(t))
	}
	return false
}

// giveUp ends the plan early for a reason, unless there is something else to dial.
func (p *Plan) giveUp(reason Hopeless) {
	if len(p.Initiator) == 1 && len(p.Responder) == 1 {
		p.Hopeless = reason
		p.Limit = p.Start + p.RTT + hopelessTime
	}
}

// pass has a side's quiet dials pass all of its NATs where there are several: one
// that ends between them opens the nearest alone.
func (p *Plan) pass(o *outlook) {
	if ttl := o.ttl(); ttl > quietTTL {
		p.Steps(o.role)[0].TTL = ttl
	}
}

// hopelessTime is how long, besides a round trip, a hopeless pair's dials are
// given: reports can be wrong.
const hopelessTime = 200_000

// takeTurns has one side open its NAT quietly and the other follow, where a SYN
// that comes too early would do harm.
func (p *Plan) takeTurns(i, r *outlook) (opened bool) {
	switch {
	case harms(i, r):
		p.open(i)
		p.follow(r)
	case harms(r, i):
		p.open(r)
		p.follow(i)
	default:
		return false
	}
	return true
}

// harms reports whether a SYN of from that is early does harm at the NAT of to, or
// brings back what does.
func harms(from, to *outlook) bool {
	blocked := speaks(to.nat.Unsolicited) && from.nat.OnReset == proto.PolicyBlock
	return to.isPoisoned() || blocked || speaks(to.nat.Crossing)
}

// open makes a side's first dial an opener.
func (p *Plan) open(opener *outlook) {
	first := &p.Steps(opener.role)[0]
	first.Quiet, first.TTL, first.Idea = true, opener.ttl(), Opener
	p.Quiet = quietMin + quietRTTs*p.RTT
}

// follow has a side's first dial come after the other's.
func (p *Plan) follow(follower *outlook) {
	first := &p.Steps(follower.role)[0]
	first.At, first.Idea = first.At+p.lead(), Follower
}

// lead is how much later than the opener its follower dials: more than both
// sides' clocks may be apart, since the follower's SYN needs half a round trip, too.
func (p *Plan) lead() uint32 { return quietLead + p.RTT/4 }

// chase has a steady side find a port of one that changes it. It reports whether there
// is a way, if no reason speaks against guesses.
func (p *Plan) chase(changing, still *outlook, noGuess Hopeless) (opened bool) {
	switch {
	case still.admitsAddress():
		if p.Steps(still.role)[0].Idea = Opener; !changing.silent() {
			p.open(still)
		}
		p.follow(changing)
	case changing.nature == sequential:
		p.predict(changing, still)
	case noGuess != 0:
		if p.NoGuess = noGuess; still.filtersPorts() {
			p.giveUp(noGuess)
		}
		return false
	default:
		p.guess(changing, still)
	}
	return true
}
