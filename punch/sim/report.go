package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/nat"
)

// What a side states of its NATs is what a node finds out with the help of a server
// that has two addresses: `natlab prove reports` compares that with the lab, and a
// test in cmd/natlab this with that.

// Report is what a node behind a profile finds out, besides what its samples show of
// the ports.
func (p Profile) Report() *proto.NATReport {
	if !p.translates() {
		return &proto.NATReport{
			Mapping: proto.MappingNone, Allocation: proto.AllocationPreserving, Filtering: proto.FilteringEndpointIndependent,
			Crossing: proto.AnswerAccepted, Hairpin: proto.AnswerAccepted, Proxied: proto.TruthNo, Poisoned: proto.TruthNo, Hops: 1,
		}
	}
	whole, hops := p, uint8(2)
	for outer := p.Outer; outer != nil; outer = outer.Outer {
		whole, hops = whole.within(*outer), hops+1
	}
	r := &proto.NATReport{
		Mapping:     [...]proto.NATMapping{proto.MappingEndpointIndependent, proto.MappingAddressDependent, proto.MappingAddressPortDependent, proto.MappingPerConnection}[whole.Mapping],
		Allocation:  [...]proto.NATAllocation{proto.AllocationPreserving, proto.AllocationSequential, proto.AllocationRandom, proto.AllocationBlock}[whole.Allocation],
		Pooling:     [...]proto.NATPooling{proto.PoolingPaired, proto.PoolingArbitrary}[whole.Pooling],
		Filtering:   [...]proto.NATFiltering{proto.FilteringAddressPortDependent, proto.FilteringAddressDependent, proto.FilteringEndpointIndependent}[whole.Filtering],
		Unsolicited: [...]proto.NATAnswer{proto.AnswerDropped, proto.AnswerReset, proto.AnswerUnreachable}[whole.Answer],
		Hairpin:     [...]proto.NATAnswer{proto.AnswerDropped, proto.AnswerReset, proto.AnswerDropped, proto.AnswerAccepted}[whole.Hairpin],
		Proxied:     proto.TruthNo, Hops: hops,
	}
	switch {
	case whole.Filtering == EIF:
		r.Unsolicited = proto.AnswerUnknown // nobody is kept out
	case whole.After > 0:
		r.Unsolicited = proto.AnswerDropped // nobody waits for it
	}
	if p.Proxy {
		r.Proxied, r.Hops, r.Hairpin = proto.TruthYes, 0, proto.AnswerAccepted
	}
	if whole.Mapping == APDM || whole.Mapping == PerConnection {
		return r // who dials back meets another port than the one that was opened
	}
	r.Crossing = [...]proto.NATAnswer{proto.AnswerAccepted, proto.AnswerDropped, proto.AnswerReset}[whole.Inbound]
	if whole.Filtering != APDF {
		r.Poisoned = proto.TruthNo // who comes early is let in
		return r
	}
	if whole.Inbound == AcceptInbound {
		r.Poisoned = map[bool]proto.NATTruth{false: proto.TruthNo, true: proto.TruthYes}[whole.Poisoned]
		r.OnReset = [...]proto.NATErrorPolicy{proto.PolicyKeep, proto.PolicyDelete, proto.PolicyBlock}[whole.OnRST]
		if whole.OnRST == Keep && whole.Tracking == Strict {
			r.OnReset = proto.PolicyDelete // no other socket may answer
		}
	}
	return r
}

// within is what a NAT and one outside of it look like together.
func (p Profile) within(outer Profile) Profile {
	if outer.Filtering != EIF {
		p.Answer, p.After, p.Poisoned = outer.Answer, outer.After, outer.Poisoned // it goes no further
	}
	p.Mapping, p.Filtering, p.Hairpin = max(p.Mapping, outer.Mapping), min(p.Filtering, outer.Filtering), outer.Hairpin
	p.Inbound, p.OnRST, p.Pooling = max(p.Inbound, outer.Inbound), max(p.OnRST, outer.OnRST), max(p.Pooling, outer.Pooling)
	if outer.Allocation != Preserving {
		p.Allocation = outer.Allocation
	}
	return p
}

// report is what the side states of its NAT: what it has found out, or nothing, or a
// lie.
func (s *side) report() *proto.NATReport {
	if !s.Told || s.Says != nil {
		return s.Says
	}
	p := s.NAT
	if s.Carrier.translates() {
		p.Outer = &s.Carrier
	}
	r := p.Report()
	if len(s.fresh) > 0 {
		a := s.found
		r.Allocation, r.Delta, r.Low, r.High, r.Confidence = a.Kind, a.Delta, a.Low, a.High, a.Confidence
		r.Background = uint32(min(1000*a.Background, 1e9))
		r.Samples, r.Age = s.fresh, uint32((statedAge+s.waited)/time.Microsecond)
	}
	return r
}

