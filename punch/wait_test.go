package punch

import (
	"errors"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

func proxiedRandom() *proto.NATReport {
	return edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes })
}

// No SYN of a proxy's comes before the guesses that it could take a port from, and both
// sides end together.
func TestGuessesLieInWait(t *testing.T) {
	for _, test := range []struct {
		proxy *proto.NATReport
		want  uint32
	}{{proxiedRandom(), maxInWait}, {edited(blockNAT(2048, 2111), func(r *proto.NATReport) { r.Proxied = proto.TruthYes }), 64}} {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), test.proxy, poisonedNAT())
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		spread, guess := p.InitiatorVolley, p.ResponderVolley
		if guess.Sockets != test.want || guess.Every*guess.Sockets > guess.Hold || guess.Hold >= 1_000_000 {
			t.Errorf("%d guesses, one each %d, held for %d", guess.Sockets, guess.Every, guess.Hold)
		}
		there := guess.At + guess.Every*guess.Sockets
		if spread.At < there || p.Initiator[0].At < there {
			t.Errorf("dials at %d and %d, guesses until %d", spread.At, p.Initiator[0].At, there)
		}
		if !spread.Renewed || !spread.Completed || spread.At+spread.For != guess.At+guess.For {
			t.Errorf("%+v ends elsewhere than %+v, or is not renewed", spread, guess)
		}
	}
	tr := reports(transcript(obsA, obsB, 20_000, 20_000), proxiedRandom(), silentNAT())
	if p, err := MakePlan(&tr); err != nil || p.ResponderVolley.Sockets > 0 || p.InitiatorVolley.Renewed || p.Initiator[0].At != p.Start {
		t.Errorf("where SYNs do no harm: %+v, %+v, %v", p.InitiatorVolley, p.ResponderVolley, err)
	}
}

// Where a plain dial may do, guesses come after it, and so do not wait for a proxy that
// dials first.
func TestNoLieInWaitWithAReserve(t *testing.T) {
	for _, f := range []proto.NATFiltering{proto.FilteringUnknown, proto.FilteringAddressPortDependent} {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), proxiedRandom(), edited(poisonedNAT(), func(r *proto.NATReport) { r.Filtering = f }))
		p, err := MakePlan(&tr)
		if err != nil {
			t.Fatal(err)
		}
		spread, guess, first := p.InitiatorVolley, p.ResponderVolley, p.Initiator[0]
		waits := f == proto.FilteringAddressPortDependent
		if guess.Reserve == waits || spread.Renewed != waits || (guess.Sockets > 0) != waits || (first.At > p.Start) != waits || !waits && first.At >= guess.At {
			t.Errorf("filtering %v: dials at %d, %+v, %+v", f, first.At, spread, guess)
		}
	}
}

// A proxy's side that may not have its ports guessed knows that when the other side
// begins to, dials plainly then, and does not wait for what does not come.
func TestNoWaitForGuessesThatAreNotAllowed(t *testing.T) {
	errOff := errors.New("switched off")
	for name, edit := range map[string]func(*Config){
		"not allowed":    func(c *Config) { c.AllowGuess = func() error { return errOff } },
		"no other ports": func(c *Config) { c.OtherPorts = false },
	} {
		r := newLadderRig(t, proxiedRandom(), poisonedNAT(), proto.Initiator, edit)
		if r.pass(ms); len(r.socks) != 1 {
			t.Errorf("%s: %d dials at the start", name, len(r.socks))
		}
		r.pass(240 * ms)
		var hopeless *HopelessError
		if !errors.As(r.ended, &hopeless) || hopeless.Missing == nil || len(r.volleys()) > 0 {
			t.Errorf("%s: %d dials, ended with %v", name, len(r.volleys()), r.ended)
		}
	}
	asked := 0
	r := newLadderRig(t, proxiedRandom(), poisonedNAT(), proto.Initiator, func(c *Config) {
		c.AllowGuess = func() error { asked++; return nil }
	})
	if r.pass(ms); asked != 1 {
		t.Errorf("asked %d times when the other side begins", asked)
	}
	at := r.cfg.Plan.InitiatorVolley.At - r.cfg.Plan.Start
	if r.pass(micros(at) - 2*ms); len(r.socks) > 0 {
		t.Errorf("%d dials before the guesses are there", len(r.socks))
	}
	if r.pass(10 * ms); asked != 1 || len(r.volleys()) == 0 || len(r.volleys()) == len(r.socks) {
		t.Errorf("%d dials, %d of them plain, asked %d times", len(r.volleys()), len(r.socks)-len(r.volleys()), asked)
	}
	r.exec.Stop()
}

