package sim

import (
	"math/rand/v2"
	"time"
)

// link carries segments one way, over the router in its middle: in order, each
// delayed, some lost.
type link struct {
	w      *world
	rng    *rand.Rand
	delay  time.Duration
	jitter time.Duration // each segment takes up to that much longer
	loss   float64
	cut    func(segment) bool // says what is lost in any case; nil is none
	near   bool               // no router
	last   time.Duration      // when the one before arrives
	to     func(segment)
	back   func(segment) // to where the segments come from
	server func(segment) // takes what is for the server
}

func (l *link) send(s segment) {
	if s.dst == serverAddr {
		if l.server != nil {
			l.server(s)
		}
		return
	}
	lost := l.rng.Float64() < l.loss || l.cut != nil && l.cut(s)
	delay := l.delay
	if l.jitter > 0 {
		delay += time.Duration(l.rng.Int64N(int64(l.jitter)))
	}
	if lost {
		l.w.logf("lost: %v", s)
		return
	}
	l.w.logf("%v", s)
	if !l.near && !s.hop() {
		if r, due := errorFor(s, timeExceeded); due {
			l.w.after(l.delay, func() { l.back(r) })
		}
		return
	}
	l.last = max(l.last, l.w.now+delay)
	l.w.at(l.last, func() { l.to(s) })
}
