package rendezvous

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto"
)

// stage is a registry without a server: time stands still unless it is told
// to pass, and what the members are sent is read from their outboxes.
type stage struct {
	t   testing.TB
	r   *registry
	now time.Time
}

// newStage returns a registry whose restart grace is over.
func newStage(t testing.TB, cfg ServerConfig) *stage {
	s := &stage{t: t, r: newRegistry(&cfg), now: time.Unix(1000, 0)}
	s.r.start(s.now.Add(-time.Hour))
	return s
}

// pass lets time pass, timer by timer.
func (s *stage) pass(d time.Duration) {
	end := s.now.Add(d)
	for {
		s.r.mu.Lock()
		due, ok := s.r.timers.next()
		s.r.mu.Unlock()
		if !ok || due.After(end) {
			break
		}
		s.now = due
		s.r.runTimers(s.now)
	}
	s.now = end
}

// actor is a member on a stage.
type actor struct {
	*member
	s *stage
}

// nobody is the raw connection of actors.
type nobody struct{ net.Conn }

func (nobody) Close() error                    { return nil }
func (nobody) SetReadDeadline(time.Time) error { return nil }

func testID(name string) (id proto.ID) {
	copy(id[:], name)
	return id
}

func testInstance(n int) proto.Token { return proto.Token{15: byte(n)} }

// enter registers a client, which answers its first ping at once.
func (s *stage) enter(name string, instance int, p policy) *actor {
	a := s.enterSilently(name, instance, p)
	s.r.measured(a.member, 10*time.Millisecond, s.now)
	return a
}

// enterSilently registers a client that has not answered a ping.
func (s *stage) enterSilently(name string, instance int, p policy) *actor {
	s.t.Helper()
	a, code := s.tryEnter(name, instance, p)
	if code != proto.CodeOK {
		s.t.Fatalf("%s was not registered: %v", name, code)
	}
	a.welcomed()
	return a
}

func (s *stage) tryEnter(name string, instance int, p policy) (*actor, proto.Code) {
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, name[0]}), uint16(4000+instance))
	a := &actor{s: s, member: &member{
		party:    party{testID(name), testInstance(instance)},
		observed: proto.NewCandidate(from, proto.Observed, 65535),
		source:   source(from.Addr()),
		out:      &outbox{raw: nobody{}, max: maxQueue, writing: true}, // nobody empties it but got
		pace:     rate.NewLimiter(rate.Inf, 1),
	}}
	return a, s.r.join(a.member, a.registration(p), s.now)
}

// welcomed takes what every new registration is sent first.
func (a *actor) welcomed() {
	a.s.t.Helper()
	got := a.got()
	want := []proto.Message{&proto.Registered{Observed: a.observed}, &proto.Ping{N: 1}}
	if len(got) < 2 || !reflect.DeepEqual(got[:2], want) {
		a.s.t.Fatalf("%v was sent\n\t%swant first\n\t%s", a.id.Short(), transcript(got), transcript(want))
	}
	if len(got) > 2 {
		a.out.queue = got[2:]
	}
}

func (a *actor) registration(p policy) *proto.Register {
	return &proto.Register{Instance: a.instance, PlanVersion: proto.PlanVersion, Answers: p.answers, AnswersFor: p.answersFor, Away: uint16(p.away / time.Second)}
}

// got returns what was sent to the client since it was called last.
func (a *actor) got() []proto.Message {
	a.out.mu.Lock()
	defer a.out.mu.Unlock()
	q := a.out.queue
	a.out.queue = nil
	return q
}

// expect fails unless exactly these messages were sent.
func (a *actor) expect(want ...proto.Message) {
	a.s.t.Helper()
	if got := a.got(); !reflect.DeepEqual(got, want) {
		a.s.t.Fatalf("%v was sent\n\t%swant\n\t%s", a.id.Short(), transcript(got), transcript(want))
	}
}

func transcript(messages []proto.Message) (s string) {
	for _, m := range messages {
		s += fmt.Sprintf("%v %+v\n\t", m.Type(), m)
	}
	return s
}

// expectOne fails unless exactly one message was sent, of the type that it
// returns.
func expectOne[M proto.Message](a *actor) M {
	a.s.t.Helper()
	got := a.got()
	if len(got) == 1 {
		if m, ok := got[0].(M); ok {
			return m
		}
	}
	a.s.t.Fatalf("%v was sent\n\t%swant one %T", a.id.Short(), transcript(got), *new(M))
	panic("unreachable")
}

func (a *actor) introduce(request uint32, peer string, candidates ...proto.Candidate) {
	a.s.r.introduce(a.member, &proto.Introduce{Request: request, Peer: testID(peer), Candidates: candidates}, a.s.now)
}

// offered returns the offer that the client was sent.
func (a *actor) offered() *proto.Offer {
	a.s.t.Helper()
	return expectOne[*proto.Offer](a)
}

func (a *actor) accept(o *proto.Offer, candidates ...proto.Candidate) {
	a.s.r.answer(a.member, &proto.Answer{Introduction: o.Introduction, Accept: true, Candidates: candidates}, a.s.now)
}

func (a *actor) refuse(o *proto.Offer) {
	a.s.r.answer(a.member, &proto.Answer{Introduction: o.Introduction}, a.s.now)
}

func (a *actor) leave() { a.s.r.leave(a.member, a.s.now) }

// introduced returns the introduction that the client was sent, as the answer
// to the given request.
func (a *actor) introduced(request uint32) *proto.Introduction {
	a.s.t.Helper()
	in := expectOne[*proto.Introduction](a)
	if in.Request != request {
		a.s.t.Fatalf("introduction answers request %d, want %d", in.Request, request)
	}
	return in
}

func (a *actor) declined(request uint32, code proto.Code) {
	a.s.t.Helper()
	a.expect(&proto.Declined{Request: request, Code: code})
}

// same fails unless two introductions are the same but for the request, and
// returns their transcript.
func (s *stage) same(a, b *proto.Introduction) *proto.Transcript {
	s.t.Helper()
	if a.Secret != b.Secret || a.Secret == (proto.Secret{}) || string(a.Transcript) != string(b.Transcript) {
		s.t.Fatalf("the introductions differ:\n%+v\n%+v", a, b)
	}
	t, err := proto.ParseTranscript(a.Transcript)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

// empty fails if the registry still holds anything that is not a member.
func (s *stage) empty() {
	s.t.Helper()
	s.pass(time.Minute)
	for _, of := range s.r.members {
		for _, m := range of {
			if len(m.asked)+len(m.offers) > 0 {
				s.t.Errorf("%v still has %d requests and %d offers", m.id.Short(), len(m.asked), len(m.offers))
			}
		}
	}
	if n := len(s.r.between) + len(s.r.waiting) + len(s.r.timers.heap) + len(s.r.departures); n > 0 {
		s.t.Errorf("left over: %d between, %d waiting, %d timers, %d departures",
			len(s.r.between), len(s.r.waiting), len(s.r.timers.heap), len(s.r.departures))
	}
}

func hostCandidate(addr string) proto.Candidate {
	return proto.NewCandidate(netip.MustParseAddrPort(addr), proto.Host, 1)
}

var (
	answersAll = policy{answers: true}
	answersNo  = policy{}
)