// A guess whose 4-tuple something on this host still has is made later; none of its
// SYNs has left.
func TestGuessInWaitWhoseTupleIsInUse(t *testing.T) {
	r := newLadderRig(t, proxiedRandom(), poisonedNAT(), proto.Responder, func(c *Config) { c.Quiet = true })
	r.pass(700 * ms) // all have been made
	busy := r.volleys()[0].to
	before := r.exec.SYNs()
	r.volleys()[0].fail(ErrTupleInUse)
	if n := r.exec.SYNs(); n != before-1 {
		t.Errorf("%d SYNs, %d with one that has not left", n, before)
	}
	since, tries := r.now, 0
	for range 180 {
		r.pass(ms)
		if s := r.volleys()[len(r.volleys())-1]; s.to == busy && s.connecting() {
			if tries++; s.at.Sub(since) < inUseFor || s.at.Sub(since) > inUseFor+20*ms {
				t.Errorf("dialled again after %v", s.at.Sub(since))
			}
			since = r.now
			s.fail(ErrTupleInUse)
		}
	}
	if tries != 1 {
		t.Errorf("dialled again %d times, want once", tries)
	}
	r.exec.Stop()
}

// The same ports are dialled again before the kernel would repeat the SYNs, and nothing
// else is: a port that is new to the NAT may be taken by then.
func TestGuessesInWaitStay(t *testing.T) {
	r := newLadderRig(t, proxiedRandom(), poisonedNAT(), proto.Responder, func(c *Config) { c.Quiet = true })
	r.pass(3 * time.Second)
	last := map[string]*fakeSocket{}
	again := 0
	for _, s := range r.volleys() {
		if before := last[s.to.String()]; before != nil {
			again++
			if d := s.at.Sub(before.at); !before.closed || d >= time.Second {
				t.Fatalf("%v is dialled again after %v, closed %v", s.to, d, before.closed)
			}
		}
		last[s.to.String()] = s
	}
	if len(last) != maxInWait || again < 2*maxInWait-20 {
		t.Errorf("%d ports, %d dials of one again", len(last), again)
	}
	r.exec.Stop()
}

// What a proxy completes where its SYN was swallowed is given up and dialled again, from
// the same port and at the pace of all guesses.
func TestCompletedDialsAreRenewed(t *testing.T) {
	for _, test := range []struct {
		nat  *proto.NATReport
		want bool
	}{{poisonedNAT(), true}, {silentNAT(), false}} {
		r := newLadderRig(t, proxiedRandom(), test.nat, proto.Initiator, func(c *Config) { c.Quiet = true })
		connected := 0
		for range 3000 {
			r.pass(ms)
			for _, s := range r.volleys()[connected:] {
				connected++
				s.connect()
			}
		}
		all := r.volleys()
		bySlot, open := map[int]int{}, 0
		for _, s := range all {
			if bySlot[s.slot]++; !s.closed {
				open++
			}
		}
		if len(bySlot) != maxSpread || (len(all) > maxSpread) != test.want || open > maxSpread {
			t.Errorf("%d dials from %d ports, %d of them open", len(all), len(bySlot), open)
		}
		if test.want && len(all) < 3*maxSpread {
			t.Errorf("no more than %d dials in three seconds", len(all))
		}
		r.exec.Stop()
	}
}
