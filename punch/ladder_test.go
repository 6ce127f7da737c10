package punch

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peerd/peerd/proto"
)

// reports makes a transcript one of version 4, of two sides that state these.
func reports(t proto.Transcript, a, b *proto.NATReport) proto.Transcript {
	t.PlanVersion = 4
	t.Initiator.NAT, t.Responder.NAT = a, b
	return t
}

func steadyNAT() *proto.NATReport {
	return &proto.NATReport{Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving,
		Filtering: proto.FilteringAddressPortDependent, Unsolicited: proto.AnswerReset, Crossing: proto.AnswerAccepted, OnReset: proto.PolicyDelete, Hops: 2}
}

func edited(r *proto.NATReport, edit func(*proto.NATReport)) *proto.NATReport {
	edit(r)
	return r
}

func silentNAT() *proto.NATReport {
	return edited(steadyNAT(), func(r *proto.NATReport) { r.Unsolicited = proto.AnswerDropped })
}

func blockingNAT() *proto.NATReport {
	return edited(steadyNAT(), func(r *proto.NATReport) { r.OnReset, r.Hops = proto.PolicyBlock, 3 })
}

func resetNAT() *proto.NATReport { return steadyNAT() }

func poisonedNAT() *proto.NATReport {
	return edited(steadyNAT(), func(r *proto.NATReport) { r.Poisoned = proto.TruthYes })
}

func strictNAT(crossing proto.NATAnswer) *proto.NATReport {
	return edited(silentNAT(), func(r *proto.NATReport) { r.Crossing = crossing })
}

func proxiedNAT() *proto.NATReport { return &proto.NATReport{Proxied: proto.TruthYes} }

func filteringNAT(f proto.NATFiltering) *proto.NATReport {
	return edited(steadyNAT(), func(r *proto.NATReport) { r.Filtering = f })
}

func changingNAT(a proto.NATAllocation) *proto.NATReport {
	return edited(steadyNAT(), func(r *proto.NATReport) {
		r.Mapping, r.Allocation, r.Samples, r.Age = proto.MappingAddressPortDependent, a, []uint16{30_000}, 20_000
	})
}

func sequentialNAT(delta int16) *proto.NATReport {
	return edited(changingNAT(proto.AllocationSequential), func(r *proto.NATReport) { r.Delta = delta })
}

func busyNAT(r *proto.NATReport) *proto.NATReport {
	return edited(r, func(r *proto.NATReport) { r.Background = 50_000 })
}

func randomNAT() *proto.NATReport { return changingNAT(proto.AllocationRandom) }

func blockNAT(low, high uint16) *proto.NATReport {
	return edited(changingNAT(proto.AllocationBlock), func(r *proto.NATReport) { r.Low, r.High = low, high })
}

// said is what a plan has one side do.
type said struct {
	Idea   Idea
	Quiet  uint8 // TTL of quiet dials, 0 for the least
	Late   bool  // behind the plan's start
	Volley Idea
	TTL    uint8 // of the volley
}

func saidOf(p *Plan, r proto.Role) said {
	s := p.Steps(r)[0]
	what := said{Idea: s.Idea, Quiet: s.TTL, Late: s.At > p.Start}
	if v := p.Volley(r); v != nil {
		what.Volley, what.TTL = v.Idea, v.TTL
	}
	return what
}

