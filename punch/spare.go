package punch

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/peerd/peerd/proto"
)

// Spare ports are for two endpoints between which nothing is to be had any more: a
// program stood still while its dial was refused, or one was killed, and a NAT or a
// host on the way holds the sequence numbers of a connection that nobody has against
// all that follow, for ten seconds or two minutes. There is no cure but another pair
// of endpoints.
//
// So at each quarter of the plan, if nothing has been proven, both sides also dial
// from and to a port of which nobody has heard yet. Both derive both sides' ports
// from the introduction. It needs a NAT that leaves a port as it is; a side whose NAT
// does not stays with its one port, which is another pair of endpoints nevertheless if the
// other side has a spare one. Nobody listens on a spare port.
//
// Where everybody is let in at one side's one port, or everybody at an address that was
// dialled from it, the other side dials that from a spare port whatever its own NAT makes of it: what leaves another port of its host is
// another pair of endpoints in any case.

const (
	spareTurns = 3
	// firstSpare is the least of the dynamic ports (RFC 6335, 6), and what of 16 bits
	// counts from there.
	firstSpare = 49152
	spareBits  = 0x3fff
)

// Spares returns what the side with role r dials from or to spare ports, one after
// the other.
func (p *Plan) Spares(r proto.Role) []Step {
	if r == proto.Initiator {
		return p.InitiatorSpares
	}
	return p.ResponderSpares
}

// spare adds the spare ports.
func (p *Plan) spare(t *proto.Transcript) {
	i, r := outlookOf(t, proto.Initiator), outlookOf(t, proto.Responder)
	together := t.Initiator.Observed.Addr.Addr() == t.Responder.Observed.Addr.Addr()
	switch {
	case p.Hopeless != 0 || together || despair(i, r) != 0:
	case (i.preserves() || r.preserves()) && i.hasPort() && r.hasPort():
		p.spareBoth(t, i, r)
	case r.isOpen(), r.admitsAddress():
		p.InitiatorSpares = p.spareAlone(t, i)
	case i.isOpen(), i.admitsAddress():
		p.ResponderSpares = p.spareAlone(t, r)
	}
}

// turnsOfSpares are when the turns begin.
func (p *Plan) turnsOfSpares() (at [spareTurns]uint32) {
	quarter := (p.Limit - p.Start) / (spareTurns + 1)
	for turn := range at {
		at[turn] = p.Start + uint32(turn+1)*quarter
	}
	return at
}

// spareBoth has both sides dial. Nothing is in a hurry by now, so each turn begins as
// what spoils nothing does: one side opens its NAT quietly, and the other follows and is
// deaf. They change places, for either may be on a system that can be neither.
func (p *Plan) spareBoth(t *proto.Transcript, i, r *outlook) {
	for turn, at := range p.turnsOfSpares() {
		a := p.Initiator[0].spared(i.spare(t, turn), r.spare(t, turn), at)
		b := p.Responder[0].spared(r.spare(t, turn), i.spare(t, turn), at)
		opener := &b
		if p.Initiator[0].Idea == Opener || p.Responder[0].Idea != Opener && turn%2 == 1 {
			opener = &a
		}
		for _, s := range []*Step{&a, &b} {
			if s.Quiet = s == opener; !s.Quiet {
				s.At, s.Deaf = at+p.lead(), p.Deaf > 0
			}
		}
		p.InitiatorSpares, p.ResponderSpares = append(p.InitiatorSpares, a), append(p.ResponderSpares, b)
	}
}

// spareAlone has one side dial the other, where it is let in from any port. It is deaf, for such
// a dial is held until the kernel has repeated the SYN: one that is given up before leaves
// the other side with a half-open connection that answers no other SYN.
func (p *Plan) spareAlone(t *proto.Transcript, o *outlook) (list []Step) {
	for turn, at := range p.turnsOfSpares() {
		s := p.Steps(o.role)[0].spared(o.sparePort(t, turn), 0, at)
		s.Deaf = true
		list = append(list, s)
	}
	return list
}

