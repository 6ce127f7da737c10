package rendezvous

import (
	"reflect"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

func TestIntroductionWithConsent(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	b := s.enter("bob", 2, answersAll)
	s.r.measured(a.member, 7*time.Millisecond, s.now)

	a.introduce(5, "bob", hostCandidate("192.168.1.2:4000"))
	a.expect()
	o := b.offered()
	if o.Initiator != testID("alice") {
		t.Errorf("offer from %v", o.Initiator)
	}
	b.accept(o, hostCandidate("10.0.0.9:4001"))

	tr := s.same(a.introduced(5), b.introduced(0))
	want := &proto.Transcript{
		Introduction: o.Introduction,
		PlanVersion:  proto.PlanVersion,
		Initiator: proto.Party{ID: testID("alice"), Instance: testInstance(1), RTT: 7000, Observed: a.observed,
			Candidates: []proto.Candidate{hostCandidate("192.168.1.2:4000")}},
		Responder: proto.Party{ID: testID("bob"), Instance: testInstance(2), RTT: 10000, Observed: b.observed,
			Candidates: []proto.Candidate{hostCandidate("10.0.0.9:4001")}},
	}
	if !reflect.DeepEqual(tr, want) {
		t.Errorf("transcript\n%+v\nwant\n%+v", tr, want)
	}
	s.empty()
}

func TestIntroductionRefused(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.refuse(b.offered())
	a.declined(5, proto.CodeRefused)
	b.expect()
	s.empty()
}

func TestIntroductionTimesOut(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	o := b.offered()
	s.pass(answerTimeout - 1)
	a.expect()
	s.pass(1)
	a.declined(5, proto.CodeTimeout)
	b.accept(o) // late
	a.expect()
	b.expect()
	s.empty()
}

func TestIntroductionToAbsentPeers(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.enter("carol", 1, answersNo)
	s.enter("dave", 1, policy{answersFor: []proto.ID{testID("bob")}})
	for i, peer := range []string{"bob", "carol", "dave"} {
		a.introduce(uint32(i+1), peer)
		a.declined(uint32(i+1), proto.CodeOffline)
	}
	s.empty()
}

func TestIntroductionToOneself(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, other := s.enter("alice", 1, answersAll), s.enter("alice", 2, answersAll)
	a.introduce(1, "alice")
	a.declined(1, proto.CodeProtocol)
	other.expect()
	s.empty()
}

func TestWhoIsOffered(t *testing.T) {
	byName := policy{answersFor: []proto.ID{testID("xavier"), testID("alice")}}
	for _, test := range []struct {
		name string
		of   []policy // in the order of registration
		want int
	}{
		{"the latest of those that answer all", []policy{answersAll, answersAll, answersNo}, 1},
		{"by name before all", []policy{byName, answersAll}, 0},
		{"by name before all, in the other order", []policy{answersAll, byName}, 1},
		{"the first by name", []policy{byName, byName, answersAll}, 0},
		{"only those that answer", []policy{answersNo, answersAll, {answersFor: []proto.ID{testID("xavier")}}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, ServerConfig{})
			a := s.enter("alice", 1, answersNo)
			var bobs []*actor
			for i, p := range test.of {
				bobs = append(bobs, s.enter("bob", i, p))
			}
			a.introduce(1, "bob")
			for i, b := range bobs {
				if i == test.want {
					b.offered()
				} else {
					b.expect()
				}
			}
		})
	}
}

func TestSecondRequestJoins(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	o := b.offered()
	a.introduce(6, "bob", hostCandidate("192.168.1.2:4000"))
	b.expect()
	b.accept(o)
	got := a.got()
	if len(got) != 2 {
		t.Fatalf("the initiator was sent %s", transcript(got))
	}
	first, second := got[0].(*proto.Introduction), got[1].(*proto.Introduction)
	if first.Request != 5 || second.Request != 6 {
		t.Errorf("answers to %d and %d", first.Request, second.Request)
	}
	s.same(first, second)
	tr := s.same(first, b.introduced(0))
	if len(tr.Initiator.Candidates) != 1 {
		t.Errorf("the initiator's latest candidates are not used: %+v", tr.Initiator)
	}
	s.empty()
}

