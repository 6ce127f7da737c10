package punch

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// rig is an executor with a clock and sockets that do what the test says.
type rig struct {
	t     *testing.T
	now   time.Time
	queue timers
	order int
	socks []*fakeSocket
	exec  *Executor
	cfg   Config
	lines []string // the events, as "+12 dialled"
	ended error
	won   []*fakeSocket
}

var (
	introduction = proto.Token{7}
	secret       = proto.Secret{8}
)

// newRig is the initiator's side of a plan with one step and a round trip of
// 36 ms; edit may change the configuration.
func newRig(t *testing.T, edit func(*Config)) *rig {
	r := &rig{t: t, now: epoch}
	tr := transcript(obsA, obsB, 18_000, 18_000)
	plan, err := MakePlan(&tr)
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = Config{
		Plan: plan, Role: proto.Initiator, Introduction: introduction, Secret: secret,
		Zero: epoch.Add(-micros(plan.Start)), Clock: r, Sockets: r, Rand: rand.New(rand.NewPCG(1, 2)),
		Proven:  func(s Socket) { r.won = append(r.won, s.(*fakeSocket)) },
		Expired: func(err error) { r.ended = err },
		Trace: func(e Event) {
			r.lines = append(r.lines, fmt.Sprintf("%+d %v", e.At.Round(time.Millisecond)/time.Millisecond, e.Kind))
		},
	}
	if edit != nil {
		edit(&r.cfg)
	}
	r.exec = NewExecutor(r.cfg)
	r.exec.Begin()
	return r
}

func (r *rig) Now() time.Time { return r.now }

func (r *rig) AfterFunc(d time.Duration, f func()) func() {
	r.order++
	e := &alarm{at: r.now.Add(d), order: r.order, f: f}
	heap.Push(&r.queue, e)
	return func() { e.f = nil }
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for len(r.queue) > 0 && !r.queue[0].at.After(end) {
		e := heap.Pop(&r.queue).(*alarm)
		if r.now = later(r.now, e.at); e.f != nil {
			e.f()
		}
	}
	r.now = end
}

// freeze lets time pass without the program noticing.
func (r *rig) freeze(d time.Duration) { r.now = r.now.Add(d) }

func (r *rig) Dial(to netip.AddrPort, o DialOptions, h Handler) Socket {
	for _, s := range r.socks {
		if s.to == to && s.slot == o.Slot && s.from == o.From && (s.connecting() || r.now.Before(s.free)) {
			r.t.Errorf("a second connecting socket to %v", to)
		}
	}
	s := &fakeSocket{to: to, ttl: o.TTL, slot: o.Slot, from: o.From, brief: o.Brief, h: h, at: r.now, rig: r}
	r.socks = append(r.socks, s)
	return s
}

// last is the socket of the last dial; it fails the test unless there were n.
func (r *rig) last(n int) *fakeSocket {
	r.t.Helper()
	if len(r.socks) != n {
		r.t.Fatalf("%d dials, want %d; events %q", len(r.socks), n, r.lines)
	}
	return r.socks[n-1]
}

func (r *rig) want(lines ...string) {
	r.t.Helper()
	if !slices.Equal(r.lines, lines) {
		r.t.Errorf("events %q\nwant   %q", r.lines, lines)
	}
}

// proof is the preamble that the responder sends.
func proof() []byte {
	p := proto.NewPreamble(proto.Responder, introduction, secret)
	return p[:]
}

type fakeSocket struct {
	to           netip.AddrPort
	ttl, slot    int
	from         uint16
	brief        bool
	h            Handler
	at           time.Time
	sent         [][]byte
	open, closed bool
	failed       bool
	answered     bool // in SYN-RECEIVED
	unheard      bool // nothing is acknowledged
	rig          *rig
	free         time.Time // when its 4-tuple is, if it is abandoned
}

func (s *fakeSocket) Answered() bool     { return s.answered }
func (s *fakeSocket) Acknowledged() bool { return !s.unheard }
func (s *fakeSocket) Send(p []byte)      { s.sent = append(s.sent, slices.Clone(p)) }
func (s *fakeSocket) Close()             { s.closed, s.free = true, s.rig.now }
func (s *fakeSocket) connecting() bool   { return !s.open && !s.closed && !s.failed }
func (s *fakeSocket) fail(err error)     { s.failed = true; s.h.Failed(err) }
func (s *fakeSocket) connect()           { s.open = true; s.h.Connected() }
func (s *fakeSocket) Abandon() {
	if s.closed = true; !s.failed {
		s.free = s.rig.now.Add(time.Millisecond)
	}
}

