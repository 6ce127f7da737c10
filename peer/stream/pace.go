package stream

import "time"

// pace measures how fast the connection takes what is written, and derives how
// much may wait for it: what waits in front of a keystroke is its delay.
type pace struct {
	bytes, seconds float64 // of late
	most           int
	slow           bool
	begun          bool
}

const (
	// queueTime is how long the bytes above TCP may take to be sent.
	queueTime = 5 * time.Millisecond
	// usualUnsent and slowUnsent are what TCP may hold that it has not sent.
	usualUnsent = 128 << 10
	slowUnsent  = 32 << 10
	// slowRate is below what usualUnsent takes more than 30 ms.
	slowRate = usualUnsent / .030
	// memory is how much of the past counts.
	memory = .1
)

// add notes that a write of n bytes took a time. It returns how much may wait
// above TCP, and what TCP may hold unsent if that has changed, else 0.
func (p *pace) add(n int, took time.Duration) (most, unsent int) {
	if p.most == 0 {
		p.most = firstQueue
	}
	if n < leastPiece && took < queueTime {
		return p.most, 0 // says nothing about the connection
	}
	p.bytes, p.seconds = p.bytes+float64(n), p.seconds+took.Seconds()
	rate := p.bytes / max(p.seconds, 1e-6)
	for p.seconds > memory {
		p.bytes, p.seconds = p.bytes/2, p.seconds/2
	}
	fits := int(min(rate*queueTime.Seconds(), mostQueue))
	p.most = min(max(fits, leastQueue), 2*p.most)
	return p.most, p.unsent(rate)
}

// unsent changes its mind only where the rate has clearly changed.
func (p *pace) unsent(rate float64) int {
	switch slow := rate < slowRate; {
	case !p.begun, slow && !p.slow, p.slow && rate > 2*slowRate:
		p.begun, p.slow = true, slow
	default:
		return 0
	}
	if p.slow {
		return slowUnsent
	}
	return usualUnsent
}
