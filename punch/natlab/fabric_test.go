//go:build linux

package natlab

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestDelay(t *testing.T) {
	Require(t)
	for _, rtt := range []time.Duration{2 * time.Millisecond, 36 * time.Millisecond} {
		lab := newLab(t, Config{A: profile(t, "linux-drop"), RTT: rtt})
		const early, late = 2 * maxLead, time.Millisecond // what two hosts take, and a margin
		toServer, toPeer := dialTime(t, lab.A, lab.Server, rtt/2+late), dialTime(t, lab.A, lab.B, rtt+late)
		t.Logf("RTT %v: to the server %v, to the peer %v at best", rtt, toServer, toPeer)
		if toServer < rtt/2-early || toServer > rtt/2+late || toPeer < rtt-early || toPeer > rtt+late {
			t.Errorf("RTT %v: connect took %v to the server and %v to the peer", rtt, toServer, toPeer)
		}
	}
}

// dialTime is the least time of many connects, of more where none took as little as
// the path should: a busy machine adds to most of them.
func dialTime(t *testing.T, from, to *Host, should time.Duration) time.Duration {
	l, err := to.Listen(netip.AddrPortFrom(to.Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var took []time.Duration
	err = from.Do(func() error {
		for n := 0; n < 21 || n < 500 && slices.Min(took) > should; n++ {
			start := time.Now()
			c, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				return err
			}
			took = append(took, time.Since(start))
			c.Close()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	t.Logf("connect from %s to %s: %v at best, median %v", from.Name(), to.Name(), took[0], took[len(took)/2])
	return took[0]
}

func TestLossAndOrder(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{RTT: 4 * time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.1, Seed: 7})
	var mu sync.Mutex
	var lost, sent int
	var arrived []uint32
	arrivals := make(chan struct{}, 1000)
	lab.fabric.attach(lab.fabric.routes.get(siteB.outside).link, siteB.outside, func(f frame) {
		p, _ := parse(f)
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, p.seq())
		arrivals <- struct{}{}
	})
	defer lab.Tap(func(p Packet) {
		mu.Lock()
		defer mu.Unlock()
		switch p.Event {
		case Sent:
			sent++
		case Dropped:
			lost++
		}
	})()
	const n = 4000
	from := lab.fabric.routes.get(siteA.outside).link
	go func() {
		for i := range n {
			lab.fabric.forward(from, newTCP(netip.AddrPortFrom(siteA.outside, 1), netip.AddrPortFrom(siteB.outside, 1), ACK, uint32(i), 0))
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	waitFor(t, "all packets", func() bool { mu.Lock(); defer mu.Unlock(); drain(arrivals); return len(arrived)+lost == n })
	if rate := float64(lost) / float64(sent); rate < 0.08 || rate > 0.12 {
		t.Errorf("lost %d of %d, want 10 %%", lost, sent)
	}
	if !slices.IsSorted(arrived) {
		t.Error("packets overtook each other")
	}
}

func drain(c chan struct{}) {
	for len(c) > 0 {
		<-c
	}
}

func TestHops(t *testing.T) {
	Require(t)
	for _, quiet := range []bool{false, true} {
		lab := newLab(t, Config{A: profile(t, "user-drop"), B: profile(t, "linux-open"), QuietHops: quiet})
		for _, tt := range []struct {
			ttl  int
			want Answer
		}{{1, Unreachable}, {2, Unreachable}, {3, Reset}} {
			if tt.ttl == 2 && quiet {
				tt.want = Silent
			}
			// An error that comes while connect still holds the socket does not end it: then the SYN's retransmission does.
			patience := patienceToConnect
			if tt.want == Silent {
				patience = 200 * time.Millisecond
			}
			if got := dialTTL(t, lab, tt.ttl, patience); got != tt.want {
				t.Errorf("quiet %v, TTL %d: %v, want %v", quiet, tt.ttl, got, tt.want)
			}
		}
	}
}

func dialTTL(t *testing.T, lab *Lab, ttl int, patience time.Duration) Answer {
	s, err := newSocket(lab.A, netip.AddrPortFrom(lab.A.Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.setTTL(ttl); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(netip.AddrPortFrom(lab.B.PublicAddr(), 5000)); err != nil {
		t.Fatal(err)
	}
	a, err := s.outcome(patience)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLateAnswer(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{A: Custom("req4", NAT{Unsolicited: Unsolicited{Answer: Unreachable, After: 300 * time.Millisecond}})})
	s, err := newSocket(lab.Server, netip.AddrPortFrom(lab.Server.Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	start := time.Now()
	if err := s.connect(netip.AddrPortFrom(lab.A.PublicAddr(), 5000)); err != nil {
		t.Fatal(err)
	}
	a, err := s.outcome(2 * time.Second)
	if d := time.Since(start); a != Unreachable || err != nil || d < 300*time.Millisecond {
		t.Errorf("%v, %v after %v", a, err, d)
	}
}
