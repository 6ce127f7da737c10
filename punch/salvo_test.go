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

// newLadderRig is a rig of one side of a plan that is made from reports. Both
// round trips are 20 ms.
func newLadderRig(t *testing.T, a, b *proto.NATReport, role proto.Role, edit func(*Config)) *rig {
	tr := reports(transcript(obsA, obsB, 20_000, 20_000), a, b)
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, func(c *Config) {
		c.Plan, c.Role, c.OtherPorts, c.Zero = plan, role, true, epoch.Add(-micros(plan.Start))
		if edit != nil {
			edit(c)
		}
	})
}

// volleys are the sockets of the salvo.
func (r *rig) volleys() (list []*fakeSocket) {
	for _, s := range r.socks {
		if s.brief {
			list = append(list, s)
		}
	}
	return list
}

// toPorts are the ports that were dialled.
func toPorts(list []*fakeSocket) (ports []uint16) {
	for _, s := range list {
		ports = append(ports, s.to.Port())
	}
	return ports
}

// lets a guesser's first shot hit.
func proofOf(role proto.Role) []byte {
	p := proto.NewPreamble(role, introduction, secret)
	return p[:]
}

func TestWindowIsDialledInRounds(t *testing.T) {
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), proto.Responder, nil)
	rounds := r.cfg.Plan.Volley(proto.Responder).Rounds
	r.pass(time.Duration(r.cfg.Plan.Volley(proto.Responder).At)*time.Microsecond - micros(r.cfg.Plan.Start))
	r.pass(10 * ms)
	first := r.volleys()
	if got := toPorts(first); !slices.Equal(got, rounds[0]) {
		t.Fatalf("dialled %v, want %v", got, rounds[0])
	}
	for i, s := range first {
		if s.slot != 0 || s.to.Addr().String() != "198.51.100.1" {
			t.Errorf("dial %d to %v from slot %d", i, s.to, s.slot)
		}
		if i > 0 && s.at.Sub(first[i-1].at) != 250*time.Microsecond {
			t.Errorf("dial %d comes %v after the one before", i, s.at.Sub(first[i-1].at))
		}
	}
	first[2].fail(ErrRefused)
	r.pass(300 * ms)
	if n := len(r.volleys()); n != len(first) {
		t.Fatalf("%d dials before the round is over", n)
	}
	r.pass(25 * ms)
	second := r.volleys()[len(first):]
	if got := toPorts(second); !slices.Equal(got, rounds[1]) {
		t.Errorf("then dialled %v, want %v", got, rounds[1])
	}
	if slices.ContainsFunc(first, (*fakeSocket).connecting) {
		t.Error("the first round is still under way")
	}
	r.pass(20 * time.Second)
	want := []string{"+13 aimed", "+333 aimed"}
	for _, line := range want {
		if !slices.Contains(r.lines, line) {
			t.Errorf("no %q in %q", line, r.lines)
		}
	}
	if n := strings.Count(fmt.Sprint(r.lines), "aimed"); n != len(rounds) {
		t.Errorf("%d rounds, want %d", n, len(rounds))
	}
	if !slices.ContainsFunc(r.lines, func(s string) bool { return strings.HasSuffix(s, "spent") }) {
		t.Errorf("the volley has no end: %q", r.lines)
	}
	if r.ended == nil || !strings.Contains(r.ended.Error(), "predicted at 198.51.100.1: ") {
		t.Errorf("ended with %v", r.ended)
	}
}

func TestHitBecomesTheConnection(t *testing.T) {
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), proto.Responder, nil)
	r.pass(20 * ms)
	shots := r.volleys()
	hit := shots[3]
	hit.connect()
	if len(hit.sent) != 1 {
		t.Fatalf("%d preambles sent, want one at once", len(hit.sent))
	}
	hit.h.Received(proofOf(proto.Initiator))
	if len(r.won) != 1 || r.won[0] != hit || hit.closed {
		t.Fatalf("won %v", r.won)
	}
	for i, s := range shots {
		if s != hit && !s.closed {
			t.Errorf("shot %d is still under way", i)
		}
	}
	n := len(r.socks)
	if r.pass(2 * time.Second); len(r.socks) != n {
		t.Errorf("%d dials while there is a connection", len(r.socks)-n)
	}
	r.exec.GiveUp()
	if r.pass(100 * ms); len(r.volleys()) == len(shots) {
		t.Error("the volley does not go on after the connection")
	}
	if !slices.Contains(r.lines, "+20 connected") || !slices.Contains(r.lines, "+20 proven") {
		t.Errorf("events %q", r.lines)
	}
}

