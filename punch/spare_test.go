package punch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// spared is a transcript of version 4, of two sides whose NATs leave ports as they are.
func spared(rtt uint32) proto.Transcript {
	return reports(with(transcript(obsA, obsB, rtt, rtt), hosts("192.168.1.1%d:4000", 1), hosts("10.0.0.1%d:5000", 1)), nil, nil)
}

// checkSpares checks that spare ports are dialled late, at the address that was
// observed, and by both sides alike.
func checkSpares(t testing.TB, tr *proto.Transcript, p *Plan) {
	t.Helper()
	if len(p.InitiatorSpares)+len(p.ResponderSpares) > 0 && (p.Version < 4 || p.Hopeless != 0 || p.InitiatorVolley != nil || p.ResponderVolley != nil) {
		t.Errorf("spare ports: %+v", p)
	}
	if len(p.InitiatorSpares) == 0 || len(p.ResponderSpares) == 0 {
		checkAlone(t, p, p.InitiatorSpares, &tr.Responder)
		checkAlone(t, p, p.ResponderSpares, &tr.Initiator)
		return
	}
	if len(p.InitiatorSpares) != len(p.ResponderSpares) || len(p.InitiatorSpares) > spareTurns {
		t.Fatalf("%d and %d spares", len(p.InitiatorSpares), len(p.ResponderSpares))
	}
	for n, i := range p.InitiatorSpares {
		r := p.ResponderSpares[n]
		if i.To.Addr.Addr() != tr.Responder.Observed.Addr.Addr() || r.To.Addr.Addr() != tr.Initiator.Observed.Addr.Addr() {
			t.Errorf("%v and %v", i.To, r.To)
		}
		if i.From == 0 && r.From == 0 || portOf(i.From, tr.Initiator) != r.To.Addr.Port() || portOf(r.From, tr.Responder) != i.To.Addr.Port() {
			t.Errorf("from %d to %v and from %d to %v", i.From, i.To, r.From, r.To)
		}
		for _, s := range []Step{i, r} {
			if s.Idea != Spare || s.At < p.Start+uint32(n+1)*limitMin/(spareTurns+1) || s.At >= p.Limit || s.To.Kind != proto.Observed || s.From != 0 && s.From < firstSpare {
				t.Errorf("turn %d: %+v", n, s)
			}
		}
		if i.Quiet == r.Quiet || i.Deaf && i.Quiet || r.Deaf && r.Quiet {
			t.Errorf("turn %d: %+v and %+v", n, i, r)
		}
	}
}

// checkAlone checks the spare ports of a side that dials alone: at the one port of a party
// that lets everybody in, or everybody at the address that it dials.
func checkAlone(t testing.TB, p *Plan, list []Step, to *proto.Party) {
	t.Helper()
	if len(list) == 0 {
		return
	}
	if len(list) != spareTurns || to.NAT == nil || to.NAT.Filtering != proto.FilteringEndpointIndependent && to.NAT.Filtering != proto.FilteringAddressDependent || !to.PortMode.Listens() {
		t.Errorf("dialling alone %+v: %+v", to, list)
	}
	for n, s := range list {
		if s.To != to.Observed || s.Idea != Spare || s.From < firstSpare || s.Quiet || !s.Deaf || s.At < p.Start+uint32(n+1)*limitMin/(spareTurns+1) || s.At >= p.Limit {
			t.Errorf("turn %d: %+v", n, s)
		}
	}
}

func portOf(spare uint16, p proto.Party) uint16 {
	if spare != 0 {
		return spare
	}
	return p.Observed.Addr.Port()
}

