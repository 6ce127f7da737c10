package natlab

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// fabric is the Internet: it forwards frames between links by their destination, as one router hop.
type fabric struct {
	routes table[*route]
	queue  *queue
	quiet  bool

	mu   sync.Mutex
	taps []*tap

	spoil atomic.Pointer[func(Packet) bool] // what the next packet to be changed is like
}

type tap struct{ see func(Packet) }

// route says where an address is, and who takes what is for it there.
type route struct {
	link    *link
	deliver func(frame)
}

// attach has deliver called for an address at a link; nil takes the address away.
func (fb *fabric) attach(l *link, a netip.Addr, deliver func(frame)) {
	if deliver == nil {
		fb.routes.remove(a)
		return
	}
	fb.routes.set(a, &route{l, deliver})
}

// link is a site's access line. Its properties hold for each direction.
type link struct {
	name   string
	hop    netip.Addr // the router on the Internet's side, and its IPv6 address
	hop6   netip.Addr
	delay  time.Duration
	jitter time.Duration
	loss   float64
	line   line // what the site sends waits for it; what it gets has been through the sender's

	mu   sync.Mutex
	rng  *rand.Rand
	last map[*link]time.Time // when the last frame to that link is due: frames don't overtake each other
}

// forward takes a frame that leaves a site.
func (fb *fabric) forward(from *link, f frame) {
	now := time.Now()
	p, ok := parse(f)
	if !ok || p.dst.Addr().IsMulticast() {
		return
	}
	fb.show(now, from, Sent, &p)
	to, back := fb.routes.get(p.dst.Addr()), fb.routes.get(p.src.Addr())
	// A provider drops sources that are not its customer's (BCP 38), like what conntrack lets out untranslated.
	if to == nil || back == nil || back.link != from {
		fb.show(now, from, Dropped, &p)
		return
	}
	if !p.hop() {
		fb.expire(now, back, &p)
		return
	}
	fb.spoilIf(now, from, &p)
	fb.carry(now, from, to, &p)
}

// spoilIf changes a packet if somebody waits for one like it.
func (fb *fabric) spoilIf(now time.Time, from *link, p *packet) {
	which := fb.spoil.Load()
	if which == nil || p.proto != protoTCP || p.payload() < 2 || !(*which)(observe(now, from.name, Sent, p)) {
		return
	}
	if fb.spoil.CompareAndSwap(which, nil) {
		p.spoil()
	}
}

// expire drops a packet whose hops are used up, and says so to its source.
func (fb *fabric) expire(now time.Time, back *route, p *packet) {
	fb.show(now, back.link, Dropped, p)
	if f := expired(p, back.link); f != nil && !fb.quiet {
		fb.queue.push(now.Add(2*back.link.delay), f, func(f frame) { fb.arrive(back, f) })
	}
}

// expired is what the router at a link says of a packet whose hops are used up, or nil.
func expired(p *packet, at *link) frame {
	if p.v6 {
		return expired6(p, at.hop6)
	}
	return icmpError(p, at.hop, icmpTimeExceeded, 0)
}

// carry takes a packet over both links, at once where they have no delay.
func (fb *fabric) carry(now time.Time, from *link, dst *route, p *packet) {
	to := dst.link
	if from.delay+to.delay+from.jitter+to.jitter == 0 && from.loss+to.loss == 0 && from.line.rate == 0 {
		fb.arrive(dst, p.frame)
		return
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	if from.rng.Float64() >= (1-from.loss)*(1-to.loss) {
		fb.show(now, from, Dropped, p)
		return
	}
	left, ok := from.line.send(now, len(p.frame)-vnetLen)
	if !ok {
		fb.show(now, from, Dropped, p)
		return
	}
	due := left.Add(from.delay + to.delay + from.uniform(from.jitter) + from.uniform(to.jitter))
	if last := from.last[to]; due.Before(last) {
		due = last
	}
	from.last[to] = due
	fb.queue.push(due, p.frame, func(f frame) { fb.arrive(dst, f) })
}

func (l *link) uniform(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(l.rng.Int64N(int64(d)))
}

func (fb *fabric) arrive(to *route, f frame) {
	if p, ok := parse(f); ok {
		fb.show(time.Now(), to.link, Delivered, &p)
		to.deliver(f)
	}
}

// show lets the taps see a packet.
func (fb *fabric) show(now time.Time, at *link, e Event, p *packet) {
	fb.mu.Lock()
	taps := fb.taps
	fb.mu.Unlock()
	if len(taps) == 0 {
		return
	}
	o := observe(now, at.name, e, p)
	for _, t := range taps {
		t.see(o)
	}
}

func (fb *fabric) tap(see func(Packet)) (remove func()) {
	t := &tap{see}
	fb.mu.Lock()
	defer fb.mu.Unlock()
	fb.taps = append(slices.Clone(fb.taps), t)
	return func() {
		fb.mu.Lock()
		defer fb.mu.Unlock()
		fb.taps = slices.DeleteFunc(slices.Clone(fb.taps), func(o *tap) bool { return o == t })
	}
}