// Who dials what, for every kind of pair. The first is the initiator.
func TestLadder(t *testing.T) {
	plain := said{Idea: Plain}
	tests := []struct {
		name     string
		a, b     *proto.NATReport
		i, r     said
		hopeless Hopeless
	}{
		{"nothing known", nil, nil, plain, plain, 0},
		{"one known", steadyNAT(), nil, plain, plain, 0},
		{"an empty report", &proto.NATReport{}, &proto.NATReport{}, plain, plain, 0},
		{"values of another version", &proto.NATReport{Mapping: 99, Allocation: 99, Crossing: 99, Unsolicited: 99, OnReset: 99, Filtering: 99}, steadyNAT(), plain, plain, 0},
		{"steady, steady", steadyNAT(), steadyNAT(), plain, plain, 0},
		{"preserving although by port", edited(changingNAT(proto.AllocationPreserving), func(*proto.NATReport) {}), steadyNAT(), plain, plain, 0},
		{"steady behind another, steady", edited(steadyNAT(), func(r *proto.NATReport) { r.Hops = 3 }), steadyNAT(), said{Idea: Plain, Quiet: 3}, plain, 0},
		{"steady, steady behind more than there can be", steadyNAT(), edited(steadyNAT(), func(r *proto.NATReport) { r.Hops = 200 }), plain, said{Idea: Plain, Quiet: maxQuietTTL}, 0},
		{"no NAT", &proto.NATReport{Mapping: proto.MappingNone}, steadyNAT(), plain, plain, 0},

		{"sequential, steady", sequentialNAT(1), steadyNAT(), said{Idea: Opener, Quiet: 2}, said{Idea: Plain, Volley: Predicted}, 0},
		{"steady, sequential", steadyNAT(), sequentialNAT(1), said{Idea: Plain, Volley: Predicted}, said{Idea: Opener, Quiet: 2}, 0},
		{"sequential, silent", sequentialNAT(1), silentNAT(), plain, said{Idea: Plain, Volley: Predicted}, 0},
		{"sequential, unknown", sequentialNAT(1), nil, said{Idea: Opener, Quiet: 2}, said{Idea: Plain, Volley: Predicted}, 0},
		{"sequential and strict, steady", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Crossing = proto.AnswerReset }), steadyNAT(),
			said{Idea: Follower, Late: true}, said{Idea: Plain, Volley: Predicted, TTL: 2}, 0},
		{"sequential, strict", sequentialNAT(1), strictNAT(proto.AnswerDropped), said{Idea: Opener, Quiet: 2}, said{Idea: Plain, Volley: Predicted}, 0},
		{"sequential, open", sequentialNAT(1), filteringNAT(proto.FilteringEndpointIndependent), plain, plain, 0},
		{"sequential and open, steady", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Filtering = proto.FilteringEndpointIndependent }), steadyNAT(), plain, plain, 0},
		{"sequential, by address", sequentialNAT(1), filteringNAT(proto.FilteringAddressDependent), said{Idea: Follower, Late: true}, said{Idea: Opener, Quiet: 2}, 0},
		{"sequential and silent, by address", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Unsolicited = proto.AnswerDropped }),
			filteringNAT(proto.FilteringAddressDependent), said{Idea: Follower, Late: true}, said{Idea: Opener}, 0},
		{"sequential, sequential", sequentialNAT(1), sequentialNAT(3), said{Idea: Plain, Late: true, Volley: Crossed, TTL: 2}, said{Idea: Plain, Late: true, Volley: Crossed}, 0},
		{"sequential and strict, sequential", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Crossing = proto.AnswerDropped }), sequentialNAT(3),
			said{Idea: Plain, Late: true, Volley: Crossed}, said{Idea: Plain, Late: true, Volley: Crossed, TTL: 2}, 0},
		{"sequential without a sample", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Samples = nil }), silentNAT(), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"sequential, doubtful", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Confidence = 49 }), silentNAT(), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"sequential, sure", edited(sequentialNAT(1), func(r *proto.NATReport) { r.Confidence = 50 }), silentNAT(), plain, said{Idea: Plain, Volley: Predicted}, 0},

		{"random, steady", randomNAT(), steadyNAT(), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"silent, random", silentNAT(), randomNAT(), said{Idea: Plain, Volley: Guess}, said{Idea: Plain, Volley: Spread, TTL: 2}, 0},
		{"random, not poisoned", randomNAT(), edited(silentNAT(), func(r *proto.NATReport) { r.Poisoned = proto.TruthNo }), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"random, poisoned", randomNAT(), poisonedNAT(), said{Idea: Plain, Late: true, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"random and proxied, poisoned", edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes }), poisonedNAT(),
			said{Idea: Follower, Late: true, Volley: Spread}, said{Idea: Plain, Volley: Guess}, 0},
		{"block, silent", blockNAT(2048, 2559), silentNAT(), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"random and strict, steady", edited(randomNAT(), func(r *proto.NATReport) { r.Crossing = proto.AnswerReset }), steadyNAT(),
			said{Idea: Plain, Volley: Spread}, said{Idea: Plain, Volley: Guess, TTL: 2}, 0},
		{"random, strict", randomNAT(), strictNAT(proto.AnswerDropped), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},
		{"random, strict with RST", randomNAT(), strictNAT(proto.AnswerReset), said{Idea: Plain, Volley: Spread, TTL: 2}, said{Idea: Plain, Volley: Guess}, 0},

		{"blocked by refusals, RST", blockingNAT(), resetNAT(), said{Idea: Opener, Quiet: 3}, said{Idea: Follower, Late: true}, 0},
		{"RST, blocked by refusals", resetNAT(), blockingNAT(), said{Idea: Follower, Late: true}, said{Idea: Opener, Quiet: 3}, 0},
		{"blocked by refusals, silent", blockingNAT(), silentNAT(), said{Idea: Plain, Quiet: 3}, plain, 0},
		{"both blocked by refusals", blockingNAT(), blockingNAT(), said{Idea: Opener, Quiet: 3}, said{Idea: Follower, Quiet: 3, Late: true}, 0},
		{"poisoned, steady", poisonedNAT(), steadyNAT(), said{Idea: Follower, Late: true}, said{Idea: Opener, Quiet: 2}, 0},
		{"steady, poisoned", steadyNAT(), poisonedNAT(), said{Idea: Opener, Quiet: 2}, said{Idea: Follower, Late: true}, 0},
		{"strict, steady", strictNAT(proto.AnswerDropped), steadyNAT(), plain, plain, 0},
		{"strict with RST, steady", strictNAT(proto.AnswerReset), steadyNAT(), said{Idea: Follower, Late: true}, said{Idea: Opener, Quiet: 2}, 0},

		{"strict, strict", strictNAT(proto.AnswerDropped), strictNAT(proto.AnswerReset), plain, plain, BothStrict},
		{"strict, strict and open", strictNAT(proto.AnswerDropped), edited(strictNAT(proto.AnswerReset), func(r *proto.NATReport) { r.Filtering = proto.FilteringEndpointIndependent }), plain, plain, 0},
		{"random, random", randomNAT(), randomNAT(), plain, plain, BothUnpredictable},
		{"random, sequential", randomNAT(), sequentialNAT(1), plain, plain, BothUnpredictable},
		{"block, block", blockNAT(2048, 2559), blockNAT(2048, 2559), plain, plain, BothUnpredictable},
		{"random, changing who knows how", randomNAT(), changingNAT(0), plain, plain, 0},
		{"random, random and open", randomNAT(), edited(randomNAT(), func(r *proto.NATReport) { r.Filtering = proto.FilteringEndpointIndependent }), plain, plain, 0},
		{"proxied, proxied", proxiedNAT(), proxiedNAT(), plain, plain, BothProxied},
		{"proxied, steady", proxiedNAT(), steadyNAT(), plain, plain, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := reports(transcript(obsA, obsB, 20_000, 20_000), tt.a, tt.b)
			p, err := MakePlan(&tr)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, &tr, p)
			if got := saidOf(p, proto.Initiator); got != tt.i {
				t.Errorf("the initiator: %+v, want %+v", got, tt.i)
			}
			if got := saidOf(p, proto.Responder); got != tt.r {
				t.Errorf("the responder: %+v, want %+v", got, tt.r)
			}
			if p.Hopeless != tt.hopeless {
				t.Errorf("hopeless: %v, want %v", p.Hopeless, tt.hopeless)
			}
			checkWithoutNAT(t, tr)
		})
	}
}

