package punch

import (
	"errors"
	"slices"
	"time"
)

// shot is one dial of a salvo.
type shot struct {
	s       *salvo
	aim     aim
	sock    Socket
	dialled time.Time
	until   time.Time // when it is given up, or looked at again if it has been answered
	ttl     int
	flight  *flight
	hit     *attempt // once it is a target's
	idle    bool     // nothing was sent: it waits for its turn, see putOff
}

// retransmissions returns how many SYNs the dial under way has repeated.
func (h *shot) retransmissions() int {
	if h.idle {
		return 0
	}
	return min(briefRepeats, resentWithin(h.s.e.cfg.Clock.Now().Sub(h.dialled)))
}

// maxHits bounds the connections of a salvo that are waiting for their proof: the
// other side's address may accept them all.
const maxHits = 16

// Connected implements Handler: the shot is a target from now on.
func (h *shot) Connected() {
	s := h.s
	if !slices.Contains(s.held, h) {
		return
	}
	s.release(h)
	if s.e.unproven() >= s.v.waiting() {
		h.flight.end(s.e.cfg.Clock.Now())
		h.sock.Close()
		return
	}
	s.e.attempts++
	t := &target{e: s.e, step: Step{To: s.v.To, Idea: s.v.Idea, Once: true}, hit: true, late: s.v.Completed, sock: h.sock, attempt: s.e.attempts, dialled: s.e.cfg.Clock.Now(), dials: 1, flight: h.flight}
	t.step.To.Addr = s.to(h.aim)
	s.e.targets = append(s.e.targets, t)
	s.hits++
	h.hit = &attempt{t: t, number: t.attempt}
	t.established()
	if s.v.Renewed {
		t.after(max(0, h.until.Sub(t.dialled)), h.renew)
	}
}

// renew dials again what something on the way has completed, and the other side has
// not: it is the SYN that counts, and there is no other from the same port.
func (h *shot) renew() {
	h.hit.t.abandon(errSilent)
	h.s.requeue(h.aim)
}

// unproven returns how many connections wait for their proof.
func (e *Executor) unproven() (n int) {
	for _, t := range e.targets {
		if t.sock != nil && t.connected {
			n++
		}
	}
	return n
}

// Received implements Handler.
func (h *shot) Received(preamble []byte) {
	if h.hit == nil {
		return
	}
	h.hit.Received(preamble)
	if h.hit.t.done { // it was not the other side's
		h.s.meetStranger()
	}
}

// Failed implements Handler.
func (h *shot) Failed(err error) {
	s := h.s
	if h.hit != nil {
		h.hitFailed(err)
		return
	}
	if !slices.Contains(s.held, h) || h.idle {
		return
	}
	if errors.Is(err, ErrTupleInUse) {
		s.putOff(h)
		return
	}
	s.drop(h)
	if errors.Is(err, ErrRefused) {
		s.refusals++
		s.refused = s.refused || h.ttl == 0
	}
	s.requeue(h.aim)
}

// hitFailed ends the target that the shot has become. Where something on the way
// completes every dial, that is how it says that its own dial was refused: it makes
// another one, from another port, for the next dial only.
func (h *shot) hitFailed(err error) {
	waiting := h.hit.current()
	h.hit.Failed(err)
	if errors.Is(err, ErrStranger) {
		h.s.meetStranger()
	}
	if waiting && h.s.v.Completed {
		h.s.requeue(h.aim)
	}
}

// maxCompleted bounds the connections of a volley that something on the way is said to
// complete. Each meets one of 300 guesses among all ports with 1 in 215, so that one
// of a thousand pairs is not through then. It may be a stranger who completes them: that
// there is a proxy at all is what the transcript says, or what the server has made a
// measurement show.
const maxCompleted = 1500

// meetStranger ends a volley whose dials all go to one endpoint, since it is somebody
// else's.
func (s *salvo) meetStranger() {
	if !s.v.Completed || s.spent || s.done {
		return
	}
	s.spent, s.queue = true, nil
	for _, t := range s.e.targets {
		if t.late && t.connected && t.sock != nil {
			t.unproven(ErrStranger)
		}
	}
	for _, h := range slices.Clone(s.held) {
		if h.idle || !h.sock.Answered() {
			s.drop(h)
		}
	}
	if s.stop != nil {
		s.wake(s.e.cfg.Clock.Now())
	}
}

// inUseFor is how long a shot waits whose 4-tuple this host has in use.
const inUseFor = 100 * time.Millisecond

// putOff has a shot of which no SYN has left dialled again later.
func (s *salvo) putOff(h *shot) {
	h.idle = true
	s.unsent++
	s.syns--
	if s.v.Sockets == 0 {
		s.drop(h) // there are other ports
		return
	}
	now := s.e.cfg.Clock.Now()
	h.flight.end(now)
	if h.until = now.Add(inUseFor); s.stop != nil {
		s.wake(s.following(now))
	}
}

// requeue dials again what has failed, in its turn.
func (s *salvo) requeue(a aim) {
	if s.spent {
		return
	}
	s.again(a)
	if s.stop != nil && len(s.queue) > 0 {
		s.wake(later(s.next, s.e.cfg.Clock.Now()))
	}
}
