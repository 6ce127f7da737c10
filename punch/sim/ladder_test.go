package sim

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// NATs that package natlab has under other names, or none of.
var (
	still      = Profile{Name: "steady", User: true}
	stillRST   = Profile{Name: "steady, RST", User: true, Answer: Reset, OnRST: Delete}
	stillADF   = Profile{Name: "steady ADF", User: true, Filtering: ADF}
	stillEIF   = Profile{Name: "steady EIF", User: true, Filtering: EIF}
	strict     = Profile{Name: "strict", User: true, Inbound: DropInbound}
	strictRST  = Profile{Name: "strict, RST", User: true, Inbound: ResetInbound, Answer: Reset, OnRST: Delete}
	rstKill    = Profile{Name: "rst-kill", User: true, Answer: Reset, OnRST: DeleteAndBlock, BlockFor: 10 * time.Second}
	poisoned   = Profile{Name: "poisoned", User: true, Poisoned: true}
	byAddress  = Profile{Name: "sequential by address", User: true, Mapping: ADM, Allocation: Sequential}
	inSequence = Profile{Name: "sequential", User: true, Mapping: APDM, Allocation: Sequential}
	atRandom   = Profile{Name: "random", User: true, Mapping: APDM, Allocation: Random}
	inBlock    = Profile{Name: "block", User: true, Mapping: APDM, Allocation: Block, Size: 2048}
)

func busy(p Profile, flows float64) Profile {
	p.Name, p.Background = fmt.Sprintf("%s with %v flows/s", p.Name, flows), flows
	return p
}

func by(p Profile, delta int) Profile {
	p.Name, p.Delta = fmt.Sprintf("%s by %d", p.Name, delta), delta
	return p
}

func kernel(t *testing.T, name string) Profile { return profile(t, name) }

func withRST(p Profile) Profile {
	p.Name, p.Answer, p.OnRST = p.Name+", RST", Reset, Delete
	return p
}

// ladderCase is a case of two NATs whose sides state what they do.
func ladderCase(a, b Profile, rtt time.Duration, loss float64, seed uint64) Case {
	r := source(seed, 30)
	c := Case{Seed: seed, RTT: rtt, Jitter: rtt / 20, Loss: loss}
	if seed%2 == 1 {
		a, b = b, a
	}
	for i, s := range []*Side{&c.A, &c.B} {
		s.NAT = [...]Profile{a, b}[i]
		s.Told, s.Quiet, s.Read = true, true, true
		s.Server = rtt/4 + time.Duration(r.Int64N(int64(rtt)/2))
		s.Measured = time.Duration(float64(s.Server) * (0.9 + 0.3*r.Float64()))
	}
	return c
}

