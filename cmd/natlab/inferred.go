package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/recording"
)

// inferred is a NAT that is rebuilt from what a peer has reported of its own.
type inferred struct {
	nat     natlab.NAT
	none    bool     // there is no NAT
	like    string   // the profile of the lab that does it, where that is no userspace NAT
	behind  int      // how many more NATs there are on the way
	unknown []string // what the report does not say; the ordinary NAT's is taken
	left    []string // what it says and the lab's NAT does not do
}

// The lab's values for what a report has no number of.
const (
	inferredPool  = 4                // outside addresses of a pool
	inferredDelay = 6 * time.Second  // of a late ICMP error: RFC 5382, REQ-4
	inferredBlock = 10 * time.Second // of a pair of endpoints after a RST
)

// infer rebuilds the NAT in front of a party.
func infer(p recording.Party) (n inferred) {
	r := p.NAT.Report()
	if r == nil {
		r = new(proto.NATReport)
	}
	n.mapping(r, hasOwnAddress(p))
	if n.none {
		return inferred{none: true}
	}
	n.allocation(r)
	n.filtering(r)
	n.answers(r)
	n.rest(r)
	return n
}

// hasOwnAddress reports whether the server sees a party at an address of its own.
func hasOwnAddress(p recording.Party) bool {
	seen, err := netip.ParseAddrPort(p.Observed)
	return err == nil && slices.ContainsFunc(p.Candidates, func(c recording.Candidate) bool {
		own, err := netip.ParseAddrPort(c.Address)
		return err == nil && c.Kind == proto.Host.String() && own.Addr() == seen.Addr()
	})
}

func (n *inferred) mapping(r *proto.NATReport, own bool) {
	switch r.Mapping {
	case proto.MappingNone:
		n.none = true
	case proto.MappingEndpointIndependent:
		n.nat.Mapping = natlab.EIM
	case proto.MappingAddressDependent:
		n.nat.Mapping = natlab.ADM
	case proto.MappingAddressPortDependent:
		n.nat.Mapping = natlab.APDM
	case proto.MappingPerConnection:
		n.nat.Mapping = natlab.PerConnection
	default:
		n.none = own
		n.unknown = append(n.unknown, "mapping")
	}
}

// allPorts is how many ports the lab's random allocation takes from.
const allPorts = 65536 - 1024

func (n *inferred) allocation(r *proto.NATReport) {
	size := 0
	if r.Low > 0 && r.High >= r.Low {
		size = int(r.High) - int(r.Low) + 1
	}
	a := &n.nat.Allocation
	switch r.Allocation {
	case proto.AllocationPreserving:
		a.Kind = natlab.Preserving
	case proto.AllocationSequential:
		*a = natlab.Allocation{Kind: natlab.Sequential, Delta: int(r.Delta), Background: float64(r.Background) / 1000}
	case proto.AllocationBlock:
		*a = natlab.Allocation{Kind: natlab.Block, Size: size}
	case proto.AllocationRandom:
		a.Kind = natlab.Random
		if size > 0 && size < allPorts {
			*a = natlab.Allocation{Kind: natlab.Block, Size: size}
		}
	default:
		n.unknown = append(n.unknown, "allocation")
	}
}

func (n *inferred) filtering(r *proto.NATReport) {
	switch r.Filtering {
	case proto.FilteringEndpointIndependent:
		n.nat.Filtering = natlab.EIF
	case proto.FilteringAddressDependent:
		n.nat.Filtering = natlab.ADF
	case proto.FilteringAddressPortDependent:
		n.nat.Filtering = natlab.APDF
	default:
		n.unknown = append(n.unknown, "filtering")
	}
}

