package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// anyMoment is a harsher case than Generate's: every pair of NATs and of modes has
// its turn, and each side stands still for up to 700 ms from any moment on of those in
// which the two meet.
func anyMoment(seed uint64, version uint32) Case {
	c := Generate(seed + 1)
	r := source(seed, 98)
	within := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	modes, nats := uint64(len(portModes)), uint64(len(refusing))
	for _, s := range []*Side{&c.A, &c.B} {
		s.NAT, _ = ProfileByName(refusing[seed%nats])
		seed /= nats
		s.FreezeAt, s.Freeze = within(2*c.RTT+100*time.Millisecond), within(700*time.Millisecond)
	}
	for _, s := range []*Side{&c.A, &c.B} {
		s.Mode = portModes[seed%modes]
		seed /= modes
	}
	c.Version = version
	return c
}

// What stands still with a refused dial spoils two endpoints, for two minutes where
// the NAT is netfilter. Spare ports are the cure wherever there are any; a few cases are left
// of a system that cannot dial quietly against a NAT that forgets its entries at ICMP errors.
func TestStandingStillAtAnyMoment(t *testing.T) {
	n := cases()
	before, _ := standStill(t, n, 3)
	after, loud := standStill(t, n, proto.PlanVersion)
	if after > 0 || loud > int(n/10000)+1 {
		t.Errorf("%d of %d, and %d with a system that cannot dial quietly, are not direct in spite of spare ports", after, n, loud)
	}
	if before == 0 {
		t.Error("version 3 does not show what is amiss")
	}
}

// standStill returns how many of the cases that could have spare ports were not
// direct, and counts those with a system that cannot dial quietly apart.
func standStill(t *testing.T, n uint64, version uint32) (spoilt, loud int) {
	list := make([]Case, n)
	for i := range list {
		list[i] = anyMoment(uint64(i), version)
	}
	results := runEach(list)
	_, failed := direct(t, results)
	without := 0
	for _, seed := range failed {
		switch c := list[seed-1]; {
		case !spareable(c):
			without++
		case !quiet(c):
			loud++
		default:
			spoilt++
		}
	}
	t.Logf("version %d: of %d not direct: %d, %d that cannot be quiet, %d without a spare port at either side; %s",
		version, n, spoilt, loud, without, times(results))
	return spoilt, loud
}

// spareable reports whether the plan has spare ports: a NAT that gives the one port
// another number is not known to preserve others, and then the one port needs
// two sockets.
func spareable(c Case) bool {
	sequential := func(s Side) bool { return s.Taken && s.Mode == proto.PortSequential }
	return !(c.A.Taken && c.B.Taken) && !sequential(c.A) && !sequential(c.B)
}

// A program that was killed at the wrong moment leaves a connection that one NAT
// takes to go on and the other one for closed: for ten seconds neither takes the
// other side's SYN. Nobody waits for that with a spare port.
func TestSpoiltByARestart(t *testing.T) {
	for _, mode := range portModes {
		for _, version := range []uint32{3, proto.PlanVersion} {
			list := make([]Case, 200)
			for i := range list {
				c := successorCase(t, uint64(i), true)
				c.A.Ended, c.B.Ended, c.Version = true, true, version
				c.A.Mode, c.B.Mode = mode, mode
				list[i] = c
			}
			soon := 0
			results := runEach(list)
			for _, r := range results {
				if r.Direct && r.Elapsed < 3500*time.Millisecond {
					soon++
				}
			}
			n, _ := direct(t, results)
			t.Logf("%v, version %d: %d of %d direct, %d within 3.5 s, %s", mode, version, n, len(results), soon, times(results))
			if want := map[bool]int{true: len(results)}[version > 3]; soon != want {
				t.Errorf("%v, version %d: %d within 3.5 s, want %d", mode, version, soon, want)
			}
		}
	}
}

