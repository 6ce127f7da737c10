package punch

import "time"

// rota has the steps of a side with one socket at a time take turns. The zero
// value is that of a side whose steps do not.
type rota struct {
	length  time.Duration // 0: all steps are dialled at once
	current *target       // who has the socket; nil before the first turn
	stop    func()        // stops the timer of the turn's end
}

// newRota returns the rota of a side with several steps. Where the plan is of
// a version that knows none, or the peer has not been told, they are this side's
// own affair.
func (e *Executor) newRota() rota {
	if !e.cfg.Sequential || len(e.targets) < 2 {
		return rota{}
	}
	length := e.cfg.Plan.Turn
	if length == 0 {
		length = turnTime(e.cfg.Plan.RTT)
	}
	return rota{length: micros(length)}
}

// beginTurns waits for the first turn.
func (e *Executor) beginTurns() {
	e.rota.stop = e.cfg.Clock.AfterFunc(max(0, e.start.Sub(e.cfg.Clock.Now())), e.nextTurn)
}

// nextTurn gives the socket to the step whose turn it is, unless the dial of the
// turn before has been answered.
func (e *Executor) nextTurn() {
	since := max(0, e.cfg.Clock.Now().Sub(e.start))
	number := since / e.rota.length
	e.rota.stop = e.cfg.Clock.AfterFunc((number+1)*e.rota.length-since, e.endTurn)
	next := e.deserving(int(number))
	if next == e.rota.current || e.alive > 0 || e.rota.current.isEngaged() {
		return
	}
	if e.rota.current != nil {
		e.rota.current.yield()
	}
	if e.rota.current = next; next != nil {
		next.enter()
	}
}

// endTurn lets the socket speak first if the program was stopped across the end
// of the turn.
func (e *Executor) endTurn() {
	if late := e.cfg.Clock.Now().Sub(e.start) % e.rota.length; late > lateness {
		e.rota.stop = e.cfg.Clock.AfterFunc(grace, e.nextTurn)
		return
	}
	e.nextTurn()
}

// deserving returns the target that has the n-th turn. A turn whose step is over
// is the observed endpoint's, or else anybody's.
func (e *Executor) deserving(n int) *target {
	if t := e.targets[e.cfg.Plan.TurnOf(e.cfg.Role, n)]; !t.done {
		return t
	}
	for _, t := range e.targets {
		if !t.done && !t.isSpare() {
			return t
		}
	}
	return nil
}

// mayDial reports whether the target has the side's one socket, or needs not: a spare
// port has its own.
func (e *Executor) mayDial(t *target) bool {
	return e.rota.length == 0 || e.rota.current == t || t.isSpare()
}

// isEngaged reports whether the peer has answered the dial under way.
func (t *target) isEngaged() bool {
	if t == nil || t.sock == nil {
		return false
	}
	return t.connected || t.isAnswered()
}

// enter dials in the target's turn.
func (t *target) enter() {
	if t.dials == 0 {
		t.after(t.e.until(t.step.At), t.begin)
		return
	}
	t.schedule(t.take())
}

// yield ends the target's turn.
func (t *target) yield() {
	t.clearTimer()
	if t.sock == nil {
		return
	}
	t.drop()
	t.quiet.ttl = 0
	t.trace(Yielded, nil)
	if t.step.Once {
		t.finish(ErrNoAnswer)
	}
}
