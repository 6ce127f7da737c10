package punch

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// salvo carries out a volley: one struct, and one timer, for hundreds of dials that
// are of interest only if one of them connects. That one becomes a target.
//
//	queue ─ dial ─▶ held ─ connected ─▶ target
//	  ▲               │
//	  └── Spread ─────┴─ refused, or held long enough ─▶ dropped
type salvo struct {
	e     *Executor
	v     *Volley
	pace  pace // where the node has no budget
	began time.Time
	due   time.Time // when the timer is
	stop  func()    // stops the timer, if one is set

	queue []aim   // to be dialled, in this order
	deck  deck    // of Guess: where the queue comes from
	held  []*shot // connecting, the oldest first
	next  time.Time
	round int
	ends  time.Time // when the round is over

	dials, refusals int
	unsent          int // of the dials
	hits            int // dials that have connected
	syns            int // retransmissions of dials that have ended included
	refused         bool
	asked           bool // whether it may begin
	spent           bool // nothing more is dialled
	done            bool // and nothing is held
}

// aim is the port at which a shot goes, and which local port it comes from.
type aim struct {
	port uint16
	slot int
}

var errOnePort = errors.New("dials from other local ports are not possible here")

// newSalvo returns what carries out this side's volley, if the plan has one and
// this side may. A side that may not knows that nothing can come of the plan.
func (e *Executor) newSalvo() (s *salvo, forbidden error) {
	v := e.cfg.Plan.Volley(e.cfg.Role)
	if v == nil {
		return nil, nil
	}
	if v.Idea == Spread && !e.cfg.OtherPorts {
		return nil, errOnePort
	}
	if err := e.admit(Step{To: v.To, Idea: v.Idea}); err != nil {
		return nil, err
	}
	return &salvo{e: e, v: v, pace: newGuessPace(e.cfg.Clock.Now())}, nil
}

// begin waits until either side's volley begins.
func (s *salvo) begin() { s.wakeAt(s.e.cfg.Plan.volleysFrom()) }

// wakeAt sets the timer to a moment of the plan.
func (s *salvo) wakeAt(at uint32) { s.wake(s.e.cfg.Clock.Now().Add(s.e.until(at))) }

// wake sets the salvo's only timer.
func (s *salvo) wake(at time.Time) {
	if s.stop != nil {
		s.stop()
	}
	s.due = at
	s.stop = s.e.cfg.Clock.AfterFunc(max(0, at.Sub(s.e.cfg.Clock.Now())), func() {
		s.stop = nil
		if s.e.cfg.Clock.Now().Sub(s.due) > lateness {
			// The program was stopped: what the kernel has brought comes first.
			s.stop = s.e.cfg.Clock.AfterFunc(grace, s.work)
			return
		}
		s.work()
	})
}

// work drops what has been held long enough, dials what is due, and waits for the
// next of either.
func (s *salvo) work() {
	s.stop = nil
	now := s.e.cfg.Clock.Now()
	if s.began.IsZero() {
		if !s.mayBegin() {
			return
		}
		s.began, s.next = now, now
	}
	s.expire(now)
	for !s.spent && !s.next.After(now) && s.supply(now) {
		if wait := s.take(now); wait > 0 {
			s.next = now.Add(wait)
			break
		}
		s.shoot(now)
		// A program that was late does not hurry.
		s.next = later(s.next.Add(micros(s.v.Every)), now.Add(-maxHurry))
	}
	if s.spent && len(s.held) == 0 {
		s.finish()
		return
	}
	s.wake(s.following(now))
}

// mayBegin reports whether the first shot is due. It asks when the other side's is, which
// may be earlier: a side that must not is to know then that nothing can come of the plan.
func (s *salvo) mayBegin() bool {
	if from := s.e.cfg.Plan.volleysFrom(); s.e.until(from) > 0 {
		s.wakeAt(from)
		return false
	}
	if err := s.ask(); err != nil {
		s.e.forbid(err)
		return false
	}
	if s.e.until(s.v.At) > 0 {
		s.wakeAt(s.v.At)
		return false
	}
	return true
}

// ask returns why a volley that is about to begin must not.
func (s *salvo) ask() error {
	if s.asked {
		return nil
	}
	s.asked = true
	if !s.v.Guesses() || s.e.cfg.AllowGuess == nil {
		return nil
	}
	return s.e.cfg.AllowGuess()
}

