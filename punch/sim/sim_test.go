package sim

import (
	"flag"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/punch"
)

var (
	seedFlag = flag.Uint64("seed", 0, "replay the generated case of one seed, with its trace")
	pairFlag = flag.String("pair", "", "replay the case of -seed and -loss of a pair at 40 ms, as in \"linux-drop × openwrt\", with its trace")
	lossFlag = flag.Float64("loss", 0, "of -pair")
	runsFlag = flag.Int("cases", 0, "how many generated cases to run (0: 28000, with the race detector 2000)")
)

func cases() uint64 {
	switch {
	case *runsFlag > 0:
		return uint64(*runsFlag)
	case raceEnabled:
		return 2000
	}
	return 28000
}

// TestSeed replays one case: go test ./punch/sim -run TestSeed -seed=N
func TestSeed(t *testing.T) {
	if *seedFlag == 0 || *pairFlag != "" {
		return // there is nothing to replay
	}
	r := Run(Generate(*seedFlag))
	t.Log(r.Explain())
	if err := wrong(r); err != nil {
		t.Error(err)
	}
}

// TestPair replays one case that `natlab prove sim` has run.
func TestPair(t *testing.T) {
	if *pairFlag == "" {
		return // there is nothing to replay
	}
	a, b, _ := strings.Cut(*pairFlag, " × ")
	t.Log(Run(Cell{A: profile(t, a), B: profile(t, b), RTT: 40 * time.Millisecond, Loss: *lossFlag, Told: true}.Case(*seedFlag)).Explain())
}

// wrong says why a result is not what every generated case has to come to.
func wrong(r Result) error {
	switch {
	case len(r.Problems) > 0:
		return fmt.Errorf("rules broken: %q", r.Problems)
	case r.Direct, excused(r):
		return nil
	}
	return fmt.Errorf("not direct within the plan's limit")
}

// excused reports whether no executor could have made it: a refusal by ICMP that
// the program did not even hear of, or one that only a quiet dial could mend. Spare
// ports mend both, where there are any and the dials between them can be quiet.
func excused(r Result) bool {
	spoilt := r.Stunned || r.Trapped && !quiet(r.Case)
	return trappable(r.Case) && spoilt && !(spareable(r.Case) && quiet(r.Case))
}

// quiet reports whether both sides can dial quietly.
func quiet(c Case) bool { return c.A.Quiet && c.B.Quiet }

// trappable reports whether a netfilter NAT faces one that answers ICMP.
func trappable(c Case) bool {
	return c.A.NAT.Kernel && c.B.NAT.Answer == Unreachable || c.B.NAT.Kernel && c.A.NAT.Answer == Unreachable
}

// How many of the cases may fail.
const (
	// Of those with quiet dials: the program stood still when its dial was
	// refused and when the peer's SYN came, and there are no spare ports.
	maxStunned = 0.0005
	// Of those without them and with netfilter against ICMP errors: trapped.
	maxTrapped = 0.01
	// Of all: nothing excuses the others. (One is allowed to any of these
	// shares: two NATs that forget their entries at ICMP errors can keep missing
	// each other until the plan ends.)
	maxGivenUp = 0
)

// TestGenerated is what the package is for.
func TestGenerated(t *testing.T) {
	results := runAll(cases() * 3 / 5)
	var quiets, stunned, exposed, traps, givenUp int
	for i, r := range results {
		switch err := wrong(r); {
		case len(r.Problems) > 0:
			t.Errorf("seed %d: %v: %v", i+1, r.Case, err)
		case err != nil:
			givenUp++
			t.Logf("go test ./punch/sim -run TestSeed -seed=%d\n%v: %v", i+1, r.Case, err)
		}
		switch failed := !r.Direct; {
		case quiet(r.Case):
			quiets++
			if failed && r.Stunned {
				stunned++
			} else if failed && r.Trapped {
				t.Errorf("seed %d: trapped in spite of quiet dials: %v", i+1, r.Case)
			}
		case trappable(r.Case):
			exposed++
			if failed {
				traps++
			}
		}
	}
	t.Logf("%d cases with quiet dials, %d stunned; %d exposed to the trap without, %d trapped; %d of %d given up",
		quiets, stunned, exposed, traps, givenUp, len(results))
	most := func(what string, n, of int, share float64) {
		if float64(n) > share*float64(of)+1 {
			t.Errorf("%s: %d of %d, more than %.2f %%", what, n, of, share*100)
		}
	}
	most("stunned", stunned, quiets, maxStunned)
	most("trapped without quiet dials", traps, exposed, maxTrapped)
	most("given up", givenUp, len(results), maxGivenUp)
	report(t, results)
}

