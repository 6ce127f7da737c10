package rendezvous

import (
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// FuzzMember has clients of one server send any frames in any order, beside
// joining, leaving and time passing. Nothing panics, what a client makes the
// server hold stays in its bounds, and in the end nothing is left.
//
// The input is a sequence of operations: a byte for the actor and for what it
// does, and for a frame its type, its length and its payload.
func FuzzMember(f *testing.F) {
	frame := func(actor byte, m proto.Message) []byte {
		b, err := proto.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		return append([]byte{actor, b[1], b[3]}, b[4:]...)
	}
	seed := func(ops ...[]byte) (all []byte) {
		for _, op := range ops {
			all = append(all, op...)
		}
		return all
	}
	const accept, leave, rejoin, pass = 0x10, 0x20, 0x30, 0x40
	ask := func(n uint32, peer string) proto.Message { return &proto.Introduce{Request: n, Peer: testID(peer)} }
	f.Add(seed(frame(0, ask(1, "b")), []byte{accept | 1}, frame(1, ask(2, "a")), frame(0, ask(3, "b"))))
	f.Add(seed(frame(0, ask(1, "b")), []byte{leave | 1, pass | 2, rejoin | 1, accept | 1}))
	f.Add(seed(frame(0, ask(1, "b")), frame(1, ask(1, "a")), []byte{leave, rejoin}, frame(0, ask(1, "b"))))
	f.Add(seed(frame(2, &proto.Register{Instance: testInstance(2), PlanVersion: 1, AnswersFor: []proto.ID{testID("a")}}),
		frame(0, ask(1, "c")), []byte{leave, rejoin}, frame(2, ask(9, "a")), []byte{accept | 2, pass | 15}))
	wait := func(n uint32, peer string, seconds uint16) proto.Message {
		return &proto.Introduce{Request: n, Peer: testID(peer), Wait: seconds}
	}
	f.Add(seed([]byte{leave | 1}, frame(0, wait(1, "b", 30)), frame(0, wait(2, "b", 1)), []byte{pass | 15, 0xff, rejoin | 1, leave | 1, 0xff, rejoin | 1, accept | 1}))
	f.Add(seed(frame(2, wait(1, "b", 60)), frame(0, wait(2, "c", 60)), []byte{leave, 0xff, rejoin, accept}))
	f.Add(seed(frame(0, &proto.Ping{N: 1}), frame(0, &proto.Pong{N: 1}), []byte{0, 0x99, 0}))

	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStage(t, ServerConfig{IntroductionRate: -1})
		server := &Server{registry: s.r}
		names := []string{"a", "b", "c", "c"}
		var actors []*actor
		for i, name := range names {
			a, _ := s.tryEnter(name, i, policy{answers: i != 2})
			actors = append(actors, a)
		}
		for len(data) > 0 {
			op := data[0]
			data = data[1:]
			i := int(op) % len(actors)
			a := actors[i]
			switch op >> 4 {
			case 0:
				if len(data) < 2 {
					return
				}
				typ, n := proto.Type(data[0]), min(int(data[1]), len(data)-2)
				if server.handle(a.member, typ, data[2:2+n], s.now) != nil {
					a.leave()
				}
				data = data[2+n:]
			case 1:
				for _, m := range a.got() {
					switch m := m.(type) {
					case *proto.Offer:
						a.accept(m)
					case *proto.Ping:
						s.r.measured(a.member, time.Millisecond, s.now)
					}
				}
			case 2:
				a.leave()
			case 3:
				actors[i], _ = s.tryEnter(names[i], i, answersAll)
			default:
				s.pass(time.Duration(op) * 10 * time.Millisecond)
			}
			for _, a := range actors {
				a.checkBounds()
			}
		}
		s.empty()
	})
}

func (a *actor) checkBounds() {
	// Those asked on a lost connection are joined again beyond maxAsked.
	if len(a.asked) > 2*maxAsked || len(a.offers) > maxOffers || len(a.out.queue) > maxQueue {
		a.s.t.Fatalf("%d asked, %d offers, %d queued", len(a.asked), len(a.offers), len(a.out.queue))
	}
	if a.gone && len(a.asked)+len(a.offers) > 0 {
		a.s.t.Fatal("who is gone still has introductions")
	}
}