// checkWithoutNAT checks the plans of parties that say they have no NAT, whatever their
// reports say.
func checkWithoutNAT(t *testing.T, tr proto.Transcript) {
	t.Helper()
	for _, lists := range [][2][]proto.Candidate{
		{{host(obsA, 1)}, nil}, {nil, {host(obsB, 1)}}, {{host(obsA, 1)}, {host(obsB, 1)}},
		{{host(obsA, 1)}, {host("10.0.0.1:5000", 1)}}, {{host("192.168.1.1:4000", 1)}, {host(obsB, 1)}},
	} {
		own := with(tr, lists[0], lists[1])
		p, err := MakePlan(&own)
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, &own, p)
	}
}

// The ladder costs the plain pairs nothing: not one of a plan's times changes, and what
// is dialled between spare ports is dialled besides.
func TestVersion4OfPlainPairsIsVersion3(t *testing.T) {
	for name, g := range goldens() {
		for _, nat := range [][2]*proto.NATReport{{nil, nil}, {steadyNAT(), nil}, {nil, silentNAT()}, {steadyNAT(), silentNAT()}, {steadyNAT(), steadyNAT()}} {
			third, fourth := g.Transcript, g.Transcript
			third.PlanVersion, fourth.PlanVersion = 3, 4
			fourth.Initiator.NAT, fourth.Responder.NAT = nat[0], nat[1]
			p, err := MakePlan(&third)
			if err != nil {
				t.Fatal(err)
			}
			q, err := MakePlan(&fourth)
			if err != nil {
				t.Fatal(err)
			}
			p.Version = 4
			q.InitiatorSpares, q.ResponderSpares = nil, nil
			if diff := cmp.Diff(p, q, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("%s, %v and %v:\n%s", name, nat[0], nat[1], diff)
			}
		}
	}
}

