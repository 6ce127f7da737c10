package sim

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/nat"
)

// Result is how a case ended.
type Result struct {
	Case Case
	// Direct says that both ends have proven one and the same connection.
	Direct bool
	// Elapsed is when that was so at both ends, Initiator at A, and Connected
	// when A's handshake was complete, since the server issued the transcript.
	Elapsed, Initiator, Connected time.Duration
	A, B                          Outcome
	// Trapped says that a SYN of the peer met no connecting socket behind a
	// netfilter NAT. Its entry was left over from a dial that an ICMP error had
	// ended, and is bound to that dial's sequence number from then on: for two
	// minutes everything else from this side is INVALID (NAT.md, 6). A quiet dial
	// prevents it, and nothing mends it but other ports.
	Trapped bool
	// Stunned says that the program had not even heard of that refusal when the
	// SYN came: it stood still, or was about to be scheduled. Nothing that an
	// executor does between the same two endpoints helps against that.
	Stunned bool
	// Problems are the rules that were broken, whether or not it is direct.
	Problems []string
}

// Outcome is how it ended for one side.
type Outcome struct {
	SYNs     int           // on the wire, retransmissions included
	Began    time.Duration // when the first one left
	Accepted bool          // the connection came through the listener
	Ended    time.Duration // when the plan was over without a connection
	Why      error         // likewise
	Sockets  int           // at a time, at most
	Events   []punch.Event
	Party    proto.Party    // as the transcript has the side
	Remote   netip.AddrPort // of the connection, as the side sees it
}

// The caps: how many SYNs may go to one address in any second, outside volleys and
// with them, how many a volley has, and how many sockets a side.
const (
	maxRate      = 100
	maxGuessRate = 600
	maxGuesses   = 3000
	maxSockets   = 600
)

// aftermath is how long the world goes on after both executors were stopped.
const aftermath = 7 * time.Second

// The addresses: documentation networks outside (RFC 5737), private ones inside.
var (
	serverAddr = netip.MustParseAddrPort("203.0.113.10:443")
	outsideA   = netip.MustParseAddr("198.51.100.1")
	outsideB   = netip.MustParseAddr("192.0.2.1")
	insideA    = netip.MustParseAddrPort("192.168.1.10:4000")
	insideB    = netip.MustParseAddrPort("10.0.2.10:5000")
	sharedA    = netip.MustParseAddr("100.64.0.2") // between two NATs in a row (RFC 6598)
	sharedB    = netip.MustParseAddr("100.64.0.3")
	globalA    = netip.MustParseAddr("2001:db8:a::10") // of dual stack (RFC 3849)
	globalB    = netip.MustParseAddr("2001:db8:b::10")
)

// Run lets a case happen.
func Run(c Case) Result { return run(c, nil) }

func run(c Case, log func(at time.Duration, line string)) Result {
	n := newNet(c)
	if log != nil {
		n.w.log = func(format string, args ...any) { log(n.w.now, fmt.Sprintf(format, args...)) }
	}
	plan := n.introduce()
	limit := time.Duration(plan.Limit)*time.Microsecond + c.A.Freeze + c.B.Freeze + max(c.A.Server, c.B.Server)
	r := Result{Case: c}
	n.w.run(limit+time.Second, func() bool {
		r.Direct = n.common(&r)
		return r.Direct
	})
	r.A, r.B = n.a.outcome(r.A), n.b.outcome(r.B)
	r.Trapped = n.a.host.trapped || n.b.host.trapped
	r.Stunned = n.a.host.stunned || n.b.host.stunned
	n.judge(&r)
	return r
}

// network is the two sides and what is between them.
type network struct {
	c    Case
	w    *world
	a, b *side
}

type side struct {
	Side
	name string
	role proto.Role
	host *host
	nat  box
	prog *program
	way  *link // to the peer, and to the server

	party  proto.Party       // as it is in the transcript
	stated []proto.Candidate // host candidates
	seen   netip.AddrPort    // by the server
	found  nat.Allocation    // what a measurement has shown of the NAT's ports
	fresh  []uint16          // the newest of them
	waited time.Duration     // for what was lost of them
	aims   bool              // the side has a volley
}