// Where no program stands still, an executor that can dial quietly is as good as
// never caught: only while it is being scheduled is there no socket.
func TestGeneratedWithoutFreeze(t *testing.T) {
	n, stunned := cases()/4, 0
	for seed := range n {
		c := Generate(seed + 1)
		c.A.Freeze, c.B.Freeze, c.A.Quiet, c.B.Quiet = 0, 0, true, true
		c.Loss = 0
		switch r := Run(c); {
		case r.Stunned && !r.Direct:
			stunned++
		case wrong(r) != nil:
			t.Errorf("seed %d: %v: %v", seed+1, c, wrong(r))
		}
	}
	if t.Logf("%d of %d stunned", stunned, n); stunned > int(n/1000)+1 {
		t.Error("that is too many")
	}
}

// TestFrozenSide is the promise of the main job, in virtual time: both sides can
// dial quietly, and one of them stands still for 500 ms or not at all from when it
// has read its transcript. Every case is direct, with up to 5 % of loss in half
// of them, but for those in ten thousand whose SYN comes in the very moment
// between a refusal and the next dial, and as many of two NATs that forget.
func TestFrozenSide(t *testing.T) {
	n := cases() * 3 / 5
	list := make([]Case, 0, n)
	for seed := range n {
		c := Generate(seed + 1)
		for i, s := range []*Side{&c.A, &c.B} {
			s.Quiet, s.Read, s.FreezeAt, s.Freeze = true, true, 0, 0
			if seed%4 == uint64(i) {
				s.Freeze = 500 * time.Millisecond
			}
		}
		list = append(list, c)
	}
	stunned, missed := 0, 0
	for i, r := range runEach(list) {
		switch err := wrong(r); {
		case err == nil && r.Direct:
		case err == nil && r.Stunned:
			stunned++
		case len(r.Problems) == 0 && forgetful(r.Case):
			missed++
		default:
			t.Errorf("seed %d: %v: direct %t, %v", i+1, r.Case, r.Direct, err)
		}
	}
	if t.Logf("%d of %d stunned, %d missed", stunned, n, missed); max(stunned, missed) > int(n/10000)+1 {
		t.Error("that is too many")
	}
}

// forgetful reports whether both NATs forget their entries at ICMP errors, so that
// both sides' SYNs have to cross, at a round trip that the server has not measured.
func forgetful(c Case) bool {
	return c.A.NAT.OnICMP == Delete && c.B.NAT.OnICMP == Delete && (c.A.Measured == 0 || c.B.Measured == 0)
}

// runAll runs the cases of the seeds from 1 on.
func runAll(n uint64) []Result {
	list := make([]Case, n)
	for i := range list {
		list[i] = Generate(uint64(i) + 1)
	}
	return runEach(list)
}

// runEach runs cases on two processors, and forgets the events.
func runEach(list []Case) []Result {
	results := runEvents(list)
	for i := range results {
		results[i].A.Events, results[i].B.Events = nil, nil
	}
	return results
}

// runEvents runs cases on two processors.
func runEvents(list []Case) []Result {
	results := make([]Result, len(list))
	var tasks sync.WaitGroup
	for half := range 2 {
		tasks.Go(func() {
			for i := half; i < len(list); i += 2 {
				results[i] = Run(list[i])
			}
		})
	}
	tasks.Wait()
	return results
}

// report logs the distribution of the time from when both sides had dialled and
// ran: 1 RTT is the least.
func report(t *testing.T, results []Result) {
	groups := map[string][]Result{}
	for _, r := range results {
		name := fmt.Sprintf("%s × %s", answerName(r.Case.A.NAT), answerName(r.Case.B.NAT))
		if r.Case.B.NAT.Answer < r.Case.A.NAT.Answer {
			name = fmt.Sprintf("%s × %s", answerName(r.Case.B.NAT), answerName(r.Case.A.NAT))
		}
		if r.Case.Loss > 0 {
			name += ", loss"
		}
		if !quiet(r.Case) {
			name = "loud " + name
		}
		groups[name] = append(groups[name], r)
	}
	names := []string{}
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Logf("%-24s %s", name, distribution(groups[name]))
	}
}