// answers is what SYNs from outside meet.
func (n *inferred) answers(r *proto.NATReport) {
	switch r.Unsolicited {
	case proto.AnswerAccepted: // by a filter that lets everybody in
		if n.nat.Filtering != natlab.EIF {
			n.left = append(n.left, "that unsolicited SYNs are let in")
		}
	case proto.AnswerDropped:
		n.nat.Unsolicited.Answer = natlab.Silent
	case proto.AnswerReset:
		n.nat.Unsolicited.Answer = natlab.Reset
	case proto.AnswerUnreachable:
		n.nat.Unsolicited.Answer = natlab.Unreachable
	case proto.AnswerDelayed:
		n.nat.Unsolicited = natlab.Unsolicited{Answer: natlab.Unreachable, After: inferredDelay}
	default:
		n.unknown = append(n.unknown, "unsolicited SYNs")
	}
	switch r.Crossing {
	case proto.AnswerAccepted:
		n.nat.InboundAfterOutbound = natlab.AcceptInbound
	case proto.AnswerDropped:
		n.nat.InboundAfterOutbound = natlab.DropInbound
	case proto.AnswerReset:
		n.nat.InboundAfterOutbound = natlab.ResetInbound
	case proto.AnswerUnreachable, proto.AnswerDelayed:
		n.nat.InboundAfterOutbound = natlab.DropInbound
		n.left = append(n.left, "the ICMP error for a crossing SYN, which is dropped instead")
	default:
		n.unknown = append(n.unknown, "crossing SYNs")
	}
	switch r.Hairpin {
	case proto.AnswerAccepted:
		n.nat.Hairpin = natlab.HairpinExternal
	case proto.AnswerDropped:
		n.nat.Hairpin = natlab.HairpinNone
	case proto.AnswerReset:
		n.nat.Hairpin = natlab.HairpinReset
	case proto.AnswerUnreachable, proto.AnswerDelayed:
		n.left = append(n.left, "the ICMP error for a hairpin, which is dropped instead")
	default:
		n.unknown = append(n.unknown, "hairpinning")
	}
}

// rest is what the lab's NAT has fewer words for.
func (n *inferred) rest(r *proto.NATReport) {
	switch r.OnReset {
	case proto.PolicyKeep:
		n.nat.OnRST = natlab.Keep
	case proto.PolicyDelete:
		n.nat.OnRST = natlab.Delete
	case proto.PolicyBlock:
		n.nat.OnRST, n.nat.BlockFor = natlab.DeleteAndBlock, inferredBlock
	default:
		n.unknown = append(n.unknown, "what a RST does")
	}
	switch r.Pooling {
	case proto.PoolingPaired:
	case proto.PoolingArbitrary:
		n.nat.Addresses, n.nat.Pooling = inferredPool, natlab.Arbitrary
	default:
		n.unknown = append(n.unknown, "pooling")
	}
	n.truth(r.Poisoned, "poisoning", "dmz-poison")
	n.truth(r.Proxied, "a proxy that completes connections", "proxy")
	n.behind = max(0, min(int(r.Hops)-2, maxBehind))
	if int(r.Hops)-2 > maxBehind {
		n.left = append(n.left, fmt.Sprintf("%d NATs in a row, of which there are %d", r.Hops-1, maxBehind+1))
	}
}

// maxBehind is how many NATs there are in a row at most, besides the one.
const maxBehind = 2

// truth notes something that only a profile of the lab does: it takes the place of
// the NAT, the rest of which is that profile's then.
func (n *inferred) truth(t proto.NATTruth, what, profile string) {
	switch t {
	case proto.TruthNo:
	case proto.TruthYes:
		n.like = profile
	default:
		n.unknown = append(n.unknown, what)
	}
}

// profile is the NAT as one of the lab's. Further NATs let everything pass: what
// was reported is that of all together.
func (n inferred) profile(name string) natlab.Profile {
	if n.none {
		return natlab.Profile{Name: name, Doc: "no NAT"}
	}
	p := natlab.Custom(name, n.nat)
	if n.like != "" {
		p, _ = natlab.ProfileByName(n.like) // it is there: a test asks for it
		p.Name = name
	}
	for range n.behind {
		p = p.Behind(natlab.Custom("open", natlab.NAT{Filtering: natlab.EIF}))
	}
	return p
}

// String says what is rebuilt, what is taken for lack of knowledge, and what is
// not rebuilt.
func (n inferred) String() string {
	if n.none {
		return "no NAT"
	}
	s := fmt.Sprintf("%v %v, %v, unsolicited %v", n.nat.Mapping, n.nat.Allocation.Kind, n.nat.Filtering, n.nat.Unsolicited.Answer)
	if n.like != "" {
		s = "as the profile " + n.like
	}
	if n.behind > 0 {
		s += fmt.Sprintf(", behind %d more that let everything pass", n.behind)
	}
	if len(n.unknown) > 0 {
		s += "; unknown, and as of the ordinary NAT: " + strings.Join(n.unknown, ", ")
	}
	if len(n.left) > 0 {
		s += "; not rebuilt: " + strings.Join(n.left, ", ")
	}
	return s
}