// Somebody else's service at a guessed port is left alone after that.
func TestHitOfAStranger(t *testing.T) {
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), proto.Responder, nil)
	r.pass(20 * ms)
	hit := r.volleys()[1]
	hit.connect()
	hit.h.Received(make([]byte, proto.PreambleSize))
	if !hit.closed || len(r.won) > 0 {
		t.Errorf("closed %t, won %v", hit.closed, r.won)
	}
	silent := r.volleys()[2]
	silent.connect()
	if r.pass(proto.PreambleDeadline); !silent.closed {
		t.Error("a silent one is kept")
	}
}

// A proxy completes everything, and proves nothing.
func TestHitsAreBounded(t *testing.T) {
	r := newLadderRig(t, randomNAT(), silentNAT(), proto.Responder, nil)
	open := 0
	for range 400 {
		r.pass(5 * ms)
		for _, s := range r.volleys() {
			if s.connecting() {
				s.connect()
			}
		}
		now := 0
		for _, s := range r.volleys() {
			if s.open && !s.closed {
				now++
			}
		}
		open = max(open, now)
	}
	if open != maxHits {
		t.Errorf("%d connections wait for a proof, want %d", open, maxHits)
	}
}

// However many ports strangers answer at, what is said of the plan's end stays short,
// and the plan's own dials go on.
func TestManyStrangersAnswer(t *testing.T) {
	tr := reports(transcript(obsA, obsB, 250_000, 250_000), randomNAT(), silentNAT())
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Plan, c.Role, c.Zero = plan, proto.Responder, epoch.Add(-micros(plan.Start)) })
	for n := 0; r.ended == nil; {
		r.pass(5 * ms)
		for ; n < len(r.socks); n++ {
			if s := r.socks[n]; s.brief {
				s.connect()
				s.h.Received(make([]byte, proto.PreambleSize))
			}
		}
	}
	strangers := strings.Count(fmt.Sprint(r.lines), " unproven")
	if strangers < 400 || len(r.ended.Error()) > 400 {
		t.Errorf("%d strangers, ended with %.1000v", strangers, r.ended)
	}
	if said := fmt.Sprint(r.ended); !strings.Contains(said, fmt.Sprintf("%d connected", strangers)) || strings.Contains(said, errMaxSYNs.Error()) {
		t.Errorf("ended with %v", r.ended)
	}
}

// A proxy completes all of its side's dials at once, and they have to wait all the
// same.
func TestCompletedDialsWait(t *testing.T) {
	behindProxy := edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes })
	for _, test := range []struct {
		nat  *proto.NATReport
		want int
		ttl  int // a proxy's own SYNs are never quiet
	}{{behindProxy, maxSpread, 0}, {randomNAT(), maxHits, quietTTL}} {
		r := newLadderRig(t, test.nat, silentNAT(), proto.Initiator, func(c *Config) { c.Quiet = true })
		connected := 0
		for range 900 {
			r.pass(ms)
			for _, s := range r.volleys()[connected:] {
				if connected++; s.ttl != test.ttl {
					t.Errorf("a dial with TTL %d", s.ttl)
				}
				s.connect()
			}
		}
		open := 0
		for _, s := range r.volleys() {
			if !s.closed {
				open++
			}
		}
		if open != test.want || connected != maxSpread {
			t.Errorf("of %d connections %d wait for a proof, want %d", connected, open, test.want)
		}
		r.exec.Stop()
	}
}