func TestJoinedRequestsAreDeclinedTogether(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	a.introduce(6, "bob")
	b.refuse(b.offered())
	a.expect(&proto.Declined{Request: 5, Code: proto.CodeRefused}, &proto.Declined{Request: 6, Code: proto.CodeRefused})
	s.empty()
}

// Both ask for each other; the second request meets the first one's offer.
func TestGlareBeforeAnswer(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	o := b.offered()
	b.introduce(9, "alice", hostCandidate("10.0.0.9:4001"))
	tr := s.same(a.introduced(5), b.introduced(9))
	if tr.Initiator.ID != testID("alice") || tr.Introduction != o.Introduction || len(tr.Responder.Candidates) != 1 {
		t.Errorf("transcript %+v", tr)
	}
	b.accept(o) // its answer to the offer, which crossed
	b.refuse(o)
	a.expect()
	b.expect()
	s.empty()
}

// The same, seen from the peer whose request was the later one.
func TestGlareTheOtherWayRound(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	b.introduce(9, "alice")
	a.offered()
	a.introduce(5, "bob")
	if tr := s.same(a.introduced(5), b.introduced(9)); tr.Initiator.ID != testID("bob") {
		t.Errorf("the initiator is not who asked first: %+v", tr)
	}
	s.empty()
}

// The responder's request and the introduction cross on the way.
func TestGlareAfterIssue(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.accept(b.offered())
	first := b.introduced(0)
	a.introduced(5)

	s.pass(repeatWindow - 1)
	b.introduce(9, "alice")
	s.same(first, b.introduced(9))
	a.expect()

	b.introduce(10, "alice") // it knows of the first one by now
	b.expect()
	a.accept(a.offered())
	if again := b.introduced(10); string(again.Transcript) == string(first.Transcript) {
		t.Error("a request that came after the answer got the same introduction")
	}
	a.introduced(0)
	s.empty()
}

func TestRequestLongAfterIssueIsNew(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.accept(b.offered())
	b.introduced(0)
	a.introduced(5)
	s.pass(repeatWindow)
	b.introduce(9, "alice")
	b.expect()
	a.offered()
}

func TestInitiatorsNextRequestIsNew(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	first := b.offered()
	b.accept(first)
	b.introduced(0)
	a.introduced(5)
	a.introduce(6, "bob")
	if o := b.offered(); o.Introduction == first.Introduction {
		t.Error("the same introduction was offered again")
	}
	a.expect()
	s.pass(answerTimeout)
	a.declined(6, proto.CodeTimeout)
	s.empty()
}

func TestIntroductionWaitsAfterRestart(t *testing.T) {
	s := newStage(t, ServerConfig{})
	s.r = newRegistry(&ServerConfig{})
	s.r.start(s.now)
	a := s.enter("alice", 1, answersNo)
	a.introduce(5, "bob")
	a.introduce(6, "carol")
	s.pass(time.Second)
	a.expect()
	b := s.enter("bob", 2, answersNo) // it answers nobody
	b.expect()
	if err := s.r.update(b.member, b.registration(answersAll), s.now); err != nil {
		t.Fatal(err)
	}
	got := b.got()
	if len(got) != 2 || got[0].Type() != proto.TypeRegistered || got[1].Type() != proto.TypeOffer {
		t.Fatalf("after its update bob was sent %s", transcript(got))
	}
	b.accept(got[1].(*proto.Offer))
	s.same(a.introduced(5), b.introduced(0))
	s.pass(2*time.Second - 1)
	a.expect()
	s.pass(1)
	a.declined(6, proto.CodeOffline)
	a.introduce(7, "carol")
	a.declined(7, proto.CodeOffline)
	s.empty()
}

