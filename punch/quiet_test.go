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

const (
	ms      = time.Millisecond
	rigsRTT = 36 * ms
)

// newQuietRig is a rig whose sockets can dial quietly.
func newQuietRig(t *testing.T, edit func(*Config)) *rig {
	r := newRig(t, func(c *Config) {
		c.Quiet = true
		if edit != nil {
			edit(c)
		}
	})
	r.pass(0)
	return r
}

// refuse lets the n-th dial fail after a round trip.
func (r *rig) refuse(n int) {
	r.t.Helper()
	s := r.last(n)
	r.pass(rigsRTT)
	s.fail(fmt.Errorf("connect: %w", ErrRefused))
}

// await lets time pass until the n-th dial, and returns when that was since the
// one before.
func (r *rig) await(n int) time.Duration {
	r.t.Helper()
	for deadline := r.now.Add(20 * time.Second); len(r.socks) < n && r.now.Before(deadline); {
		r.pass(ms)
	}
	r.last(n)
	if r.socks[n-2].connecting() {
		r.t.Errorf("dial %d is still under way", n-1)
	}
	return r.socks[n-1].at.Sub(r.socks[n-2].at)
}

// ttls are those of all dials.
func (r *rig) ttls() (list []int) {
	for _, s := range r.socks {
		list = append(list, s.ttl)
	}
	return list
}

func (r *rig) wantTTLs(want ...int) {
	r.t.Helper()
	if got := r.ttls(); !slices.Equal(got, want) {
		r.t.Errorf("dialled with the TTLs %v, want %v", got, want)
	}
}

func TestRefusedIsDialledQuietlyAtOnce(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.wantTTLs(0, 2)
	if at := r.last(2).at; !at.Equal(r.now) {
		t.Errorf("%v after the refusal", at.Sub(r.now))
	}
	r.pass(899 * ms)
	if r.last(2).closed {
		t.Error("not held until the kernel's retransmission is near")
	}
	r.want("+0 dialled", "+36 failed", "+36 dialled")
}

// A quiet dial is what the late peer's first SYN meets.
func TestQuietDialConnectsAndIsProven(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	s := r.last(2)
	r.pass(500 * ms)
	s.connect()
	r.pass(time.Second)
	s.h.Received(proof())
	r.pass(20 * time.Second)
	r.want("+0 dialled", "+36 failed", "+36 dialled", "+536 connected", "+1536 proven")
	if len(r.won) != 1 || s.closed {
		t.Errorf("won %v, closed %t", r.won, s.closed)
	}
}

func TestQuietDialUnmetIsReplacedByALoudOne(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	if d := r.await(3); d != quietLong {
		t.Errorf("replaced after %v", d)
	}
	r.wantTTLs(0, 2, 0)
	r.want("+0 dialled", "+36 failed", "+36 dialled", "+936 replaced", "+936 dialled")
	if n := r.exec.SYNs(); n != 3 {
		t.Errorf("%d SYNs, want 3: the kernel is not to repeat a quiet one", n)
	}
}

// After a long quiet dial that did not help both kinds take turns, until it is
// time for another long one.
func TestQuietAndLoudTakeTurns(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	long := r.now
	r.await(3)
	n := 3
	for r.refuse(n); r.now.Sub(long) <= quietLong+turns; r.refuse(n) {
		if got := r.last(n + 1).ttl; got != quietTTL {
			t.Fatalf("dial %d has TTL %d", n+1, got)
		}
		if d := r.await(n + 2); d < rigsRTT/2 || d > rigsRTT*3/2+20*ms {
			t.Fatalf("a short quiet dial of %v", d)
		}
		if n += 2; r.last(n).ttl != 0 {
			t.Fatalf("dial %d is quiet too", n)
		}
	}
	if n < 20 {
		t.Errorf("%d dials until the next long quiet one", n)
	}
	if d := r.await(n + 2); d != quietLong {
		t.Errorf("a quiet dial of %v, %v after the last long one began", d, r.now.Sub(long))
	}
}