type alarm struct {
	at    time.Time
	order int
	f     func()
}

type timers []*alarm

func (q timers) Len() int { return len(q) }
func (q timers) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q timers) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timers) Push(x any)   { *q = append(*q, x.(*alarm)) }
func (q *timers) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

func TestDialConnectsAndIsProven(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	r.pass(36 * time.Millisecond)
	s.connect()
	if len(s.sent) != 1 {
		t.Fatalf("%d preambles sent, want one at once", len(s.sent))
	}
	p := proto.Preamble(s.sent[0])
	if err := p.Verify(proto.Initiator, introduction, secret); err != nil {
		t.Error(err)
	}
	r.pass(18 * time.Millisecond)
	s.h.Received(proof())
	r.pass(20 * time.Second)
	r.want("+0 dialled", "+36 connected", "+54 proven")
	if len(r.won) != 1 || r.won[0] != s || s.closed || r.ended != nil {
		t.Errorf("won %v, closed %t, ended %v", r.won, s.closed, r.ended)
	}
}

func TestFirstDialWaitsForTheStart(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Zero = epoch })
	r.pass(8 * time.Millisecond)
	r.last0()
	r.pass(time.Millisecond)
	r.last(1)
}

func (r *rig) last0() {
	r.t.Helper()
	if len(r.socks) > 0 {
		r.t.Fatalf("%d dials, want none", len(r.socks))
	}
}

func TestALateTranscriptIsDialledAtOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Zero = epoch.Add(-3 * time.Second) })
	r.pass(0)
	r.last(1)
}

// Where no dial can be quiet.
func TestRefusedRedialsWithin1500Microseconds(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	for n := range 10 {
		s := r.last(n + 1)
		r.pass(36 * time.Millisecond)
		s.fail(fmt.Errorf("connect: %w", ErrRefused))
		r.pass(1500 * time.Microsecond)
	}
	r.last(11)
}

func TestRefusedAtOnceIsPacedBelow100ASecond(t *testing.T) {
	r := newRig(t, nil)
	for r.now.Before(epoch.Add(10 * time.Second)) {
		if n := len(r.socks); n > 0 && r.socks[n-1].connecting() {
			r.socks[n-1].fail(ErrRefused)
		}
		r.pass(100 * time.Microsecond)
	}
	for i := 100; i < len(r.socks); i++ {
		if d := r.socks[i].at.Sub(r.socks[i-100].at); d <= time.Second {
			t.Fatalf("101 SYNs in %v", d)
		}
	}
	if n := len(r.socks); n < 500 || n > 1000 {
		t.Errorf("%d SYNs in 10 s", n)
	}
}

func TestHeldDialIsReplacedBeforeTheKernelRepeatsItself(t *testing.T) {
	r := newRig(t, nil)
	r.pass(287 * time.Millisecond)
	first := r.last(1)
	r.pass(16 * time.Millisecond)
	if !first.closed || r.last(2).closed {
		t.Error("the first is to be closed, not the second")
	}
	r.pass(300 * time.Millisecond)
	r.last(3)
	r.want("+0 dialled", "+300 replaced", "+300 dialled", "+600 replaced", "+600 dialled")
}

// A dial that the peer has answered is not given up: the RST would meet NATs that
// have seen the handshake. But it is not waited for without end.
func TestAnsweredDialIsNotReplaced(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.answered = true
	r.pass(3 * time.Second)
	r.last(1)
	r.pass(200 * time.Millisecond)
	if r.last(2); !s.closed {
		t.Error("two dials at a time")
	}
	r.want("+0 dialled", "+3150 replaced", "+3150 dialled")
}

// A program that stood still hears what the kernel has for it before it acts on
// a timer that is overdue.
func TestThawHearsTheAnswerBeforeTheTimer(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	r.freeze(time.Second)
	r.pass(0)
	s.connect()
	s.h.Received(proof())
	r.pass(time.Second)
	r.last(1)
	if s.closed || len(r.won) != 1 {
		t.Errorf("closed %t, won %d", s.closed, len(r.won))
	}
}

