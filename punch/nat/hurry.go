package nat

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// Enough is how many fresh mappings have to be seen before those that are not are given
// up, see [Late].
const Enough = leastSamples

// busy is for how long a machine with other things to do may keep what has arrived.
const busy = 20 * time.Millisecond

// Late is for how long after one sight another one is awaited in a hurry, by the round
// trip to the server. A sight takes two. What comes later was lost and repeated; while it
// is awaited others go on through a sequence, and the latest mapping known gets old.
func Late(rtt time.Duration) time.Duration { return 2*rtt + busy }

// hurriedLook looks, but does not wait for what is lost once each address has been
// connected to that many times. A connection that is given up may have used up a
// port: the sequence of those that were seen has a gap then, and a prediction has to
// reckon with one more if it was the last.
func hurriedLook(ctx context.Context, n Net, ownPort bool, to []netip.AddrPort, enough int) []Sight {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := &hurry{stop: stop, missing: make(map[netip.Addr]int)}
	for _, at := range to {
		h.missing[at.Addr()] = enough
	}
	defer h.end()
	return n.Look(ctx, ownPort, to, h.seen)
}

// hurry ends a look.
type hurry struct {
	stop func()

	mu      sync.Mutex
	missing map[netip.Addr]int // sights of addresses, without which there is no end
	rtt     time.Duration      // the shortest
	timer   *time.Timer
}

// seen notes a sight that has just come.
func (h *hurry) seen(s Sight) {
	if !s.ok() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rtt == 0 || s.RTT < h.rtt {
		h.rtt = s.RTT
	}
	h.missing[s.To.Addr()]--
	for _, n := range h.missing {
		if n > 0 {
			return
		}
	}
	if h.timer == nil {
		h.timer = time.AfterFunc(Late(h.rtt), h.stop)
		return
	}
	h.timer.Reset(Late(h.rtt))
}

func (h *hurry) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
}
