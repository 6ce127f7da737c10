package punch

import "github.com/peerd/peerd/proto"

// What plan version 2 makes of the two sides' port modes.
//
// Shared is what the rest of the plan is made for: a side's listener answers
// the SYN that meets no dial.
//
// Dial-only. The host itself refuses a SYN that comes while no dial to its
// sender is under way, as a NAT with a RST does. Towards a side that listens
// nothing changes. Where neither side does, a dial succeeds only if both SYNs
// are under way at once, half a round trip apart at most, and between hosts of
// one network that is less than the jitter of any clock. Chance does not help
// at the rate that the caps leave, so both spend it in rounds: they begin at the
// same moments of the plan, and dial at once again and again until the burst is
// used up (see round.go).
//
// Sequential. The side has one socket at a time, also towards different
// addresses, so its steps take turns. The observed endpoint comes last and is
// then left no more, unless both are on one network: what a dial that is given
// up leaves in netfilter is bound to that dial's sequence number, and a SYN of
// the peer that meets it in vain ends all hope for two minutes (NAT.md, 6). The
// other side dials as ever, but what it dials only once it dials in the turn
// that is meant for it. Where both are sequential, one goes through its steps
// while the other stays with one, so that each pair of addresses has its turn.
//
// A SYN that a peer may get only once is sent once in every mode. Between two
// sides that do not listen, and without a firewall that drops the earlier one,
// the two must cross.
const (
	// A turn lasts until both sides' dials of it have met, although one began
	// half a round trip late, and a whole number of rounds. With more, as many
	// addresses as a peer may state would not have their turns within the limit.
	turnRTTs = 2
	// roundTime is how long it takes until the pace of an address has a whole
	// burst again.
	roundTime = 1_000_000 * paceBurst / paceRate
)

// regard takes the port modes into the plan.
func (p *Plan) regard(initiator, responder proto.PortMode) {
	if !initiator.Listens() && !responder.Listens() {
		p.Round = roundTime
	}
	i, r := initiator == proto.PortSequential, responder == proto.PortSequential
	if !i && !r {
		return
	}
	p.Turn, p.BothTurn = turnTime(p.RTT), i && r
	first := uint32(0) // turns that are over before anybody dials what is observed
	if i {
		first = onceSteps(p.Initiator)
	}
	if r {
		first = max(first, onceSteps(p.Responder))
	}
	if first == 0 {
		return
	}
	for _, steps := range [][]Step{p.Initiator, p.Responder} {
		p.align(steps, first)
	}
}

func turnTime(rtt uint32) uint32 {
	return (max(turnRTTs*rtt, roundTime) + roundTime - 1) / roundTime * roundTime
}

func onceSteps(steps []Step) (n uint32) {
	for _, s := range steps {
		if s.Once {
			n++
		}
	}
	return n
}

// align has what is dialled only once be dialled in the turns at the beginning,
// and the observed endpoint after them.
func (p *Plan) align(steps []Step, turns uint32) {
	steps[0].At += turns * p.Turn
	for n := range steps {
		if steps[n].Once {
			steps[n].At += uint32(n-1) % turns * p.Turn
		}
	}
}

// TurnOf returns which of a side's steps has its n-th turn, from 0, if it has one
// socket at a time.
func (p *Plan) TurnOf(r proto.Role, n int) int {
	steps := p.Steps(r)
	switch {
	case len(steps) == 1:
		return 0
	case steps[1].Once: // and all that follow
		return (min(n, len(steps)-1) + 1) % len(steps)
	case p.BothTurn && r == proto.Responder:
		n /= len(p.Initiator)
	}
	return (n + 1) % len(steps)
}