func answerName(p Profile) string { return [...]string{"drop", "RST", "ICMP"}[p.Answer] }

func distribution(results []Result) string {
	var rtts []float64
	var syns []int
	for _, r := range results {
		if r.Direct {
			rtts = append(rtts, float64(r.Elapsed-ready(r))/float64(r.Case.RTT))
			syns = append(syns, max(r.A.SYNs, r.B.SYNs))
		}
	}
	slices.Sort(rtts)
	slices.Sort(syns)
	at := func(q float64) int { return int(q * float64(len(rtts)-1)) }
	return fmt.Sprintf("%5d cases, %3d not direct; RTTs after both dialled and ran: median %.2f p90 %.2f p99 %.1f max %.1f; SYNs: median %d p99 %d max %d",
		len(results), len(results)-len(rtts), rtts[at(.5)], rtts[at(.9)], rtts[at(.99)], rtts[at(1)], syns[at(.5)], syns[at(.99)], syns[at(1)])
}

// ready is when both sides had dialled and neither stood still any more.
func ready(r Result) time.Duration {
	at := max(r.A.Began, r.B.Began)
	for _, s := range []Side{r.Case.A, r.Case.B} {
		if s.FreezeAt < r.Elapsed {
			at = max(at, s.FreezeAt+s.Freeze)
		}
	}
	return min(at, r.Elapsed)
}

// A seed is one run, whatever else runs.
func TestRunIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 200; seed++ {
		a, b := Run(Generate(seed)), Run(Generate(seed))
		if a.Elapsed != b.Elapsed || a.A.SYNs != b.A.SYNs || a.B.SYNs != b.B.SYNs || len(a.A.Events) != len(b.A.Events) {
			t.Fatalf("seed %d: %v and %v", seed, a, b)
		}
		for i := range a.A.Events {
			x, y := a.A.Events[i], b.A.Events[i]
			if x.At != y.At || x.Kind != y.Kind || !reflect.DeepEqual(x.To, y.To) {
				t.Fatalf("seed %d: event %v and %v", seed, x, y)
			}
		}
	}
}

// The cells that NAT.md and LINUX-TCP.md report, with what was measured there.
func TestCellsOfTheLab(t *testing.T) {
	const rtt = 36 * time.Millisecond
	tests := []struct {
		a, b       string
		freeze     time.Duration
		least, max time.Duration // of the median, since the transcript
		direct     int           // of 200, at least
	}{
		// LINUX-TCP.md, 15 and 16: 1.0 R after the later start at both ends,
		// 1.5 R after it where that side is reached through its listener, or waits
		// quietly, and half a round trip more until its preamble is here.
		{"linux-drop", "linux-drop", 0, 45e6, 84e6, 200},
		{"linux-open", "linux-open", 0, 45e6, 84e6, 200},
		{"linux-icmp", "linux-icmp", 0, 45e6, 84e6, 200},
		{"linux-drop", "linux-drop", 300e6, 345e6, 372e6, 200},
		// NAT.md, 4: redialling at once meets one to three R after the later start.
		{"linux-open", "linux-open", 300e6, 345e6, 460e6, 200},
		{"linux-open", "linux-open", -300e6, 345e6, 460e6, 200},
		{"linux-open", "linux-drop", 300e6, 345e6, 460e6, 200},
		{"linux-drop", "linux-open", 300e6, 345e6, 460e6, 200},
		{"openwrt", "openwrt", 300e6, 345e6, 460e6, 200},
		{"user-rst", "user-rst", 300e6, 345e6, 460e6, 200},
		// Nothing keeps these NATs' entries but a dial under way: the two long
		// quiet dials are of no use, and both kinds take turns after them.
		{"user-icmp", "user-icmp", 300e6, 345e6, 3e9, 200},
		{"user-icmp", "user-drop", 300e6, 345e6, 460e6, 200},
		{"linux-icmp", "linux-icmp", 300e6, 345e6, 460e6, 200},
		// NAT.md, 8: the other one simply dials.
		{"public", "linux-open", 0, 45e6, 84e6, 200},
		{"user-fullcone", "linux-open", 0, 45e6, 84e6, 200},
		// NAT.md, 13: infeasible by plain punching.
		{"user-sym-random", "user-sym-random", 0, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s,%s,%v", tt.a, tt.b, tt.freeze), func(t *testing.T) {
			s, err := RunCell(tt.a, tt.b, rtt, tt.freeze, 200, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(s)
			if s.Direct < tt.direct || s.Median < tt.least || s.Median > tt.max {
				t.Errorf("%v; want at least %d direct, median between %v and %v", s, tt.direct, tt.least, tt.max)
			}
		})
	}
	if _, err := RunCell("linux-drop", "no-such", rtt, 0, 1, 1); err == nil {
		t.Error("an unknown profile has no cell")
	}
}

