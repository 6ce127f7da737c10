//go:build linux

package natlab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRate has bulk TCP fill paths, one way after the other, because acknowledgements share a line with data: each way is as
// fast as it is said to be.
func TestRate(t *testing.T) {
	Require(t)
	for _, cfg := range []Config{
		{A: profile(t, "linux-drop"), Rate: 10e6, RTT: 20 * time.Millisecond},
		{A: profile(t, "user-drop"), Rate: 50e6, RTT: 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s %g Mbit/s", cfg.A.Name, float64(cfg.Rate)/1e6), func(t *testing.T) {
			lab := newLab(t, cfg)
			var longest, dropped atomic.Int64
			defer lab.Tap(func(p Packet) {
				switch p.Event {
				case Sent:
					longest.Store(max(longest.Load(), int64(p.Payload)))
				case Dropped:
					dropped.Add(1)
				}
			})()
			a, b := connect(t, lab.A, lab.B)
			fill(t, lab, "B", a, b)
			fill(t, lab, "A", b, a)
			if longest.Load() > 1460 {
				t.Errorf("a super-packet of %d bytes was carried", longest.Load())
			}
			t.Logf("%d packets dropped", dropped.Load())
			if dropped.Load() == 0 {
				t.Error("no packet was dropped: the queue has no end")
			}
		})
	}
}

// fill sends until the path has been full for a while, which takes a machine that is not busy otherwise. At no time does more
// arrive than the path's rate, and what its queue had before.
func fill(t *testing.T, lab *Lab, at string, from, to net.Conn) {
	t.Helper()
	const window, patience, headers = 250 * time.Millisecond, 20 * time.Second, 20 + 32
	var bits atomic.Int64
	defer lab.Tap(func(p Packet) {
		if p.Event == Delivered && p.Link == at {
			bits.Add(int64(8 * (p.Payload + headers)))
		}
	})()
	var running sync.WaitGroup
	defer running.Wait()
	defer from.SetWriteDeadline(time.Unix(1, 0))
	defer to.SetReadDeadline(time.Unix(1, 0))
	running.Go(func() {
		for buf := make([]byte, 64<<10); ; {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	})
	running.Go(func() {
		for buf := make([]byte, 256<<10); ; {
			if _, err := to.Read(buf); err != nil {
				return
			}
		}
	})
	rate, best := float64(lab.cfg.Rate), 0.0
	for end := time.Now().Add(patience); time.Now().Before(end); {
		began, before := time.Now(), bits.Load()
		time.Sleep(window)
		took, came := time.Since(began).Seconds(), float64(bits.Load()-before)
		switch best = max(best, came/took); {
		case came > 1.01*rate*took+float64(8*lab.cfg.queue()):
			t.Errorf("%.1f Mbit/s came", came/took/1e6)
			return
		case came >= 0.95*rate*took:
			t.Logf("%.1f Mbit/s", came/took/1e6)
			return
		}
	}
	t.Errorf("in %v no more came than %.1f Mbit/s", patience, best/1e6)
}

// TestQueue sends a burst into a slow line: what the queue holds arrives at the line's pace and in order, the rest is dropped
// and the taps see it.
func TestQueue(t *testing.T) {
	Require(t)
	const rtt, takes, fit = 20 * time.Millisecond, 12 * time.Millisecond, 5
	lab := newLab(t, Config{RTT: rtt, Rate: 1e6, Queue: fit * 1500})
	arrived := make(chan arrival, 100)
	lab.fabric.attach(lab.fabric.routes.get(siteB.outside).link, siteB.outside, func(f frame) {
		p, _ := parse(f)
		arrived <- arrival{time.Now(), p.seq()}
	})
	var dropped atomic.Int64
	defer lab.Tap(func(p Packet) {
		if p.Event == Dropped {
			dropped.Add(1)
		}
	})()
	from := lab.fabric.routes.get(siteA.outside).link
	best := slices.Repeat([]time.Duration{time.Hour}, fit)
	for range 5 { // each burst finds the line free again
		began := time.Now()
		dropped.Store(0)
		for i := range fit + 3 {
			lab.fabric.forward(from, fullPacket(uint32(i)))
		}
		offered := time.Since(began)
		for i := range fit + 3 - int(dropped.Load()) {
			got := <-arrived
			if got.seq != uint32(i) {
				t.Fatalf("packet %d instead of %d", got.seq, i)
			}
			if i < fit {
				best[i] = min(best[i], got.at.Sub(began))
			}
		}
		if offered < takes && dropped.Load() != 3 {
			t.Errorf("%d packets were dropped, want 3", dropped.Load())
		}
	}
	for i, took := range best {
		if want := time.Duration(i+1)*takes + rtt/2; took < want-2*maxLead || took > want+5*time.Millisecond {
			t.Errorf("packet %d took %v, want %v: its serialisation behind the others', and the path", i, took, want)
		}
	}
}

type arrival struct {
	at  time.Time
	seq uint32
}

// fullPacket is an IP packet of 1500 bytes from A to B.
func fullPacket(seq uint32) frame {
	f := newTCP(netip.AddrPortFrom(siteA.outside, 1), netip.AddrPortFrom(siteB.outside, 1), ACK, seq, 0)
	f = append(f, make([]byte, 1500-(len(f)-vnetLen))...)
	f[vnetLen+2], f[vnetLen+3] = 1500>>8, 1500&0xff
	return f
}
