package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
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
	// prevents it, and nothing mends it.
	Trapped bool
	// Stunned says that the program had not even heard of that refusal when the
	// SYN came: it stood still, or was about to be scheduled. Nothing that an
	// executor does helps against that.
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
	shared     = netip.MustParseAddr("100.64.0.2") // between two NATs in a row (RFC 6598)
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
		r.Elapsed, r.Initiator, r.Connected, r.Direct = n.common()
		return r.Direct
	})
	r.A, r.B = n.a.outcome(), n.b.outcome()
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

	stated  []proto.Candidate // host candidates
	sampled uint16            // an outside port of the NAT, shortly before
	aims    bool              // the side has a volley
}

func newNet(c Case) *network {
	n := &network{c: c, w: &world{}}
	ab := &link{w: n.w, rng: source(c.Seed, 1), delay: c.RTT / 2, jitter: c.Jitter, loss: c.Loss, near: c.Near || c.Together}
	ba := &link{w: n.w, rng: source(c.Seed, 2), delay: c.RTT - c.RTT/2, jitter: c.Jitter, loss: c.Loss, near: c.Near || c.Together}
	n.a = newSide(n.w, c.A, "A", proto.Initiator, insideA, outsideA, ab, c.Seed)
	n.b = newSide(n.w, c.B, "B", proto.Responder, insideB, outsideB, ba, c.Seed)
	ab.to, ba.to = n.b.nat.fromOutside, n.a.nat.fromOutside
	ab.back, ba.back = n.a.nat.fromOutside, n.b.nat.fromOutside
	n.a.prog.busy, n.b.prog.busy = c.Busy, c.Busy
	if c.Together {
		n.join(ab, ba)
	}
	n.a.remember(n.b)
	n.b.remember(n.a)
	return n
}

func newSide(w *world, s Side, name string, role proto.Role, inside netip.AddrPort, outside netip.Addr, out *link, seed uint64) *side {
	if !s.NAT.translates() {
		inside = netip.AddrPortFrom(outside, inside.Port())
	}
	x := &side{Side: s, name: name, role: role}
	if !s.NAT.translates() {
		x.stated = []proto.Candidate{proto.NewCandidate(inside, proto.Host, 0)}
	}
	rng := source(seed, 2+uint64(role))
	x.host = &host{w: w, name: name, addr: inside, socks: map[tuple]*tcp{}, listening: s.Mode.Listens(), isn: rng.Uint32()}
	x.host.single = s.Mode == proto.PortSequential
	x.host.tracked = s.NAT.Kernel || s.Carrier.Kernel
	if s.Carrier.translates() {
		x.nat = newChain(w, s, name, inside, outside, x.host.receive, out.send, seed+uint64(role))
	} else {
		x.nat = newBox(w, s, "NAT "+name, inside, outside, x.host.receive, out.send, seed+uint64(role))
	}
	x.host.send = x.nat.fromInside
	x.prog = &program{w: w, host: x.host, rng: rng, from: s.FreezeAt, thaw: s.FreezeAt + s.Freeze, quiet: s.Quiet, dials: map[tuple]int{}}
	x.host.arrived = x.prog.accepted
	return x
}

// remember gives the NAT what is left of an earlier connection with the peer.
func (s *side) remember(peer *side) {
	if !s.Ended {
		return
	}
	s.nat.(*kernelNAT).entries[peer.nat.observed(serverAddr)] = &conntrack{
		state: ctClose, last: ctRST, lastDir: reply, seenReply: true, assured: true, expires: ctTimeout[ctClose],
	}
}

func newBox(w *world, s Side, name string, inside netip.AddrPort, outside netip.Addr, in, out func(segment), seed uint64) box {
	conn := wire{w: w, name: name, addr: outside, send: out, deliver: in, answer: s.NAT.Answer}
	if s.NAT.Limited {
		conn.limit = &limiter{rate: 25, burst: 50, tokens: 50}
	}
	rng := source(seed, 5)
	switch {
	case s.NAT.Kernel:
		taken := uint16(0)
		if s.Taken {
			taken = uint16(1024 + rng.IntN(64512))
		}
		return newKernelNAT(conn, s.NAT, inside, taken)
	case s.NAT.User:
		nat := newUserNAT(conn, s.NAT, inside, rng)
		if s.Taken {
			nat.ports[inside.Port()] = &mapping{port: inside.Port(), pinned: true, sessions: map[netip.AddrPort]*session{}}
		}
		return nat
	}
	return &public{conn, inside}
}

// newChain is the side's NAT behind its carrier's.
func newChain(w *world, s Side, name string, inside netip.AddrPort, outside netip.Addr, in, out func(segment), seed uint64) box {
	c := &chain{}
	c.inner = newBox(w, Side{NAT: s.NAT, Taken: s.Taken}, "NAT "+name, inside, shared, in, func(s segment) { c.outer.fromInside(s) }, seed)
	c.outer = newBox(w, Side{NAT: s.Carrier}, "carrier's NAT "+name, c.inner.observed(serverAddr), outside, c.inner.fromOutside, out, seed)
	return c
}

// introduce makes the server issue the transcript now.
func (n *network) introduce() *punch.Plan {
	n.measure()
	t := &proto.Transcript{
		Introduction: proto.Token{1}, PlanVersion: cmp.Or(n.c.Version, proto.PlanVersion),
		Initiator: n.a.party(), Responder: n.b.party(),
	}
	plan, err := punch.MakePlan(t)
	if err != nil {
		panic(err) // the version is this build's own
	}
	n.w.after(n.a.Server/2, func() { n.a.receive(plan, t, n.c.Seed) })
	n.w.after(n.b.Server/2, func() { n.b.receive(plan, t, n.c.Seed) })
	return plan
}

func (s *side) party() proto.Party {
	return proto.Party{
		ID:       proto.ID{byte(s.role)},
		RTT:      uint32(s.Measured / time.Microsecond),
		Observed: proto.NewCandidate(s.nat.observed(serverAddr), proto.Observed, 0),
		PortMode: s.Mode, Candidates: s.stated, NAT: s.report(),
	}
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

// common finds a connection that both ends have proven and that lives: when it
// was so at both and at A, and when it was connected there.
func (n *network) common() (both, initiator, connected time.Duration, ok bool) {
	for _, p := range n.a.prog.proofs {
		for _, q := range n.b.prog.proofs {
			if !p.dead && !q.dead && p.conn.irs == q.conn.iss && p.conn.iss == q.conn.irs {
				return max(p.at, q.at), p.at, p.conn.connected, true
			}
		}
	}
	return 0, 0, 0, false
}

func (s *side) outcome() Outcome {
	o := Outcome{SYNs: len(s.host.syns), Events: s.prog.events, Ended: s.prog.ended, Why: s.prog.why, Sockets: s.host.most}
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
	for _, s := range []*side{n.a, n.b} {
		for _, p := range s.prog.problems {
			r.Problems = append(r.Problems, s.name+": "+p)
		}
		r.Problems = append(r.Problems, s.broken()...)
	}
}

// broken checks the caps.
func (s *side) broken() (rules []string) {
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
		if outside := map[proto.Role]netip.Addr{proto.Initiator: outsideB, proto.Responder: outsideA}[s.role]; len(s.stated) == 0 && to != outside {
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
