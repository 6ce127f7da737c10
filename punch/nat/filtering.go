package nat

import "github.com/peerd/peerd/proto"

// knocks are what SYNs of the server met that it sent to one mapping of this
// host's, by where they came from; unknown if none was sent.
type knocks struct {
	near proto.NATAnswer // from another port of an address to which the mapping has a connection
	far  proto.NATAnswer // from another address
	// listens says whether somebody here accepts what the NATs let in. Otherwise
	// this host answers with a RST.
	listens bool
}

// letIn reports whether an answer came from this host, or true for unsure where
// it may have come from a NAT as well.
func (k knocks) letIn(a proto.NATAnswer) (in, unsure bool) {
	return a == proto.AnswerAccepted, a == proto.AnswerUnknown || a == proto.AnswerReset && !k.listens
}

// filteringOf tells who may send to a mapping.
func filteringOf(k knocks) proto.NATFiltering {
	near, nearUnsure := k.letIn(k.near)
	far, farUnsure := k.letIn(k.far)
	switch {
	case far:
		return proto.FilteringEndpointIndependent
	case !nearUnsure && !near && (farUnsure || !far): // who keeps this out keeps others out
		return proto.FilteringAddressPortDependent
	case near && !farUnsure:
		return proto.FilteringAddressDependent
	}
	return proto.FilteringUnknown
}

// unsolicitedOf tells what a SYN meets that nothing lets in.
func unsolicitedOf(k knocks) proto.NATAnswer {
	for _, a := range []proto.NATAnswer{k.far, k.near} {
		if in, unsure := k.letIn(a); !in && !unsure {
			return a
		}
	}
	return proto.AnswerUnknown
}

// onResetOf tells what became of a mapping whose SYN was answered with a RST: by
// what a SYN met that came from where the RST had come from, and by whether a
// second SYN was answered like the first.
func onResetOf(back, unsolicited, crossing proto.NATAnswer, filtering proto.NATFiltering, repeated proto.NATAnswer) proto.NATErrorPolicy {
	if filtering != proto.FilteringAddressPortDependent || back == proto.AnswerUnknown {
		return proto.PolicyUnknown // it would be let in anyway
	}
	switch {
	case repeated == proto.AnswerDropped:
		return proto.PolicyBlock
	case back == proto.AnswerAccepted:
		return proto.PolicyKeep
	case crossing == proto.AnswerAccepted && back == unsolicited:
		return proto.PolicyDelete
	}
	return proto.PolicyUnknown
}

// poisonedOf tells whether a SYN that came early has cost a later dial its mapping: by
// what it met itself, what another one met that followed the dial, and what one meets
// that follows the first of all SYNs. Who lets the early one in has nothing to lose.
func poisonedOf(early, late, crossing proto.NATAnswer) proto.NATTruth {
	switch {
	case early == proto.AnswerAccepted, late == proto.AnswerAccepted:
		return proto.TruthNo
	case late != proto.AnswerUnknown && crossing == proto.AnswerAccepted:
		return proto.TruthYes
	}
	return proto.TruthUnknown
}

// proxiedOf tells whether connections are completed by something on the way: such
// with a port where nothing listens, and such with one that answers nothing.
func proxiedOf(closed, silent proto.NATAnswer) proto.NATTruth {
	switch {
	case closed == proto.AnswerAccepted, silent == proto.AnswerAccepted:
		return proto.TruthYes
	case closed == proto.AnswerReset:
		return proto.TruthNo
	}
	return proto.TruthUnknown
}