func TestTupleInUsePausesAbout20Milliseconds(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	r.last(1).fail(ErrTupleInUse)
	r.pass(9 * time.Millisecond)
	r.last(1)
	r.pass(21 * time.Millisecond)
	r.last(2).fail(ErrTupleInUse)
	r.pass(9 * time.Millisecond)
	r.last(2)
}

func TestHungUpPausesAndRedials(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.connect()
	s.fail(ErrHungUp)
	r.pass(30 * time.Millisecond)
	r.last(2)
}

func TestStrangersAreNeverDialledAgain(t *testing.T) {
	wrong, own := proto.NewPreamble(proto.Responder, introduction, proto.Secret{99}), proto.NewPreamble(proto.Initiator, introduction, secret)
	for name, preamble := range map[string][]byte{
		"wrong secret": wrong[:], "echo": own[:], "garbage": make([]byte, proto.PreambleSize), "short": []byte("HTTP/1.1 400"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.pass(0)
			s := r.last(1)
			s.connect()
			s.h.Received(preamble)
			r.pass(time.Minute)
			r.last(1)
			if !s.closed || len(r.won) > 0 || r.ended == nil {
				t.Errorf("closed %t, won %v, ended %v", s.closed, r.won, r.ended)
			}
		})
	}
}

func TestSilentConnectionIsGivenUpAndDialledAnew(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.connect()
	r.pass(proto.PreambleDeadline - time.Millisecond)
	if s.closed {
		t.Error("given up too early")
	}
	r.pass(50 * time.Millisecond)
	if r.last(2); !s.closed {
		t.Error("a silent connection is held for longer than the deadline")
	}
}

// A NAT may take the connection for closed, because it has seen a RST between the
// SYNs, and drop all that is sent. Who waits for the deadline keeps the 4-tuple from
// the dial that would do better.
func TestConnectionThatIsNotHeardIsDialledAnewSoon(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.unheard = true
	s.connect()
	r.pass(unheardFor)
	if s.closed {
		t.Error("given up before a lost packet can have been repeated")
	}
	r.pass(4*rigsRTT + 50*time.Millisecond)
	if r.last(2); !s.closed {
		t.Error("a connection of which nothing is acknowledged is held for long")
	}
}

func TestConnectionThatIsNotHeardIsNotReplacedBesideAProvenOne(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.unheard = true
	s.connect()
	if err := r.exec.Accept(&fakeSocket{open: true}, proto.Candidate{}, proof()); err != nil {
		t.Fatal(err)
	}
	r.pass(proto.PreambleDeadline)
	r.last(1)
	r.exec.GiveUp()
	r.pass(50 * time.Millisecond)
	r.last(2)
}

func TestProvenStopsDialling(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	accepted := &fakeSocket{}
	if err := r.exec.Accept(accepted, candidate(proto.Observed, obsB, 0), proof()); err != nil {
		t.Fatal(err)
	}
	if len(accepted.sent) != 1 || len(r.won) != 1 {
		t.Errorf("%d preambles, %d proven", len(accepted.sent), len(r.won))
	}
	r.pass(time.Second)
	if s.closed {
		t.Error("a dial under way is to be left alone")
	}
	s.fail(ErrRefused)
	r.pass(30 * time.Second)
	r.last(1)
	if r.ended != nil {
		t.Errorf("expired: %v", r.ended)
	}
}

func TestGiveUpResumes(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.connect()
	s.h.Received(proof())
	r.pass(time.Second)
	r.exec.GiveUp()
	r.pass(time.Millisecond)
	r.last(2)
}

func TestGiveUpWatchesTheDialUnderWay(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, proof()); err != nil {
		t.Fatal(err)
	}
	r.pass(100 * time.Millisecond)
	r.exec.GiveUp()
	r.pass(250 * time.Millisecond)
	r.last(2)
}

func TestGiveUpOfOneOfTwoGoesOnResting(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.connect()
	s.h.Received(proof())
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, proof()); err != nil {
		t.Fatal(err)
	}
	r.exec.GiveUp()
	r.pass(time.Second)
	r.last(1)
}

func TestGiveUpAfterTheLimitExpires(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	s.connect()
	s.h.Received(proof())
	r.pass(time.Minute)
	r.exec.GiveUp()
	if r.ended == nil {
		t.Error("not expired")
	}
}