func TestNoGrace(t *testing.T) {
	s := newStage(t, ServerConfig{})
	s.r = newRegistry(&ServerConfig{RestartGrace: -1})
	s.r.start(s.now)
	a := s.enter("alice", 1, answersNo)
	a.introduce(1, "bob")
	a.declined(1, proto.CodeOffline)
	s.enter("bob", 1, answersAll).leave()
	a.introduce(2, "bob")
	a.declined(2, proto.CodeOffline)
	s.empty()
}

func TestIntroductionWaitsForWhoWasJustLost(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.enter("bob", 2, answersAll).leave()
	s.enter("carol", 2, answersNo).leave()
	s.pass(2 * time.Second)
	a.introduce(5, "bob")
	a.expect()
	a.introduce(6, "carol") // nobody expects it to answer
	a.declined(6, proto.CodeOffline)
	b := s.enter("bob", 2, answersAll)
	b.accept(b.offered())
	s.same(a.introduced(5), b.introduced(0))
	s.empty()
}

func TestWhoWasJustLostStaysAway(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.enter("bob", 2, answersAll).leave()
	s.pass(2 * time.Second)
	a.introduce(5, "bob")
	s.pass(time.Second - 1)
	a.expect()
	s.pass(1)
	a.declined(5, proto.CodeOffline)
	s.empty()
}

// What both sides want needs no offer, not even to one that answers nobody.
func TestRequestOfWhoIsWaitedForIsConsent(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.enter("bob", 2, answersAll).leave()
	a.introduce(5, "bob")
	b := s.enter("bob", 3, answersNo)
	b.introduce(9, "alice")
	s.same(a.introduced(5), b.introduced(9))
	s.empty()
}

func TestResponderLostAndBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(b *actor) // it is back
	}{
		{"after it was lost", func(b *actor) { b.leave(); b.s.pass(time.Second) }},
		{"replacing its old connection", func(b *actor) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, ServerConfig{})
			a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
			a.introduce(5, "bob")
			o := b.offered()
			test.before(b)
			again, code := s.tryEnter("bob", 2, answersAll)
			if code != proto.CodeOK {
				t.Fatal(code)
			}
			s.r.measured(again.member, time.Millisecond, s.now)
			again.welcomed()
			again.expect(o)
			b.got()
			b.accept(o) // the old connection has no say
			a.expect()
			again.accept(o)
			s.same(a.introduced(5), again.introduced(0))
			s.empty()
		})
	}
}

func TestResponderLostForGood(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.offered()
	s.pass(time.Second)
	b.leave()
	s.pass(3*time.Second - 1)
	a.expect()
	s.pass(1)
	a.declined(5, proto.CodeOffline)
	s.empty()
}

func TestResponderLostAndReplacedByItsOtherInstance(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b1, b2 := s.enter("alice", 1, answersNo), s.enter("bob", 1, answersAll), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b2.offered()
	b2.leave()
	b1.accept(b1.offered())
	s.same(a.introduced(5), b1.introduced(0))
	s.empty()
}

// A peer that comes and goes cannot keep a request alive forever.
func TestOfferTimeIsCountedOnce(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	b := s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	for range 4 {
		b.offered()
		s.pass(time.Second)
		b.leave()
		s.pass(time.Second)
		a.expect()
		again, _ := s.tryEnter("bob", 2, answersAll)
		again.welcomed()
		b = again
	}
	s.pass(2*time.Second - 1)
	a.expect()
	s.pass(1)
	a.declined(5, proto.CodeTimeout)
	s.empty()
}

// An initiator that reconnects joins its own pending introduction, so that the
// responder is not asked twice.
func TestInitiatorLostAndBack(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	o := b.offered()
	a.leave()
	again := s.enter("alice", 1, answersNo)
	again.introduce(5, "bob")
	b.expect()
	b.accept(o)
	s.same(again.introduced(5), b.introduced(0))
	a.expect()
	s.empty()
}

