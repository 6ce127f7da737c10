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
	for i := range 5 * maxPaces {
		b.pace(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now.Add(time.Duration(i)*time.Second), 1)
	}
	if len(b.paces) > maxPaces {
		t.Errorf("%d addresses are remembered", len(b.paces))
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
