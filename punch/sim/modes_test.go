package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

var portModes = []proto.PortMode{proto.PortShared, proto.PortDialOnly, proto.PortSequential}

// modeCases returns cases of two modes, made of the generated ones.
func modeCases(a, b proto.PortMode, n uint64, change func(*Case)) []Case {
	list := make([]Case, n)
	for i := range list {
		c := Generate(uint64(i) + 1)
		c.A.Mode, c.B.Mode = a, b
		change(&c)
		list[i] = c
	}
	return list
}

// direct counts the results that are, and fails the test if a rule is broken.
func direct(t *testing.T, results []Result) (n int, failed []uint64) {
	t.Helper()
	for _, r := range results {
		if len(r.Problems) > 0 {
			t.Errorf("seed %d: %v: %q", r.Case.Seed, r.Case, r.Problems)
		}
		if r.Direct {
			n++
		} else {
			failed = append(failed, r.Case.Seed)
		}
	}
	return n, failed
}

// times describes how long it took from when both sides had dialled and ran.
func times(results []Result) string {
	var list []time.Duration
	for _, r := range results {
		if r.Direct {
			list = append(list, r.Elapsed-ready(r))
		}
	}
	if slices.Sort(list); len(list) == 0 {
		return "none"
	}
	at := func(q float64) time.Duration { return list[int(q*float64(len(list)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("median %v p90 %v p99 %v max %v", at(.5), at(.9), at(.99), at(1))
}

// Between any two of the NATs that are to be traversed the modes make no
// difference: with one address to dial, a NAT stands where the listener would.
func TestModesBehindNATs(t *testing.T) {
	for _, a := range portModes {
		for _, b := range portModes {
			results := runEach(modeCases(a, b, cases()/28, func(*Case) {}))
			stunned := 0
			for _, r := range results {
				if err := wrong(r); err != nil {
					t.Errorf("%v × %v, seed %d: %v: %v", a, b, r.Case.Seed, r.Case, err)
				}
				if !r.Direct {
					stunned++ // or trapped without quiet dials; wrong has seen to that
				}
			}
			// The race detector leaves few cases, of which one may be excused.
			if t.Logf("%v × %v: %d of %d excused; %s", a, b, stunned, len(results), times(results)); stunned > max(1, len(results)/250) {
				t.Errorf("%v × %v: %d of %d are too many excuses", a, b, stunned, len(results))
			}
		}
	}
}

// Without a NAT and without a router between them, nothing but the two hosts'
// own refusals is in the way: what dial-only makes of that depends on the round
// trip and on how far the clocks are apart. The rounds of plan version 2 are for
// that; version 1 is what dialling at any time comes to.
func TestDialOnlyNear(t *testing.T) {
	tests := []struct {
		rtt    time.Duration
		offset time.Duration // between what the two take for the plan's time 0, at most
		within time.Duration // 99 of 100
	}{
		{50 * time.Microsecond, 8 * time.Millisecond, 2 * time.Second},
		{100 * time.Microsecond, 8 * time.Millisecond, 700 * time.Millisecond},
		{200 * time.Microsecond, 8 * time.Millisecond, 500 * time.Millisecond},
		{200 * time.Microsecond, 40 * time.Millisecond, 2 * time.Second},
		{500 * time.Microsecond, 8 * time.Millisecond, 300 * time.Millisecond},
		{500 * time.Microsecond, 40 * time.Millisecond, time.Second},
	}
	for _, tt := range tests {
		for _, quiet := range []bool{true, false} {
			for _, version := range []uint32{2, 1} {
				results := runEach(near(tt.rtt, tt.offset, quiet, version))
				n, failed := direct(t, results)
				slow := 0
				for _, r := range results {
					if r.Elapsed-ready(r) > tt.within+quietDelay(quiet) {
						slow++
					}
				}
				t.Logf("version %d, round trip %v, clocks %v apart, quiet %t: %d of %d direct, %s", version, tt.rtt, tt.offset, quiet, n, len(results), times(results))
				if version == 2 && (len(failed) > 0 || slow > len(results)/100) {
					t.Errorf("that is not all within %v: failed %v, %d slow", tt.within, failed, slow)
				}
			}
		}
	}
}

// quietDelay is what a first quiet dial may cost where its SYN does reach the
// peer's host, but crosses the peer's own quiet one.
func quietDelay(quiet bool) time.Duration {
	if quiet {
		return 950 * time.Millisecond
	}
	return 0
}

// near returns cases of two hosts on one network that cannot listen.
func near(rtt, offset time.Duration, quiet bool, version uint32) []Case {
	list := make([]Case, cases()/100)
	for i := range list {
		c := Case{Seed: uint64(i) + 1, RTT: rtt, Jitter: rtt / 4, Near: true, Version: version}
		r := source(c.Seed, 99)
		for _, s := range []*Side{&c.A, &c.B} {
			s.Mode, s.Quiet, s.Read = proto.PortDialOnly, quiet, true
			s.Measured = 30 * time.Millisecond
			s.Server = s.Measured + time.Duration(r.Int64N(int64(offset)))
		}
		list[i] = c
	}
	return list
}

// Two hosts behind one NAT that does not hairpin, with up to two idle addresses
// each, 50 µs to 2 ms from each other: the steps of a side with one socket take
// turns, and with both sides so, only one in so many turns is the right one.
func TestModesTogether(t *testing.T) {
	least := map[[2]proto.PortMode]float64{ // share that is direct
		{proto.PortShared, proto.PortShared}:         1,
		{proto.PortShared, proto.PortDialOnly}:       1,
		{proto.PortShared, proto.PortSequential}:     1,
		{proto.PortDialOnly, proto.PortDialOnly}:     1,
		{proto.PortDialOnly, proto.PortSequential}:   0.985,
		{proto.PortSequential, proto.PortSequential}: 0.975,
	}
	for _, a := range portModes {
		for _, b := range portModes {
			results := runEach(modeCases(a, b, cases()/28, oneNetwork))
			n, failed := direct(t, results)
			t.Logf("%v × %v: %d of %d direct, %s", a, b, n, len(results), times(results))
			if want := least[[2]proto.PortMode{min(a, b), max(a, b)}]; float64(n) < want*float64(len(results))-1 {
				t.Errorf("%v × %v: not direct: %v; want at most 1 - %.3f", a, b, failed, want)
			}
		}
	}
}

func oneNetwork(c *Case) {
	r := source(c.Seed, 99)
	c.RTT = 50*time.Microsecond + time.Duration(r.Int64N(int64(2*time.Millisecond)))
	c.Jitter = c.RTT / 4
	c.Together, c.Idle = true, r.IntN(3)
}

// A peer of another version makes a plan that knows no modes; the sides still do
// what they can.
func TestModesWithOldPeers(t *testing.T) {
	for _, a := range portModes {
		results := runEach(modeCases(a, proto.PortShared, cases()/70, func(c *Case) {
			oneNetwork(c)
			c.Version = 1
		}))
		if n, failed := direct(t, results); n < len(results) {
			t.Errorf("%v × shared in version 1: not direct: %v", a, failed)
		}
	}
}