// A proxy whose own dial was refused ends what it had completed, and dials anew, from
// another port, only if it is asked again.
func TestCompletedDialsAreRepeated(t *testing.T) {
	behindProxy := edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes })
	for _, test := range []struct {
		nat  *proto.NATReport
		want bool
	}{{behindProxy, true}, {randomNAT(), false}} {
		r := newLadderRig(t, test.nat, resetNAT(), proto.Initiator, func(c *Config) { c.Quiet = true })
		r.pass(20 * ms)
		first := r.volleys()[0]
		first.connect()
		r.pass(40 * ms)
		first.fail(ErrHungUp)
		r.pass(800 * ms)
		again := 0
		for _, s := range r.volleys()[1:] {
			if s.slot == first.slot {
				again++
			}
		}
		if (again == 1) != test.want {
			t.Errorf("proxied %v: %d dials from the same port after the first", test.nat.Proxied, again)
		}
		if rate := len(r.volleys()); rate > guessRate {
			t.Errorf("%d dials in less than a second", rate)
		}
		r.exec.Stop()
	}
}

func TestSpreadKeepsItsPorts(t *testing.T) {
	double := edited(blockNAT(2048, 2559), func(r *proto.NATReport) { r.Hops = 3 })
	r := newLadderRig(t, double, silentNAT(), proto.Initiator, func(c *Config) { c.Quiet = true })
	r.pass(850 * ms)
	first := r.volleys()
	slots := map[int]bool{}
	for _, s := range first {
		if s.to.String() != obsB || s.slot < 1 || s.slot > 32 || slots[s.slot] || s.ttl != 3 {
			t.Errorf("a dial to %v from slot %d with TTL %d", s.to, s.slot, s.ttl)
		}
		slots[s.slot] = true
	}
	if len(first) != 32 {
		t.Fatalf("%d dials, want 32", len(first))
	}
	r.pass(100 * ms)
	again := r.volleys()[32:]
	if len(again) == 0 || again[0].slot != first[0].slot || !first[0].closed || again[0].at.Sub(first[0].at) < 900*ms {
		t.Fatalf("%d dials after the first hold", len(again))
	}
	// What is refused is dialled again at once, and quietly, too.
	again[0].fail(ErrRefused)
	r.pass(20 * ms)
	last := r.volleys()
	if i := slices.IndexFunc(last[33:], func(s *fakeSocket) bool { return s.slot == again[0].slot && s.ttl == 3 }); i < 0 {
		t.Errorf("slot %d is not dialled again quietly, past both NATs", again[0].slot)
	}
}

func TestGuessesComeOnceAndSlowly(t *testing.T) {
	r := newLadderRig(t, randomNAT(), silentNAT(), proto.Responder, nil)
	r.pass(6 * time.Second)
	shots, seen := r.volleys(), map[uint16]bool{}
	for _, s := range shots {
		if seen[s.to.Port()] || s.to.Addr().String() != "198.51.100.1" || s.to.Port() < 1024 {
			t.Errorf("a dial to %v", s.to)
		}
		seen[s.to.Port()] = true
	}
	if len(shots) < 2400 || len(shots) > 6*guessRate+guessBurst {
		t.Errorf("%d guesses", len(shots))
	}
	held := 0
	for _, s := range shots {
		if s.connecting() {
			held++
		}
	}
	if held > 50 {
		t.Errorf("%d are held", held)
	}
	r.pass(10 * time.Second)
	if n := r.exec.SYNs(); r.ended == nil || n > MaxSYNs+maxGuesses {
		t.Errorf("ended %v, %d SYNs", r.ended, n)
	}
}

func TestDeckIsDrawnOnceBeforeItIsFullAgain(t *testing.T) {
	r := newRig(t, nil)
	var d deck
	for pass := range 3 {
		seen := map[uint16]bool{}
		for range 65535 - 65000 + 1 {
			p := d.draw(65000, 65535, r.cfg.Rand)
			if seen[p] || p < 65000 {
				t.Fatalf("pass %d: %d", pass, p)
			}
			seen[p] = true
		}
	}
}