// Where only one side's dials can arrive, that side is heard first, whatever its role.
func TestWhoIsLetInIsHeardFirst(t *testing.T) {
	open := filteringNAT(proto.FilteringEndpointIndependent)
	for _, tt := range []struct {
		a, b  *proto.NATReport
		heard proto.Role
	}{
		{open, randomNAT(), proto.Responder},
		{open, sequentialNAT(1), proto.Responder},
		{randomNAT(), open, proto.Initiator},
		{open, steadyNAT(), proto.Initiator},
		{steadyNAT(), open, proto.Initiator},
		{open, open, proto.Initiator},
	} {
		for _, rtt := range []uint32{4_000, 20_000, 100_000} {
			tr := reports(transcript(obsA, obsB, rtt, rtt), tt.a, tt.b)
			p, err := MakePlan(&tr)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, &tr, p)
			heard, other := p.Steps(tt.heard)[0], p.Steps(tt.heard.Peer())[0]
			if !heard.Deaf || heard.Quiet || other.Deaf || other.Quiet != (p.RTT <= nearRTT) {
				t.Errorf("%v × %v at %d: %+v and %+v", tt.a.Mapping, tt.b.Mapping, p.RTT, heard, other)
			}
		}
	}
}

// Neighbours do not need their NAT, and whoever has other addresses to dial is not
// without hope.
func TestLadderLeavesOtherWaysOpen(t *testing.T) {
	neighbours := reports(lan(1, 1), randomNAT(), randomNAT())
	ipv6 := reports(v6(1, 1), randomNAT(), randomNAT())
	for name, tr := range map[string]proto.Transcript{"neighbours": neighbours, "IPv6": ipv6} {
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		if p.Hopeless != 0 || p.Volley(proto.Initiator) != nil || p.Limit < p.Start+limitMin {
			t.Errorf("%s: hopeless %v, volley %v, limit %d", name, p.Hopeless, p.Volley(proto.Initiator), p.Limit)
		}
	}
}

// What opens nothing must not reach the NAT that it is to spare, which may be the
// second router.
func TestOpenerWithoutANAT(t *testing.T) {
	tr := reports(with(transcript(obsA, obsB, 20_000, 20_000), []proto.Candidate{proto.NewCandidate(netip.MustParseAddrPort(obsA), proto.Host, 0)}, nil),
		&proto.NATReport{Mapping: proto.MappingNone, Hops: 1}, poisonedNAT())
	p, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Initiator[0]; s.Idea != Opener || !s.Quiet || s.TTL != 1 {
		t.Errorf("%+v", s)
	}
}

// Two behind one NAT that keeps them from each other have their local network or
// nothing.
func TestNoHairpin(t *testing.T) {
	hairpin := func(a proto.NATAnswer) *proto.NATReport {
		return edited(steadyNAT(), func(r *proto.NATReport) { r.Hairpin = a })
	}
	for _, test := range []struct {
		a, b      *proto.NATReport
		localOnly bool
	}{
		{hairpin(proto.AnswerDropped), hairpin(proto.AnswerReset), true},
		{hairpin(proto.AnswerDropped), hairpin(proto.AnswerAccepted), false},
		{hairpin(proto.AnswerDropped), hairpin(proto.AnswerUnknown), false},
		{hairpin(proto.AnswerDropped), nil, false},
		{nil, nil, false},
	} {
		tr := reports(lan(1, 1), test.a, test.b)
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		if p.LocalOnly != test.localOnly || p.Hopeless != 0 || p.Limit < p.Start+limitMin {
			t.Errorf("%+v and %+v: local only %v, hopeless %v, limit %d", test.a, test.b, p.LocalOnly, p.Hopeless, p.Limit)
		}
		for _, onLink := range []bool{true, false} {
			r := newRig(t, func(c *Config) {
				c.Plan = p
				c.Admit = func(s Step) error {
					if s.To.Kind == proto.Host && !onLink {
						return errors.New("on none of our networks")
					}
					return nil
				}
			})
			r.pass(time.Second)
			var hopeless *HopelessError
			ends := errors.As(r.ended, &hopeless) && hopeless.Reason == NoHairpin
			if want := test.localOnly && !onLink; ends != want || (r.ended != nil) != want {
				t.Errorf("%+v and %+v, on one link %v: ended with %v", test.a, test.b, onLink, r.ended)
			}
			r.exec.Stop()
		}
	}
	elsewhere := reports(transcript(obsA, obsB, 18_000, 18_000), hairpin(proto.AnswerDropped), hairpin(proto.AnswerDropped))
	if p, err := MakePlan(&elsewhere); err != nil || p.LocalOnly {
		t.Errorf("behind two NATs: %+v, %v", p, err)
	}
}

