package punch

import (
	"errors"
	"fmt"
	"time"

	"github.com/peerd/peerd/proto"
)

// target is one address of the plan and the dial that is under way to it: at
// most one, so that there is one connecting socket per 4-tuple. Its states:
//
//	waiting     timer set, no socket
//	connecting  socket, timer set if the dial is to be replaced
//	connected   socket, timer set for the proof
//	resting     neither: a proven connection exists elsewhere, it is not its turn, or done
type target struct {
	e    *Executor
	step Step
	hit  bool // a salvo's, which has connected: it dials no more
	late bool // nobody is told before it is proven, see Volley.Completed

	sock      Socket
	attempt   int // number of the last dial
	dials     int
	dialled   time.Time
	connected bool
	owed      int // SYNs taken from the node's budget
	last      error
	stop      func() // stops the timer, if one is set
	quiet     quiet
	flight    *flight // of sock
	spared    bool    // a SYN of the pace is left for a quiet dial
	done      bool    // never to be dialled (again)
}

const (
	// gapRefused is the mean pause after a refusal. Two redialling peers whose
	// pauses are short against the round trip always meet; longer ones keep
	// their phase and may miss each other for seconds. Where the refusal is an
	// ICMP error, our own NAT keeps its entry, and the peer's first SYN must find
	// a socket that is connecting: netfilter lets nothing else answer it.
	gapRefused = 100 * time.Microsecond
	// gapInUse is the mean pause while this host has the 4-tuple in use: what
	// occupies it decides within a round trip or so, and a loop would spin.
	gapInUse = 20 * time.Millisecond
	// gapHungUp is the mean pause after a connection that was closed before the
	// proof: the other end may not have its transcript yet.
	gapHungUp = 20 * time.Millisecond
	// gapBudget is the mean pause while the node's budget is empty.
	gapBudget = 50 * time.Millisecond
	// lateness is how late a timer may be before its target takes it that the
	// whole process was stopped, and grace how long it then waits: what the
	// kernel has brought meanwhile, such as the answer to the dial that the
	// timer would give up, is to be heard first.
	lateness = 20 * time.Millisecond
	grace    = 20 * time.Millisecond
	// answeredFor is how long a dial that the peer has answered is waited for,
	// besides four round trips, and answeredPoll how often it is looked at.
	answeredFor  = 3 * time.Second
	answeredPoll = 50 * time.Millisecond
	// unheardFor is that time of a connection of which nothing is acknowledged,
	// long enough for the kernel to send what was lost two more times.
	unheardFor = 500 * time.Millisecond
	// gapOther is the mean pause after an error that is the host's own.
	gapOther = 500 * time.Millisecond
)

var (
	errStopped  = errors.New("punching has ended")
	errMaxAlive = fmt.Errorf("there are %d connections already", maxAlive)
	errSilent   = errors.New("connected, but nothing there proved to be the peer (a proxy or firewall on the way may complete connections by itself)")
	errUnheard  = errors.New("connected, but nothing that was sent has been acknowledged (a NAT on the way may take the connection for closed)")
	errMaxSYNs  = fmt.Errorf("gave up after %d SYNs", MaxSYNs)
	errNoDialed = errors.New("not dialled yet")
)

func (t *target) schedule(d time.Duration) { t.after(d, t.dial) }

// begin makes the first dial as soon as the pace allows.
func (t *target) begin() {
	if wait := t.take(); wait > 0 {
		t.after(wait, t.first)
		return
	}
	t.first()
}

// take uses a SYN of the address's pace up, and one more for the quiet dial that
// follows at once where it is refused. It returns the time to wait.
func (t *target) take() time.Duration {
	n := 1
	if t.spared = t.canBeQuiet(); t.spared {
		n = 2
	}
	return t.use(n)
}

// use uses SYNs of the address's pace up and returns the time to wait.
func (t *target) use(n int) time.Duration {
	now := t.e.cfg.Clock.Now()
	if b := t.e.cfg.Budget; b != nil {
		return b.pace(t.step.To.Addr.Addr(), now, n)
	}
	return t.e.pace(t.step.To.Addr.Addr(), now).take(now, n)
}

// first makes the first dial.
func (t *target) first() {
	if t.isFirstQuiet() && t.canBeQuiet() {
		t.dialQuietly(t.firstQuietTime())
		return
	}
	t.dial()
}

// after sets the target's only timer.
func (t *target) after(d time.Duration, f func()) {
	t.clearTimer()
	due := t.e.cfg.Clock.Now().Add(d)
	t.stop = t.e.cfg.Clock.AfterFunc(d, func() {
		if t.stop = nil; t.e.cfg.Clock.Now().Sub(due) > lateness {
			t.stop = t.e.cfg.Clock.AfterFunc(grace, func() {
				t.stop = nil
				f()
			})
			return
		}
		f()
	})
}