func TestWhoHasSparePorts(t *testing.T) {
	preserving := func() *proto.NATReport { return steadyNAT() }
	other := edited(steadyNAT(), func(r *proto.NATReport) { r.Allocation = proto.AllocationRandom }) // one port for all, but another one
	open := filteringNAT(proto.FilteringEndpointIndependent)
	says := func(a, b *proto.NATReport) func(*proto.Transcript) {
		return func(tr *proto.Transcript) { tr.Initiator.NAT, tr.Responder.NAT = a, b }
	}
	ports := func(a, b string) func(*proto.Transcript) {
		return func(tr *proto.Transcript) {
			tr.Initiator.Candidates, tr.Responder.Candidates = []proto.Candidate{host(a, 1)}, []proto.Candidate{host(b, 1)}
		}
	}
	tests := []struct {
		name string
		edit func(*proto.Transcript)
		a, b bool // have one
	}{
		{"the local ports are seen", func(*proto.Transcript) {}, true, true},
		{"another port is seen", ports("192.168.1.1:4001", "10.0.0.1:5000"), false, true},
		{"other ports are seen", ports("192.168.1.1:4001", "10.0.0.1:5001"), false, false},
		{"no port is stated", func(tr *proto.Transcript) { tr.Initiator.Candidates, tr.Responder.Candidates = nil, nil }, false, false},
		{"no NAT", ports(obsA, "10.0.0.1:5001"), true, false},
		{"no NAT, and a report of other ports", func(tr *proto.Transcript) {
			ports(obsA, "10.0.0.1:5000")(tr)
			says(randomNAT(), nil)(tr)
		}, false, false},
		{"no NAT, and a report of other ports in sequence", func(tr *proto.Transcript) {
			ports(obsA, obsB)(tr)
			says(sequentialNAT(1), steadyNAT())(tr)
		}, false, false},
		{"measured to preserve, although another port is seen", func(tr *proto.Transcript) {
			ports("192.168.1.1:4001", "10.0.0.1:5001")(tr)
			says(preserving(), nil)(tr)
		}, true, false},
		{"measured not to preserve, although the local port is seen", says(other, nil), false, true},
		{"one socket at a time and another port", func(tr *proto.Transcript) {
			ports("192.168.1.1:4001", "10.0.0.1:5000")(tr)
			tr.Initiator.PortMode = proto.PortSequential
		}, false, false},
		{"one socket at a time", func(tr *proto.Transcript) { tr.Initiator.PortMode = proto.PortSequential }, true, true},
		{"another port for everybody", says(sequentialNAT(1), preserving()), false, false},
		{"another port for everybody, and who lets everybody in", says(sequentialNAT(1), open), true, false},
		{"who lets everybody in, and ports at random", says(open, randomNAT()), false, true},
		{"who lets everybody in, and one socket at a time", func(tr *proto.Transcript) {
			says(open, randomNAT())(tr)
			tr.Responder.PortMode = proto.PortSequential
		}, false, true},
		{"who would let everybody in, and does not listen", func(tr *proto.Transcript) {
			says(open, sequentialNAT(1))(tr)
			tr.Initiator.PortMode = proto.PortDialOnly
		}, false, false},
		{"who lets everybody in, and preserves", says(open, preserving()), true, true},
		{"neither preserves, and who lets everybody in", says(other, edited(other, func(r *proto.NATReport) { r.Filtering = proto.FilteringEndpointIndependent })), true, false},
		{"hopeless", says(strictNAT(proto.AnswerDropped), strictNAT(proto.AnswerDropped)), false, false},
		{"one network", func(tr *proto.Transcript) { *tr = reports(lan(1, 1), nil, nil) }, false, false},
		{"version 3", func(tr *proto.Transcript) { tr.PlanVersion = 3 }, false, false},
	}
	for _, tt := range tests {
		tr := spared(20_000)
		tt.edit(&tr)
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, &tr, p)
		has := func(list []Step) bool { return len(list) > 0 && list[0].From != 0 }
		if a, b := has(p.InitiatorSpares), has(p.ResponderSpares); a != tt.a || b != tt.b {
			t.Errorf("%s: %v and %v, want %v and %v", tt.name, a, b, tt.a, tt.b)
		}
	}
}

// Each introduction has ports of its own, each turn and side as well, and never the
// one that everybody knows.
func TestSparePortsAreOthers(t *testing.T) {
	seen := map[uint16]int{}
	for n := range 2000 {
		tr := spared(20_000)
		tr.Introduction = proto.Token{byte(n), byte(n >> 8), 1}
		tr.Initiator.Observed = candidate(proto.Observed, "198.51.100.1:60000", 0)
		tr.Initiator.Candidates = hosts("192.168.1.1%d:60000", 1)
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		checkSpares(t, &tr, p)
		for _, s := range slices.Concat(p.InitiatorSpares, p.ResponderSpares) {
			if seen[s.From]++; s.To.Addr.Port() == 60000 {
				t.Errorf("introduction %d: %v", n, s.To)
			}
		}
	}
	if len(seen) < 6000 {
		t.Errorf("12,000 times, only %d ports", len(seen))
	}
}