// What only a guess could connect is hopeless where a side makes none, and both know whose
// word that is; elsewhere the plan is that of plain dials.
func TestNoGuess(t *testing.T) {
	tests := []struct {
		name          string
		a, b          *proto.NATReport
		noneA, noneB  bool
		hopeless      Hopeless
		leftOut       Hopeless
		guesses, more bool // others are dialled, too
	}{
		{name: "both guess", a: randomNAT(), b: silentNAT(), guesses: true},
		{name: "the initiator does not", a: randomNAT(), b: silentNAT(), noneA: true, hopeless: InitiatorNoGuess, leftOut: InitiatorNoGuess},
		{name: "the responder does not", a: randomNAT(), b: silentNAT(), noneB: true, hopeless: ResponderNoGuess, leftOut: ResponderNoGuess},
		{name: "neither does", a: silentNAT(), b: blockNAT(2048, 4095), noneA: true, noneB: true, hopeless: BothNoGuess, leftOut: BothNoGuess},
		{name: "plain dials may do", a: randomNAT(), b: filteringNAT(proto.FilteringUnknown), noneA: true, leftOut: InitiatorNoGuess},
		{name: "plain dials may do, nothing known", b: randomNAT(), noneA: true, leftOut: InitiatorNoGuess},
		{name: "IPv6 may do", a: randomNAT(), b: silentNAT(), noneB: true, leftOut: ResponderNoGuess, more: true},
		{name: "hopeless anyway", a: randomNAT(), b: randomNAT(), noneA: true, hopeless: BothUnpredictable},
		{name: "no guess is needed", a: sequentialNAT(1), b: silentNAT(), noneA: true, noneB: true},
		{name: "one is let in", a: randomNAT(), b: filteringNAT(proto.FilteringEndpointIndependent), noneA: true},
		{name: "one opener is enough", a: randomNAT(), b: filteringNAT(proto.FilteringAddressDependent), noneA: true},
	}
	for _, tt := range tests {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), tt.a, tt.b)
		if tt.more {
			tr = reports(v6(1, 1), tt.a, tt.b)
		}
		tr.Initiator.NoGuess, tr.Responder.NoGuess = tt.noneA, tt.noneB
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, &tr, p)
		guesses := p.InitiatorVolley != nil && p.InitiatorVolley.Guesses()
		if p.Hopeless != tt.hopeless || p.NoGuess != tt.leftOut || guesses != tt.guesses {
			t.Errorf("%s: hopeless %v, left out %v, guesses %v", tt.name, p.Hopeless, p.NoGuess, guesses)
		}
		if soon := p.Limit < p.Start+500_000; soon != (tt.hopeless != 0) {
			t.Errorf("%s: ends after %d µs", tt.name, p.Limit)
		}
		tr.PlanVersion = 3
		old, err := MakePlan(&tr)
		if err != nil || old.Hopeless != 0 || old.NoGuess != 0 {
			t.Errorf("%s, version 3: %+v, %v", tt.name, old, err)
		}
	}
}