// What issue 5 promises, each pair in either order.
func TestLadder(t *testing.T) {
	const rtt = 40 * time.Millisecond
	tests := []struct {
		a, b   Profile
		rtt    time.Duration
		loss   float64
		share  float64
		within time.Duration
	}{
		{inSequence, still, rtt, 0, 1, 0},
		{inSequence, kernel(t, "linux-drop"), rtt, 0, 1, 0},
		{inSequence, kernel(t, "linux-open"), rtt, 0, 1, 0},
		{busy(inSequence, 50), still, rtt, 0, .95, 0},
		{busy(inSequence, 50), kernel(t, "linux-open"), rtt, 0, .95, 0},
		{busy(withRST(inSequence), 50), kernel(t, "linux-drop"), rtt, 0, .95, 0},
		{busy(withRST(inSequence), 50), stillRST, rtt, 0, .95, 0},
		{by(busy(inSequence, 50), -2), stillRST, rtt, 0.02, .95, 0},
		{busy(inSequence, 50), still, 4 * rtt, 0, .95, 0},
		{inSequence, inSequence, rtt, 0, .9, 0},
		{busy(inSequence, 50), inSequence, rtt, 0, .9, 0},
		{busy(inSequence, 20), busy(inSequence, 20), rtt, 0, .9, 0},
		{busy(inSequence, 50), busy(withRST(inSequence), 50), rtt, 0.02, .97, 0},
		{by(inSequence, 2), withRST(inSequence), rtt, 0.02, .98, 0},
		{byAddress, still, rtt, 0, 1, 0},
		{byAddress, byAddress, rtt, 0, 1, 0},
		{busy(byAddress, 20), busy(inSequence, 20), rtt, 0, .95, 0},
		{atRandom, still, rtt, 0, .99, 5e9},
		{atRandom, stillRST, rtt, 0, .99, 5e9},
		{withRST(atRandom), kernel(t, "linux-open"), rtt, 0, .99, 5e9},
		{atRandom, kernel(t, "linux-drop"), rtt, 0.02, .99, 5e9},
		{atRandom, kernel(t, "dmz-poison"), rtt, 0, .99, 5e9},
		{inBlock, kernel(t, "dmz-poison"), rtt, 0, .99, 2e9},
		{kernel(t, "proxy"), kernel(t, "dmz-poison"), rtt, 0, .99, 5e9},
		{inBlock, still, rtt, 0, .99, 2e9},
		{withRST(inBlock), kernel(t, "linux-open"), rtt, 0, .99, 2e9},
		{atRandom, stillADF, rtt, 0, 1, 1e9},
		{withRST(atRandom), stillADF, rtt, 0, 1, 1e9},
		{inSequence, stillADF, rtt, 0, 1, 1e9},
		{atRandom, stillEIF, rtt, 0, 1, 1e9},
		{atRandom, Profile{Name: "public"}, rtt, 0, 1, 1e9},
		{strict, still, rtt, 0, 1, 1e9},
		{strictRST, still, rtt, 0, 1, 1e9},
		{strictRST, kernel(t, "linux-open"), rtt, 0, 1, 1e9},
		{rstKill, rstKill, rtt, 0, 1, 1e9},
		{rstKill, kernel(t, "linux-open"), rtt, 0, 1, 1e9},
		{strictRST, rstKill, rtt, 0, 1, 1e9},
		{poisoned, still, rtt, 0, 1, 1e9},
		{poisoned, poisoned, rtt, 0, 1, 1e9},
		{poisoned, kernel(t, "linux-open"), rtt, 0, 1, 1e9},
		{inSequence, strict, rtt, 0, 1, 0},
		{atRandom, strict, rtt, 0, .99, 5e9},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s,%s,%v,%v", tt.a.Name, tt.b.Name, tt.rtt, tt.loss), func(t *testing.T) {
			list := make([]Case, ladderCases(tt.a, tt.b))
			for i := range list {
				list[i] = ladderCase(tt.a, tt.b, tt.rtt, tt.loss, uint64(i)+1)
			}
			climb(t, list, tt.share, tt.within)
		})
	}
}

// Samples are fresh also where one of them was lost: what a cellular NAT's other
// subscribers open meanwhile would leave the windows, or make them too wide.
func TestSamplesOfALossyPathAreFresh(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		share float64
	}{
		{"cellular-seq", "linux-drop", .99},
		{"cellular-seq", "linux-open", .99},
		{"cellular-seq", "sym-seq", .96},
		{"cellular-seq", "cellular-seq", .96},
	} {
		for _, pair := range slices.Compact([][2]string{{tt.a, tt.b}, {tt.b, tt.a}}) {
			t.Run(pair[0]+","+pair[1], func(t *testing.T) {
				cell := Cell{A: profile(t, pair[0]), B: profile(t, pair[1]), RTT: 40 * time.Millisecond, Loss: 0.02, Told: true}
				list := make([]Case, ladderCases(cell.A, cell.B))
				for i := range list {
					list[i] = cell.Case(uint64(i) + 1)
				}
				climb(t, list, tt.share, 0)
			})
		}
	}
}

