package punch

import (
	"net/netip"
	"slices"
	"time"
)

// flight is a dial of a node as its budget counts it: a socket, and the SYNs that
// the system repeats by itself, whenever it likes. A nil flight is one that nobody
// counts.
type flight struct {
	b        *Budget
	pace     *pace // that the SYNs count for
	since    time.Time
	most     int // SYNs that the system repeats
	repeated int
	ended    bool
}

// maxConnecting bounds the sockets that all plans of a node dial with. Besides them
// it has those of its registration and of a measurement, and what it has accepted:
// 600 in all. Volleys leave the last ones to the steps.
const (
	maxConnecting   = 448
	leftBySalvos    = 32
	briefRepeats    = 2 // of DialOptions.Brief: after 1 and 2 s (see reuse; a test of natlab counts them)
	ordinaryRepeats = len(synSchedule)
)

// hasRoom reports whether one more socket may dial, with some left over. By the time
// that it does others may have taken the place: dial and shot look again.
func (b *Budget) hasRoom(left int) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasRoomLocked(left)
}

func (b *Budget) hasRoomLocked(left int) bool { return b.held+left < maxConnecting }

// dial counts a step's dial, if there is room for it and a SYN left, which it uses up,
// and reports whether there was; further SYNs count for its address.
func (b *Budget) dial(to netip.Addr, now time.Time) (f *flight, ok bool) {
	if b == nil {
		return nil, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hasRoomLocked(0) || !b.takeLocked(now, 1) {
		return nil, false
	}
	return b.flyLocked(b.paceLocked(to, now), now, ordinaryRepeats), true
}

// shot counts a volley's dial, if there is room for it, and reports whether there was.
func (b *Budget) shot(now time.Time) (f *flight, ok bool) {
	if b == nil {
		return nil, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hasRoomLocked(leftBySalvos) {
		return nil, false
	}
	return b.flyLocked(&b.guess, now, briefRepeats), true
}

func (b *Budget) flyLocked(p *pace, now time.Time, most int) *flight {
	f := &flight{b: b, pace: p, since: now, most: most}
	p.flights = append(p.flights, f)
	b.held++
	return f
}

// repeat returns how many SYNs the system has repeated since it was asked last.
func (f *flight) repeat(now time.Time) int {
	n := min(f.most, resentWithin(now.Sub(f.since))) - f.repeated
	f.repeated += n
	return n
}

// land says that the SYN has been answered, so that it is not repeated any more.
func (f *flight) land(now time.Time) {
	if f == nil {
		return
	}
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.landLocked(now)
}

func (f *flight) landLocked(now time.Time) {
	f.pace.tokens -= float64(f.repeat(now))
	f.pace.flights = slices.DeleteFunc(f.pace.flights, func(o *flight) bool { return o == f })
}

// end says that the socket is closed, or somebody else's. It may be said again.
func (f *flight) end(now time.Time) {
	if f == nil {
		return
	}
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	if f.ended {
		return
	}
	f.ended = true
	f.landLocked(now)
	f.b.held--
}
