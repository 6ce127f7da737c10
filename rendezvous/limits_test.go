package rendezvous

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestSource(t *testing.T) {
	for addr, want := range map[string]string{
		"198.51.100.7":        "198.51.100.7/32",
		"::ffff:198.51.100.7": "198.51.100.7/32",
		"2001:db8:1:2:3::4":   "2001:db8:1:2::/64",
		"fe80::1%eth0":        "fe80::/64",
	} {
		if got := source(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("source of %s is %v, want %s", addr, got, want)
		}
	}
	if source(netip.Addr{}).IsValid() || addrPort(&net.UnixAddr{}).IsValid() {
		t.Error("no address has a source")
	}
}

func TestBuckets(t *testing.T) {
	b := newBuckets[string](2, 3)
	now := time.Unix(1000, 0)
	take := func(k string) (n int) {
		for b.allow(k, now) {
			n++
		}
		return n
	}
	if a, c := take("a"), take("c"); a != 3 || c != 3 {
		t.Errorf("%d and %d at first", a, c)
	}
	now = now.Add(time.Second)
	if n := take("a"); n != 2 {
		t.Errorf("%d after a second", n)
	}
	now = now.Add(1499 * time.Millisecond)
	if n := take("a"); n != 2 {
		t.Errorf("%d after one and a half: buckets are forgotten before they are full", n)
	}
	now = now.Add(time.Hour)
	if n := take("a"); n != 3 {
		t.Errorf("%d after an hour", n)
	}
	if !newBuckets[string](rate.Inf, 1).allow("a", now) {
		t.Error("without a limit nothing passes")
	}
}

func TestBucketsAreBounded(t *testing.T) {
	b := newBuckets[int](1, 1)
	b.max = 10
	now := time.Unix(1000, 0)
	for i := range 1000 {
		b.allow(i, now)
		if len(b.recent) > 10 || len(b.old) > 10 {
			t.Fatalf("%d and %d buckets", len(b.recent), len(b.old))
		}
	}
	if b.allow(999, now) {
		t.Error("the latest is forgotten")
	}
}

func TestGate(t *testing.T) {
	g := newGate(8)
	a, b := source(netip.MustParseAddr("10.0.0.1")), source(netip.MustParseAddr("10.0.0.2"))
	enter := func(src netip.Prefix) (n int) {
		for g.enter(src) {
			n++
		}
		return n
	}
	if n, m := enter(a), enter(b); n != 2 || m != 2 {
		t.Errorf("%d and %d entered", n, m)
	}
	g.leave(a)
	g.leave(b)
	if n := enter(a); n != 1 {
		t.Errorf("%d entered after one had left", n)
	}
	for range 2 {
		g.leave(a)
	}
	g.leave(b)
	if len(g.from) != 0 || g.total != 0 {
		t.Errorf("%d in %v after all have left", g.total, g.from)
	}
}

func TestTimers(t *testing.T) {
	var q timers
	var fired []int
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	set := func(n int) *timer {
		return q.set(at(n), func(time.Time) { fired = append(fired, n) })
	}
	q.stop(nil)
	if _, ok := q.next(); ok {
		t.Error("an empty queue has a next")
	}
	set(5)
	three := set(3)
	set(9)
	one := set(1)
	q.stop(three)
	q.stop(three)
	if next, ok := q.next(); !ok || next != at(1) {
		t.Errorf("next is %v", next)
	}
	q.run(at(5))
	if !slices.Equal(fired, []int{1, 5}) {
		t.Errorf("fired %v", fired)
	}
	q.stop(one) // has fired
	q.set(at(6), func(time.Time) { set(7) })
	q.run(at(8)) // what a timer sets is run, too
	if !slices.Equal(fired, []int{1, 5, 7}) {
		t.Errorf("fired %v", fired)
	}
}

// What has met a lost packet takes no part in the estimate, whichever of the first
// measurements that was: the next one is made at once.
func TestRoundTripAfterALoss(t *testing.T) {
	const latency, lost = 20 * time.Millisecond, 300 * time.Millisecond
	for late := range rttFirst {
		virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
			raw, err := w.v.dial(path{from: netip.MustParseAddrPort("198.51.100.1:4000"), latency: latency})
			if err != nil {
				t.Fatal(err)
			}
			slow := &lateWriter{Conn: raw, after: -1}
			if late == 0 {
				slow.after = 1 // the ClientHello is in time, its answer's answer is not
			}
			s := w.scriptOn(slow, identity.Generate())
			slow.after = -1
			s.send(&proto.Register{Instance: s.instance, PlanVersion: 1})
			next[*proto.Registered](s)
			for n := 1; n < rttFirst; n++ {
				p := next[*proto.Ping](s)
				if n == late {
					time.Sleep(lost)
				}
				s.send(&proto.Pong{N: p.N})
			}
			s.send(&proto.Ping{N: 77}) // so that all of that has been handled
			next[*proto.Pong](s)       // and not a fourth ping
			w.server.registry.mu.Lock()
			defer w.server.registry.mu.Unlock()
			m := w.server.registry.memberLocked(party{s.key.ID(), s.instance})
			if got := m.rtt.micros(); got != uint32((2*latency).Microseconds()) || m.rtt.count != rttFirst {
				t.Errorf("measurement %d is late: %d µs, of %d", late, got, m.rtt.count)
			}
			if most := slices.Max(m.rtt.samples[:]); most < uint32(lost.Microseconds()) {
				t.Errorf("measurement %d is late: at most %d µs", late, most)
			}
		})
	}
}

// lateWriter is late with all writes after some, as if a packet was lost.
type lateWriter struct {
	net.Conn
	after int // how many are in time; negative is all
}

func (w *lateWriter) Write(b []byte) (int, error) {
	if w.after == 0 {
		time.Sleep(300 * time.Millisecond)
	}
	w.after--
	return w.Conn.Write(b)
}

func TestRoundTrip(t *testing.T) {
	var r roundTrip
	if r.micros() != 0 {
		t.Errorf("%d before a measurement", r.micros())
	}
	r.add(0)
	if r.micros() != 1 {
		t.Errorf("an unmeasurably short one is %d", r.micros())
	}
	r = roundTrip{}
	for _, ms := range []int{50, 20, 90} {
		r.add(time.Duration(ms) * time.Millisecond)
	}
	if r.micros() != 20_000 {
		t.Errorf("minimum %d", r.micros())
	}
	for range rttWindow - 1 {
		r.add(70 * time.Millisecond)
	}
	if r.micros() != 70_000 {
		t.Errorf("after the window %d", r.micros())
	}
	r.add(-time.Second)
	r.add(10 * time.Hour)
	if r.micros() != 1 {
		t.Errorf("out of range %d", r.micros())
	}
}