// ladderCases is how many cases of a pair to run: guesses take time.
func ladderCases(a, b Profile) int {
	n := 500
	for _, p := range []Profile{a, b} {
		if p.Mapping != EIM && (p.Allocation == Random || p.Allocation == Block) {
			n = 40
		}
	}
	switch {
	case *runsFlag > 0:
		return *runsFlag
	case raceEnabled:
		return n / 10
	}
	return n
}

// climb runs cases and wants a share of them to be direct within a time, and the caps to
// hold in all. A case in a thousand more may fail where there are few.
func climb(t *testing.T, list []Case, share float64, within time.Duration) {
	var times []time.Duration
	var failed []uint64
	syns, sockets := 0, 0
	for _, r := range runEach(list) {
		for _, problem := range r.Problems {
			t.Errorf("seed %d: %s", r.Case.Seed, problem)
		}
		syns, sockets = max(syns, r.A.SYNs, r.B.SYNs), max(sockets, r.A.Sockets, r.B.Sockets)
		if r.Direct && (within == 0 || r.Elapsed < within) {
			times = append(times, r.Elapsed)
		} else {
			failed = append(failed, r.Case.Seed)
		}
	}
	if slices.Sort(times); len(times) > 0 {
		at := func(q float64) time.Duration {
			return times[int(q*float64(len(times)-1))].Round(100 * time.Microsecond)
		}
		t.Logf("%d of %d, median %v, p99 %v, max %v; at most %d SYNs and %d sockets a side", len(times), len(list), at(.5), at(.99), at(1), syns, sockets)
	}
	if float64(len(times)) < share*float64(len(list)) {
		t.Errorf("%d of %d within %v; failed: %v", len(times), len(list), within, failed)
	}
}

// A program that stands still does not make up for it by a flood.
func TestCapsHoldAfterAFreeze(t *testing.T) {
	for _, pair := range [][2]Profile{{busy(inSequence, 50), stillRST}, {inSequence, inSequence}, {atRandom, stillRST}, {withRST(inBlock), still}} {
		t.Run(pair[0].Name+","+pair[1].Name, func(t *testing.T) {
			list := make([]Case, ladderCases(pair[0], pair[1])/2+1)
			for i := range list {
				c := ladderCase(pair[0], pair[1], 40*time.Millisecond, 0.02, uint64(i)+1)
				for n, s := range []*Side{&c.A, &c.B} {
					s.FreezeAt = time.Duration(i%7) * 30 * time.Millisecond
					s.Freeze = time.Duration((i+n)%3) * 600 * time.Millisecond
				}
				list[i] = c
			}
			climb(t, list, .8, 0)
		})
	}
}

// Hopeless pairs end in under 500 ms and two round trips, and say why.
func TestHopelessEndsAtOnce(t *testing.T) {
	const rtt = 40 * time.Millisecond
	for _, tt := range []struct {
		a, b Profile
		want punch.Hopeless
	}{
		{atRandom, atRandom, punch.BothUnpredictable},
		{atRandom, inSequence, punch.BothUnpredictable},
		{inBlock, inBlock, punch.BothUnpredictable},
		{strict, strictRST, punch.BothStrict},
	} {
		for seed := range uint64(20) {
			c := ladderCase(tt.a, tt.b, rtt, 0, seed)
			r := Run(c)
			// Before the transcript is issued the request and the offer take their time.
			before := c.A.Server/2 + c.B.Server
			for _, o := range []Outcome{r.A, r.B} {
				var hopeless *punch.HopelessError
				if r.Direct || o.Ended == 0 || before+o.Ended > 500*time.Millisecond+2*rtt || !errors.As(o.Why, &hopeless) || hopeless.Reason != tt.want {
					t.Errorf("%s, %s: direct %t, ended after %v with %v", tt.a.Name, tt.b.Name, r.Direct, before+o.Ended, o.Why)
				}
			}
			for _, problem := range r.Problems {
				t.Error(problem)
			}
		}
	}
}