// LINUX-TCP.md, 8: a SYN that is lost is replaced before the kernel repeats it.
// A's first SYN came too early for B's NAT; B's is the only one that counts.
func TestLostSYNDoesNotCostASecond(t *testing.T) {
	p, err := ProfileByName("linux-drop")
	if err != nil {
		t.Fatal(err)
	}
	s := Cell{A: p, B: p, RTT: 36 * time.Millisecond, Freeze: 30 * time.Millisecond, Loss: 0.05}.Run(1000, 1)
	t.Log(s)
	if s.P90 > 600*time.Millisecond || s.Direct < s.Runs-2 {
		t.Errorf("%v; want a p90 below 600 ms", s)
	}
}

// The trap, at the round trip at which the real lab shows it: with 4 ms, 100
// SYNs a second keep a dial under way for less than half of the time. A quiet
// dial that is held does not depend on that.
func TestTrapBySmallRoundTrip(t *testing.T) {
	cell := Cell{A: profile(t, "linux-drop"), B: profile(t, "linux-icmp"), RTT: 4 * time.Millisecond, Freeze: 200 * time.Millisecond}
	for _, loud := range []bool{false, true} {
		cell.Loud = loud
		trapped := 0
		for seed := range uint64(200) {
			c := cell.Case(seed)
			c.Version = 3 // without spare ports
			r := Run(c)
			if r.Direct == r.Trapped {
				t.Fatalf("loud %t, seed %d: direct %t, trapped %t", loud, seed, r.Direct, r.Trapped)
			}
			if r.Trapped {
				trapped++
			}
		}
		if loud && trapped < 50 || !loud && trapped > 0 {
			t.Errorf("loud %t: %d of 200 trapped", loud, trapped)
		}
	}
}

// How late a peer may be must not matter, also when the first long quiet dial is
// over and both kinds take turns: a handshake that is under way is left alone.
func TestLaterThanTheLongQuietDial(t *testing.T) {
	for _, names := range [][2]string{{"linux-open", "linux-open"}, {"linux-icmp", "linux-icmp"}, {"user-rst", "linux-open"}, {"linux-drop", "linux-icmp"}} {
		cell := Cell{A: profile(t, names[0]), B: profile(t, names[1]), RTT: 40 * time.Millisecond}
		runs, failed, worst := 0, 0, time.Duration(0)
		for cell.Freeze = 900 * time.Millisecond; cell.Freeze < 4*time.Second; cell.Freeze += 50 * time.Millisecond {
			for seed := range uint64(5) {
				r := Run(cell.Case(seed))
				if runs++; r.Direct {
					worst = max(worst, r.Initiator-cell.Freeze)
				} else {
					failed++
				}
				if len(r.Problems) > 0 || r.Trapped && !r.Stunned && !r.Direct {
					t.Errorf("%v, freeze %v, seed %d: trapped %t, problems %q", names, cell.Freeze, seed, r.Trapped, r.Problems)
				}
			}
		}
		if t.Logf("%v: %d of %d not direct, the worst %v after it went on", names, failed, runs, worst); failed > 0 {
			t.Errorf("%v: %d of %d not direct", names, failed, runs)
		}
	}
}

