package punch

import (
	"net/netip"
	"sync"
	"time"
)

// Pace bounds how fast SYNs go to one address: never above 100 in any second.
// A burst lets two peers behind NATs that refuse meet at once even where the
// round trip is a few milliseconds; a steady rate follows.
//
// The zero value is not ready: use newPace. It is unsafe for concurrent use.
type pace struct {
	burst, rate float64
	tokens      float64
	last        time.Time
	flights     []*flight // whose SYNs the system may repeat
}

const (
	paceBurst = 16
	paceRate  = 80 // per second; burst + rate stay below 100
)

func newPace(now time.Time) pace {
	return pace{burst: paceBurst, rate: paceRate, tokens: paceBurst, last: now}
}

// newGuessPace is that of volleys: with what steps may send to the same address
// besides, never above 600 in any second.
func newGuessPace(now time.Time) pace {
	return pace{burst: guessBurst, rate: guessRate, tokens: guessBurst, last: now}
}

// pace is that of an address, where the node has no budget.
func (e *Executor) pace(to netip.Addr, now time.Time) *pace {
	if e.paces[to] == nil {
		fresh := newPace(now)
		e.paces[to] = &fresh
	}
	return e.paces[to]
}

// take uses n SYNs up and returns how long to wait before they may leave.
func (p *pace) take(now time.Time, n int) time.Duration {
	if d := now.Sub(p.last); d > 0 {
		p.tokens = min(p.burst, p.tokens+d.Seconds()*p.rate)
		p.last = now
	}
	for _, f := range p.flights {
		p.tokens -= float64(f.repeat(now))
	}
	p.tokens -= float64(n)
	if p.tokens >= 0 {
		return 0
	}
	return time.Duration(-p.tokens / p.rate * float64(time.Second))
}

// isUnused reports whether the pace is as good as a new one.
func (p *pace) isUnused(now time.Time) bool {
	return len(p.flights) == 0 && p.tokens+max(0, now.Sub(p.last)).Seconds()*p.rate >= p.burst
}

// takeNow uses one SYN up and returns 0 if it may leave now, and otherwise how long
// to wait before asking again.
func (p *pace) takeNow(now time.Time) time.Duration {
	wait := p.take(now, 1)
	if wait > 0 {
		p.tokens++
	}
	return wait
}

// Budget bounds the SYNs of a whole node to addresses that never proved a
// preamble, so that a hostile introduction cannot make it a source of SYN
// floods: 400 at once, 200 a second; and those of guesses, which AllowGuess makes
// rare: 64 at once, 432 a second. It is safe for concurrent use, and is to
// be shared by all executors of a node. A nil Budget is without bounds.
type Budget struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
	paces  map[netip.Addr]*pace // of the addresses dialled lately, whatever the plan
	order  []netip.Addr         // of paces: whose turn it is to be looked at
	crowd  pace                 // of all others together, where there are too many
	guess  pace                 // of all volleys together, whomever they are for
	held   int                  // sockets that dial, or have not heard of the peer yet
}

const (
	budgetBurst = 400
	budgetRate  = 200 // per second
)

// NewBudget returns a full budget.
func NewBudget(now time.Time) *Budget {
	return &Budget{tokens: budgetBurst, last: now, paces: make(map[netip.Addr]*pace), crowd: newPace(now), guess: newGuessPace(now)}
}

// maxPaces bounds the addresses that a budget remembers. So that no call takes long, each
// new one has only so many of the others looked at, whether they are to be forgotten.
const (
	maxPaces = 1024
	looks    = 8
)

// pace uses n SYNs to an address up and returns how long to wait before they may
// leave: all plans of a node share an address's pace. Volleys give way to them.
func (b *Budget) pace(to netip.Addr, now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.guess.flights) > 0 {
		b.guess.take(now, n) // they may go to the same address
	}
	return b.paceLocked(to, now).take(now, n)
}

// paceLocked is an address's pace. Where there are too many addresses, the new ones share
// one, and so do all that are new until that is as good as unused: no address has
// what is left of two.
func (b *Budget) paceLocked(to netip.Addr, now time.Time) *pace {
	if p := b.paces[to]; p != nil {
		return p
	}
	b.forgetLocked(now)
	if len(b.paces) >= maxPaces || !b.crowd.isUnused(now) {
		return &b.crowd
	}
	fresh := newPace(now)
	b.paces[to], b.order = &fresh, append(b.order, to)
	return &fresh
}

// guessing uses one SYN of the volleys' pace up and returns 0 if it may leave now,
// and otherwise how long to wait before asking again.
func (b *Budget) guessing(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.guess.takeNow(now)
}

// aiming is guessing for a volley that is not rare, which uses a SYN of the node's up
// as well: of both or of none, for who waits asks again and again.
func (b *Budget) aiming(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refillLocked(now)
	if b.tokens < 1 {
		return gapBudget
	}
	wait := b.guess.takeNow(now)
	if wait == 0 {
		b.tokens--
	}
	return wait
}

// forgetLocked drops those of a few paces that are as good as new ones. All have their turn.
func (b *Budget) forgetLocked(now time.Time) {
	for range min(looks, len(b.order)) {
		addr := b.order[0]
		b.order = b.order[1:]
		if b.paces[addr].isUnused(now) {
			delete(b.paces, addr)
		} else {
			b.order = append(b.order, addr)
		}
	}
}

// takeLocked uses n SYNs up if the budget has one left, and reports whether it had.
func (b *Budget) takeLocked(now time.Time, n int) bool {
	b.refillLocked(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens -= float64(n)
	return true
}

// charge uses n SYNs up that have left already, whether or not the budget has
// them.
func (b *Budget) charge(now time.Time, n int) {
	if b == nil || n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refillLocked(now)
	b.tokens -= float64(n)
}

// refillLocked never lets time run backwards: callers read the clock before
// they get the lock.
func (b *Budget) refillLocked(now time.Time) {
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(budgetBurst, b.tokens+d.Seconds()*budgetRate)
		b.last = now
	}
}

// Return gives n SYNs back: they went to an address that has proved itself.
func (b *Budget) Return(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(budgetBurst, b.tokens+float64(n))
}