// The spare ports are a last resort: where nobody stands still, all have connected
// before they are dialled, also with a loss of 2 %.
func TestSparesAreLaterThanTheOthers(t *testing.T) {
	for _, rtt := range []time.Duration{2 * time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond} {
		var list []Case
		for _, a := range refusing {
			for _, b := range refusing {
				for seed := range cases() / 560 {
					list = append(list, Cell{A: profile(t, a), B: profile(t, b), RTT: rtt, Loss: 0.02}.Case(seed))
				}
			}
		}
		results, dialled := runEvents(list), 0
		for _, r := range results {
			if slices.ContainsFunc(slices.Concat(r.A.Events, r.B.Events), func(e punch.Event) bool { return e.Idea == punch.Spare }) {
				dialled++
			}
		}
		if n, failed := direct(t, results); dialled > 0 || n < len(results) {
			t.Errorf("%v: not direct %v, %d of %d with spare ports", rtt, failed, dialled, len(results))
		}
		t.Logf("%v: %d of %d with spare ports; %s", rtt, dialled, len(results), times(results))
	}
}

// A dial that is given up before its answer has come, because packets were lost, leaves a
// half-open connection at the other side. That answers the next SYN with an ACK (RFC 5961,
// 4.2), which a NAT that minds sequence numbers drops, so that nothing passes between those
// two endpoints any more. Where a side lets everybody in, or all ports of an address, the other one has spare ports also
// without a NAT that preserves them.
func TestLostAnswerBehindAStrictNAT(t *testing.T) {
	for _, name := range []string{"fullcone", "public", "cgn-eim", "rfc5382"} {
		for seed := range uint64(4) {
			r := Run(lostAnswer(profile(t, name), profile(t, "pfsense"), seed))
			strict := r.A
			if seed%2 == 0 {
				strict = r.B
			}
			spare := slices.ContainsFunc(strict.Events, func(e punch.Event) bool { return e.Idea == punch.Spare && e.Kind == punch.Proven })
			if !r.Direct || !spare || r.Elapsed > 3500*time.Millisecond {
				t.Errorf("%s: direct %v after %v, by a spare port %v\n%s", name, r.Direct, r.Elapsed, spare, r.Explain())
			}
		}
	}
}

// lostAnswer has the strict side's first SYN lost, and the answer to the one that the kernel
// repeats after a second: the next answer would come after the dial has been given up.
func lostAnswer(open, strict Profile, seed uint64) Case {
	c := Cell{A: open, B: strict, RTT: 40 * time.Millisecond, Told: true}
	from := outsideB
	if seed%2 == 1 {
		c.A, c.B = strict, open
		from = outsideA
	}
	made := c.Case(seed + 1)
	syns, answers := 0, 0
	made.Cut = func(s segment) bool {
		switch {
		case s.opens() && s.src.Addr() == from:
			syns++
			return syns == 1
		case s.flags == syn|ack && s.dst.Addr() == from:
			answers++
			return answers == 1
		}
		return false
	}
	return made
}

// Whatever is lost by chance, such a pair connects.
func TestLossBehindAStrictNAT(t *testing.T) {
	var list []Case
	for _, name := range []string{"fullcone", "public", "cgn-eim", "rfc5382"} {
		a, b := profile(t, name), profile(t, "pfsense")
		for seed := range cases() / 14 {
			c := Cell{A: a, B: b, RTT: 40 * time.Millisecond, Loss: 0.02, Told: true}
			if seed%2 == 1 {
				c.A, c.B = b, a
			}
			list = append(list, c.Case(seed+1))
		}
	}
	results, late := runEach(list), 0
	for _, r := range results {
		if r.Elapsed > 3*time.Second {
			late++
		}
	}
	n, failed := direct(t, results)
	if t.Logf("%d of %d direct, %d after 3 s; %s", n, len(list), late, times(results)); n < len(list) {
		t.Errorf("not direct: %v", failed)
	}
}

// Where a NAT does not preserve ports, its side stays with the one port.
func TestOneSpareIsEnough(t *testing.T) {
	for _, taken := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		c := successorCase(t, 1, true)
		c.A.Ended, c.B.Ended = true, true
		c.A.Taken, c.B.Taken = taken[0], taken[1]
		r := Run(c)
		if soon := r.Direct && r.Elapsed < 3500*time.Millisecond; soon != (taken != [2]bool{true, true}) {
			t.Errorf("port taken %v: direct %v after %v", taken, r.Direct, r.Elapsed)
		}
	}
}