// A side that must not guess does not let the user wait.
func TestGuessThatIsNotAllowed(t *testing.T) {
	errOff := errors.New("switched off")
	tests := []struct {
		name string
		role proto.Role
		edit func(*Config)
		want error
	}{
		{"the guesser", proto.Responder, func(c *Config) { c.AllowGuess = func() error { return errOff } }, errOff},
		{"the other", proto.Initiator, func(c *Config) { c.AllowGuess = func() error { return errOff } }, errOff},
		{"no other ports", proto.Initiator, func(c *Config) { c.OtherPorts = false }, errOnePort},
		{"not an address for this host", proto.Responder, func(c *Config) { c.Admit = func(s Step) error { return errOff } }, errOff},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newLadderRig(t, randomNAT(), silentNAT(), tt.role, tt.edit)
			r.pass(300 * ms)
			var hopeless *HopelessError
			if len(r.volleys()) > 0 || !errors.As(r.ended, &hopeless) || !errors.Is(r.ended, tt.want) {
				t.Errorf("%d dials, ended with %v", len(r.volleys()), r.ended)
			}
		})
	}
}

// Who may let the other side in, for all that is known, needs no guess: it waits for
// the plain dials, and is not even asked for if they connect.
func TestGuessThatMayNotBeNeededWaits(t *testing.T) {
	for name, still := range map[string]*proto.NATReport{"nothing known": nil, "filter unknown": filteringNAT(proto.FilteringUnknown)} {
		for _, connects := range []bool{true, false} {
			asked := 0
			r := newLadderRig(t, randomNAT(), still, proto.Initiator, func(c *Config) {
				c.AllowGuess = func() error { asked++; return nil }
			})
			if r.pass(60 * ms); connects {
				r.last(1).connect()
				r.socks[0].h.Received(proofOf(proto.Responder))
			}
			if r.pass(160 * ms); asked > 0 || len(r.volleys()) > 0 {
				t.Errorf("%s: %d dials, asked %d times, before plain ones had their time", name, len(r.volleys()), asked)
			}
			if r.pass(200 * ms); (asked > 0) == connects || (len(r.volleys()) > 0) == connects {
				t.Errorf("%s, connected %t: %d dials, asked %d times", name, connects, len(r.volleys()), asked)
			}
			if connects {
				r.exec.GiveUp()
				if r.pass(100 * ms); asked != 1 || len(r.volleys()) == 0 {
					t.Errorf("%s, given up: %d dials, asked %d times", name, len(r.volleys()), asked)
				}
			}
			r.exec.Stop()
		}
	}
}

// The plain dials of such a pair go on where guessing is not allowed.
func TestPlanGoesOnWithoutAGuessThatMayNotBeNeeded(t *testing.T) {
	r := newLadderRig(t, randomNAT(), nil, proto.Responder, func(c *Config) {
		c.AllowGuess = func() error { return errors.New("switched off") }
	})
	if r.pass(time.Second); r.ended != nil || len(r.socks) < 2 || len(r.volleys()) > 0 {
		t.Errorf("%d dials, ended with %v", len(r.socks), r.ended)
	}
	r.pass(20 * time.Second)
	var hopeless *HopelessError
	if !errors.As(r.ended, &hopeless) || hopeless.Short() != "switched off" {
		t.Errorf("ended with %v", r.ended)
	}
}

// A window is no guess: nobody needs to be asked.
func TestWindowNeedsNoPermission(t *testing.T) {
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), proto.Responder, func(c *Config) {
		c.AllowGuess = func() error { return errors.New("asked") }
		c.OtherPorts = false
	})
	if r.pass(20 * ms); len(r.volleys()) == 0 {
		t.Error("no window")
	}
}

// All volleys of a node together keep to one pace, whomever they are for.
func TestVolleysShareThePace(t *testing.T) {
	b := NewBudget(epoch)
	var sent []time.Time
	for ms := range 3000 {
		at := epoch.Add(time.Duration(ms) * time.Millisecond)
		for range 5 {
			if b.guessing(at) == 0 {
				sent = append(sent, at)
			}
		}
	}
	const most = 500 // with 100 of the steps 600
	for i := most; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-most]); d < time.Second {
			t.Fatalf("%d SYNs in %v", most+1, d)
		}
	}
	if len(sent) < 3*guessRate-10 {
		t.Errorf("%d SYNs in 3 s", len(sent))
	}
}