func TestInitiatorLostForGood(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	a.introduce(6, "carol")
	o := b.offered()
	a.leave()
	b.accept(o)
	b.expect()
	s.empty()
}

// The responder's own request survives the initiator, and takes the lead.
func TestInitiatorLostWhileResponderAsks(t *testing.T) {
	for _, whilePonging := range []bool{false, true} {
		s := newStage(t, ServerConfig{})
		a := s.enterSilently("alice", 1, answersAll)
		b := s.enter("bob", 2, answersAll)
		a.introduce(5, "bob")
		b.offered()
		if whilePonging {
			b.introduce(9, "alice") // consents; alice has not answered a ping
			a.leave()
		} else {
			a.leave()
			b.introduce(9, "alice")
		}
		b.expect()
		again := s.enter("alice", 1, answersAll)
		again.accept(again.offered())
		if tr := s.same(again.introduced(0), b.introduced(9)); tr.Initiator.ID != testID("bob") {
			t.Errorf("transcript %+v", tr)
		}
		s.empty()
	}
}

func TestIntroductionWaitsForFirstPong(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enterSilently("alice", 1, answersNo)
	b := s.enterSilently("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.accept(b.offered())
	s.r.measured(b.member, time.Millisecond, s.now)
	a.expect()
	s.pass(100 * time.Millisecond)
	s.r.measured(a.member, 100*time.Millisecond, s.now)
	if tr := s.same(a.introduced(5), b.introduced(0)); tr.Initiator.RTT != 100_000 || tr.Responder.RTT != 1000 {
		t.Errorf("round trips %d and %d", tr.Initiator.RTT, tr.Responder.RTT)
	}
	s.empty()
}

func TestIntroductionDoesNotWaitForPongForever(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enterSilently("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.introduce(5, "bob")
	b.accept(b.offered())
	s.pass(pongTimeout - 1)
	a.expect()
	s.pass(1)
	if tr := s.same(a.introduced(5), b.introduced(0)); tr.Initiator.RTT != 0 {
		t.Errorf("round trip %d", tr.Initiator.RTT)
	}
	s.empty()
}

func TestStatedCandidatesOfOtherKindsAreRemoved(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	foreign := hostCandidate("203.0.113.66:1")
	foreign.Kind = 7
	a.introduce(5, "bob", foreign, hostCandidate("192.168.1.2:4000"))
	b.accept(b.offered(), hostCandidate("10.0.0.9:4001"), foreign)
	tr := s.same(a.introduced(5), b.introduced(0))
	for _, p := range []proto.Party{tr.Initiator, tr.Responder} {
		if len(p.Candidates) != 1 || p.Candidates[0].Kind != proto.Host {
			t.Errorf("candidates %v", p.Candidates)
		}
	}
}

func TestPlanVersionIsTheLower(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	a.plan, b.plan = 9, 4
	a.introduce(5, "bob")
	b.accept(b.offered())
	if tr := s.same(a.introduced(5), b.introduced(0)); tr.PlanVersion != 4 {
		t.Errorf("plan version %d", tr.PlanVersion)
	}
}

func TestIntroductionRate(t *testing.T) {
	s := newStage(t, ServerConfig{IntroductionRate: 2, IntroductionBurst: 3})
	a := s.enter("alice", 1, answersNo)
	other := s.enter("alice", 2, answersNo) // the limit is the identity's
	for i := range uint32(3) {
		a.introduce(i+1, "bob")
		a.declined(i+1, proto.CodeOffline)
	}
	other.introduce(4, "bob")
	other.declined(4, proto.CodeBusy)
	s.enter("carol", 1, answersNo).introduce(1, "bob")
	s.pass(500 * time.Millisecond)
	a.introduce(5, "bob")
	a.declined(5, proto.CodeOffline)
	a.introduce(6, "bob")
	a.declined(6, proto.CodeBusy)
}

// Many IDs at one address do not get more than the address.
func TestIntroductionRateOfAddress(t *testing.T) {
	s := newStage(t, ServerConfig{IntroductionRate: 1, IntroductionBurst: 1, MaxInstances: -1})
	for i := range 2 * idsPerSource {
		want := proto.CodeOffline
		if i >= idsPerSource {
			want = proto.CodeBusy
		}
		a := s.enter("a"+string(rune('A'+i)), i, answersNo) // the first letter makes the address
		a.introduce(1, "nobody")
		a.declined(1, want)
	}
	z := s.enter("z", 1, answersNo)
	z.introduce(1, "nobody")
	z.declined(1, proto.CodeOffline)
}

func TestPendingRequestsAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{IntroductionRate: -1})
	a := s.enter("alice", 1, answersNo)
	for i := range maxAsked {
		peer := "bob" + string(rune('A'+i))
		s.enter(peer, i, answersAll)
		a.introduce(uint32(i+1), peer)
	}
	a.expect()
	s.enter("zoe", 1, answersAll)
	a.introduce(100, "zoe")
	a.declined(100, proto.CodeBusy)
	for i := range maxAsked - 1 {
		a.introduce(uint32(200+i), "bobA")
	}
	a.expect()
	a.introduce(300, "bobA")
	a.declined(300, proto.CodeBusy)
}

