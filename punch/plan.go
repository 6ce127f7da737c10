package punch

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/peerd/peerd/proto"
)

// Plan says what both sides of an introduction do and when. All times are in
// microseconds since the transcript's time 0, or durations in microseconds, so
// that the plan is the same to the bit on every machine.
type Plan struct {
	Version uint32 `json:"version"`
	// RTT is what both sides take for the round trip between them: the way
	// through the server, which the direct way hardly exceeds.
	RTT uint32 `json:"rtt_us"`
	// Start is when both sides dial first. The farther peer gets its
	// transcript at this moment.
	Start uint32 `json:"start_us"`
	// Hold is how long a dial without an answer is held before it is replaced:
	// long enough for an answer that is under way.
	Hold uint32 `json:"hold_us"`
	// Limit is when both sides give up.
	Limit uint32 `json:"limit_us"`
	// Turn is how long a side with one socket at a time stays with one step
	// (see TurnOf); 0 where no side is known to be so.
	Turn uint32 `json:"turn_us,omitempty"`
	// BothTurn says that both sides take turns.
	BothTurn bool `json:"both_turn,omitempty"`
	// Quiet is how long the first dial of a quiet step is held.
	Quiet uint32 `json:"quiet_us,omitempty"`
	// Deaf is how long a deaf dial is held.
	Deaf uint32 `json:"deaf_us,omitempty"`
	// Cross is when the side with the quiet first dial, if it was refused since,
	// dials again so that its SYN crosses the other side's; 0 where there is no such
	// moment.
	Cross uint32 `json:"cross_us,omitempty"`
	// Round is how often both sides begin to dial anew where neither listens;
	// 0 where one does.
	Round     uint32 `json:"round_us,omitempty"`
	Initiator []Step `json:"initiator"`
	Responder []Step `json:"responder"`
	// InitiatorVolley and ResponderVolley are what each side dials besides; nil is
	// nothing.
	InitiatorVolley *Volley `json:"initiator_volley,omitempty"`
	ResponderVolley *Volley `json:"responder_volley,omitempty"`
	// InitiatorSpares and ResponderSpares are what each side dials between other ports,
	// once nothing else has helped.
	InitiatorSpares []Step `json:"initiator_spares,omitempty"`
	ResponderSpares []Step `json:"responder_spares,omitempty"`
	// LocalOnly means that the observed endpoints lead nowhere: a side that must not
	// dial anything else is done after one round trip, see NoHairpin.
	LocalOnly bool `json:"local_only,omitempty"`
	// Hopeless is why the plan is over after one round of plain dials.
	Hopeless Hopeless `json:"hopeless,omitempty"`
	// NoGuess is whose word leaves a guess out that might help where nothing else does;
	// 0 is nobody's.
	NoGuess Hopeless `json:"no_guess,omitempty"`
}

// Step is one address that one side dials.
type Step struct {
	To   proto.Candidate `json:"to"`
	At   uint32          `json:"at_us"`
	Idea Idea            `json:"idea"`
	// Once means that a single SYN is sent: nobody but the peer vouches for the
	// address.
	Once bool `json:"once,omitempty"`
	// Quiet means that the first dial is a quiet one: it opens this side's NATs
	// without waking the other's, and waits for the peer's SYN.
	Quiet bool `json:"quiet,omitempty"`
	// Deaf means that no ICMP error is to end the first dial that is not quiet.
	Deaf bool `json:"deaf,omitempty"`
	// TTL is that of the step's quiet dials; 0 is 2, which passes one NAT. Where there is
	// none, they must end a router earlier: behind that may be the other side's NAT,
	// which would hold their sequence numbers against us.
	TTL uint8 `json:"ttl,omitempty"`
	// From is another local port than the one; 0 is the one.
	From uint16 `json:"from,omitempty"`
}