// What the kernel has repeated, because a packet of the connection before came
// to the socket, was not quiet, and its refusal says nothing about what is near.
// Without quiet dials the SYNs of both sides would go on to cross, and a NAT that
// remembers the end of the connection to refuse ours.
func TestRefusalOfARepeatedSYNIsNotThatOfAQuietOne(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.pass(20 * ms)
	r.last(2).fail(errors.Join(ErrRefused, ErrRepeated))
	r.wantTTLs(0, 2, 2)
	if at := r.last(3).at; !at.Equal(r.now) {
		t.Errorf("%v after the refusal", at.Sub(r.now))
	}
}

// A RST from where TTL 2 leads to is a host, or a NAT right beside our own:
// then nothing can be opened quietly.
func TestQuietDialRefusedEndsQuietDialling(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.refuse(2)
	for n := 2; n < 12; n++ {
		if d := r.await(n + 1); d < rigsRTT || d > rigsRTT+1500*time.Microsecond {
			t.Errorf("dial %d came %v after the one before", n+1, d)
		}
		r.refuse(n + 1)
	}
	r.wantTTLs(0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// A program that stands still holds its quiet dial until the kernel repeats it,
// with the normal TTL: what refuses that is not as near as it looks.
func TestRefusalOfTheKernelsRepetitionIsNotOfTheQuietDial(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.freeze(time.Second + rigsRTT)
	r.last(2).fail(ErrRefused)
	r.wantTTLs(0, 2, 2)
}

// A quiet dial that the peer has met is not replaced, whatever the time.
func TestAnsweredQuietDialIsNotReplaced(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.last(2).answered = true
	r.pass(2 * time.Second)
	r.last(2).connect()
	r.wantTTLs(0, 2)
}

func TestQuietDialHasNoBetterAnswerToATupleInUse(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.last(2).fail(ErrTupleInUse)
	if d := r.await(3); d < gapInUse/2 || d > gapInUse*3/2+ms {
		t.Errorf("redialled after %v", d)
	}
	r.wantTTLs(0, 2, 0)
}

// A dial that has no answer is no reason to be quiet: nothing has been refused.
func TestReplacedDialIsLoud(t *testing.T) {
	r := newQuietRig(t, nil)
	r.pass(2 * time.Second)
	r.wantTTLs(0, 0, 0, 0, 0, 0, 0)
}

func TestQuietStepInTime(t *testing.T) {
	r := newQuietRig(t, func(c *Config) { c.Plan.Initiator[0].Quiet, c.Plan.Quiet = true, 70_000 })
	r.wantTTLs(2)
	if d := r.await(2); d != 70*ms {
		t.Errorf("held for %v", d)
	}
	r.wantTTLs(2, 0)
	r.refuse(2)
	r.wantTTLs(2, 0, 2) // it says nothing of the TTL that it was not met
}

// The peer is on its way already, and waits for our SYN.
func TestQuietStepTooLateIsLoud(t *testing.T) {
	for late, want := range map[time.Duration]int{lateness: 2, lateness + ms: 0, 3 * time.Second: 0} {
		r := newQuietRig(t, func(c *Config) {
			c.Plan.Initiator[0].Quiet, c.Plan.Quiet = true, 70_000
			c.Zero = c.Zero.Add(-late)
		})
		if got := r.last(1).ttl; got != want {
			t.Errorf("%v late: TTL %d, want %d", late, got, want)
		}
	}
}

// The peer is deaf, and is refused without knowing it, until it dials again.
func TestQuietStepIsDialledAgainToCross(t *testing.T) {
	r := newQuietRig(t, func(c *Config) {
		c.Plan.Initiator[0].Quiet, c.Plan.Quiet = true, 70_000
		c.Plan.Cross = c.Plan.Start + 320_000
	})
	r.await(2)
	r.refuse(2)
	r.await(4)
	if at := r.last(4).at.Sub(r.exec.start); at != 320*ms {
		t.Errorf("dialled to cross at %v", at)
	}
	r.refuse(4)
	if d := r.await(6); d != quietLong {
		t.Errorf("then quiet for %v", d)
	}
	r.wantTTLs(2, 0, 2, 0, 2, 0)
}

// The first dial that is not quiet is deaf, until one has had no answer: then the
// peer may be too far away for it.
func TestDeafStep(t *testing.T) {
	deaf := func(c *Config) { c.Plan.Initiator[0].Deaf, c.Plan.Deaf = true, 500_000 }
	r := newQuietRig(t, deaf)
	r.refuse(1) // with a RST
	r.await(3)
	r.wantTTLs(32, 2, 32)
	r.pass(499 * ms)
	r.wantTTLs(32, 2, 32)
	r.pass(2 * ms)
	r.wantTTLs(32, 2, 32, 0)
	r = newQuietRig(t, func(c *Config) { deaf(c); c.Quiet = false })
	r.wantTTLs(0)
}

func TestQuietStepWhereNoDialCanBeQuiet(t *testing.T) {
	r := newQuietRig(t, func(c *Config) { c.Quiet, c.Plan.Initiator[0].Quiet = false, true })
	r.refuse(1)
	r.await(2)
	r.wantTTLs(0, 0)
}

func TestHostCandidatesAreNeverDialledQuietly(t *testing.T) {
	r := newQuietRig(t, func(c *Config) {
		c.Plan.Initiator = []Step{{To: host(obsB, 1), At: c.Plan.Start, Quiet: true}}
	})
	for n := 1; n < 5; n++ {
		r.refuse(n)
		r.await(n + 1)
	}
	r.wantTTLs(0, 0, 0, 0, 0)
}

func TestOnceIsNeverDialledQuietly(t *testing.T) {
	r := newQuietRig(t, func(c *Config) { c.Plan.Initiator[0].Once = true })
	r.refuse(1)
	r.pass(time.Minute)
	r.wantTTLs(0)
}

func TestQuietDialsAreInThePace(t *testing.T) {
	for _, after := range []time.Duration{0, ms, 5 * ms, 20 * ms} {
		r := newQuietRig(t, nil)
		for r.now.Before(epoch.Add(10 * time.Second)) {
			if s := r.socks[len(r.socks)-1]; s.connecting() && s.ttl == 0 && r.now.Sub(s.at) >= after {
				s.fail(ErrRefused)
			}
			r.pass(200 * time.Microsecond)
		}
		for i := 100; i < len(r.socks); i++ {
			if d := r.socks[i].at.Sub(r.socks[i-100].at); d <= time.Second {
				t.Fatalf("refused after %v: 101 SYNs in %v", after, d)
			}
		}
	}
}

// While a proven connection lives, a quiet dial under way is left alone; when it
// is given up, that goes on where it was.
func TestGiveUpWatchesTheQuietDialUnderWay(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, proof()); err != nil {
		t.Fatal(err)
	}
	r.pass(500 * ms)
	r.exec.GiveUp()
	if d := r.await(3); d != quietLong {
		t.Errorf("replaced after %v", d)
	}
	r.wantTTLs(0, 2, 0)
}

func TestStopClosesAQuietDial(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.exec.Stop()
	r.pass(time.Minute)
	if !r.last(2).closed {
		t.Error("it is open")
	}
}

func TestExpiredTellsOfAQuietDial(t *testing.T) {
	r := newQuietRig(t, nil)
	r.refuse(1)
	r.pass(20 * time.Second)
	if r.ended == nil || !strings.Contains(r.ended.Error(), "dials, last: ") {
		t.Errorf("expired with %v", r.ended)
	}
}

func TestSuccessorDialsQuietlyFirst(t *testing.T) {
	for role, want := range map[proto.Role]time.Duration{
		proto.Initiator: 2 * (quietFirst + rigsRTT),
		proto.Responder: 4 * (quietFirst + rigsRTT),
	} {
		r := newQuietRig(t, func(c *Config) { c.First, c.Role = Quietly, role })
		if held := r.await(2); held != want {
			t.Errorf("%v: held for %v", role, held)
		}
		r.wantTTLs(2, 0)
	}
}

func TestWhoSawThePredecessorDialsLoudlyFirst(t *testing.T) {
	r := newQuietRig(t, func(c *Config) { c.First, c.Plan.Initiator[0].Quiet = Loudly, true })
	r.wantTTLs(0)
}