// Strangers cannot fill the queue of a client that does not read, which would
// end its registration.
func TestOffersAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{MaxInstances: -1, IntroductionRate: -1})
	b := s.enter("bob", 1, answersAll)
	for i := range maxOffers {
		a := s.enter("alice", i, answersNo)
		a.introduce(1, "bob")
		a.leave() // and does not free the place by that
	}
	a := s.enter("alice", 201, answersNo)
	a.introduce(1, "bob")
	a.declined(1, proto.CodeBusy)
	if got := len(b.got()); got != maxOffers {
		t.Errorf("%d offers", got)
	}
	s.pass(answerTimeout)
	a.introduce(2, "bob")
	b.offered()
	a.expect()
}

// The same for those whom the client wants to meet itself.
func TestConsentsByRequestAreBounded(t *testing.T) {
	s := newStage(t, ServerConfig{MaxInstances: -1, IntroductionRate: -1})
	bob := policy{answersFor: []proto.ID{testID("nobody")}}
	s.enter("bob", 1, answersAll).leave()
	for i := range maxOffers + 1 {
		s.enter("a"+string(rune('A'+i)), i, answersNo).introduce(1, "bob")
	}
	b := s.enterSilently("bob", 2, bob)
	for i := range maxOffers {
		b.introduce(uint32(i+1), "a"+string(rune('A'+i)))
	}
	b.expect()
	b.introduce(100, "a"+string(rune('A'+maxOffers)))
	b.declined(100, proto.CodeBusy)
	for i := range maxAsked - 1 {
		b.introduce(uint32(200+i), "aA")
	}
	b.expect()
	b.introduce(300, "aA")
	b.declined(300, proto.CodeBusy)
}

func TestWhoIsGoneHasNoSay(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 1, answersAll)
	a.leave()
	a.leave()
	a.introduce(1, "bob")
	b.expect()
	if err := s.r.update(a.member, a.registration(answersAll), s.now); err != nil {
		t.Error(err)
	}
	a.expect()
	s.empty()
}

func TestNobodyRegistersAfterFarewell(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a := s.enter("alice", 1, answersNo)
	s.r.farewell(s.now)
	a.expect(&proto.Failure{Code: proto.CodeShutdown})
	if _, code := s.tryEnter("bob", 1, answersNo); code != proto.CodeShutdown {
		t.Errorf("code %v", code)
	}
	s.empty()
}
