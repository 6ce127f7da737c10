package natlab

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Ports below 1024 are never allocated.
const (
	firstPort = 1024
	portCount = 65536 - firstPort
)

// allocator chooses outside ports.
type allocator struct {
	cfg    Allocation
	rng    *rand.Rand
	cursor int // Sequential: the last port, counted from firstPort
	last   time.Time
	blocks map[netip.Addr]int
}

func newAllocator(cfg Allocation, rng *rand.Rand) allocator {
	return allocator{cfg: cfg, rng: rng, cursor: rng.IntN(portCount), blocks: map[netip.Addr]int{}}
}

// next chooses a port that is free; false means that none is.
func (a *allocator) next(now time.Time, inside netip.AddrPort, free func(uint16) bool) (uint16, bool) {
	if a.cfg.Parity {
		anyParity := free
		free = func(p uint16) bool { return (p^inside.Port())&1 == 0 && anyParity(p) }
	}
	switch a.cfg.Kind {
	case Sequential:
		return a.sequential(now, free)
	case Block:
		size := min(orSize(a.cfg.Size, 1024), portCount)
		return a.random(a.block(inside.Addr(), size), size, free)
	case Preserving:
		if p := inside.Port(); p >= firstPort && free(p) {
			return p, true
		}
		return a.fallback(inside.Port(), free)
	}
	return a.random(0, portCount, free)
}

// fallback chooses a port in place of one that is taken.
func (a *allocator) fallback(taken uint16, free func(uint16) bool) (uint16, bool) {
	switch a.cfg.Fallback {
	case FallbackNone:
		return 0, false
	case FallbackSequential:
		return a.above(taken, free)
	}
	return a.random(0, portCount, free)
}

// above takes the first free port after one, and goes on at the lowest after the highest.
func (a *allocator) above(taken uint16, free func(uint16) bool) (uint16, bool) {
	for i := range portCount {
		if p := uint16(firstPort + (int(taken)-firstPort+1+i+portCount)%portCount); free(p) {
			return p, true
		}
	}
	return 0, false
}

func (a *allocator) sequential(now time.Time, free func(uint16) bool) (uint16, bool) {
	step := orSize(a.cfg.Delta, 1)
	if !a.last.IsZero() && a.cfg.Background > 0 {
		a.cursor += step * a.poisson(a.cfg.Background*now.Sub(a.last).Seconds())
	}
	a.last = now
	for range portCount {
		a.cursor = ((a.cursor+step)%portCount + portCount) % portCount
		if p := uint16(firstPort + a.cursor); free(p) {
			return p, true
		}
	}
	return 0, false
}

// random starts at a random port of a range and takes the first free one, which stays uniform while the range is mostly free.
func (a *allocator) random(from, size int, free func(uint16) bool) (uint16, bool) {
	start := a.rng.IntN(size)
	for i := range size {
		if p := uint16(firstPort + from + (start+i)%size); free(p) {
			return p, true
		}
	}
	return 0, false
}

// block is where the range of an inside address begins. Two addresses may share a range: its ports are still unique.
func (a *allocator) block(inside netip.Addr, size int) int {
	b, ok := a.blocks[inside]
	if !ok {
		b = a.rng.IntN(portCount/size) * size
		a.blocks[inside] = b
	}
	return b
}

// poisson draws by Knuth's method for small means and approximates by the normal distribution for large ones.
func (a *allocator) poisson(mean float64) int {
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*a.rng.NormFloat64())))
	}
	n, limit := 0, math.Exp(-mean)
	for p := a.rng.Float64(); p > limit; p *= a.rng.Float64() {
		n++
	}
	return n
}

func orSize(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// limiter is a token bucket. Its zero value allows everything.
type limiter struct {
	rate, burst float64
	used        float64
	last        time.Time
}

func (l *limiter) allow(now time.Time) bool {
	if l.rate <= 0 {
		return true
	}
	l.used = max(0, l.used-l.rate*now.Sub(l.last).Seconds())
	l.last = now
	if l.used+1 > max(l.burst, 1) {
		return false
	}
	l.used++
	return true
}