func (t *target) clearTimer() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// dial sends a SYN, if the caps allow it now.
func (t *target) dial() {
	now := t.e.cfg.Clock.Now()
	if t.e.stepSYNs()+t.e.resent() >= MaxSYNs {
		t.finish(errMaxSYNs)
		return
	}
	flight, ok := t.e.cfg.Budget.dial(t.step.To.Addr.Addr(), now)
	if !ok {
		t.schedule(t.jitter(gapBudget))
		return
	}
	t.owed++
	t.e.syns++
	t.e.attempts++
	t.attempt, t.dialled, t.connected = t.e.attempts, now, false
	t.dials++
	t.trace(Dialled, nil)
	t.flight = flight
	t.sock = t.e.cfg.Sockets.Dial(t.step.To.Addr, DialOptions{TTL: t.ttl(), From: t.step.From}, &attempt{t: t, number: t.attempt})
	t.watch()
}

// watch sets the timer that ends a dial without an answer.
func (t *target) watch() {
	if t.quiet.ttl > 0 {
		t.after(max(0, t.quiet.lasts-t.e.cfg.Clock.Now().Sub(t.dialled)), t.dialLoudly)
		return
	}
	t.after(max(0, t.hold()-t.e.cfg.Clock.Now().Sub(t.dialled)), t.unanswered)
}

func (t *target) hold() time.Duration {
	if t.step.Once {
		return micros(min(t.e.cfg.Plan.Hold, holdOnce))
	}
	if t.isDeaf() {
		return micros(t.e.cfg.Plan.deafFor(t.step))
	}
	return micros(t.e.cfg.Plan.Hold)
}

// waitForAnswered has f called again later if the dial under way has been
// answered: giving it up now would send a RST after a handshake that both sides'
// NATs have seen.
func (t *target) waitForAnswered(f func()) bool {
	if !t.isAnswered() {
		return false
	}
	t.after(max(answeredPoll, micros(t.e.cfg.Plan.RTT)), f)
	return true
}

// isAnswered reports whether the dial under way has been answered, not too long
// ago to be about to succeed.
func (t *target) isAnswered() bool {
	held := t.e.cfg.Clock.Now().Sub(t.dialled)
	return held < answeredFor+4*micros(t.e.cfg.Plan.RTT) && t.sock.Answered()
}

// unanswered replaces a dial that had no answer: the SYN may be lost, and the
// kernel's own retransmission comes only after a second.
func (t *target) unanswered() {
	if t.waitForAnswered(t.unanswered) {
		return
	}
	t.drop()
	if t.step.Once {
		t.finish(ErrNoAnswer)
		return
	}
	t.trace(Replaced, nil)
	t.quiet.heard = true
	t.schedule(t.take())
}

// account counts the SYNs that the kernel has sent again.
func (t *target) account() {
	n := t.retransmissions()
	t.e.syns += n
	t.owed += n
	t.e.cfg.Budget.charge(t.e.cfg.Clock.Now(), n)
}

// drop closes the socket, if there is one, and accounts for what it sent.
func (t *target) drop() {
	t.account()
	if t.sock != nil {
		t.sock.Close()
		t.sock = nil
	}
	t.flight.end(t.e.cfg.Clock.Now())
}

// synSchedule is when the kernel sends a SYN again, since the first one.
var synSchedule = [...]time.Duration{1, 2, 3, 4, 5, 7, 11, 19} // seconds

// retransmissions returns how many SYNs the dial under way has repeated.
func (t *target) retransmissions() (n int) {
	if t.sock == nil || t.connected {
		return 0
	}
	return resentWithin(t.e.cfg.Clock.Now().Sub(t.dialled))
}

// resentWithin returns how many SYNs a dial repeats in a time.
func resentWithin(held time.Duration) (n int) {
	for n < len(synSchedule) && held >= synSchedule[n]*time.Second {
		n++
	}
	return n
}

// failed decides what follows a dial that ended.
func (t *target) failed(err error) {
	t.drop()
	t.clearTimer()
	if t.isTaken(err) {
		t.trace(Skipped, err)
		t.finish(err)
		return
	}
	t.trace(Failed, err)
	// What the kernel repeats is not quiet any more.
	repeated := t.e.cfg.Clock.Now().Sub(t.dialled) >= synSchedule[0]*time.Second || errors.Is(err, ErrRepeated)
	t.quiet.heard = t.quiet.heard || repeated // nor deaf
	wasQuiet := t.quiet.ttl > 0 && !repeated
	if wasQuiet && errors.Is(err, ErrRefused) {
		t.quiet.never = true
	}
	t.quiet.ttl = 0
	t.last = err
	if t.step.Once {
		t.finish(err)
		return
	}
	if t.e.alive > 0 {
		return
	}
	if errors.Is(err, ErrRefused) && !wasQuiet && t.canBeQuiet() {
		if !t.spared {
			t.use(1)
		}
		t.spared = false
		t.dialQuietly(t.quietTime())
		return
	}
	t.schedule(t.pause(err))
}

