package sim

import (
	"fmt"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// Case is everything that a run depends on.
type Case struct {
	Seed   uint64
	A, B   Side // A is the initiator
	RTT    time.Duration
	Jitter time.Duration // each packet between the peers takes up to that much longer
	Loss   float64       // probability that a packet between the peers is lost
	// Cut says of a packet between the peers that it is lost in any case; nil says it of
	// none.
	Cut func(segment) bool
	// Near says that there is no router between the two sides: nothing on the
	// way uses up a TTL.
	Near bool
	// Together puts both hosts on one network behind A's NAT, which does not
	// hairpin. Idle are further addresses that each side states, and at which
	// nobody answers.
	Together bool
	Idle     int
	// IPv6 gives both hosts a global IPv6 address besides, which a stateful firewall
	// is in front of, unless the host has a public address anyway.
	IPv6 bool
	// Busy is how much later, at most, both programs are scheduled.
	Busy time.Duration
	// Version is that of the plan; 0 is this build's own.
	Version uint32
}

// Side is one peer.
type Side struct {
	NAT Profile
	// Server is the round trip to the server.
	Server time.Duration
	// Measured is what the server takes for that; 0 means that it has not
	// measured it.
	Measured time.Duration
	// The program stands still for Freeze, from FreezeAt after the server
	// issued the transcript. Its kernel goes on.
	FreezeAt, Freeze time.Duration
	// Read says that the program reads the transcript before it stands still, if
	// it does when that arrives, and so knows afterwards that it is late.
	Read bool
	// Carrier is a second NAT outside the first; the zero value is none.
	Carrier Profile
	// Quiet says that the system can dial quietly.
	Quiet bool
	// First is how it is to dial first.
	First punch.First
	// Ended says that its NAT, a kernel's, has just seen the peer end an earlier
	// connection between the same two endpoints with a RST.
	Ended bool
	// Mode is how the side uses its port.
	Mode proto.PortMode
	// Told has the side state what its NAT does; Says, if it is not nil, something
	// else.
	Told bool
	Says *proto.NATReport
	// Taken makes the NAT's outside port another one than the local port, as if
	// somebody else behind the NAT used that.
	Taken bool
}

// String describes the case in a line.
func (c Case) String() string {
	where := ""
	switch {
	case c.IPv6:
		where = " with IPv6 besides"
	case c.Together:
		where = fmt.Sprintf(" on one network with %d idle addresses each", c.Idle)
	case c.Near:
		where = " without a router between them"
	}
	return fmt.Sprintf("rtt %v jitter %v loss %.1f%%%s; A %v; B %v", c.RTT, c.Jitter, c.Loss*100, where, c.A, c.B)
}

// String describes the side.
func (s Side) String() string {
	name := s.NAT.Name
	if s.Carrier.translates() {
		name += " behind " + s.Carrier.Name
	}
	if s.Mode != proto.PortShared {
		name = s.Mode.String() + " " + name
	}
	return fmt.Sprintf("%s quiet %t server %v measured %v frozen %v at %v", name, s.Quiet, s.Server, s.Measured, s.Freeze, s.FreezeAt)
}

// refusing are the NATs of which every pair is to be traversed: they drop,
// answer RST or answer ICMP, and map endpoint-independently.
var refusing = []string{"linux-drop", "linux-open", "openwrt", "linux-icmp", "user-drop", "user-rst", "user-icmp"}

// Generate draws a case from those that must become direct, unless the run is
// Trapped: any pair of NATs that drop, answer RST or answer ICMP, 2 to 300 ms of
// round trip, programs that stand still for up to 700 ms, mistakes in the
// measured round trips, jitter, and in half of the cases up to 5 % of loss.
func Generate(seed uint64) Case {
	r := source(seed, 0)
	duration := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
	c := Case{Seed: seed, RTT: duration(2*time.Millisecond, 300*time.Millisecond)}
	if r.IntN(3) == 0 {
		c.RTT = duration(2*time.Millisecond, 30*time.Millisecond)
	}
	if r.IntN(2) == 0 {
		c.Loss = r.Float64() * 0.05
	}
	if r.IntN(2) == 0 {
		c.Jitter = time.Duration(r.Int64N(int64(c.RTT / 4)))
	}
	for _, s := range []*Side{&c.A, &c.B} {
		s.NAT, _ = ProfileByName(refusing[r.IntN(len(refusing))])
		s.Server = c.RTT/4 + time.Duration(r.Int64N(int64(c.RTT)))
		s.Measured = time.Duration(float64(s.Server) * (0.7 + 0.8*r.Float64()))
		if r.IntN(20) == 0 {
			s.Measured = 0
		}
		if r.IntN(2) == 0 {
			s.FreezeAt = time.Duration(r.Int64N(int64(2 * c.RTT)))
			s.Freeze = duration(0, 700*time.Millisecond)
		}
		s.Taken = r.IntN(4) == 0
		s.Quiet, s.Read = true, r.IntN(2) == 0
	}
	switch r.IntN(8) {
	case 0:
		c.A.Quiet = false
		c.B.Quiet = r.IntN(2) == 0
	case 1:
		c.B.Quiet = false
	}
	return c
}