func newNet(c Case) *network {
	n := &network{c: c, w: &world{}}
	ab := &link{w: n.w, rng: source(c.Seed, 1), delay: c.RTT / 2, jitter: c.Jitter, loss: c.Loss, cut: c.Cut, near: c.Near || c.Together}
	ba := &link{w: n.w, rng: source(c.Seed, 2), delay: c.RTT - c.RTT/2, jitter: c.Jitter, loss: c.Loss, cut: c.Cut, near: c.Near || c.Together}
	n.a = newSide(n.w, c.A, "A", proto.Initiator, insideA, outsideA, ab, c.Seed)
	n.b = newSide(n.w, c.B, "B", proto.Responder, insideB, outsideB, ba, c.Seed)
	toA, toB := func(s segment) { n.a.nat.fromOutside(s) }, func(s segment) { n.b.nat.fromOutside(s) }
	ab.to, ab.back, ba.to, ba.back = toB, toA, toA, toB
	n.a.prog.busy, n.b.prog.busy = c.Busy, c.Busy
	switch {
	case c.Together || c.A.NAT.Shared == SharedLAN:
		n.join(ab, ba)
	case c.A.NAT.Shared == SharedCarrier:
		n.subscribe()
	}
	if c.IPv6 {
		n.a.addIPv6(globalA, ab.send)
		n.b.addIPv6(globalB, ba.send)
	}
	n.a.remember(n.b)
	n.b.remember(n.a)
	return n
}

func newSide(w *world, s Side, name string, role proto.Role, inside netip.AddrPort, outside netip.Addr, out *link, seed uint64) *side {
	x := &side{Side: s, name: name, role: role, way: out}
	if !s.NAT.translates() {
		inside = netip.AddrPortFrom(outside, inside.Port())
	}
	x.stated = []proto.Candidate{proto.NewCandidate(inside, proto.Host, 0)}
	rng := source(seed, 2+uint64(role))
	x.host = newHost(w, name, inside, rng.Uint32())
	x.host.listening, x.host.single = s.Mode.Listens(), s.Mode == proto.PortSequential
	x.host.tracked = s.NAT.Kernel || s.Carrier.Kernel
	if s.carrier().translates() {
		x.nat = newChain(w, s, name, inside, outside, x.host.receive, out.send, seed+uint64(role))
	} else {
		x.nat = newBox(w, s, "NAT "+name, inside, outside, x.host.receive, out.send, seed+uint64(role))
	}
	x.host.send = func(s segment) { x.nat.fromInside(s) }
	x.prog = &program{w: w, host: x.host, rng: rng, from: s.FreezeAt, thaw: s.FreezeAt + s.Freeze, quiet: s.Quiet, dials: map[tuple]int{}}
	x.host.arrived = x.prog.accepted
	return x
}

// remember gives the NAT what is left of an earlier connection with the peer.
func (s *side) remember(peer *side) {
	if !s.Ended {
		return
	}
	s.nat.(*kernelNAT).remember(peer.nat.observed(serverAddr), &conntrack{
		state: ctClose, last: ctRST, lastDir: reply, seenReply: true, assured: true, expires: ctDefaults.timeout[ctClose],
	})
}

func newBox(w *world, s Side, name string, inside netip.AddrPort, outside netip.Addr, in, out func(segment), seed uint64) box {
	conn := wire{w: w, name: name, addr: outside, send: out, deliver: in, answer: s.NAT.Answer}
	if s.NAT.Limited {
		conn.limit = &limiter{rate: 25, burst: 50, tokens: 50}
	}
	rng := source(seed, 5)
	switch {
	case s.NAT.Kernel:
		return newKernelNAT(conn, s.NAT, inside, rng, s.Taken)
	case s.NAT.User:
		nat := newUserNAT(conn, s.NAT, inside, rng)
		if s.Taken && s.NAT.Fallback != FallbackNone {
			other := netip.AddrPortFrom(outside, inside.Port())
			nat.ports[other] = &mapping{outside: other, pinned: true, sessions: map[netip.AddrPort]*session{}}
		}
		return nat
	case s.NAT.Proxy:
		return newProxy(conn, s.NAT, rng)
	}
	return &public{conn, inside}
}