// pause is how long to wait before the next dial. Both sides must redial: which
// of them is early, neither knows.
func (t *target) pause(err error) time.Duration {
	if t.e.cfg.Plan.Round > 0 && errors.Is(err, ErrRefused) {
		return t.nextInRounds()
	}
	gap := gapOther
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrNoAnswer):
		gap = gapRefused
	case errors.Is(err, ErrTupleInUse):
		gap = gapInUse
	case errors.Is(err, ErrHungUp), errors.Is(err, errSilent), errors.Is(err, errUnheard):
		gap = gapHungUp
	}
	wait := t.take()
	if wait > 0 {
		// Jitter over the whole interval keeps two peers from redialling in
		// step just beside each other.
		wait = t.jitter(wait + time.Second/paceRate)
	}
	return max(wait, t.jitter(gap))
}

// jitter returns a duration between d/2 and 3d/2.
func (t *target) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(t.e.cfg.Rand.Int64N(int64(d)))
}

// established sends the preamble and gives the other end the time to prove
// itself.
func (t *target) established() {
	t.account()
	t.flight.land(t.e.cfg.Clock.Now())
	t.connected, t.quiet.ttl = true, 0
	t.trace(Connected, nil)
	t.after(t.unheardFor(), t.unheard)
	t.e.sendPreamble(t.sock)
	if !t.late {
		t.tell()
	}
}

// tell hands the connection out.
func (t *target) tell() {
	if t.e.cfg.Connected != nil {
		t.e.cfg.Connected(t.sock, t.attempt)
	}
}

// unheardFor is how long nothing of what is sent on a connection may be
// acknowledged.
func (t *target) unheardFor() time.Duration {
	return min(unheardFor+4*micros(t.e.cfg.Plan.RTT), proto.PreambleDeadline)
}

// unheard gives up a connection of which nothing arrives: a NAT that has seen a
// RST between the SYNs, the answer to a packet of an earlier connection, may take
// it for closed. Our RST, or the next SYN, makes it think again.
func (t *target) unheard() {
	if !t.sock.Acknowledged() {
		t.abandon(errUnheard)
		return
	}
	t.after(proto.PreambleDeadline-t.unheardFor(), t.silent)
}

// silent gives up a connection on which no preamble has come. Another one may
// do better: what is sent to us may be taken for invalid on the way.
func (t *target) silent() { t.abandon(errSilent) }

// abandon dials anew instead of waiting for a connection any longer.
func (t *target) abandon(err error) {
	t.drop()
	t.trace(Unproven, err)
	if t.last = err; t.step.Once {
		t.finish(err)
		return
	}
	if t.e.alive == 0 { // or until it is given up: resume
		t.schedule(t.pause(err))
	}
}

// received judges the other end's preamble.
func (t *target) received(preamble []byte) {
	t.clearTimer()
	if err := t.e.verify(preamble); err != nil {
		t.unproven(err)
		return
	}
	t.trace(Proven, nil)
	t.e.cfg.Budget.Return(t.owed)
	if t.late {
		t.tell()
	}
	s := t.sock
	t.flight.end(t.e.cfg.Clock.Now())
	t.sock, t.owed, t.last = nil, 0, nil // the connection is the caller's now
	t.e.proved(s)
}

// unproven ends a target at which somebody else answers: more SYNs there would
// bother a stranger.
func (t *target) unproven(err error) {
	t.drop()
	t.trace(Unproven, err)
	t.finish(err)
}

func (t *target) finish(err error) {
	t.clearTimer()
	t.last, t.done = err, true
	t.e.expireIfExhausted()
}

// rest stops the target from dialling anew; a dial under way is left alone, for
// the peer may be about to answer it.
func (t *target) rest() {
	if !t.connected || t.sock == nil {
		t.clearTimer()
	}
}

// resume dials again after a rest, or goes on to watch the dial under way.
func (t *target) resume() {
	switch {
	case t.done || t.stop != nil || !t.e.mayDial(t):
	case t.sock == nil:
		t.schedule(t.take())
	case !t.connected:
		t.watch()
	}
}

func (t *target) close() {
	t.clearTimer()
	t.drop()
	t.done = true
}

func (t *target) trace(k EventKind, err error) {
	t.e.trace(Event{Kind: k, Attempt: t.attempt, To: t.step.To, Idea: t.step.Idea, Err: err})
}

func (t *target) summary() string {
	err := t.last
	if err == nil {
		err = errNoDialed
	}
	if t.sock != nil && !t.connected {
		err = ErrNoAnswer
	}
	name := t.step.To.String()
	if t.isSpare() {
		name += " (" + Spare.String() + ")"
	}
	return fmt.Sprintf("%s: %d dials, last: %v", name, t.dials, err)
}

// attempt tells its target about one dial, and is deaf once the target has
// gone on to another.
type attempt struct {
	t      *target
	number int
}

func (a *attempt) current() bool { return a.t.sock != nil && a.t.attempt == a.number }

// Connected implements Handler.
func (a *attempt) Connected() {
	if a.current() {
		a.t.established()
	}
}

// Received implements Handler.
func (a *attempt) Received(preamble []byte) {
	if a.current() {
		a.t.received(preamble)
	}
}

// Failed implements Handler.
func (a *attempt) Failed(err error) {
	if a.current() {
		a.t.failed(err)
	}
}