// Each side is told whose switch it is, also where plain dials have been made first; and
// nobody is asked for a guess.
func TestNoGuessSaysWhose(t *testing.T) {
	for _, still := range []*proto.NATReport{silentNAT(), filteringNAT(proto.FilteringUnknown)} {
		for _, role := range []proto.Role{proto.Initiator, proto.Responder} {
			tr := reports(transcript(obsA, obsB, 18_000, 18_000), randomNAT(), still)
			tr.Responder.NoGuess = true
			p, err := MakePlan(&tr)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, func(c *Config) {
				c.Plan, c.Role = p, role
				c.AllowGuess = func() error { t.Error("asked for a guess"); return nil }
			})
			r.pass(13 * time.Second)
			var hopeless *HopelessError
			if !errors.As(r.ended, &hopeless) || hopeless.Reason != ResponderNoGuess {
				t.Fatalf("%v: ended with %v", role, r.ended)
			}
			want := map[proto.Role]string{proto.Initiator: "the peer has that switched off (--no-guess)", proto.Responder: "this side has that switched off (--no-guess)"}[role]
			if !strings.HasSuffix(hopeless.Short(), want) {
				t.Errorf("%v: %q, want %q", role, hopeless.Short(), want)
			}
			start := map[bool]string{true: "only guessing ports could connect", false: "plain dials have failed, guessing ports might connect"}[p.Hopeless != 0]
			if !strings.HasPrefix(hopeless.Short(), start) {
				t.Errorf("%v: %q, want %q…", role, hopeless.Short(), start)
			}
			r.exec.Stop()
		}
	}
	for h, want := range map[Hopeless]string{InitiatorNoGuess: "the initiator has", BothNoGuess: "both sides have", BothStrict: "both NATs refuse"} {
		if !strings.Contains(h.String(), want) || h != InitiatorNoGuess && h.For(proto.Initiator) != h.String() || h.For(0) != h.String() {
			t.Errorf("%q, %q", h, h.For(proto.Initiator))
		}
	}
}

// A window needs many sockets.
func TestNoVolleyWithOneSocketAtATime(t *testing.T) {
	for _, nat := range []*proto.NATReport{sequentialNAT(1), randomNAT()} {
		for _, swapped := range []bool{false, true} {
			tr := reports(transcript(obsA, obsB, 20_000, 20_000), nat, steadyNAT())
			tr.Initiator.PortMode = proto.PortSequential
			if swapped {
				tr.Initiator.PortMode, tr.Responder.PortMode = tr.Responder.PortMode, tr.Initiator.PortMode
			}
			p, err := MakePlan(&tr)
			if err != nil {
				t.Fatal(err)
			}
			if p.Volley(proto.Initiator) != nil || p.Volley(proto.Responder) != nil {
				t.Errorf("%v: volleys %v and %v", nat.Allocation, p.InitiatorVolley, p.ResponderVolley)
			}
		}
	}
}

// A side that does not listen lets nobody in, whatever its NAT does.
func TestOpenNATOfASideThatDoesNotListen(t *testing.T) {
	tr := reports(transcript(obsA, obsB, 20_000, 20_000), sequentialNAT(1), filteringNAT(proto.FilteringEndpointIndependent))
	tr.Responder.PortMode = proto.PortDialOnly
	p, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Volley(proto.Responder); v == nil || v.Idea != Predicted {
		t.Errorf("volley %+v", v)
	}
}

// NAT.md, 10: the window holds the port in 99 of 100 cases, whatever the mean.
func TestWindowHoldsThePort(t *testing.T) {
	for _, flows := range []uint32{0, 1, 5, 20, 50, 100, 150} {
		for _, age := range []uint32{0, 20_000, 100_000, 200_000} {
			nat := edited(sequentialNAT(1), func(r *proto.NATReport) { r.Background, r.Age = flows*1000, age })
			tr := reports(transcript(obsA, obsB, 20_000, 20_000), nat, steadyNAT())
			p, err := MakePlan(&tr)
			if err != nil {
				t.Fatal(err)
			}
			window := p.Volley(proto.Responder).Rounds[0]
			// What is between the sample and the dial: its age, the statement's way
			// to the server, the responder's consent, and the plan's start.
			mean := float64(flows) * float64(age+10_000+20_000+p.Start) / 1e6
			in := 0.0
			for _, port := range window {
				in += poisson(int(port)-30_001, mean)
			}
			if in < 0.99 {
				t.Errorf("%d flows a second, %d µs: %d ports from %d, which is enough in %.4f", flows, age, len(window), window[0], in)
			}
			if len(window) > 64 || flows == 0 && len(window) > 12 {
				t.Errorf("%d flows a second, %d µs: %d ports", flows, age, len(window))
			}
		}
	}
}