// carrier is the NAT that the side's own is behind, or none.
func (s *Side) carrier() Profile {
	if s.NAT.Outer != nil {
		return *s.NAT.Outer
	}
	return s.Carrier
}

// newChain is the side's NAT behind its carrier's.
func newChain(w *world, s Side, name string, inside netip.AddrPort, outside netip.Addr, in, out func(segment), seed uint64) box {
	c := &chain{}
	between := sharedA
	if outside == outsideB {
		between = sharedB
	}
	c.inner = newBox(w, Side{NAT: s.NAT, Taken: s.Taken}, "NAT "+name, inside, between, in, func(s segment) { c.outer.fromInside(s) }, seed)
	c.outer = newBox(w, Side{NAT: s.carrier()}, "carrier's NAT "+name, c.inner.observed(serverAddr), outside, c.inner.fromOutside, out, seed)
	return c
}

// introduce makes the server issue the transcript now.
func (n *network) introduce() *punch.Plan {
	n.measure()
	t := &proto.Transcript{
		Introduction: proto.Token{1}, PlanVersion: cmp.Or(n.c.Version, proto.PlanVersion),
		Initiator: n.a.state(), Responder: n.b.state(),
	}
	plan, err := punch.MakePlan(t)
	if err != nil {
		panic(err) // the version is this build's own
	}
	n.w.after(n.a.Server/2, func() { n.a.receive(plan, t, n.c.Seed) })
	n.w.after(n.b.Server/2, func() { n.b.receive(plan, t, n.c.Seed) })
	return plan
}

// state is what the transcript says of the side.
func (s *side) state() proto.Party {
	s.seen = s.nat.observed(serverAddr)
	s.party = proto.Party{
		ID:       proto.ID{byte(s.role)},
		RTT:      uint32(s.Measured / time.Microsecond),
		Observed: proto.NewCandidate(s.seen, proto.Observed, 0),
		PortMode: s.Mode, Candidates: s.stated, NAT: s.report(),
	}
	return s.party
}

// receive is when the transcript has reached the host.
func (s *side) receive(plan *punch.Plan, t *proto.Transcript, seed uint64) {
	arrived := s.prog.Now()
	s.aims = plan.Volley(s.role) != nil
	s.prog.post(func() {
		read := s.prog.Now()
		if s.Read {
			read = arrived
		}
		s.prog.begin(punch.Config{
			Plan: plan, Role: s.role, First: s.First, Introduction: t.Introduction, Secret: proto.Secret{2},
			Zero: read.Add(-s.Measured / 2),
			Rand: source(seed, 10+uint64(s.role)),
			Deaf: !s.Mode.Listens(), Sequential: s.Mode == proto.PortSequential,
		})
	})
}

// common finds a connection that both ends have proven and that lives.
func (n *network) common(r *Result) bool {
	for _, p := range n.a.prog.proofs {
		for _, q := range n.b.prog.proofs {
			if !p.dead && !q.dead && p.conn.heard(q.conn) && q.conn.heard(p.conn) {
				r.Elapsed, r.Initiator, r.Connected = max(p.at, q.at), p.at, p.conn.connected
				r.A.Remote, r.B.Remote = p.conn.remote, q.conn.remote
				return true
			}
		}
	}
	return false
}

// heard reports whether what another socket has sent has come out of this one. Each
// preamble is another one, and numbers and ports may be others on the way.
func (t *tcp) heard(from *tcp) bool {
	return len(from.sent) > 0 && bytes.HasPrefix(t.received, from.sent)
}

