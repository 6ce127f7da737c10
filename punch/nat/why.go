package nat

import (
	"errors"

	"github.com/peerd/peerd/proto"
)

// explain says why what is unknown is so.
func (m *measuring) explain() {
	r := &m.report
	m.because(FieldMapping, r.Mapping == 0, m.whyNoMapping())
	m.because(FieldAllocation, r.Allocation == 0, tooFew)
	m.because(FieldPooling, r.Pooling == 0, m.whyNoPooling())
	m.because(FieldFiltering, r.Filtering == 0, m.whyNoFiltering())
	m.because(FieldUnsolicited, r.Unsolicited == 0, m.whyNoUnsolicited())
	m.because(FieldCrossing, r.Crossing == 0, m.whyNoCrossing())
	m.because(FieldOnReset, r.OnReset == 0, m.whyNoOnReset())
	m.because(FieldPoisoned, r.Poisoned == 0, m.whyNotPoisoned())
	m.because(FieldHairpin, r.Hairpin == 0, m.whyNoBench())
	m.because(FieldHops, r.Hops == 0, "a router on the way does not say where it is")
	m.because(FieldProxied, r.Proxied == 0, m.whyNotProxied())
}

// because notes a reason for a field that is unknown, unless there is one.
func (m *measuring) because(f Field, unknown bool, why string) {
	if unknown && m.why[f] == "" {
		m.why[f] = why
		m.partial = m.partial || why == tooFew || why == noAnswers || why == notDialledBack
	}
}

const (
	noSecondAddress = "it takes a server with a second address"
	noDialBack      = "the server does not dial back"
	portNotShared   = "the local port cannot be shared on this system"
	tooFew          = "too few connections to the server's further ports came about"
	noAnswers       = "the server's answers did not come"
	notDialledBack  = "the server did not dial back this time; it bounds how often it does"
)

func (m *measuring) whyNoMapping() string {
	switch {
	case !m.cfg.OwnPort:
		return portNotShared
	case len(m.cfg.Far) == 0:
		return noSecondAddress
	case m.strayed:
		return "connections to other servers are made from another address of this machine: another way leads there"
	}
	return noAnswers
}

func (m *measuring) whyNoPooling() string {
	if m.report.Mapping == proto.MappingNone {
		return "there is no NAT"
	}
	return noAnswers
}

func (m *measuring) whyNoFiltering() string {
	switch {
	case !m.cfg.DialsBack:
		return noDialBack
	case !m.cfg.Listens:
		return portNotShared
	case !m.cfg.Alternate:
		return noSecondAddress
	case len(m.benches) == 0:
		return m.whyNoBench()
	}
	return notDialledBack
}

func (m *measuring) whyNoUnsolicited() string {
	switch {
	case m.report.Filtering == proto.FilteringEndpointIndependent:
		return "everybody is let in"
	case m.knocks.near == proto.AnswerAccepted:
		return noSecondAddress
	}
	return m.whyNoFiltering()
}

func (m *measuring) whyNoBench() string {
	switch {
	case errors.Is(m.benchErr, errors.ErrUnsupported):
		return portNotShared
	case m.benchErr != nil:
		return noAnswers
	}
	return "nothing came of it"
}

func (m *measuring) whyNoCrossing() string {
	switch {
	case len(m.benches) == 0:
		return m.whyNoBench()
	case !m.cfg.DialsBack || !m.cfg.Silent.IsValid():
		return noDialBack
	case !m.known():
		return "the outside port towards who does not answer cannot be known"
	}
	return notDialledBack
}

func (m *measuring) whyNotPoisoned() string {
	switch {
	case len(m.benches) < 3:
		return m.whyNoBench()
	case refuses(m.report.Crossing):
		return "what crosses a SYN from here is not let in, whoever is first"
	}
	return m.whyNoCrossing()
}

// refuses reports whether a crossing SYN is known not to be let in.
func refuses(crossing proto.NATAnswer) bool {
	return crossing != proto.AnswerAccepted && crossing != proto.AnswerUnknown
}

func (m *measuring) whyNoOnReset() string {
	switch {
	case m.report.Mapping == proto.MappingNone:
		return "there is no NAT"
	case m.report.Filtering == proto.FilteringEndpointIndependent || m.report.Filtering == proto.FilteringAddressDependent:
		return "the NAT lets the server in anyway"
	case len(m.benches) < 2:
		return m.whyNoBench()
	case !m.cfg.DialsBack || !m.cfg.Closed.IsValid():
		return noDialBack
	case !m.known():
		return "the outside port towards who does not answer cannot be known"
	case m.closed != proto.AnswerReset:
		return "no RST came from the server's closed port: a firewall in front of the server may drop what goes there"
	}
	return "it looks the same either way"
}

func (m *measuring) whyNotProxied() string {
	switch {
	case len(m.benches) < 2:
		return m.whyNoBench()
	case !m.cfg.Closed.IsValid():
		return "the server has no closed port"
	}
	return "no RST came from the server's closed port: a firewall in front of the server may drop what goes there"
}
