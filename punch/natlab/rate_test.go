//go:build linux

package natlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// TestRate has bulk TCP fill paths, one way after the other, because acknowledgements share a line with data: each way is as fast as it is said to be.
func TestRate(t *testing.T) {
	Require(t)
	for _, cfg := range []Config{
		{A: profile(t, "linux-drop"), Rate: 20e6, RTT: 20 * time.Millisecond},
		{A: profile(t, "user-drop"), Rate: 100e6, RTT: 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s %g Mbit/s", cfg.A.Name, float64(cfg.Rate)/1e6), func(t *testing.T) {
			lab := newLab(t, cfg)
			var longest atomic.Int64
			var dropped atomic.Int64
			defer lab.Tap(func(p Packet) {
				switch p.Event {
				case Sent:
					longest.Store(max(longest.Load(), int64(p.Payload)))
				case Dropped:
					dropped.Add(1)
				}
			})()
			a, b := connect(t, lab.A, lab.B)
			for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
				rate := goodput(t, way[0], way[1])
				t.Logf("%.1f Mbit/s of payload", rate/1e6)
				if whole := rate * 1500 / 1448; whole < 0.9*float64(cfg.Rate) || whole > 1.1*float64(cfg.Rate) {
					t.Errorf("packets go at %.1f Mbit/s", whole/1e6)
				}
			}
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

// goodput sends for a while and returns the bits per second that arrive once the slow start is over.
func goodput(t *testing.T, from, to net.Conn) float64 {
	const start, whole = 400 * time.Millisecond, 1500 * time.Millisecond
	end := time.Now().Add(whole)
	from.SetWriteDeadline(end)
	to.SetReadDeadline(end)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for buf := make([]byte, 64<<10); ; {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	var n int64
	counting := time.Now().Add(start)
	for buf := make([]byte, 256<<10); ; {
		k, err := to.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Error(err)
			break
		}
		if time.Now().After(counting) {
			n += int64(k)
		}
	}
	<-sent
	return float64(n) * 8 / (whole - start).Seconds()
}

// TestQueue sends a burst into a slow line: what the queue holds arrives at the line's pace and in order, the rest is dropped
// and the taps see it.
func TestQueue(t *testing.T) {
	Require(t)
	const rtt, takes, fit = 20 * time.Millisecond, 12 * time.Millisecond, 5
	lab := newLab(t, Config{RTT: rtt, Rate: 1e6, Queue: fit * 1500})
	arrived := make(chan arrival, 100)
	lab.fabric.routes[siteB.outside].deliver = func(f frame) {
		p, _ := parse(f)
		arrived <- arrival{time.Now(), p.seq()}
	}
	var dropped atomic.Int64
	defer lab.Tap(func(p Packet) {
		if p.Event == Dropped {
			dropped.Add(1)
		}
	})()
	from := lab.fabric.routes[siteA.outside]
	for range 2 { // the second burst finds the line free again
		began := time.Now()
		dropped.Store(0)
		for i := range fit + 3 {
			lab.fabric.forward(from, fullPacket(uint32(i)))
		}
		for i := range fit {
			got := <-arrived
			took, want := got.at.Sub(began), time.Duration(i+1)*takes+rtt/2
			if got.seq != uint32(i) || took < want-2*maxLead || took > want+5*time.Millisecond {
				t.Errorf("packet %d instead of %d after %v, want %v: its serialisation and the path", got.seq, i, took, want)
			}
		}
		if dropped.Load() != 3 {
			t.Errorf("%d packets were dropped, want 3", dropped.Load())
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
