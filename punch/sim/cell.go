package sim

import (
	"fmt"
	"slices"
	"time"
)

// Cell is one field of the table that is also measured in the real lab: two
// profiles, a round trip with the server in the middle, and a start that is
// delayed at one side.
type Cell struct {
	A, B   Profile
	RTT    time.Duration
	Freeze time.Duration // B begins that much late; negative: A
	Loss   float64
	Loud   bool // neither side can dial quietly
	Told   bool // both sides have measured their NATs
	IPv6   bool
}

// FirstByte is what the real lab measures of a run of the cell: from when the
// initiator asks the server until the responder has its first byte. See
// [Summary.FirstByte].
func (c Cell) FirstByte(r Result) time.Duration {
	return c.before() + r.Connected + r.Case.RTT*3/2
}

// Ended is when the initiator knows that a run has failed, since it asked the server.
func (c Cell) Ended(r Result) time.Duration { return c.before() + r.A.Ended }

// before is the way of the request and of the responder's consent.
func (c Cell) before() time.Duration { return c.RTT * 3 / 4 }

// Summary is how the runs of a cell ended.
type Summary struct {
	Runs, Direct int
	// Median, P90, P99 and Max are from when the server issues the transcript to the
	// proof at the initiator, of the direct ones.
	Median, P90, P99, Max time.Duration
	// Connected is the median from then to the end of the handshake at the
	// initiator, of the connection that was proven.
	Connected time.Duration
}

// FirstByte is the median that the real lab measures: from when the initiator
// asks the server until the responder has its first byte. Before the sim's part
// is the request's way through the server, the responder's consent, and its way
// back; after it are the ClientHello, which does not wait for the proof, the
// ServerHello, and the first byte behind the client's Finished.
func (s Summary) FirstByte(rtt time.Duration) time.Duration {
	return rtt*3/4 + s.Connected + rtt*3/2
}

// String returns the summary as one line.
func (s Summary) String() string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return fmt.Sprintf("%d of %d direct, median %.1f ms, p90 %.1f, p99 %.1f, max %.1f",
		s.Direct, s.Runs, ms(s.Median), ms(s.P90), ms(s.P99), ms(s.Max))
}

// RunCell runs the cell of two profiles n times, with the seeds from seed on.
// The names are those of Profiles.
func RunCell(profileA, profileB string, rtt, freeze time.Duration, n int, seed uint64) (Summary, error) {
	a, err := ProfileByName(profileA)
	if err != nil {
		return Summary{}, err
	}
	b, err := ProfileByName(profileB)
	if err != nil {
		return Summary{}, err
	}
	return Cell{A: a, B: b, RTT: rtt, Freeze: freeze}.Run(n, seed), nil
}

// Case returns the cell's case for a seed.
func (c Cell) Case(seed uint64) Case {
	side := func(p Profile, freeze time.Duration) Side {
		return Side{NAT: p, Server: c.RTT / 2, Measured: c.RTT / 2, Freeze: late(freeze, c.RTT/4), Read: true, Quiet: !c.Loud, Told: c.Told}
	}
	rtt := c.RTT
	if c.A.Shared == SharedLAN {
		rtt = 2 * lanDelay
	}
	// Programs are never as punctual as the model's: up to 0.2 ms of jitter.
	return Case{Seed: seed, A: side(c.A, -c.Freeze), B: side(c.B, c.Freeze), RTT: rtt, Jitter: 200 * time.Microsecond, Loss: c.Loss, IPv6: c.IPv6}
}

// late returns for how long a program must stand still to begin by late after
// what has reached it at a moment.
func late(by, at time.Duration) time.Duration {
	if by <= 0 {
		return 0
	}
	return at + by
}

// Run runs the cell n times.
func (c Cell) Run(n int, seed uint64) Summary {
	s := Summary{Runs: n}
	var elapsed, connected []time.Duration
	for i := range n {
		if r := Run(c.Case(seed + uint64(i))); r.Direct {
			elapsed, connected = append(elapsed, r.Initiator), append(connected, r.Connected)
		}
	}
	if s.Direct = len(elapsed); s.Direct == 0 {
		return s
	}
	slices.Sort(elapsed)
	slices.Sort(connected)
	at := func(q float64) time.Duration { return elapsed[int(q*float64(len(elapsed)-1))] }
	s.Median, s.P90, s.P99, s.Max = at(0.5), at(0.9), at(0.99), at(1)
	s.Connected = connected[(len(connected)-1)/2]
	return s
}