// maxHurry is for how much lost time a salvo makes up: timers are not exact, nor is
// a busy machine on time.
const maxHurry = 100 * time.Millisecond

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// following is when there is something to do again.
func (s *salvo) following(now time.Time) time.Time {
	at := now.Add(micros(s.v.Hold))
	for _, h := range s.held {
		at = earlier(at, h.until)
	}
	switch {
	case s.spent:
	case len(s.queue) > 0 || s.draws():
		at = earlier(at, s.next)
	case len(s.v.Rounds) > 0:
		at = earlier(at, s.ends)
	}
	return later(at, now.Add(leastTick))
}

// leastTick is between two looks at the clock.
const leastTick = 200 * time.Microsecond

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// expire gives up what has been held long enough.
func (s *salvo) expire(now time.Time) {
	var given []*shot
	for _, h := range slices.Clone(s.held) {
		if now.Before(h.until) {
			continue
		}
		if !h.idle && now.Sub(h.dialled) < answeredFor+4*micros(s.e.cfg.Plan.RTT) && h.sock.Answered() {
			s.held = append(slices.DeleteFunc(s.held, func(o *shot) bool { return o == h }), h) // it is about to connect
			h.until = now.Add(max(answeredPoll, micros(s.e.cfg.Plan.RTT)))
			continue
		}
		given = append(given, h)
	}
	s.free(given)
	for _, h := range given {
		s.again(h.aim)
	}
}

// free gives shots up so that their 4-tuples can be dialled at once: whoever is
// early is told that the connection exists, and sends no SYN.
func (s *salvo) free(given []*shot) {
	for _, h := range given {
		s.drop(h) // all at once, and then
	}
	if s.draws() {
		return // where it comes to no port again soon
	}
	for _, h := range given {
		h.sock.Close() // one by one
	}
}

// again queues a dial that has ended, where the ports of this side count: each
// keeps its mapping.
func (s *salvo) again(a aim) {
	if s.v.Sockets > 0 {
		s.queue = append(s.queue, a)
	}
}

// draws reports whether each dial is a new guess.
func (s *salvo) draws() bool { return s.v.Idea == Guess && s.v.Sockets == 0 }

// drop gives a shot up and accounts for what it sent.
func (s *salvo) drop(h *shot) {
	s.release(h)
	h.flight.end(s.e.cfg.Clock.Now())
	h.sock.Abandon()
}

// clear gives up what nobody has answered, and frees the 4-tuples.
func (s *salvo) clear() {
	var given []*shot
	for _, h := range slices.Clone(s.held) {
		if !h.sock.Answered() {
			given = append(given, h)
		}
	}
	s.free(given)
}

// release takes a shot from those that are held.
func (s *salvo) release(h *shot) {
	s.syns += h.retransmissions()
	s.held = slices.DeleteFunc(s.held, func(o *shot) bool { return o == h })
}

// total returns how many SYNs have left.
func (s *salvo) total() int {
	if s == nil {
		return 0
	}
	n := s.syns
	for _, h := range s.held {
		n += h.retransmissions()
	}
	return n
}

// rest gives up what nobody has answered: a proven connection exists.
func (s *salvo) rest() {
	if s == nil || s.done {
		return
	}
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	for _, h := range slices.Clone(s.held) {
		if !h.sock.Answered() {
			s.drop(h)
			s.again(h.aim)
		}
	}
}

// resume goes on after a rest.
func (s *salvo) resume() {
	if s != nil && !s.done && s.stop == nil {
		s.wake(s.e.cfg.Clock.Now())
	}
}

// finish ends the salvo.
func (s *salvo) finish() {
	s.done = true
	s.trace(Spent, s.dials-s.unsent)
	s.e.expireIfExhausted()
}

func (s *salvo) close() {
	if s == nil {
		return
	}
	if s.stop != nil {
		s.stop()
	}
	for _, h := range slices.Clone(s.held) {
		s.drop(h)
	}
	s.done = true
}

func (s *salvo) trace(k EventKind, dials int) {
	s.e.trace(Event{Kind: k, To: s.v.To, Idea: s.v.Idea, Dials: dials})
}

func (s *salvo) summary() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("; %v at %v: %d dials, %d of them refused, %d connected", s.v.Idea, s.v.To.Addr.Addr(), s.dials-s.unsent, s.refusals, s.hits)
}
