package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// epoch is when the server issues the transcript. Any time would do.
var epoch = time.Unix(1_000_000_000, 0)

// program is one side's process: an executor, and the gate for accepted
// connections. It is scheduled some time after the kernel has something for it,
// and not at all while it is frozen.
type program struct {
	w          *world
	host       *host
	rng        *rand.Rand // of the scheduler
	from, thaw time.Duration
	quiet      bool
	busy       time.Duration
	last       time.Duration // when it is done with what it was told so far

	exec     *punch.Executor
	begun    bool
	stopped  bool
	waiting  []*tcp // accepted connections while nothing is pending
	proofs   []proof
	dials    map[tuple]int // sockets that are connecting
	problems []string
	events   []punch.Event
	ended    time.Duration // when the plan was over without a connection
	why      error
}

// proof is a connection whose far end knows the introduction.
type proof struct {
	conn *tcp
	at   time.Duration
	dead bool
}

// The scheduler's latency: from a packet or a timer to the goroutine.
const (
	latencyMin = 20 * time.Microsecond
	latencyMax = 120 * time.Microsecond
)

// post runs f when the program gets to it. Nothing overtakes.
func (p *program) post(f func()) {
	at := p.w.now + latencyMin + time.Duration(p.rng.Int64N(int64(latencyMax-latencyMin+p.busy)))
	if p.from <= at && at < p.thaw {
		at = p.thaw
	}
	p.last = max(p.last, at)
	p.w.at(p.last, f)
}

func (p *program) violated(rule string) { p.problems = append(p.problems, rule) }

// Now implements punch.Clock.
func (p *program) Now() time.Time { return epoch.Add(p.w.now) }

// AfterFunc implements punch.Clock.
func (p *program) AfterFunc(d time.Duration, f func()) (stop func()) {
	stopped := false
	t := p.w.after(d, func() {
		p.post(func() {
			if !stopped {
				p.calledBack()
				f()
			}
		})
	})
	return func() {
		stopped = true
		t.stop()
	}
}

func (p *program) calledBack() {
	if p.stopped {
		p.violated("the executor asked for a timer that outlived Stop")
	}
}

// begin hands the executor its transcript, and then the connections that
// arrived before.
func (p *program) begin(cfg punch.Config) {
	cfg.Clock, cfg.Sockets, cfg.Quiet, cfg.OtherPorts = p, p, p.quiet, true
	cfg.Connected, cfg.Proven = p.connected, p.proven
	cfg.Expired = func(err error) {
		p.calledBack()
		p.ended, p.why = p.w.now, err
	}
	cfg.Trace = func(e punch.Event) {
		p.events = append(p.events, e)
		if p.stopped {
			p.violated("an event after Stop")
		}
	}
	p.exec = punch.NewExecutor(cfg)
	p.exec.Begin()
	p.begun = true
	for _, t := range p.waiting {
		p.serve(t)
	}
	p.waiting = nil
}

func (p *program) connected(punch.Socket, int) { p.calledBack() }

func (p *program) proven(s punch.Socket) {
	p.calledBack()
	t := s.(*socket).t
	p.proofs = append(p.proofs, proof{conn: t, at: p.w.now})
	if t.state == dead {
		p.lost(t)
		return
	}
	t.onDead = func(error) { p.post(func() { p.lost(t) }) }
}

// lost gives a proven connection up that has ended.
func (p *program) lost(t *tcp) {
	for i := range p.proofs {
		if q := &p.proofs[i]; q.conn == t && !q.dead {
			q.dead = true
			p.w.after(0, func() { p.post(p.exec.GiveUp) })
		}
	}
}

func (p *program) alive() bool {
	for _, q := range p.proofs {
		if !q.dead {
			return true
		}
	}
	return false
}

func (p *program) stop() {
	p.exec.Stop()
	p.stopped = true
}

// Dial implements punch.Sockets.
func (p *program) Dial(to netip.AddrPort, o punch.DialOptions, h punch.Handler) punch.Socket {
	if p.stopped {
		p.violated("a dial after Stop")
	}
	if p.alive() {
		p.violated("a dial while a proven connection is alive")
	}
	if o.TTL > 0 && !p.quiet {
		p.violated("a quiet dial where there are none")
	}
	key := tuple{p.host.local(to, o).Port(), to}
	if p.dials[key]++; p.dials[key] > 1 {
		p.violated("two connecting sockets for one 4-tuple")
	}
	if p.host.single && p.host.isUsed(p.host.local(to, o)) {
		p.violated("a dial while the one socket is in use")
	}
	s := &socket{p: p, h: h, key: key, connecting: true}
	t, err := p.host.connect(to, o)
	if err != nil {
		p.post(func() { s.failed(err) })
		return s
	}
	s.t = t
	t.onOpen = func() { p.post(s.opened) }
	t.onReceived = func() { p.post(s.received) }
	t.onDead = func(err error) {
		p.host.unheard++
		p.post(func() {
			p.host.unheard--
			s.failed(err)
		})
	}
	return s
}

// accepted takes a connection from the listener's queue, once something is
// pending.
func (p *program) accepted(t *tcp) {
	p.post(func() {
		if !p.begun {
			p.waiting = append(p.waiting, t)
			return
		}
		p.serve(t)
	})
}

// serve is the gate: it waits for the preamble, or the deadline.
func (p *program) serve(t *tcp) {
	if t.state == dead {
		return
	}
	s := &socket{p: p, t: t}
	deadline := p.w.after(proto.PreambleDeadline, func() { p.post(t.close) })
	hand := func() {
		if len(t.received) < proto.PreambleSize || s.judged {
			return
		}
		s.judged = true
		deadline.stop()
		t.onReceived = nil
		from := proto.NewCandidate(t.remote, proto.Observed, 0)
		if p.exec.Accept(s, from, t.received[:proto.PreambleSize]) != nil {
			t.close()
		}
	}
	t.onReceived = func() { p.post(hand) }
	hand()
}

// socket is what the executor has of a connection.
type socket struct {
	p          *program
	t          *tcp // nil if the kernel refused to connect
	h          punch.Handler
	key        tuple
	connecting bool
	judged     bool
	closed     bool
}

func (s *socket) settle() {
	if s.connecting {
		s.connecting = false
		s.p.dials[s.key]--
	}
}

func (s *socket) opened() {
	if s.closed {
		return
	}
	s.settle()
	s.h.Connected()
}

func (s *socket) received() {
	if !s.closed && !s.judged && len(s.t.received) >= proto.PreambleSize {
		s.judged = true
		s.h.Received(s.t.received[:proto.PreambleSize])
	}
}

func (s *socket) failed(err error) {
	if s.closed || s.judged {
		return
	}
	s.settle()
	s.h.Failed(err)
}

// Send implements punch.Socket.
func (s *socket) Send(preamble []byte) { s.t.write(preamble) }

// Close implements punch.Socket.
func (s *socket) Close() {
	s.closed = true
	s.settle()
	if s.t != nil {
		s.t.close()
	}
}

// Acknowledged implements punch.Socket.
func (s *socket) Acknowledged() bool { return s.t.acked }

// Abandon implements punch.Socket.
func (s *socket) Abandon() { s.Close() }

// Answered implements punch.Socket.
func (s *socket) Answered() bool {
	return s.t != nil && (s.t.state == synReceived || s.t.state == established)
}
