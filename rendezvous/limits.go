package rendezvous

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// source returns what limits per address count as one address: an IPv4
// address, or the /64 of an IPv6 address, because a host has all of it.
func source(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails on an invalid address only: zero prefix
	return p
}

// addrPort returns the IP endpoint that a stands for, or the zero AddrPort.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// buckets is a token bucket per key. It forgets buckets that had the time to
// become full again, because they are like new ones; if there are more keys
// than it can hold, it forgets others too. It is safe for concurrent use.
type buckets[K comparable] struct {
	rate  rate.Limit
	burst int
	max   int // keys in each of the two maps

	mu     sync.Mutex
	recent map[K]*rate.Limiter // used since turned
	old    map[K]*rate.Limiter // used last in the period before
	turned time.Time
}

const (
	maxBuckets = 1 << 14
	maxRefill  = 3600 // seconds; buckets that take longer are forgotten before they are full
)

func newBuckets[K comparable](r rate.Limit, burst int) *buckets[K] {
	return &buckets[K]{rate: r, burst: burst, max: maxBuckets}
}

// allow takes a token from the bucket of k and reports whether there was one.
func (b *buckets[K]) allow(k K, now time.Time) bool {
	if b.rate == rate.Inf {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnLocked(now)
	l := b.recent[k]
	if l == nil {
		if l = b.old[k]; l == nil {
			l = rate.NewLimiter(b.rate, b.burst)
		}
		b.recent[k] = l
	}
	return l.AllowN(now, 1)
}

func (b *buckets[K]) turnLocked(now time.Time) {
	refill := time.Duration(min(float64(b.burst)/float64(b.rate), maxRefill) * float64(time.Second))
	if b.recent == nil || len(b.recent) >= b.max || now.Sub(b.turned) > refill {
		b.old, b.recent, b.turned = b.recent, make(map[K]*rate.Limiter), now
	}
}

// gate bounds how many connections are in one phase, in all and from one
// source. It is safe for concurrent use.
type gate struct {
	max, perSource int

	mu    sync.Mutex
	total int
	from  map[netip.Prefix]int
}

// newGate returns a gate for n connections, a quarter of them from one source.
func newGate(n int) *gate {
	return &gate{max: n, perSource: max(n/4, 1), from: make(map[netip.Prefix]int)}
}

// enter reports whether there is room for one more from src. The caller then
// has to leave.
func (g *gate) enter(src netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.max || g.from[src] >= g.perSource {
		return false
	}
	g.total++
	g.from[src]++
	return true
}

func (g *gate) leave(src netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.from[src]--; g.from[src] == 0 {
		delete(g.from, src)
	}
}
