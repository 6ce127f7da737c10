package sim

import (
	"time"

	"github.com/peerd/peerd/proto"
)

// sampleAge is how long before the server issued the transcript the last mapping
// sample was taken: some milliseconds before the side stated it, and the way of the
// statement.
func (s *side) sampleAge(c Case) time.Duration {
	age := statedAge + s.Server/2
	if s.role == proto.Initiator {
		age += c.B.Server
	}
	return age
}

// statedAge is how old a sample is when it is stated.
const statedAge = 20 * time.Millisecond

// report is what the side states of its NAT: the truth, or nothing.
func (s *side) report() *proto.NATReport {
	if !s.Told || s.Says != nil {
		return s.Says
	}
	if !s.NAT.translates() {
		return &proto.NATReport{Mapping: proto.MappingNone, Filtering: proto.FilteringEndpointIndependent, Unsolicited: proto.AnswerAccepted}
	}
	r := &proto.NATReport{
		Mapping:     [...]proto.NATMapping{proto.MappingEndpointIndependent, proto.MappingAddressDependent, proto.MappingAddressPortDependent}[s.NAT.Mapping],
		Allocation:  [...]proto.NATAllocation{proto.AllocationPreserving, proto.AllocationSequential, proto.AllocationRandom, proto.AllocationBlock}[s.NAT.Allocation],
		Filtering:   [...]proto.NATFiltering{proto.FilteringAddressPortDependent, proto.FilteringAddressDependent, proto.FilteringEndpointIndependent}[s.NAT.Filtering],
		Unsolicited: [...]proto.NATAnswer{proto.AnswerDropped, proto.AnswerReset, proto.AnswerUnreachable}[s.NAT.Answer],
		Crossing:    [...]proto.NATAnswer{proto.AnswerAccepted, proto.AnswerDropped, proto.AnswerReset}[s.NAT.Inbound],
		OnReset:     [...]proto.NATErrorPolicy{proto.PolicyKeep, proto.PolicyDelete, proto.PolicyBlock}[s.NAT.OnRST],
		Hops:        2, Age: uint32(statedAge / time.Microsecond), Background: uint32(s.NAT.Background * 1000),
	}
	if s.NAT.Poisoned {
		r.Poisoned = proto.TruthYes
	}
	if s.NAT.Kernel {
		r.OnReset = proto.PolicyDelete
	}
	if s.Carrier.translates() {
		r.Hops++
	}
	if s.sampled != 0 {
		r.Samples = []uint16{s.sampled}
	}
	switch nat, is := s.nat.(*userNAT); {
	case s.NAT.Allocation == Sequential:
		r.Delta = int16(s.NAT.step())
	case s.NAT.Allocation == Block && is:
		r.Low, r.High = nat.block, nat.block+uint16(s.NAT.Size)-1
	}
	return r
}

// measure takes the samples that the reports hold.
func (n *network) measure() {
	for _, s := range []*side{n.a, n.b} {
		if nat, is := s.nat.(*userNAT); is && s.Told && s.NAT.Mapping != EIM {
			nat.observed(serverAddr) // the registration is older
			s.sampled = nat.sample(s.sampleAge(n.c))
		}
	}
}