// A program that was started again on its port, as either side. The NAT of its peer
// has seen its predecessor's RST, and refuses its SYNs for ten seconds, but lets the
// peer's own SYN out, and the answer to it in.
func TestSuccessor(t *testing.T) {
	for _, known := range []bool{true, false} {
		slow, worst := 0, time.Duration(0)
		for seed := range uint64(600) {
			r := Run(successorCase(t, seed, known))
			if worst = max(worst, r.Initiator); !r.Direct || r.Initiator > time.Second {
				slow++
			}
		}
		t.Logf("known %t: %d of 600 not within a second, worst %v", known, slow, worst)
		if known && slow > 0 || !known && slow == 0 {
			t.Errorf("known %t: %d slow", known, slow)
		}
	}
}

// Where both were started again, neither knows which of them the other one is.
func TestSuccessorsOnBothSides(t *testing.T) {
	worst := time.Duration(0)
	for seed := range uint64(600) {
		c := successorCase(t, seed, true)
		c.A.First, c.B.First, c.A.Ended, c.B.Ended = punch.Quietly, punch.Quietly, false, false
		r := Run(c)
		if worst = max(worst, r.Initiator); !r.Direct || r.Initiator > time.Second {
			t.Errorf("%v: direct %t after %v", c, r.Direct, r.Initiator)
		}
	}
	t.Logf("worst %v", worst)
}

func successorCase(t *testing.T, seed uint64, known bool) Case {
	names := []string{"linux-drop", "linux-open", "linux-icmp"}
	cell := Cell{A: profile(t, names[seed%3]), B: profile(t, names[seed/3%3]), RTT: time.Duration(2+seed%50) * time.Millisecond}
	c := cell.Case(seed)
	successor, survivor := &c.A, &c.B
	if seed%2 == 1 {
		successor, survivor = survivor, successor
	}
	survivor.Ended = true
	if c.Version = 2; known { // version 3 alone would do
		successor.First, survivor.First, c.Version = punch.Quietly, punch.Loudly, 0
	}
	return c
}

// The real lab's medians from the request to the first byte, 2026-11-22.
func TestCalibration(t *testing.T) {
	const short, long = 2 * time.Millisecond, 40 * time.Millisecond
	tests := []struct {
		a, b   string
		rtt    time.Duration
		freeze time.Duration
		lab    float64 // ms
	}{
		{"linux-drop", "linux-drop", long, 0, 147},
		{"linux-open", "linux-open", long, 0, 147},
		{"user-icmp", "linux-icmp", long, 0, 147},
		{"linux-drop", "linux-open", long, 500e6, 665},
		{"linux-open", "linux-drop", long, -500e6, 665},
		{"linux-open", "linux-open", long, 500e6, 665},
		{"linux-open", "linux-open", short, 0, 13},
		{"linux-icmp", "user-rst", short, 0, 13},
		{"linux-open", "linux-open", short, 500e6, 514.5},
		{"linux-drop", "linux-icmp", short, 500e6, 514.5},
		{"user-rst", "linux-icmp", short, -500e6, 514.5},
		// The early side's NAT forgets its session at any ICMP error: its quiet
		// dial is replaced by a loud one after 900 ms, the initiator's deaf one after
		// 1.1 s.
		{"user-icmp", "linux-icmp", short, 500e6, 1043},
		{"linux-icmp", "user-icmp", short, -500e6, 956},
		{"user-icmp", "linux-icmp", long, 500e6, 1170},
		{"linux-icmp", "user-icmp", long, -500e6, 1235},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s,%s,%v,%v", tt.a, tt.b, tt.rtt, tt.freeze), func(t *testing.T) {
			s, err := RunCell(tt.a, tt.b, tt.rtt, tt.freeze, 100, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := float64(s.FirstByte(tt.rtt).Microseconds()) / 1e3
			if t.Logf("sim %.1f ms, lab %.1f ms", got, tt.lab); s.Direct < s.Runs || math.Abs(got-tt.lab) > max(3, 0.15*tt.lab) {
				t.Errorf("%d of %d direct, %.1f ms; the lab has %.1f ms", s.Direct, s.Runs, got, tt.lab)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	s := Run(Generate(1)).Explain()
	for _, want := range []string{"seed 1:", "events of A", "events of B", "SYN seq"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for i := range b.N {
		if r := Run(Generate(uint64(i) + 1)); len(r.Problems) > 0 {
			b.Fatal(r.Problems)
		}
	}
}

var _ punch.Sockets = (*program)(nil)