// poisson is the probability of n where the mean is so many.
func poisson(n int, mean float64) float64 {
	if n < 0 {
		return 0
	}
	p := math.Exp(-mean)
	for i := range n {
		p *= mean / float64(i+1)
	}
	return p
}

func TestPortsGoRound(t *testing.T) {
	tests := []struct {
		last  uint16
		delta int16
		n     int
		want  uint16
	}{
		{30_000, 1, 1, 30_001}, {30_000, -2, 3, 29_994}, {65_535, 1, 1, 1024}, {65_534, 2, 1, 1024}, {1024, -1, 1, 65_535}, {1025, -3, 1, 65_534},
		{1024, math.MinInt16, 64, uint16(65535 - (1023-(1024-64*32768))%64512)}, {65_535, math.MaxInt16, 64, uint16(1024 + (65535+64*32767-65536)%64512)},
	}
	for _, tt := range tests {
		o := &outlook{nat: proto.NATReport{Samples: []uint16{1, tt.last}, Delta: tt.delta}}
		if got := o.port(tt.n); got != tt.want {
			t.Errorf("the %d-th after %d by %d is %d, want %d", tt.n, tt.last, tt.delta, got, tt.want)
		}
	}
}

// Whatever others open at both sides before and between the dials, both have one
// pair of dials in common: simulated with NATs that are lists of ports.
func TestCrossedWindowsMeet(t *testing.T) {
	met, runs := 0, 2000
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 0))
		flows := [2]uint32{uint32(rng.IntN(60)), uint32(rng.IntN(60))}
		report := func(n int, delta int16) *proto.NATReport {
			return edited(sequentialNAT(delta), func(r *proto.NATReport) { r.Background = flows[n] * 1000 })
		}
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), report(0, 1), report(1, -3))
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		leaves := func(r proto.Role, n int) map[uint16]uint16 { // from which port each dial leaves
			o, v := outlookOf(&tr, r), p.Volley(r)
			stated := float64(o.nat.Age+o.stated+v.At) / 1e6
			offset := poissonOf(rng, float64(flows[n])*stated)
			from := map[uint16]uint16{}
			for i, to := range v.Rounds[0] {
				from[to] = o.port(i + 1 + offset)
				offset += poissonOf(rng, float64(flows[n])*everyPredicted/1e6)
			}
			return from
		}
		a, b := leaves(proto.Initiator, 0), leaves(proto.Responder, 1)
		for to, from := range a {
			if b[from] == to {
				met++
				break
			}
		}
	}
	if t.Logf("%d of %d meet in the first round", met, runs); met < runs*9/10 {
		t.Error("that is too few")
	}
}

func poissonOf(r *rand.Rand, mean float64) (n int) {
	for at := r.ExpFloat64(); at < mean; at += r.ExpFloat64() {
		n++
	}
	return n
}

func TestGuessedRange(t *testing.T) {
	tests := []struct {
		nat       *proto.NATReport
		low, high uint16
		sockets   uint32
	}{
		{randomNAT(), 1024, 65535, 256},
		{edited(randomNAT(), func(r *proto.NATReport) { r.Low, r.High = 32768, 60999 }), 32768, 60999, 256},
		{blockNAT(2048, 4095), 2048, 4095, 128},
		{blockNAT(2048, 2559), 2048, 2559, 32},
		{blockNAT(7, 7), 7, 7, 16},
		{changingNAT(proto.AllocationBlock), 27952, 32048, 256},
		{edited(changingNAT(proto.AllocationBlock), func(r *proto.NATReport) { r.Samples = []uint16{1500, 65_000} }), 1024, 65535, 256},
		{edited(changingNAT(proto.AllocationBlock), func(r *proto.NATReport) { r.Samples = []uint16{500} }), 500, 2548, 128},
		{edited(changingNAT(proto.AllocationBlock), func(r *proto.NATReport) { r.Samples = nil }), 1024, 65535, 256},
	}
	for _, tt := range tests {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), tt.nat, silentNAT())
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		guess, spread := p.Volley(proto.Responder), p.Volley(proto.Initiator)
		if guess.Low != tt.low || guess.High != tt.high || spread.Sockets != tt.sockets {
			t.Errorf("%+v: ports %d to %d, %d sockets; want %d to %d, %d", tt.nat, guess.Low, guess.High, spread.Sockets, tt.low, tt.high, tt.sockets)
		}
	}
}

