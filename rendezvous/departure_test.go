package rendezvous

import (
	"fmt"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// awayFor is the policy of a client that answers all and says that it comes back.
func awayFor(d time.Duration) policy { return policy{answers: true, away: d} }

// departed returns how many departures are remembered, and checks that nothing else
// is left of them.
func (s *stage) departed() (n int) {
	s.t.Helper()
	for _, of := range s.r.departures {
		n += len(of)
	}
	if timers := len(s.r.timers.heap); timers != n || s.r.away.total != n {
		s.t.Errorf("%d departures with %d timers, counted as %d", n, timers, s.r.away.total)
	}
	return n
}

// Whoever comes and goes is remembered once, and not at all while it is there.
func TestComingAndGoing(t *testing.T) {
	s := newStage(t, ServerConfig{})
	for range 100 {
		b := s.enter("bob", 2, awayFor(time.Minute))
		if n := s.departed(); n != 0 {
			t.Fatalf("while it is registered there are %d departures", n)
		}
		b.leave()
		if n := s.departed(); n != 1 {
			t.Fatalf("after it has left there are %d departures", n)
		}
	}
	s.empty()
}

// What another registration of the same instance replaces has not departed, and is
// remembered in place of nobody; nor is one expected to which nothing would be
// offered.
func TestNoDeparture(t *testing.T) {
	s := newStage(t, ServerConfig{MaxInstances: 1})
	s.enter("bob", 1, awayFor(time.Minute)).leave()
	s.pass(time.Second)
	s.enter("bob", 2, awayFor(time.Minute))
	s.enter("bob", 2, awayFor(time.Minute))
	s.enter("carol", 3, policy{away: time.Minute}).leave()
	if n := s.departed(); n != 1 {
		t.Errorf("%d departures, want that of bob's first instance", n)
	}
}

// The instance that was waited for is back and does not answer: waiting for it is
// over, but not for another one, nor what the asker itself wants to wait.
func TestReturnEndsWaiting(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	for i := range 2 {
		s.enter("bob", 2+i, awayFor(time.Duration(30+10*i)*time.Second)).leave()
	}
	a.introduce(5, "bob")
	a.wait(6, "bob", 50)
	s.enter("bob", 9, answersNo)
	s.enter("bob", 3, answersNo)
	a.expect()
	s.pass(30*time.Second - 1)
	a.expect()
	s.enter("bob", 2, answersNo)
	a.declined(5, proto.CodeOffline)
	s.pass(20*time.Second + 1)
	a.declined(6, proto.CodeOffline)
	s.empty()
}

// Of one ID as many departures are remembered as it may have registrations, and
// those for which one would wait the longest.
func TestDeparturesOfOneIDAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{MaxInstances: 4})
	for i := range 50 {
		s.enter("bob", i, awayFor(time.Duration(60-i)*time.Second)).leave() // the longest first
		s.enter("carol", i, awayFor(time.Duration(11+i)*time.Second)).leave()
	}
	if n := s.departed(); n != 8 {
		t.Errorf("%d departures, want 4 of each", n)
	}
	for _, name := range []string{"bob", "carol"} {
		for _, d := range s.r.departures[testID(name)] {
			if left := d.until.Sub(s.now); left < 57*time.Second {
				t.Errorf("%s is expected for another %v, and longer ones were forgotten", name, left)
			}
		}
	}
	a := s.enter("alice", 1, answersNo)
	a.introduce(5, "bob")
	a.introduce(6, "carol")
	s.pass(time.Minute - time.Nanosecond)
	a.expect()
	s.pass(time.Nanosecond)
	if got := a.got(); len(got) != 2 {
		t.Errorf("after a minute: %s", transcript(got))
	}
	s.empty()
}

// The departures of many IDs are bounded, too, and those of one source address.
func TestDeparturesAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{MaxClients: 40})
	for i := range 200 {
		s.enter(fmt.Sprintf("a%d", i), 1, awayFor(time.Minute)).leave()
	}
	if n := s.departed(); n != 10 {
		t.Errorf("%d departures of one source address, want 10", n)
	}
	for i := range 200 {
		s.enter(fmt.Sprintf("%c%d", 'b'+i%20, i), 1, awayFor(time.Minute)).leave()
	}
	if n := s.departed(); n != 40 {
		t.Errorf("%d departures, want 40", n)
	}
	s.empty()
}
