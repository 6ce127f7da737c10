package punch

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// A preamble that was seen once proves nothing the second time.
func TestReplayedPreambleProvesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	p := proof()
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, p); err != nil {
		t.Fatal(err)
	}
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, p); !errors.Is(err, proto.ErrProof) {
		t.Errorf("the same preamble again: %v, want ErrProof", err)
	}
}

// Even the peer may not have any number of proven connections.
func TestProvenConnectionsAreBounded(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	accepted := 0
	for range 3 * maxAlive {
		if r.exec.Accept(&fakeSocket{}, proto.Candidate{}, proof()) == nil {
			accepted++
		}
	}
	if accepted != maxAlive {
		t.Errorf("%d accepted, want %d", accepted, maxAlive)
	}
}

// All plans of a node together keep to an address's pace.
func TestPlansShareAnAddressesPace(t *testing.T) {
	now := time.Unix(0, 0)
	b := NewBudget(now)
	victim := netip.MustParseAddr("192.0.2.1")
	for second := range 3 {
		sent := 0
		for ms := range 1000 {
			at := now.Add(time.Duration(second)*time.Second + time.Duration(ms)*time.Millisecond)
			for range 5 { // plans, each of which sends if it need not wait
				if b.pace(victim, at, 1) == 0 {
					sent++
				}
			}
		}
		if sent > 100 {
			t.Errorf("%d SYNs in second %d, want at most 100", sent, second)
		}
	}
}

// address is the n-th of many.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// Addresses that have had their burst and one SYN more are forgotten as well, and each new
// one has a burst of its own.
func TestPacesAreForgotten(t *testing.T) {
	b, now := NewBudget(epoch), epoch
	for n := range 20 * maxPaces {
		if n%maxPaces == 0 {
			now = now.Add(time.Second)
		}
		for take := range paceBurst + 1 {
			if wait := b.pace(address(n), now, 1); (wait > 0) != (take == paceBurst) {
				t.Fatalf("address %d, SYN %d: waits %v", n, take, wait)
			}
		}
		if len(b.paces) > maxPaces {
			t.Fatalf("%d addresses are remembered", len(b.paces))
		}
		if len(b.order) != len(b.paces) {
			t.Fatalf("%d of %d have a turn", len(b.order), len(b.paces))
		}
	}
}

// An address that is forgotten has no more than its pace, nor has one with a dial
// whose SYN the system may repeat, which is not forgotten.
func TestForgottenPacesGiveNothingAway(t *testing.T) {
	b := NewBudget(epoch)
	b.dial(address(0), epoch)
	var sent []time.Time
	for ms := range 3000 {
		now := epoch.Add(time.Duration(ms) * time.Millisecond)
		for n := range 20 { // has what can be forgotten forgotten
			b.pace(address(1+20*ms+n), now, 1)
		}
		if b.paces[address(0)] == nil {
			t.Fatalf("%d ms: forgotten with a dial under way", ms)
		}
		if b.pace(address(1), now, 1) == 0 {
			sent = append(sent, now)
		}
	}
	for i := 100; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-100]); d < time.Second {
			t.Fatalf("101 SYNs in %v", d)
		}
	}
}

// Where none can be forgotten, those that are too many share one pace, until that is
// unused: it is never exceeded by what an address had there and has of its own.
func TestTooManyAddressesShareAPace(t *testing.T) {
	b := NewBudget(epoch)
	for n := range maxPaces {
		b.paceLocked(address(n), epoch).take(epoch, 4*paceBurst)
	}
	victim := address(maxPaces)
	due, now := epoch, epoch
	var sent []time.Time
	for ms := range 3000 {
		now = epoch.Add(time.Duration(ms) * time.Millisecond)
		if n := len(b.paces); n > maxPaces || ms == 0 && n < maxPaces {
			t.Fatalf("%d addresses are remembered", n)
		}
		if now.Before(due) {
			continue
		}
		sent = append(sent, now)
		due = now.Add(b.pace(victim, now, 1))
	}
	for i := 100; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-100]); d < time.Second {
			t.Fatalf("101 SYNs in %v", d)
		}
	}
	if len(sent) < 200 {
		t.Errorf("%d SYNs in 3 s", len(sent))
	}
	for b.paces[victim] == nil && now.Before(epoch.Add(time.Minute)) {
		now = now.Add(time.Second)
		b.pace(victim, now, 1)
	}
	if b.paces[victim] == nil {
		t.Error("the address never has a pace of its own")
	}
}

// A program that was stopped across the plan's limit lets its sockets speak
// before it gives up.
func TestStoppedAcrossTheLimit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Plan.Hold = 20_000_000 })
	r.pass(11 * time.Second)
	s := r.last(1)
	r.freeze(2 * time.Second)
	s.connect()
	s.h.Received(proof())
	r.pass(time.Second)
	if r.ended != nil || s.closed {
		t.Errorf("expired with %v, closed %t", r.ended, s.closed)
	}
}