func TestHopelessEndsSoon(t *testing.T) {
	tr := reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), randomNAT())
	p, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	if most := 500_000 + 2*p.RTT - 30_000; p.Limit > most { // the introduction took 30 ms
		t.Errorf("ends after %d µs, want at most %d", p.Limit, most)
	}
}

// checkLadder checks that reports, whatever they say, get their sender nothing but
// other times, and volleys within bounds at the address that was observed.
func checkLadder(t testing.TB, tr *proto.Transcript, plain, p *Plan) {
	t.Helper()
	if tr.PlanVersion < 4 || tr.Initiator.NAT == nil && tr.Responder.NAT == nil {
		if diff := cmp.Diff(plain, p, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("reports have changed the plan:\n%s", diff)
		}
		return
	}
	ignored := cmpopts.IgnoreFields(Step{}, "At", "Idea", "Quiet", "TTL", "Deaf")
	for _, r := range []proto.Role{proto.Initiator, proto.Responder} {
		if diff := cmp.Diff(plain.Steps(r), p.Steps(r), cmpopts.EquateComparable(netip.AddrPort{}), ignored); diff != "" {
			t.Errorf("reports change the %v's steps:\n%s", r, diff)
		}
		for _, s := range p.Steps(r) {
			if s.At < p.Start || s.At > p.Limit || s.Idea == 0 || s.TTL >= 16 {
				t.Errorf("step %+v between %d and %d", s, p.Start, p.Limit)
			}
		}
		if v := p.Volley(r); v != nil {
			checkVolley(t, p, v, tr.Party(r.Peer()).Observed)
		}
	}
	if p.Limit > plain.Limit || p.Hopeless != 0 && (p.InitiatorVolley != nil || p.ResponderVolley != nil) {
		t.Errorf("limit %d (plain %d), hopeless %v", p.Limit, plain.Limit, p.Hopeless)
	}
}

func checkVolley(t testing.TB, p *Plan, v *Volley, observed proto.Candidate) {
	t.Helper()
	rate := 1_000_000 / float64(v.Every)
	held := rate * float64(v.Hold) / 1e6
	sockets := map[Idea]uint32{Spread: maxSpread, Guess: maxInWait}
	bounded := v.Sockets <= sockets[v.Idea] && len(v.Rounds) <= maxRounds && v.Every > 0 && v.Hold > 0 &&
		!slices.ContainsFunc(v.Rounds, func(r []uint16) bool { return len(r) > maxWindow || slices.Contains(r, 0) })
	switch {
	case v.To != observed, !bounded, v.At < p.Start, v.TTL >= 16, v.Idea < Predicted, v.Low > v.High:
		t.Errorf("volley %+v", v)
	case v.Guesses() && (rate > guessRate || v.Idea == Guess && held > maxHeld || v.Idea == Guess && v.Low == 0 || len(v.Rounds) > 0):
		t.Errorf("%.0f SYNs a second, %.0f sockets: %+v", rate, held, v)
	case !v.Guesses() && (len(v.Rounds) == 0 || v.Sockets > 0):
		t.Errorf("volley %+v", v)
	}
	for _, round := range v.Rounds {
		sorted := slices.Sorted(slices.Values(round))
		if len(slices.Compact(sorted)) != len(round) || len(round) == 0 {
			t.Errorf("round %v", round)
		}
	}
}

func TestIdeasAndReasonsAreWords(t *testing.T) {
	for i := range Spare + 1 {
		b, err := json.Marshal(i)
		var back Idea
		if err2 := json.Unmarshal(b, &back); err != nil || err2 != nil || back != i {
			t.Errorf("%v: %s, %v, %v, %v", i, b, err, back, err2)
		}
	}
	for h := range BothNoGuess + 1 {
		b, err := json.Marshal(h)
		var back Hopeless
		if err2 := json.Unmarshal(b, &back); err != nil || err2 != nil || back != h {
			t.Errorf("%v: %s, %v, %v, %v", h, b, err, back, err2)
		}
	}
	if new(Idea).UnmarshalText([]byte("no such")) == nil || new(Hopeless).UnmarshalText([]byte("no such")) == nil {
		t.Error("any word is known")
	}
	if Idea(99).String() != "idea(99)" || Hopeless(99).String() != "reason 99" {
		t.Error("unknown values have no names")
	}
}