func TestEmptyBudgetWaits(t *testing.T) {
	budget := NewBudget(epoch)
	budget.takeLocked(epoch, budgetBurst+20)
	r := newRig(t, func(c *Config) { c.Budget = budget })
	r.pass(90 * time.Millisecond)
	r.last0()
	r.pass(200 * time.Millisecond)
	r.last(1)
}

func TestProofReturnsWhatTheBudgetGave(t *testing.T) {
	budget := NewBudget(epoch)
	budget.takeLocked(epoch, budgetBurst)
	budget.Return(1)
	r := newRig(t, func(c *Config) { c.Budget = budget })
	r.pass(0)
	s := r.last(1)
	s.connect()
	s.h.Received(proof())
	if !budget.takeLocked(epoch, 1) {
		t.Error("the SYN was not returned")
	}
}

func TestOnceIsOneSYNAndClosedBeforeTheKernelRepeatsIt(t *testing.T) {
	for _, hold := range []uint32{300_000, 5_000_000} {
		r := newRig(t, func(c *Config) { c.Plan.Hold, c.Plan.Initiator[0].Once = hold, true })
		r.pass(time.Second - time.Millisecond)
		if s := r.last(1); !s.closed {
			t.Errorf("hold %d: still open when the kernel sends the SYN again", hold)
		}
		r.pass(time.Minute)
		r.last(1)
		if n := r.exec.SYNs(); n != 1 {
			t.Errorf("%d SYNs", n)
		}
	}
}

func TestOnceIsNotDialledAgainAfterARefusal(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Plan.Initiator[0].Once = true })
	r.pass(0)
	r.last(1).fail(ErrRefused)
	r.pass(time.Minute)
	r.last(1)
}

func TestForbiddenStepIsSkipped(t *testing.T) {
	forbidden := errors.New("no")
	r := newRig(t, func(c *Config) { c.Admit = func(Step) error { return forbidden } })
	r.pass(time.Minute)
	r.last0()
	if len(r.lines) != 2 || !strings.HasSuffix(r.lines[0], "skipped") || !strings.HasSuffix(r.lines[1], "expired") {
		t.Errorf("events %q", r.lines)
	}
}

func TestMaxSYNsEndsATarget(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Plan.Limit = 600_000_000 })
	for range 60 * 1000 {
		if n := len(r.socks); n > 0 && r.socks[n-1].connecting() {
			r.socks[n-1].fail(ErrRefused)
		}
		r.pass(time.Millisecond)
	}
	if n := len(r.socks); n != MaxSYNs {
		t.Errorf("%d SYNs, want %d", n, MaxSYNs)
	}
}

// A deaf dial is held for so long that the kernel repeats its SYN.
func TestWhatADeafDialRepeatsCounts(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Plan.Initiator = append(c.Plan.Initiator, Step{To: host("10.0.0.9:1", 1)})
		c.Plan.Initiator[0].Deaf, c.Plan.Deaf = true, 1_200_000
	})
	if n := r.exec.resent(); n != 1 {
		t.Errorf("%d SYNs may be repeated, want 1", n)
	}
}

func TestExpiredSaysWhy(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Plan.Hold = 20_000_000 })
	r.pass(12*time.Second + time.Millisecond)
	if r.ended == nil || !strings.Contains(r.ended.Error(), "observed "+obsB+": 1 dials, last: no answer") {
		t.Errorf("expired with %v", r.ended)
	}
	if !r.last(1).closed {
		t.Error("the dial outlives the plan")
	}
}

func TestStopClosesAndIsSilent(t *testing.T) {
	r := newRig(t, nil)
	r.pass(0)
	s := r.last(1)
	r.exec.Stop()
	r.exec.Stop()
	n := len(r.lines)
	s.connect()
	s.h.Received(proof())
	s.h.Failed(ErrRefused)
	r.exec.GiveUp()
	r.pass(time.Minute)
	if !s.closed || len(r.lines) != n || len(r.won) > 0 || r.ended != nil {
		t.Errorf("closed %t, events %q, won %v, ended %v", s.closed, r.lines[n:], r.won, r.ended)
	}
	if err := r.exec.Accept(&fakeSocket{}, proto.Candidate{}, proof()); err == nil {
		t.Error("accepts after Stop")
	}
}
