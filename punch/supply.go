package punch

import (
	"net/netip"
	"slices"
	"time"
)

// What a salvo dials next, and when it may.

// supply fills the queue and reports whether there is something in it.
func (s *salvo) supply(now time.Time) bool {
	if now.Sub(s.began) >= micros(s.v.For) || s.dials-s.unsent >= maxGuesses || s.v.Completed && s.hits >= maxCompleted {
		s.spent = true
		return false
	}
	if len(s.queue) > 0 {
		return true
	}
	switch s.v.Idea {
	case Guess:
		if s.draws() {
			s.guess()
		}
		for s.dials == 0 && len(s.queue) < int(min(s.v.Sockets, maxHeld)) {
			s.guess()
		}
	case Spread:
		if s.dials == 0 {
			for slot := range int(min(s.v.Sockets, maxSpread)) {
				s.queue = append(s.queue, aim{s.v.To.Addr.Port(), slot + 1})
			}
		}
	default:
		s.nextRound(now)
	}
	return len(s.queue) > 0
}

// guess queues a port that has not been tried yet.
func (s *salvo) guess() {
	s.queue = append(s.queue, aim{port: s.deck.draw(s.v.Low, s.v.High, s.e.cfg.Rand)})
}

// to is where a shot goes: always to the address that the server has observed.
func (s *salvo) to(a aim) netip.AddrPort { return netip.AddrPortFrom(s.v.To.Addr.Addr(), a.port) }

// nextRound queues the ports of the next round, once the one before is over.
func (s *salvo) nextRound(now time.Time) {
	if now.Before(s.ends) {
		return
	}
	if s.round >= len(s.v.Rounds) {
		s.spent = true
		return
	}
	s.clear()
	slot := 0
	if s.e.cfg.OtherPorts {
		slot = s.v.slotOf(s.round)
	}
	for _, port := range s.v.Rounds[s.round] {
		s.queue = append(s.queue, aim{port, slot})
	}
	s.round++
	s.ends = now.Add(micros(s.v.Hold))
	s.trace(Aimed, len(s.queue))
}

// take uses a SYN of the caps up and returns how long to wait before it may leave.
func (s *salvo) take(now time.Time) time.Duration {
	if len(s.held) >= maxHeld || !s.e.cfg.Budget.hasRoom(leftBySalvos) {
		return micros(s.v.Every)
	}
	b := s.e.cfg.Budget
	if b == nil {
		return s.pace.takeNow(now)
	}
	if s.v.Guesses() {
		return b.guessing(now)
	}
	return b.aiming(now)
}

// shoot dials what is first in the queue.
func (s *salvo) shoot(now time.Time) {
	flight, ok := s.e.cfg.Budget.shot(now)
	if !ok {
		return // another plan has taken the last place: next time
	}
	if s.dials == 0 && s.v.Guesses() {
		s.trace(Aimed, 0)
	}
	h := &shot{s: s, aim: s.queue[0], dialled: now, until: now.Add(micros(s.v.Hold)), ttl: s.ttl(), flight: flight}
	s.queue = s.queue[1:]
	if s.isDialled(h.aim) {
		flight.end(now)
		return
	}
	s.dials++
	s.syns++
	s.held = append(s.held, h)
	h.sock = s.e.cfg.Sockets.Dial(s.to(h.aim), DialOptions{TTL: h.ttl, Slot: h.aim.slot, Brief: true}, h)
}

// isDialled reports whether a step or another shot has the 4-tuple.
func (s *salvo) isDialled(a aim) bool {
	return a.slot == 0 && slices.ContainsFunc(s.e.targets, func(t *target) bool { return t.step.To.Addr == s.to(a) && t.step.From == 0 && !t.done }) ||
		slices.ContainsFunc(s.held, func(h *shot) bool { return h.aim == a })
}

// ttl is that of the next dial.
func (s *salvo) ttl() int {
	switch {
	case !s.e.cfg.Quiet, s.v.Completed:
		return 0
	case s.v.Idea == Spread && s.refused:
		return int(max(s.v.TTL, quietTTL, s.e.cfg.Plan.Steps(s.e.cfg.Role)[0].TTL))
	case s.round > 0 && s.round%2 == 0:
		return 0 // it may have been too quiet to open all the NATs of this side
	}
	return int(s.v.TTL)
}