// spared is the step to the observed endpoint once more: at another time, and between
// these ports, of which 0 is the one port.
func (s Step) spared(from, to uint16, at uint32) Step {
	if to != 0 {
		s.To = proto.NewCandidate(netip.AddrPortFrom(s.To.Addr.Addr(), to), proto.Observed, 0)
	}
	return Step{To: s.To, At: at, Idea: Spare, TTL: s.TTL, From: from}
}

// preserves reports whether what leaves a port of the side's host is seen to come from
// that port: it is measured to be so, or has no reason to be otherwise.
func (o *outlook) preserves() bool {
	switch {
	case o.nature != steady:
		return false // whatever the addresses say
	case !BehindNAT(o.party):
		return true
	case o.nat.Allocation != proto.AllocationUnknown:
		return o.nat.Allocation == proto.AllocationPreserving
	}
	return slices.ContainsFunc(o.party.Candidates, func(c proto.Candidate) bool {
		return c.Kind == proto.Host && c.Addr.Port() == o.party.Observed.Addr.Port()
	})
}

// hasPort reports whether the side has a port for the step: a spare one, or else its
// one port, if that may have another socket and everybody sees it alike.
func (o *outlook) hasPort() bool {
	return o.preserves() || o.nature == steady && o.party.PortMode != proto.PortSequential
}

// spare is the side's spare port of a turn, or 0 where it stays with its one port.
func (o *outlook) spare(t *proto.Transcript, turn int) uint16 {
	if !o.preserves() {
		return 0
	}
	return o.sparePort(t, turn)
}

// sparePort is the spare port of a turn at the side's own host.
func (o *outlook) sparePort(t *proto.Transcript, turn int) uint16 {
	sum := sha256.Sum256(slices.Concat([]byte("peerd spare port"), t.Introduction[:], []byte{byte(o.role), byte(turn)}))
	port := firstSpare | binary.BigEndian.Uint16(sum[:])&spareBits
	if port == o.party.Observed.Addr.Port() {
		port ^= 1
	}
	return port
}

// spares carries the steps with spare ports out, of which the last one that has begun
// is under way.
type spares struct {
	e       *Executor
	steps   []Step
	current *target // nil before the first
	stop    func()  // stops the timer, if one is set
}

// wait waits for the n-th turn, from 0.
func (s *spares) wait(n int) {
	s.stop = nil
	if n == len(s.steps) {
		return
	}
	due := s.e.cfg.Zero.Add(micros(s.steps[n].At))
	s.stop = s.e.cfg.Clock.AfterFunc(s.e.until(s.steps[n].At), func() {
		if s.e.cfg.Clock.Now().Sub(due) > lateness {
			// The program was stopped: what the kernel has brought comes first.
			s.stop = s.e.cfg.Clock.AfterFunc(grace, s.turn)
			return
		}
		s.turn()
	})
}

// turn begins the latest step that is due, if anything is left to be desired.
func (s *spares) turn() {
	n := 0
	for n+1 < len(s.steps) && s.e.until(s.steps[n+1].At) == 0 {
		n++
	}
	s.wait(n + 1)
	if s.e.alive > 0 || s.current.isEngaged() || s.e.targets[0].done {
		return // a stranger answers at that address, or it must not be dialled
	}
	if s.current != nil {
		s.current.retire()
	}
	s.current = &target{e: s.e, step: s.steps[n]}
	s.e.targets = append(s.e.targets, s.current)
	s.current.begin()
}

// retire ends a target that has had its turn.
func (t *target) retire() {
	if t.done {
		return
	}
	if t.sock != nil {
		t.drop()
		t.trace(Failed, ErrNoAnswer)
	}
	t.finish(ErrNoAnswer)
}

func (s *spares) close() {
	if s.stop != nil {
		s.stop()
	}
}

// isSpare reports whether the target is dialled from or to a spare port.
func (t *target) isSpare() bool { return t.step.Idea == Spare }

// isTaken reports whether a spare port cannot be had on this host: somebody else
// has it.
func (t *target) isTaken(err error) bool {
	return t.step.From != 0 && t.dials == 1 && errors.Is(err, ErrTupleInUse)
}