// The measurements of package nat: so many connections from fresh ports, half of them
// some time after the others.
const (
	sights     = 8
	sightEvery = 100 * time.Microsecond
	sightPause = 100 * time.Millisecond
	// statedAge is how old the newest sample is when it is stated.
	statedAge = 20 * time.Millisecond
	// sampleLimit is for how long a node waits for the newest samples at most.
	sampleLimit = 900 * time.Millisecond
)

// measure has both sides look at what their NATs do with ports, and once more right
// before they state it. All that is before the case begins.
func (n *network) measure() {
	for _, s := range []*side{n.a, n.b} {
		r := s.NAT.Report()
		if !s.Told || s.NAT.Proxy || r.Mapping == proto.MappingNone || r.Mapping == proto.MappingEndpointIndependent {
			continue
		}
		s.nat.observed(serverAddr) // the registration is older
		s.found = nat.InferAllocation(s.look(50000, sightPause))
		pass(s.nat, s.Server)
		for _, sight := range s.hears(s.look(50100, 0), n.c) {
			s.fresh = append(s.fresh, sight.Outside.Port())
		}
		pass(s.nat, s.waited+s.sampleAge(n.c))
	}
	if n.a.found.Kind != 0 && n.b.found.Kind != 0 {
		// The initiator has stated its samples when the responder makes its own, and
		// nobody tells the plan how long that takes.
		pass(n.a.nat, 2*n.b.Server+n.b.waited)
	}
}

// hears keeps of the samples those that the side has seen when it states them, as a node
// does that waits for no more than package nat does in a hurry. The others
// have used up a port each: what is lost is lost beyond the NAT.
func (s *side) hears(all []nat.Sight, c Case) (heard []nat.Sight) {
	rng := source(c.Seed, 50+uint64(s.role))
	late := make([]time.Duration, len(all))
	for i := range all {
		late[i] = repeated(rng, c.Loss, s.Server)
	}
	for i, next := range slices.Sorted(slices.Values(late)) {
		until := sampleLimit
		if i >= nat.Enough {
			until = min(until, s.waited+nat.Late(s.Server))
		}
		if s.waited = min(next, until); next > until {
			break
		}
	}
	for i, sight := range all {
		if late[i] <= s.waited {
			heard = append(heard, sight)
		}
	}
	return heard
}

// repeated is how much later a sight comes whose SYN, request or an answer to them was
// lost.
func repeated(rng *rand.Rand, loss float64, rtt time.Duration) (late time.Duration) {
	for wait := time.Second; rng.Float64() < loss; wait *= 2 {
		late += wait
	}
	for wait := 200*time.Millisecond + rtt; rng.Float64() < loss; wait *= 2 {
		late += wait
	}
	return late
}

// sampleAge is how long before the server issues the transcript the last sample is
// made: some milliseconds before the side states it, and the way of the statement.
func (s *side) sampleAge(c Case) time.Duration {
	age := statedAge + s.Server/2
	if s.role == proto.Initiator {
		age += c.B.Server
	}
	return age
}

// look makes mappings from fresh ports, with a pause in the middle.
func (s *side) look(port uint16, pause time.Duration) (list []nat.Sight) {
	began, at := epoch, epoch
	for i := range uint16(sights) {
		if i == sights/2 && pause > 0 {
			pass(s.nat, pause-at.Sub(began))
			at = began.Add(pause)
		}
		inside := netip.AddrPortFrom(s.host.addr.Addr(), port+i)
		s.way.server = func(seg segment) {
			list = append(list, nat.Sight{Inside: inside, Outside: seg.src, At: at, RTT: s.Server})
		}
		s.nat.fromInside(segment{src: inside, dst: serverAddr, flags: syn, ttl: hostTTL})
		pass(s.nat, sightEvery)
		at = at.Add(sightEvery)
	}
	s.way.server = nil
	return list
}

// pass lets others open mappings in a NAT for some time.
func pass(b box, span time.Duration) {
	switch n := b.(type) {
	case *userNAT:
		n.others(span)
	case *chain:
		pass(n.inner, span)
		pass(n.outer, span)
	case dual:
		pass(n.box, span)
	}
}
