package rendezvous

import (
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// wait asks for an introduction for which the server is to wait, in seconds.
func (a *actor) wait(request uint32, peer string, seconds uint16) {
	a.s.r.introduce(a.member, &proto.Introduce{Request: request, Peer: testID(peer), Wait: seconds}, a.s.now)
}

func TestRequestWaits(t *testing.T) {
	for _, test := range []struct {
		name    string
		seconds uint16
		want    time.Duration
	}{
		{"a second", 1, time.Second},
		{"the longest time", 60, proto.MaxWait},
		{"longer than that", 61, proto.MaxWait},
		{"as long as can be said", 65535, proto.MaxWait},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, ServerConfig{})
			a := s.enter("alice", 1, answersNo)
			a.wait(5, "bob", test.seconds)
			s.pass(test.want - 1)
			a.expect()
			s.pass(1)
			a.declined(5, proto.CodeOffline)
			s.empty()
		})
	}
}

func TestWhoIsWaitedForComes(t *testing.T) {
	byName := policy{answersFor: []proto.ID{testID("alice")}}
	for name, p := range map[string]policy{"answering all": answersAll, "answering by name": byName} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, ServerConfig{})
			a := s.enter("alice", 1, answersNo)
			a.wait(5, "bob", 30)
			s.pass(29 * time.Second)
			s.enter("bob", 1, answersNo).expect() // it answers nobody
			b := s.enter("bob", 2, p)
			s.pass(answerTimeout - 1) // beyond the request's time: it has been offered
			b.accept(b.offered())
			s.same(a.introduced(5), b.introduced(0))
			s.empty()
		})
	}
}

// Two peers that wait for each other meet when the second one comes, without an
// offer, even if neither is listed as answering.
func TestBothWait(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	a.wait(5, "bob", 60)
	s.pass(59 * time.Second)
	b := s.enter("bob", 2, answersNo)
	b.wait(9, "alice", 60)
	if tr := s.same(a.introduced(5), b.introduced(9)); tr.Initiator.ID != testID("alice") {
		t.Errorf("the initiator is not who asked first: %+v", tr)
	}
	s.empty()
}

// The usual case: each is listed as answering the other while it asks for it.
// Whatever crosses, there is one introduction.
func TestBothWaitAndAnswerByName(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, policy{answersFor: []proto.ID{testID("bob")}})
	a.wait(5, "bob", 60)
	b := s.enter("bob", 2, policy{answersFor: []proto.ID{testID("alice")}})
	o := b.offered()
	b.wait(9, "alice", 60)
	s.same(a.introduced(5), b.introduced(9))
	b.accept(o) // crossed
	a.expect()
	b.expect()
	s.empty()
}

// Each request of a pair is declined at its own time.
func TestRequestsOfOnePairWaitForThemselves(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	a.wait(5, "bob", 20)
	a.wait(6, "bob", 10)
	a.introduce(7, "bob")
	a.declined(7, proto.CodeOffline)
	s.pass(10 * time.Second)
	a.declined(6, proto.CodeOffline)
	s.pass(5 * time.Second)
	a.wait(8, "bob", 10)
	s.pass(5 * time.Second)
	a.declined(5, proto.CodeOffline)
	b := s.enter("bob", 2, answersAll)
	b.accept(b.offered())
	s.same(a.introduced(8), b.introduced(0))
	s.empty()
}

func TestWaitingOutlastsGrace(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.enter("bob", 2, answersAll).leave()
	a.wait(5, "bob", 1) // shorter than the grace
	a.wait(6, "bob", 10)
	s.pass(3 * time.Second)
	a.declined(5, proto.CodeOffline)
	s.pass(7*time.Second - 1)
	a.expect()
	s.pass(1)
	a.declined(6, proto.CodeOffline)
	s.empty()
}

// A peer that goes after it was asked and comes back much later is asked anew,
// and has all the time to answer.
func TestWaitingOutlastsAnOffer(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.wait(5, "bob", 60)
	b.offered()
	b.leave()
	s.pass(30 * time.Second)
	a.expect()
	again := s.enter("bob", 2, answersAll)
	o := again.offered()
	s.pass(answerTimeout - 1)
	again.accept(o)
	s.same(a.introduced(5), again.introduced(0))
	s.empty()
}

func TestWhoWaitsLeaves(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	a.wait(5, "bob", 60)
	a.leave()
	b := s.enter("bob", 2, answersAll)
	b.expect()
	s.empty()
}

func TestWaitingRequestsAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{IntroductionRate: -1})
	a := s.enter("alice", 1, answersNo)
	for i := range maxAsked {
		a.wait(uint32(i+1), "bob"+string(rune('A'+i)), 60)
	}
	a.expect()
	a.wait(100, "zoe", 60)
	a.declined(100, proto.CodeBusy)
	for i := range maxAsked - 1 {
		a.wait(uint32(200+i), "bobA", 60)
	}
	a.expect()
	a.wait(300, "bobA", 60)
	a.declined(300, proto.CodeBusy)
}

// withdraw takes a request back.
func (a *actor) withdraw(request uint32) { a.s.r.withdraw(a.member, request, a.s.now) }

func TestWithdrawnWhileWaiting(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	a.wait(5, "bob", 60)
	a.wait(6, "bob", 60)
	a.withdraw(99)
	a.withdraw(5)
	b := s.enter("bob", 2, answersAll)
	b.accept(b.offered())
	s.same(a.introduced(6), b.introduced(0))
	a.wait(7, "carol", 60)
	a.withdraw(7)
	a.withdraw(7)
	s.enter("carol", 3, answersAll).expect()
	a.expect()
	s.empty()
}

func TestWithdrawnWhileOffered(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	o := b.offered()
	a.withdraw(5)
	b.accept(o)
	a.expect()
	b.expect()
	a.introduce(6, "bob")
	b.accept(b.offered())
	s.same(a.introduced(6), b.introduced(0))
	s.empty()
}

// The other side wants the meeting, too: now it leads.
func TestWithdrawnWhileResponderAsks(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enterSilently("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.offered()
	b.introduce(9, "alice") // consents; alice has not answered a ping
	a.withdraw(5)
	b.expect()
	a.accept(a.offered())
	s.r.measured(a.member, time.Millisecond, s.now)
	if tr := s.same(a.introduced(0), b.introduced(9)); tr.Initiator.ID != testID("bob") {
		t.Errorf("transcript %+v", tr)
	}
	s.empty()
}

// Whoever has consented gets the introduction, or the other side would be alone.
func TestConsentIsNotWithdrawn(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enterSilently("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.offered()
	b.introduce(9, "alice")
	b.withdraw(9)
	s.r.measured(a.member, time.Millisecond, s.now)
	s.same(a.introduced(5), b.introduced(9))
	s.empty()
}
