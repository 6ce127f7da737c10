package punch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
)

// Config is what an Executor works on.
type Config struct {
	Plan         *Plan
	Role         proto.Role
	Introduction proto.Token
	Secret       proto.Secret
	// Zero is the plan's time 0 on Clock: when the transcript was received less
	// half this side's own round trip to the server.
	Zero    time.Time
	Clock   Clock
	Sockets Sockets
	Rand    *rand.Rand // for jitter
	// Admit returns why an address must not be dialled from here, or nil. A nil
	// Admit admits every address.
	Admit func(Step) error
	// Quiet says that Sockets can dial quietly.
	Quiet bool
	// First is how the first dials are made.
	First First
	// Deaf says that nothing is accepted here, so that Accept is never called;
	// Sequential that Sockets has one socket at a time, to whomever.
	Deaf, Sequential bool
	// OtherPorts says that Sockets can dial from other local ports.
	OtherPorts bool
	// AllowGuess is asked when the first SYN is due with which either side guesses ports,
	// or has its own guessed, of thousands; it returns why this one must not, or nil. A
	// nil AllowGuess allows it.
	AllowGuess func() error
	// Budget is the node's; nil is without bounds.
	Budget *Budget
	// Connected is told of each dial that completed, with its attempt's number;
	// nothing is proven yet, but the preamble has been sent. Of those that something on
	// the way completes by itself it is told just before Proven. Nil ignores it.
	Connected func(s Socket, attempt int)
	// Proven is told of each connection whose other end knows the introduction.
	Proven func(Socket)
	// Expired is told once, when the plan's limit passes without a proven
	// connection that is still alive. The error is a *HopelessError if nothing
	// better than plain dials was to be tried.
	Expired func(error)
	// Trace gets every event. Nil ignores them.
	Trace func(Event)
}

// Executor carries out one side's steps of a plan. All its methods, and all
// its callbacks, belong to one goroutine: its Clock and Sockets call it there.
type Executor struct {
	cfg      Config
	start    time.Time // when the first dial is due
	targets  []*target
	salvo    *salvo // nil if there is none
	forbids  error  // why this side has none, although the plan does
	apart    bool   // nothing is left to this side but what leads nowhere
	rota     rota
	spares   spares
	paces    map[netip.Addr]*pace // of the addresses, where the node has no budget
	attempts int
	syns     int
	alive    int // proven connections that have not been given up
	nonces   map[[16]byte]bool
	stopped  bool
	unlimit  func() // stops the timer of the limit
}

// MaxSYNs bounds the SYNs of one plan and side, retransmissions included, besides
// those of a volley.
const MaxSYNs = 1000