// A window is not rare, so it is the node's budget's, too.
func TestWindowsUseTheBudgetUp(t *testing.T) {
	b := NewBudget(epoch)
	for b.takeLocked(epoch, 1) {
	}
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), proto.Responder, func(c *Config) { c.Budget = b })
	if r.pass(13 * ms); len(r.volleys()) > 3 {
		t.Errorf("%d dials of an empty budget", len(r.volleys()))
	}
	if r.pass(10 * time.Second); len(r.volleys()) < 7 {
		t.Errorf("%d dials when it has filled again", len(r.volleys()))
	}
}

// A window that waits for the volleys' pace leaves the node's SYNs to others.
func TestWindowThatWaitsUsesNothingUp(t *testing.T) {
	b := NewBudget(epoch)
	for b.guessing(epoch) == 0 {
	}
	for range 1000 {
		if b.aiming(epoch) == 0 {
			t.Fatal("the pace has more than it has")
		}
	}
	if left := b.tokens; left != budgetBurst {
		t.Errorf("%v of %v SYNs are left", left, budgetBurst)
	}
	if b.aiming(epoch.Add(time.Second)) != 0 {
		t.Error("the pace has no SYN again")
	}
}

func TestHopelessPlanEndsAfterARound(t *testing.T) {
	r := newLadderRig(t, randomNAT(), randomNAT(), proto.Initiator, nil)
	r.pass(300 * ms)
	var hopeless *HopelessError
	if !errors.As(r.ended, &hopeless) || hopeless.Reason != BothUnpredictable || !strings.Contains(r.ended.Error(), "cannot be predicted") {
		t.Errorf("ended with %v", r.ended)
	}
	r.last(1)
	r.want("+0 dialled", "+240 expired")
}

// Stop leaves nothing behind.
func TestStopEndsAVolley(t *testing.T) {
	r := newLadderRig(t, randomNAT(), silentNAT(), proto.Initiator, nil)
	r.pass(100 * ms)
	r.exec.Stop()
	n := len(r.socks)
	r.pass(time.Second)
	if slices.ContainsFunc(r.socks, (*fakeSocket).connecting) || len(r.socks) != n {
		t.Error("something goes on")
	}
}

// The TTL of a report is that of the opener, and of the dials after a refusal.
func TestOpenerHasTheReportsTTL(t *testing.T) {
	r := newLadderRig(t, blockingNAT(), resetNAT(), proto.Initiator, func(c *Config) { c.Quiet = true })
	r.pass(0)
	if s := r.last(1); s.ttl != 3 {
		t.Errorf("the opener has TTL %d, want 3", s.ttl)
	}
	r.pass(250 * ms)
	r.last(2).fail(ErrRefused)
	r.pass(ms)
	if s := r.last(3); s.ttl != 3 {
		t.Errorf("the dial after a refusal has TTL %d, want 3", s.ttl)
	}
}

// A NAT has a port for where the first crossing has been, so that the second one
// comes from another local port, and in order.
func TestSecondCrossingHasAPortOfItsOwn(t *testing.T) {
	for _, others := range []bool{true, false} {
		r := newLadderRig(t, sequentialNAT(1), sequentialNAT(1), proto.Initiator, func(c *Config) { c.OtherPorts = others })
		r.pass(2 * time.Second)
		var slots []int
		for _, s := range r.volleys() {
			slots = append(slots, s.slot)
		}
		rounds := r.cfg.Plan.Volley(proto.Initiator).Rounds
		var want []int
		for n, round := range rounds {
			slot := 0
			if others {
				slot = n / 2
			}
			want = append(want, slices.Repeat([]int{slot}, len(round))...)
		}
		if !slices.Equal(slots, want) {
			t.Errorf("other ports %t: slots %v, want %v", others, slots, want)
		}
		if got := toPorts(r.volleys()); !slices.Equal(got, slices.Concat(rounds...)) {
			t.Errorf("ports %v, want %v", got, rounds)
		}
	}
}
