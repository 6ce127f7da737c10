package punch

import (
	"net/netip"
	"testing"
	"time"
)

// sent notes when SYNs left, those that the system repeats included, while time
// passes and everything loud is refused.
func sentWhileRefused(r *rig, lasts time.Duration, refuses func(netip.AddrPort) bool) (sent []time.Time) {
	repeated := map[*fakeSocket]int{}
	counted := 0
	for end := r.now.Add(lasts); r.now.Before(end); r.pass(time.Millisecond) {
		for ; counted < len(r.socks); counted++ {
			sent = append(sent, r.socks[counted].at)
		}
		for _, s := range r.socks {
			if !s.connecting() {
				continue
			}
			if n := resentWithin(r.now.Sub(s.at)); n > repeated[s] {
				repeated[s] = n
				sent = append(sent, r.now)
			}
			if s.ttl == 0 && refuses(s.to) && r.now.Sub(s.at) > 3*time.Millisecond {
				s.fail(ErrRefused)
			}
		}
	}
	return sent
}

// Whatever number of endpoints an introduction, or many, have at one address, and
// however these answer, no second sees more than 100 SYNs there.
func TestManyEndpointsOfAnAddressKeepToItsPace(t *testing.T) {
	for name, refuses := range map[string]func(netip.AddrPort) bool{
		"all refuse":                      func(netip.AddrPort) bool { return true },
		"none answers":                    func(netip.AddrPort) bool { return false },
		"one refuses, the others are mum": func(a netip.AddrPort) bool { return a.Port() == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				c.Budget, c.Quiet = NewBudget(epoch), true
				c.Plan.Hold, c.Plan.Limit, c.Plan.RTT = 40_000_000, 60_000_000, 1
				step := c.Plan.Initiator[0]
				c.Plan.Initiator = nil
				for port := range uint16(32) {
					step.To.Addr = netip.AddrPortFrom(step.To.Addr.Addr(), port+1)
					c.Plan.Initiator = append(c.Plan.Initiator, step)
				}
			})
			sent := sentWhileRefused(r, 12*time.Second, refuses)
			if len(sent) < 32 {
				t.Fatalf("%d SYNs only", len(sent))
			}
			for i := 100; i < len(sent); i++ {
				if d := sent[i].Sub(sent[i-100]); d < time.Second {
					t.Fatalf("101 SYNs in %v, after %v", d, sent[i].Sub(epoch))
				}
			}
		})
	}
}

// What the system repeats of a volley counts for the volleys' pace.
func TestRepeatedShotsUseThePaceUp(t *testing.T) {
	b := NewBudget(epoch)
	perSecond := make([]int, 8)
	for ms := range 6000 {
		now := epoch.Add(time.Duration(ms) * time.Millisecond)
		if b.guessing(now) == 0 {
			b.held = 0 // there is room for any number
			b.shot(now)
			perSecond[ms/1000]++
			perSecond[ms/1000+1]++ // a second later
			perSecond[ms/1000+2]++ // and another one
		}
	}
	for second, n := range perSecond {
		if n > 500 {
			t.Errorf("%d SYNs in second %d", n, second)
		}
	}
}

// Nor do steps and volleys together make more SYNs than volleys alone may.
func TestVolleysGiveWayToSteps(t *testing.T) {
	b := NewBudget(epoch)
	b.shot(epoch) // a volley is under way
	to, due := netip.MustParseAddr("192.0.2.1"), epoch
	var sent []time.Time
	for ms := range 3000 {
		now := epoch.Add(time.Duration(ms) * time.Millisecond)
		if !now.Before(due) {
			sent = append(sent, now)
			due = now.Add(b.pace(to, now, 1))
		}
		if b.guessing(now) == 0 {
			sent = append(sent, now)
		}
	}
	for i := 520; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-520]); d < time.Second {
			t.Fatalf("521 SYNs in %v", d)
		}
	}
}

func TestPlansShareTheSocketsOfANode(t *testing.T) {
	b := NewBudget(epoch)
	var others []*flight
	for b.hasRoom(leftBySalvos) {
		f, _ := b.shot(epoch)
		others = append(others, f)
	}
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), 2, func(c *Config) { c.Budget = b })
	r.pass(100 * ms)
	if n := len(r.volleys()); n > 0 {
		t.Errorf("a volley dials %d times although there are %d sockets", n, len(others))
	}
	if len(r.socks) == 0 {
		t.Error("no step is dialled")
	}
	for _, f := range others {
		f.end(r.now)
		f.end(r.now)
	}
	r.pass(100 * ms)
	if len(r.volleys()) == 0 {
		t.Error("no volley when there is room again")
	}
	r.exec.Stop()
	if b.held != 0 {
		t.Errorf("%d sockets are counted when all are closed", b.held)
	}
	for addr, p := range b.paces {
		if len(p.flights) > 0 {
			t.Errorf("%d dials to %v are counted", len(p.flights), addr)
		}
	}
}

// Between the question whether there is room and the dial, other plans may have dialled.
func TestTheLastPlaceIsTakenOnce(t *testing.T) {
	b := NewBudget(epoch)
	r := newLadderRig(t, sequentialNAT(1), steadyNAT(), 2, func(c *Config) { c.Budget = b })
	v := r.exec.salvo
	if v.began = epoch; !v.supply(epoch) || v.take(epoch) > 0 {
		t.Fatal("nothing is dialled")
	}
	v.queue = append([]aim{{r.exec.targets[0].step.To.Addr.Port(), 0}}, v.queue...)
	queued := len(v.queue) - 1
	if v.shoot(epoch); len(v.queue) != queued || len(v.held) != 0 || b.held != 0 {
		t.Errorf("what a step dials: %d of %d queued, %d dialled, %d sockets", len(v.queue), queued, len(v.held), b.held)
	}
	for b.hasRoom(leftBySalvos) {
		b.shot(epoch)
	}
	if v.shoot(epoch); len(v.queue) != queued || len(v.held) != 0 || b.held != maxConnecting-leftBySalvos {
		t.Errorf("%d of %d queued, %d dialled, %d sockets", len(v.queue), queued, len(v.held), b.held)
	}
	for n := range 2 * leftBySalvos {
		if _, ok := b.dial(address(n), epoch); ok != (n < leftBySalvos) {
			t.Errorf("step %d: dials %t", n, ok)
		}
	}
	if b.held != maxConnecting {
		t.Errorf("%d sockets", b.held)
	}
}

// Who is not let dial has used no SYN of the node's up.
func TestNoRoomCostsNothing(t *testing.T) {
	b := NewBudget(epoch)
	b.held = maxConnecting
	if _, ok := b.dial(address(1), epoch); ok || b.tokens != budgetBurst {
		t.Errorf("dials %t, %v SYNs left", ok, b.tokens)
	}
	b.held, b.tokens = 0, 0
	if _, ok := b.dial(address(1), epoch); ok || b.held != 0 {
		t.Errorf("dials %t, %d sockets", ok, b.held)
	}
}
