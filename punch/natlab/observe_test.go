//go:build linux

package natlab

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestCapture(t *testing.T) {
	Require(t)
	for _, name := range []string{"linux-drop", "user-sym-seq", "public"} {
		lab := newLab(t, Config{A: profile(t, name), RTT: 4 * time.Millisecond})
		capture, err := lab.A.Capture()
		if err != nil {
			t.Fatal(err)
		}
		c, s := connect(t, lab.A, lab.Server)
		packets := capture.Packets()
		if len(packets) < 3 {
			t.Fatalf("%s: captured %v", name, packets)
		}
		syn, answer := packets[0], packets[1]
		if syn.Event != Sent || syn.Flags != SYN || syn.Src.String() != c.LocalAddr().String() || syn.Dst.String() != s.LocalAddr().String() {
			t.Errorf("%s: first packet is %v", name, syn)
		}
		if answer.Event != Delivered || answer.Flags != SYN|ACK || answer.Ack != syn.Seq+1 {
			t.Errorf("%s: second packet is %v", name, answer)
		}
		if d := answer.Time.Sub(syn.Time); d < 2*time.Millisecond-2*maxLead || d > 100*time.Millisecond {
			t.Errorf("%s: SYN-ACK after %v, want 2ms", name, d)
		}
		capture.Close()
		capture.Close()
		if n := len(capture.Packets()); n < len(packets) {
			t.Errorf("%s: %d packets after Close", name, n)
		}
	}
}

func TestTap(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{A: profile(t, "linux-drop")})
	var mu sync.Mutex
	var seen []string
	remove := lab.Tap(func(p Packet) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(p.Link, " ", p.Event, " ", p.Src.Addr(), " ", p.Flags))
	})
	connect(t, lab.A, lab.Server)
	remove()
	mu.Lock()
	defer mu.Unlock()
	want := []string{"A sent 198.51.100.1 S", "server delivered 198.51.100.1 S", "server sent 203.0.113.10 S.", "A delivered 203.0.113.10 S."}
	if len(seen) < len(want) || !slices.Equal(seen[:len(want)], want) {
		t.Errorf("saw %q", seen)
	}
}