func (s *side) outcome(o Outcome) Outcome {
	o.SYNs, o.Events, o.Ended, o.Why, o.Sockets, o.Party = len(s.host.syns), s.prog.events, s.prog.ended, s.prog.why, s.host.most, s.party
	if o.SYNs > 0 {
		o.Began = s.host.syns[0]
	}
	for _, p := range s.prog.proofs {
		o.Accepted = o.Accepted || !p.dead && p.conn.child
	}
	return o
}

// judge stops both executors, watches what still happens, and notes the rules
// that were broken.
func (n *network) judge(r *Result) {
	for _, s := range []*side{n.a, n.b} {
		if s.prog.begun {
			s.prog.stop()
		}
	}
	n.w.run(n.w.now+aftermath, func() bool { return false })
	for i, s := range []*side{n.a, n.b} {
		for _, p := range s.prog.problems {
			r.Problems = append(r.Problems, s.name+": "+p)
		}
		r.Problems = append(r.Problems, s.broken([...]*side{n.b, n.a}[i])...)
	}
}

// isAt reports whether an address is one that the side was seen at, or has stated.
func (s *side) isAt(addr netip.Addr) bool {
	return s.seen.Addr() == addr || slices.ContainsFunc(s.stated, func(c proto.Candidate) bool { return c.Addr.Addr() == addr })
}

// broken checks the caps.
func (s *side) broken(peer *side) (rules []string) {
	syns := s.host.syns
	most, rate := punch.MaxSYNs, maxRate
	if s.aims {
		most, rate = punch.MaxSYNs+maxGuesses, maxGuessRate
	}
	if len(syns) > most {
		rules = append(rules, fmt.Sprintf("%s: %d SYNs", s.name, len(syns)))
	}
	if s.host.most > maxSockets {
		rules = append(rules, fmt.Sprintf("%s: %d sockets at a time", s.name, s.host.most))
	}
	if s.prog.begun && s.prog.exec.SYNs() < len(syns) {
		rules = append(rules, fmt.Sprintf("%s: %d SYNs, but the executor counts %d", s.name, len(syns), s.prog.exec.SYNs()))
	}
	for to, syns := range s.host.synsByAddress() {
		if !peer.isAt(to) {
			rules = append(rules, fmt.Sprintf("%s: %d SYNs to %v, which is not the peer", s.name, len(syns), to))
		}
		if at, fast := tooFast(syns, rate); fast {
			rules = append(rules, fmt.Sprintf("%s: more than %d SYNs to %v in the second from %v", s.name, rate, to, at))
		}
	}
	return rules
}

func (h *host) synsByAddress() map[netip.Addr][]time.Duration {
	by := map[netip.Addr][]time.Duration{}
	for i, at := range h.syns {
		by[h.synsTo[i].Addr()] = append(by[h.synsTo[i].Addr()], at)
	}
	return by
}

func tooFast(syns []time.Duration, rate int) (at time.Duration, fast bool) {
	for i := rate; i < len(syns); i++ {
		if syns[i]-syns[i-rate] < time.Second {
			return syns[i-rate], true
		}
	}
	return 0, false
}

// Explain lets the case happen again and tells it: both executors' events, and
// every packet.
func (r Result) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\ndirect %t after %v, trapped %t, %d and %d SYNs, problems %q\n",
		r.Case.Seed, r.Case, r.Direct, r.Elapsed, r.Trapped, r.A.SYNs, r.B.SYNs, r.Problems)
	for i, events := range [][]punch.Event{r.A.Events, r.B.Events} {
		fmt.Fprintf(&b, "events of %c, from when its first dial is due:\n", 'A'+i)
		for _, e := range events {
			fmt.Fprintf(&b, "  %v\n", e)
		}
	}
	b.WriteString("packets on the way and what the NATs think of them, from when the transcript was issued:\n")
	run(r.Case, func(at time.Duration, line string) {
		fmt.Fprintf(&b, "  %8.1fms %s\n", float64(at.Microseconds())/1e3, line)
	})
	return b.String()
}