// The numbers of all plan versions, in microseconds.
const (
	holdMin    = 300_000    // LINUX-TCP.md, 8: a replaced dial beats the retransmit at 1 s
	holdRTTs   = 8          // closing earlier would reset the 4-tuple under the peer
	holdOnce   = 900_000    // the kernel retransmits a SYN after 1 s
	limitMin   = 12_000_000 // the peer may be frozen or its SYNs lost for a while
	limitRTTs  = 24
	defaultRTT = 200_000   // where the server measured none
	maxRTT     = 5_000_000 // a larger value is a mistake, or a lie to make us wait
	// Where the round trip is not long against the jitter of two programs' starts,
	// one side opens its NAT quietly and the other one follows.
	shortRTT  = 10_000
	quietLead = 3_000
)

// Steps returns the steps of the side with role r.
func (p *Plan) Steps(r proto.Role) []Step {
	if r == proto.Initiator {
		return p.Initiator
	}
	return p.Responder
}

// MakePlan derives the plan from a transcript. It fails if the transcript asks
// for a plan version that this build does not know.
func MakePlan(t *proto.Transcript) (*Plan, error) {
	if t.PlanVersion == 0 || t.PlanVersion > proto.PlanVersion {
		return nil, fmt.Errorf("punching plan version %d is not known here (this build knows 1 to %d): update peerd", t.PlanVersion, proto.PlanVersion)
	}
	a, b := rttOf(t.Initiator), rttOf(t.Responder)
	rtt, start := a+b, max(a, b)/2
	p := &Plan{
		Version:   t.PlanVersion,
		RTT:       rtt,
		Start:     start,
		Hold:      max(holdRTTs*rtt, holdMin),
		Limit:     start + max(limitRTTs*rtt, limitMin),
		Initiator: stepsTowards(&t.Responder, &t.Initiator, start),
		Responder: stepsTowards(&t.Initiator, &t.Responder, start),
	}
	if t.PlanVersion > 1 {
		p.regard(t.Initiator.PortMode, t.Responder.PortMode)
	}
	if t.PlanVersion < 4 || !p.climb(t) {
		p.openQuietly(proto.Initiator)
	}
	if t.PlanVersion > 3 {
		p.spare(t)
	}
	return p, nil
}

func rttOf(p proto.Party) uint32 {
	if p.RTT == 0 {
		return defaultRTT
	}
	return min(p.RTT, maxRTT)
}

// stepsTowards returns what from dials to reach to: the observed endpoint
// always and first, the host candidates where both share an observed address (they are
// behind one NAT, or on one network), and global IPv6 addresses once.
func stepsTowards(to, from *proto.Party, at uint32) []Step {
	steps := []Step{{To: to.Observed, At: at, Idea: Plain}}
	if !BehindNAT(from) {
		steps[0].TTL = quietTTL - 1
	}
	together := to.Observed.Addr.Addr() == from.Observed.Addr.Addr()
	for _, c := range byPriority(to.Candidates) {
		if c.Kind != proto.Host || slices.ContainsFunc(steps, func(s Step) bool { return s.To.Addr == c.Addr }) {
			continue // one address is one 4-tuple, whatever it is said to be
		}
		switch {
		case together:
			steps = append(steps, Step{To: c, At: at, Idea: OnLink})
		case globalV6(c) && slices.ContainsFunc(from.Candidates, globalV6):
			steps = append(steps, Step{To: c, At: at, Idea: GlobalIPv6, Once: true})
		}
	}
	return steps
}

// BehindNAT reports whether the server sees a party at an address that is none of
// its own.
func BehindNAT(p *proto.Party) bool {
	return !slices.ContainsFunc(p.Candidates, func(c proto.Candidate) bool { return c.Addr.Addr() == p.Observed.Addr.Addr() })
}

func byPriority(list []proto.Candidate) []proto.Candidate {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b proto.Candidate) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Addr.Compare(b.Addr))
	})
	return sorted
}

// globalV6 reports whether c is a host candidate that the whole IPv6 Internet
// could reach.
func globalV6(c proto.Candidate) bool {
	addr := c.Addr.Addr()
	return c.Kind == proto.Host && addr.Is6() && isGlobal(addr)
}

var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// isGlobal reports whether addr is a unicast address that is not private: not
// RFC 1918, RFC 4193, RFC 6598, loopback or link-local.
func isGlobal(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !sharedAddressSpace.Contains(addr)
}