// NewExecutor returns an executor that has done nothing yet.
func NewExecutor(cfg Config) *Executor {
	e := &Executor{cfg: cfg, nonces: make(map[[16]byte]bool), paces: make(map[netip.Addr]*pace), start: cfg.Zero.Add(micros(cfg.Plan.Start))}
	for _, step := range cfg.Plan.Steps(cfg.Role) {
		e.targets = append(e.targets, &target{e: e, step: step})
	}
	e.spares = spares{e: e, steps: cfg.Plan.Spares(cfg.Role)}
	e.rota = e.newRota()
	e.salvo, e.forbids = e.newSalvo()
	return e
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

// Begin schedules every step that is admitted; those whose time has passed are
// dialled at once.
func (e *Executor) Begin() {
	e.apart = e.cfg.Plan.LocalOnly
	for _, t := range e.targets {
		if err := e.admit(t.step); err != nil {
			t.done = true
			t.last = err
			e.trace(Event{Kind: Skipped, To: t.step.To, Err: err})
			continue
		}
		e.apart = e.apart && t.step.To.Kind == proto.Observed
		if e.rota.length == 0 {
			e.await(t)
		}
	}
	e.unlimit = e.cfg.Clock.AfterFunc(e.until(e.lasts()), e.limit)
	if e.rota.length > 0 {
		e.beginTurns()
	}
	e.spares.wait(0)
	switch {
	case e.salvo != nil:
		e.salvo.begin()
	case e.forbids != nil:
		e.traceForbidden()
	}
	e.expireIfExhausted()
}

// await has a step begin in its time, or at the plan's start where it would have waited
// for a volley that this side leaves out.
func (e *Executor) await(t *target) {
	at := t.step.At
	if e.lacksVolley() {
		at = e.cfg.Plan.Start
	}
	t.after(e.until(at), t.begin)
}

// forbid leaves the volley out, which was about to begin at one side or the other.
func (e *Executor) forbid(err error) {
	e.salvo, e.forbids = nil, err
	for _, t := range e.targets {
		if t.dials == 0 && !t.done && t.stop != nil {
			e.await(t)
		}
	}
	e.traceForbidden()
	e.unlimit()
	e.unlimit = e.cfg.Clock.AfterFunc(e.until(e.lasts()), e.limit)
	e.expireIfExhausted()
}

func (e *Executor) traceForbidden() {
	v := e.cfg.Plan.Volley(e.cfg.Role)
	e.trace(Event{Kind: Skipped, To: v.To, Idea: v.Idea, Err: e.forbids})
}

// lacksVolley reports whether this side leaves out what the plan depends on.
func (e *Executor) lacksVolley() bool {
	return e.forbids != nil && !e.cfg.Plan.Volley(e.cfg.Role).Reserve
}

// lasts is the plan's limit, or an earlier one where this side leaves out what the
// plan depends on.
func (e *Executor) lasts() uint32 {
	if !e.lacksVolley() && !e.apart {
		return e.cfg.Plan.Limit
	}
	return min(e.cfg.Plan.Limit, e.cfg.Plan.Start+e.cfg.Plan.RTT+hopelessTime)
}

// expireIfExhausted ends the plan before its limit if nothing can come of it any
// more.
func (e *Executor) expireIfExhausted() {
	if !e.cfg.Deaf || e.alive > 0 || e.salvo != nil && !e.salvo.done || slices.ContainsFunc(e.targets, func(t *target) bool { return !t.done }) {
		return
	}
	e.unlimit()
	e.unlimit = e.cfg.Clock.AfterFunc(0, e.expire)
}

func (e *Executor) admit(s Step) error {
	if e.cfg.Admit == nil {
		return nil
	}
	return e.cfg.Admit(s)
}

// until returns the time from now to a moment of the plan, at least 0.
func (e *Executor) until(at uint32) time.Duration {
	return max(0, e.cfg.Zero.Add(micros(at)).Sub(e.cfg.Clock.Now()))
}

// Accept takes over an accepted socket whose first bytes are the given
// preamble, and reports whether it proves the introduction. If it does, our own
// preamble has been sent and Proven has been called.
func (e *Executor) Accept(s Socket, from proto.Candidate, preamble []byte) error {
	switch {
	case e.stopped:
		return errStopped
	case e.alive >= maxAlive:
		return errMaxAlive
	}
	if err := e.verify(preamble); err != nil {
		return err
	}
	e.attempts++
	e.trace(Event{Kind: Accepted, Attempt: e.attempts, To: from})
	e.sendPreamble(s)
	e.proved(s)
	return nil
}

func (e *Executor) verify(preamble []byte) error {
	if len(preamble) != proto.PreambleSize {
		return fmt.Errorf("%w: preamble of %d bytes", proto.ErrMalformed, len(preamble))
	}
	p := proto.Preamble(preamble)
	if err := p.Verify(e.cfg.Role.Peer(), e.cfg.Introduction, e.cfg.Secret); err != nil {
		return err
	}
	if e.nonces[p.Nonce()] {
		return errReplay
	}
	e.nonces[p.Nonce()] = true
	return nil
}

// errReplay means that somebody sends what the peer has sent before.
var errReplay = fmt.Errorf("%w: the preamble was seen before", proto.ErrProof)

// maxAlive bounds the proven connections of a run. An honest peer has one per
// address.
const maxAlive = 2 * proto.MaxCandidates

func (e *Executor) sendPreamble(s Socket) {
	p := proto.NewPreamble(e.cfg.Role, e.cfg.Introduction, e.cfg.Secret)
	s.Send(p[:])
}

// proved notes a proven connection. While there is one, nothing new is
// dialled; what is under way goes on until Stop.
func (e *Executor) proved(s Socket) {
	e.alive++
	for _, t := range e.targets {
		t.rest()
	}
	e.salvo.rest()
	e.cfg.Proven(s)
}

// GiveUp says that a proven connection turned out to be of no use. If it was
// the last one, dialling goes on.
func (e *Executor) GiveUp() {
	if e.alive--; e.alive > 0 || e.stopped {
		return
	}
	if e.until(e.lasts()) == 0 {
		e.expire()
		return
	}
	for _, t := range e.targets {
		t.resume()
	}
	e.salvo.resume()
}

// limit ends the plan, but lets the sockets speak first if the program was
// stopped across its limit.
func (e *Executor) limit() {
	if e.cfg.Clock.Now().Sub(e.cfg.Zero.Add(micros(e.lasts()))) > lateness {
		e.unlimit = e.cfg.Clock.AfterFunc(grace, e.expire)
		return
	}
	e.expire()
}

// expire ends the plan at its limit unless a proven connection is alive.
func (e *Executor) expire() {
	if e.alive > 0 || e.stopped {
		return
	}
	how := fmt.Sprintf("no connection within %v", micros(e.lasts()-e.cfg.Plan.Start))
	if e.until(e.lasts()) > 0 {
		how = "no connection, and nothing is left to dial"
	}
	err := e.hopeless(fmt.Errorf("%s%s: %s", how, e.hint(), e.summary()))
	e.trace(Event{Kind: Expired, Err: err})
	e.Stop()
	e.cfg.Expired(err)
}

// hopeless says, of the error of a plan that was cut short, why it was, and of one that
// lacks what might have helped, what that is.
func (e *Executor) hopeless(err error) error {
	switch reason := e.cfg.Plan.Hopeless; {
	case reason != 0:
		return &HopelessError{Reason: reason, Role: e.cfg.Role, Err: err}
	case e.apart:
		return &HopelessError{Reason: NoHairpin, Err: err}
	case e.cfg.Plan.NoGuess != 0:
		return &HopelessError{Reason: e.cfg.Plan.NoGuess, Role: e.cfg.Role, Dialled: true, Err: err}
	case e.forbids != nil:
		return &HopelessError{Missing: e.forbids, Err: err}
	}
	return err
}

// hint says what is special about the two sides.
func (e *Executor) hint() string {
	switch {
	case e.cfg.Plan.Round == 0:
		return ""
	case slices.ContainsFunc(e.targets, func(t *target) bool { return t.step.To.Addr.Addr().IsLoopback() }):
		return "; neither side can listen on its port (port-mode), and two dials hardly ever cross on one host"
	}
	return "; neither side can listen on its port (port-mode), so two dials would have to cross"
}

// summary says for each step how its last dial ended.
func (e *Executor) summary() string {
	s := ""
	for _, t := range e.targets {
		if t.hit {
			continue
		}
		if s != "" {
			s += "; "
		}
		s += t.summary()
	}
	return s + e.salvo.summary()
}

// Stop gives up all dials that are not proven and calls nothing back any more.
// It may be called more than once.
func (e *Executor) Stop() {
	if e.stopped {
		return
	}
	e.stopped = true
	if e.unlimit != nil {
		e.unlimit()
	}
	if e.rota.stop != nil {
		e.rota.stop()
	}
	e.spares.close()
	for _, t := range e.targets {
		t.close()
	}
	e.salvo.close()
}

// SYNs returns how many SYNs this side has sent, retransmissions included as
// the kernel's schedule has them.
func (e *Executor) SYNs() int {
	return e.stepSYNs() + e.salvo.total()
}

// stepSYNs are those that are no volley's.
func (e *Executor) stepSYNs() int {
	n := e.syns
	for _, t := range e.targets {
		n += t.retransmissions()
	}
	return n
}

// resent bounds how many SYNs the dials under way may still repeat before they
// are replaced.
func (e *Executor) resent() int {
	others := -1
	for _, t := range e.targets {
		if !t.hit && !(t.isSpare() && t.done) {
			others++
		}
	}
	held := max(e.cfg.Plan.Hold, e.cfg.Plan.Deaf)
	if e.spares.current != nil {
		held = e.cfg.Plan.deafLong()
	}
	return others * resentWithin(micros(held))
}

func (e *Executor) trace(ev Event) {
	if e.cfg.Trace == nil {
		return
	}
	ev.At = e.cfg.Clock.Now().Sub(e.start)
	e.cfg.Trace(ev)
}