// newSpareRig is a side of a plan with spare ports, whose first dial has no answer.
func newSpareRig(t *testing.T, edit func(*Config)) *rig {
	tr := spared(20_000)
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) {
		c.Plan, c.Quiet, c.Zero = plan, true, epoch.Add(-micros(plan.Start))
		c.Trace = nil
		if edit != nil {
			edit(c)
		}
	})
	t.Cleanup(r.exec.Stop)
	return r
}

// spare is the last socket on a spare port.
func (r *rig) spare() *fakeSocket {
	for _, s := range slices.Backward(r.socks) {
		if s.from != 0 {
			return s
		}
	}
	r.t.Fatal("no spare port is dialled")
	return nil
}

// ways are the connecting sockets, as "from to ttl", the one port first.
func (r *rig) ways() (list []string) {
	for _, s := range r.socks {
		if s.connecting() {
			list = append(list, fmt.Sprintf("%d %v ttl %d", s.from, s.to, s.ttl))
		}
	}
	slices.Sort(list)
	return list
}

func (r *rig) wantWays(list ...string) {
	r.t.Helper()
	if got := r.ways(); !slices.Equal(got, list) {
		r.t.Errorf("%v: dialling %q, want %q", r.now.Sub(epoch), got, list)
	}
}

// way is a spare step as ways has it.
func (r *rig) way(turn, ttl int) string {
	s := r.cfg.Plan.Spares(r.cfg.Role)[turn]
	return fmt.Sprintf("%d %v ttl %d", s.From, s.To.Addr, ttl)
}

// At each quarter of the plan one side is quiet and the other deaf, then the other
// way round; the one port is dialled as ever.
func TestSpareTurns(t *testing.T) {
	for role, ttl := range map[proto.Role][3]int{proto.Initiator: {deafTTL, quietTTL, deafTTL}, proto.Responder: {quietTTL, deafTTL, quietTTL}} {
		r := newSpareRig(t, func(c *Config) { c.Role = role })
		r.pass(3*time.Second - time.Millisecond)
		if got := r.ways(); len(got) != 1 || !strings.HasPrefix(got[0], "0 ") {
			t.Fatalf("%v: before, dialling %q", role, got)
		}
		for turn := range 3 {
			r.pass(100 * time.Millisecond)
			one := r.ways()
			r.wantWays(one[0], r.way(turn, ttl[turn]))
			r.pass(3*time.Second - 100*time.Millisecond)
		}
		if r.pass(100 * time.Millisecond); r.ended == nil || strings.Count(r.ended.Error(), "(spare)") != 3 {
			t.Errorf("%v: ended with %v", role, r.ended)
		}
	}
}

// Where only one side dials, it is heard, and holds its dial until the kernel has repeated
// the SYN: what is given up before leaves a half-open connection at the other side.
func TestSpareTurnsTowardsAnOpenNAT(t *testing.T) {
	tr := spared(20_000)
	tr.Initiator.NAT, tr.Responder.NAT = filteringNAT(proto.FilteringEndpointIndependent), randomNAT()
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	for role, dials := range map[proto.Role]bool{proto.Initiator: false, proto.Responder: true} {
		r := newSpareRig(t, func(c *Config) { c.Plan, c.Role = plan, role })
		r.pass(3 * time.Second)
		for turn := range 3 {
			r.pass(100 * time.Millisecond)
			if want := r.ways()[:1]; dials {
				r.wantWays(want[0], r.way(turn, deafTTL))
				r.pass(time.Second)
				r.wantWays(r.ways()[0], r.way(turn, deafTTL))
				r.pass(-100*time.Millisecond + 2*time.Second)
			} else if r.wantWays(want...); true {
				r.pass(2900 * time.Millisecond)
			}
		}
	}
}

// A quiet dial between spare ports is heard before the kernel would repeat it.
func TestSpareIsHeardInTheEnd(t *testing.T) {
	r := newSpareRig(t, func(c *Config) { c.Role = proto.Responder })
	r.pass(3*time.Second + quietLong - time.Millisecond)
	r.wantWays(r.ways()[0], r.way(0, quietTTL))
	r.pass(2 * time.Millisecond)
	r.wantWays(r.ways()[0], r.way(0, 0))
}

