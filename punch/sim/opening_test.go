package sim

import (
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// skewed returns cases of two sides of which B starts later than A, or earlier, by
// all that two busy machines differ, closely around half a round trip: then one
// side's SYN leaves just after its NAT has refused the other's. Programs get to
// run up to a millisecond late, and what the server has measured is too long.
func skewed(a, b Profile, rtt time.Duration, mode proto.PortMode, version uint32) (list []Case) {
	add := func(skew time.Duration) {
		c := Cell{A: a, B: b, RTT: rtt}.Case(uint64(len(list)) + 1)
		c.A.Server += 2 * max(0, -skew)
		c.B.Server += 2 * max(0, skew)
		c.A.Mode, c.B.Mode = mode, mode
		c.A.Measured, c.B.Measured = c.A.Measured+busyRTT, c.B.Measured+busyRTT
		c.Busy, c.Version = time.Millisecond, version
		list = append(list, c)
	}
	for skew := -25 * time.Millisecond; skew <= 25*time.Millisecond; skew += 500 * time.Microsecond {
		add(skew)
	}
	step := 50 * time.Microsecond
	if raceEnabled {
		step *= 5
	}
	for fine := -2 * time.Millisecond; fine <= 2*time.Millisecond; fine += step {
		add(rtt/2 + fine)
		add(-rtt/2 + fine)
	}
	return list
}

const busyRTT = 10 * time.Millisecond

// Who starts how much later does not matter, whatever the NATs answer. In plan
// version 2 it does where a NAT answers ICMP: the entry that the error leaves lets
// in a SYN that nobody answers, and then nothing else for two minutes.
func TestStartsOfAnySkew(t *testing.T) {
	nats := []string{"linux-drop", "linux-open", "linux-icmp", "user-rst", "user-icmp", "public"}
	for _, mode := range []proto.PortMode{proto.PortShared, proto.PortDialOnly} {
		for _, rtt := range []time.Duration{2 * time.Millisecond, 40 * time.Millisecond} {
			var failed [4]int // by version
			runs := 0
			for _, a := range nats {
				for _, b := range nats {
					for _, version := range []uint32{2, 3} {
						list := skewed(profile(t, a), profile(t, b), rtt, mode, version)
						n, _ := direct(t, runEach(list))
						runs, failed[version] = runs+len(list), failed[version]+len(list)-n
						if version == 3 && n < len(list) {
							t.Errorf("%v, %s × %s, %v: %d of %d direct", mode, a, b, rtt, n, len(list))
						}
					}
				}
			}
			t.Logf("%v, %v: of %d runs each %d are not direct in version 2, %d in version 3", mode, rtt, runs/2, failed[2], failed[3])
			if failed[2] == 0 {
				t.Errorf("%v, %v: version 2 does not show what is amiss", mode, rtt)
			}
		}
	}
}
