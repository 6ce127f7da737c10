package punch

import (
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// newModesRig is the initiator's side of a transcript, sequential if single.
func newModesRig(t *testing.T, tr proto.Transcript, single bool) *rig {
	return newRig(t, func(c *Config) {
		plan, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		c.Plan, c.Zero = plan, epoch.Add(-micros(plan.Start))
		c.Deaf, c.Sequential = true, single
	})
}

// connectingTo lists the addresses that are being dialled.
func (r *rig) connectingTo() string {
	var list []string
	for _, s := range r.socks {
		if s.connecting() {
			list = append(list, s.to.String())
		}
	}
	return strings.Join(list, " ")
}

const turn = 200 * time.Millisecond // of the transcripts here

func TestStepsTakeTurns(t *testing.T) {
	r := newModesRig(t, modes(lan(1, 2), proto.PortSequential, proto.PortShared), true)
	r.pass(turn / 2)
	for n, want := range []string{"192.168.1.20:4001", "192.168.1.21:4001", "198.51.100.1:4001", "192.168.1.20:4001", "192.168.1.21:4001"} {
		if got := r.connectingTo(); got != want {
			t.Errorf("turn %d: dialling %q, want %q", n, got, want)
		}
		r.pass(turn)
	}
	r.exec.Stop()
	if got := r.connectingTo(); got != "" {
		t.Errorf("after Stop: %s", got)
	}
}

// Version 1, and an older server that does not pass the mode on: the side takes
// turns all the same.
func TestStepsTakeTurnsWithoutThePlan(t *testing.T) {
	tr := lan(1, 1)
	r := newModesRig(t, tr, true)
	for range 40 {
		r.pass(turn / 4)
		if got := r.connectingTo(); strings.Contains(got, " ") {
			t.Fatalf("dialling %s at once", got)
		}
	}
}

// Each pair of addresses has its turn where both sides have one socket.
func TestBothTakeTurns(t *testing.T) {
	tr := modes(lan(2, 3), proto.PortSequential, proto.PortSequential)
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	met := map[[2]int]bool{}
	for n := range len(plan.Initiator) * len(plan.Responder) {
		met[[2]int{plan.TurnOf(proto.Initiator, n), plan.TurnOf(proto.Responder, n)}] = true
	}
	if len(met) != 12 || !met[[2]int{0, 0}] {
		t.Errorf("%v meet", met)
	}
}

// What is dialled once comes first; then the observed endpoint has the socket
// for good, and one dial of it after the other.
func TestOnceComesFirst(t *testing.T) {
	r := newModesRig(t, modes(v6(1, 1), proto.PortSequential, proto.PortShared), true)
	r.pass(turn / 2)
	once := r.last(1)
	if once.to.String() != "[2001:db8::b0]:5000" {
		t.Errorf("dialled %v first", once.to)
	}
	r.pass(turn)
	observed := r.last(2)
	if !once.closed || observed.to.String() != obsB {
		t.Errorf("then %v, the first closed %t", observed.to, once.closed)
	}
	r.pass(2 * turn) // its hold is 320 ms
	for _, s := range r.socks[1:] {
		if s.to != observed.to {
			t.Errorf("dialled %v again", s.to)
		}
	}
	r.want("+0 dialled", "+200 yielded", "+200 dialled", "+520 replaced", "+520 dialled")
}

// A dial that the peer has answered keeps the socket beyond its turn, and so
// does a connection that is not proven yet.
func TestAnsweredDialKeepsTheTurn(t *testing.T) {
	r := newModesRig(t, modes(lan(1, 1), proto.PortSequential, proto.PortShared), true)
	r.pass(turn - time.Millisecond)
	s := r.last(1)
	s.answered = true
	r.pass(turn)
	s.connect()
	r.pass(turn)
	if r.last(1) != s || s.closed {
		t.Fatal("the answered dial was given up")
	}
	s.h.Received(proof())
	if len(r.won) != 1 {
		t.Fatal("not proven")
	}
	r.pass(5 * turn)
	r.last(1) // nothing is dialled while it lives
	r.exec.GiveUp()
	r.pass(turn)
	if got := r.connectingTo(); got == "" || strings.Contains(got, " ") {
		t.Errorf("after it was given up: dialling %q", got)
	}
}

// A step that is forbidden here leaves its turns to the observed endpoint.
func TestForbiddenStepHasNoTurn(t *testing.T) {
	tr := modes(lan(1, 1), proto.PortSequential, proto.PortShared)
	r := newRig(t, func(c *Config) {
		plan, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		c.Plan, c.Zero, c.Deaf, c.Sequential = plan, epoch.Add(-micros(plan.Start)), true, true
		c.Admit = func(s Step) error {
			if s.To.Kind == proto.Host {
				return &ForbiddenError{s.To, "it is nowhere"}
			}
			return nil
		}
	})
	r.pass(turn + turn/4)
	if s := r.last(1); s.to.String() != "198.51.100.1:4001" || s.closed {
		t.Errorf("dialled %v, closed %t", s.to, s.closed)
	}
}

// Where nobody listens, whom a refusal meets dials at once as long as the burst
// lasts, and then again when the next round begins.
func TestRounds(t *testing.T) {
	r := newModesRig(t, modes(transcript(obsA, obsB, 20_000, 20_000), proto.PortDialOnly, proto.PortDialOnly), false)
	for r.now.Before(epoch.Add(time.Second)) {
		if s := r.socks; len(s) > 0 && s[len(s)-1].connecting() {
			s[len(s)-1].fail(ErrRefused)
		}
		r.pass(100 * time.Microsecond)
	}
	count := map[time.Duration]int{}
	for _, s := range r.socks {
		count[s.at.Sub(epoch)/turn]++
	}
	for _, n := range []time.Duration{0, 1, 4} {
		if count[n] < paceBurst-1 || count[n] > paceBurst+2 {
			t.Errorf("round %d: %d dials", n, count[n])
		}
	}
	if count[2] < paceBurst+4 || len(r.socks) > 100 {
		t.Errorf("%d dials in the round that is spread most, %d in the first second", count[2], len(r.socks))
	}
	if first := r.socks[paceBurst-1].at.Sub(epoch); first > 8*time.Millisecond {
		t.Errorf("the first round took %v", first)
	}
}

// A side that cannot accept ends as soon as nothing is left to dial, and says why
// it had no better chance.
func TestExhausted(t *testing.T) {
	r := newModesRig(t, modes(transcript(obsA, obsB, 20_000, 20_000), proto.PortDialOnly, proto.PortSequential), false)
	r.pass(time.Millisecond)
	s := r.last(1)
	s.connect()
	s.h.Received(make([]byte, proto.PreambleSize)) // a stranger
	r.pass(time.Millisecond)
	if r.ended == nil || !strings.Contains(r.ended.Error(), "nothing is left to dial; neither side can listen on its port (port-mode), so two") {
		t.Errorf("expired: %v", r.ended)
	}
}

// With a listener of its own, a side waits until the limit.
func TestNotExhaustedWhileListening(t *testing.T) {
	r := newRig(t, nil)
	r.pass(time.Millisecond)
	s := r.last(1)
	s.connect()
	s.h.Received(make([]byte, proto.PreambleSize))
	if r.pass(time.Second); r.ended != nil {
		t.Errorf("expired: %v", r.ended)
	}
}