// What connects between spare ports is judged like anything else, and then nothing is
// dialled any more, nor at the next turn; but again if it was of no use.
func TestSpareConnects(t *testing.T) {
	r := newSpareRig(t, nil)
	r.pass(3100 * time.Millisecond)
	s := r.spare()
	s.connect()
	s.h.Received(proof())
	if len(r.won) != 1 || r.won[0] != s || len(s.sent) != 1 {
		t.Fatalf("won %v", r.won)
	}
	n := len(r.socks)
	r.pass(4 * time.Second)
	if len(r.socks) != n {
		t.Errorf("%d dials beside a proven connection", len(r.socks)-n)
	}
	s.closed = true
	r.exec.GiveUp()
	r.pass(2500 * time.Millisecond)
	if got := r.ways(); len(got) != 2 || got[1] != r.way(2, deafTTL) {
		t.Errorf("afterwards, dialling %q", got)
	}
}

// If somebody else on this host has the port, the step is left out and an event says
// so; the next turn has another port.
func TestSparePortIsTaken(t *testing.T) {
	var events []Event
	r := newSpareRig(t, func(c *Config) { c.Trace = func(e Event) { events = append(events, e) } })
	r.pass(3100 * time.Millisecond)
	s := r.spare()
	s.fail(fmt.Errorf("port %d: %w", s.from, ErrTupleInUse))
	if e := events[len(events)-1]; e.Kind != Skipped || e.Idea != Spare || !errors.Is(e.Err, ErrTupleInUse) {
		t.Errorf("event %v", e)
	}
	n := len(r.socks)
	r.pass(200 * time.Millisecond)
	for _, other := range r.socks[n:] {
		if other.from != 0 {
			t.Errorf("dialled from port %d", other.from)
		}
	}
	r.pass(2800 * time.Millisecond)
	r.wantWays(r.ways()[0], r.way(1, quietTTL))
}

// Somebody else answers at the observed endpoint: nothing more goes to that address.
func TestNoSpareTowardsAStranger(t *testing.T) {
	r := newSpareRig(t, nil)
	r.pass(time.Millisecond)
	s := r.last(1)
	s.connect()
	s.h.Received(make([]byte, proto.PreambleSize))
	r.pass(10 * time.Second)
	r.last(1)
}

// A program that stood still across several turns takes the last one of them, once
// the kernel has been heard.
func TestSpareAfterStandingStill(t *testing.T) {
	r := newSpareRig(t, nil)
	r.pass(time.Second)
	r.freeze(6 * time.Second)
	r.pass(grace / 2)
	for _, s := range r.socks {
		if s.from != 0 {
			t.Errorf("dialled from port %d at once", s.from)
		}
	}
	r.pass(100 * time.Millisecond)
	if got := r.ways(); len(got) != 2 || got[1] != r.way(1, 0) {
		t.Errorf("dialling %q, want %q besides", got, r.way(1, 0))
	}
}

// Two at one address, both refused at once, keep to the pace of one.
func TestSparesKeepToThePace(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		tr := spared(1_000)
		plan, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		r := newSpareRig(t, func(c *Config) { c.Plan, c.Quiet = plan, quiet })
		for r.now.Before(epoch.Add(11*time.Second)) && r.ended == nil {
			for _, s := range r.socks {
				if s.connecting() && s.ttl != quietTTL && r.now.Sub(s.at) >= time.Millisecond {
					s.fail(ErrRefused)
				}
			}
			r.pass(time.Millisecond)
		}
		for i := 100; i < len(r.socks); i++ {
			if from := r.socks[i-100].at; r.socks[i].at.Sub(from) < time.Second {
				t.Fatalf("quiet %t: more than 100 dials in the second from %v", quiet, from.Sub(epoch))
			}
		}
		if r.spare(); len(r.socks) < 300 {
			t.Errorf("quiet %t: %d dials", quiet, len(r.socks))
		}
	}
}

// One socket at a time is what the one port can do: a spare one is beside it.
func TestSpareOfASequentialSide(t *testing.T) {
	tr := reports(with(v6(1, 1), append(v6(1, 1).Initiator.Candidates, host("192.168.1.1:4000", 0)), append(v6(1, 1).Responder.Candidates, host("10.0.0.1:5000", 0))), nil, nil)
	tr.Initiator.PortMode = proto.PortSequential
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) {
		c.Plan, c.Zero, c.Quiet, c.Deaf, c.Sequential, c.Trace = plan, epoch.Add(-micros(plan.Start)), true, true, true, nil
	})
	t.Cleanup(r.exec.Stop)
	r.pass(3500 * time.Millisecond)
	r.wantWays(r.ways()[0], r.way(0, deafTTL))
	if one := r.ways()[0]; !strings.HasPrefix(one, "0 192.0.2.1:5000") {
		t.Errorf("the one port dials %s", one)
	}
}