// Without the reports the ladder's pairs have no connection, so that it is the ladder
// which makes them.
func TestLadderIsWhatHelps(t *testing.T) {
	for _, pair := range [][2]Profile{{inSequence, still}, {inSequence, inSequence}, {atRandom, still}, {inBlock, still}} {
		direct := 0
		for seed := range uint64(20) {
			c := ladderCase(pair[0], pair[1], 40*time.Millisecond, 0, seed)
			c.A.Told, c.B.Told = false, false
			c.A.Quiet, c.B.Quiet = false, false
			c.B.FreezeAt, c.B.Freeze = 0, 300*time.Millisecond
			if Run(c).Direct {
				direct++
			}
		}
		if direct > 2 {
			t.Errorf("%s, %s: %d of 20 without reports", pair[0].Name, pair[1].Name, direct)
		}
	}
}

// Whatever either side says of its NAT, and whatever that really does, the caps hold and
// nothing goes to anybody else.
func TestLiesKeepToTheCaps(t *testing.T) {
	n := uint64(100)
	if raceEnabled {
		n = 30
	}
	volleys := 0
	for seed := range n {
		r := source(seed, 40)
		any := func(n int) uint8 { return uint8(r.IntN(n)) }
		lie := func() *proto.NATReport {
			low, high := uint16(1+r.IntN(65535)), uint16(1+r.IntN(65535))
			return &proto.NATReport{
				Mapping: proto.NATMapping(any(7)), Allocation: proto.NATAllocation(any(6)), Delta: int16(r.IntN(65535) - 32767), Confidence: any(101),
				Low: min(low, high), High: max(low, high), Samples: []uint16{uint16(1 + r.IntN(65535))}, Age: r.Uint32() >> any(32), Background: r.Uint32() >> any(32),
				Pooling: proto.NATPooling(any(4)), Filtering: proto.NATFiltering(any(5)), Unsolicited: proto.NATAnswer(any(7)), Crossing: proto.NATAnswer(any(7)),
				OnReset: proto.NATErrorPolicy(any(5)), Poisoned: proto.NATTruth(any(4)), Hops: any(256), Proxied: proto.NATTruth(any(4)),
			}
		}
		nats := []Profile{still, stillRST, strictRST, rstKill, inSequence, atRandom, inBlock, kernel(t, "linux-open"), kernel(t, "linux-icmp")}
		c := ladderCase(nats[r.IntN(len(nats))], nats[r.IntN(len(nats))], time.Duration(2+r.IntN(300))*time.Millisecond, 0.02, seed)
		c.A.Says, c.B.Says = lie(), lie()
		result := Run(c)
		for _, problem := range result.Problems {
			t.Errorf("seed %d: %s", seed, problem)
		}
		if result.A.SYNs > 100 || result.B.SYNs > 100 {
			volleys++
		}
	}
	if t.Logf("%d of %d with more than 100 SYNs", volleys, n); volleys == 0 {
		t.Error("no lie has any effect")
	}
}

// Each dial that a proxy makes is refused after a round trip, and the next one leaves from
// another port: its host has to ask for it anew, and there have to be many guesses meanwhile.
func TestProxyMeetsWhatRefusesIt(t *testing.T) {
	var list []Case
	for _, name := range []string{"linux-open", "linux-icmp", "user-rst", "user-icmp", "rst-kill"} {
		for i := range uint64(10) {
			list = append(list, ladderCase(profile(t, name), profile(t, "proxy"), 40*time.Millisecond, 0, i+1))
		}
	}
	missed := 0
	for _, r := range runEach(list) {
		name := r.Case.A.NAT.Name + " × " + r.Case.B.NAT.Name
		for _, problem := range r.Problems {
			t.Errorf("%s, seed %d: %s", name, r.Case.Seed, problem)
		}
		if !r.Direct || r.Elapsed > 3*time.Second {
			missed++
			t.Logf("%s, seed %d: direct %t after %v", name, r.Case.Seed, r.Direct, r.Elapsed)
		}
	}
	if missed > len(list)/50 {
		t.Errorf("%d of %d are not direct within 3 s", missed, len(list))
	}
}
