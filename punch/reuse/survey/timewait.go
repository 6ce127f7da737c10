package survey

import (
	"context"
	"time"
)

// parting is a connection that is about to end: of the port, near, to a peer
// with a port of its own, far.
type parting struct {
	near, far   *bench
	listener    socket // far
	here, there socket // the ends of the connection
}

// meet connects the port to a peer and calls f. What f leaves of the connection
// is gone afterwards where the system lets it. If the port's socket cannot be
// made, the error is a statement.
func (q *inquiry) meet(options Options, f func(*parting) error) error {
	if q.ctx.Err() != nil {
		return context.Cause(q.ctx)
	}
	near, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer near.close()
	far, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer far.close()
	p := &parting{near: near, far: far}
	if err := p.connect(options, q.sharing); err != nil {
		return err
	}
	defer p.dialBack(q.sharing)
	return f(p)
}

func (p *parting) connect(near, far Options) (err error) {
	if p.listener, err = p.far.listening(Loop4, far); err != nil {
		return say("peer", err)
	}
	if p.here, err = p.near.bound(Wild4, near); err == nil {
		err = p.near.connect(p.here, p.far.here())
	}
	if err != nil {
		return say("first", err)
	}
	if p.there, err = p.far.accepted(p.listener, patience); err != nil {
		return err
	}
	if err = p.here.lingerOff(); err == nil {
		err = p.there.lingerOff()
	}
	return failed("setsockopt", err)
}

// end ends the connection, the port's side first: it is in TIME_WAIT then.
func (p *parting) end() error {
	if err := p.here.endOutput(); err != nil {
		return failed("shutdown", err)
	}
	if _, err := p.there.wait(input, patience); err != nil {
		return failed("poll", err)
	}
	p.far.drop(p.there)
	_, err := p.here.wait(input, patience)
	p.near.drop(p.here)
	return failed("poll", err)
}

// dialBack dials the port from where it was connected to, without a listener
// there. A SYN or RST of that 4-tuple may end a TIME_WAIT.
func (p *parting) dialBack(options Options) error {
	p.far.drop(p.listener)
	s, err := p.far.bound(Loop4, options)
	if err == nil {
		err = p.far.connect(s, p.near.here())
	}
	return err
}

// settling is how long a system may take to be done with a connection that
// leaves no TIME_WAIT.
const settling = 50 * time.Millisecond

// kept returns what keeps a socket without options from the port, or "".
func (p *parting) kept() (string, error) {
	for end := time.Now().Add(settling); ; time.Sleep(settling / 10) {
		s, err := p.near.bound(Wild4, None)
		p.near.drop(s)
		if err == nil {
			return "", nil
		}
		if !isInUse(errnoOf(err)) || time.Now().After(end) {
			return err.Error(), exhausted(err)
		}
	}
}

// bindOverTimeWait tries all options beside one TIME_WAIT for each options that
// its socket had.
func (q *inquiry) bindOverTimeWait() error {
	for _, first := range allOptions {
		err := q.meet(first, func(p *parting) error {
			if err := p.end(); err != nil {
				return err
			}
			for _, second := range allOptions {
				s, err := p.near.listening(Wild4, second)
				p.near.drop(s)
				if err := q.record(pairName(first, second), "works", "", say("second", err)); err != nil {
					return err
				}
			}
			return nil
		})
		if _, ok := err.(*statement); ok {
			err = q.record(first.String()+"/any", "", "", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// connectOverTimeWait connects with the options of the first connection.
func (q *inquiry) connectOverTimeWait() error {
	for _, options := range allOptions {
		err := q.meet(options, func(p *parting) error {
			if err := p.end(); err != nil {
				return err
			}
			s, err := p.near.bound(Wild4, options)
			if err == nil {
				err = p.near.connect(s, p.far.here())
			}
			p.near.drop(s)
			return say("second", err)
		})
		if err := q.record(pairName(options, options), "connects", "", err); err != nil {
			return err
		}
	}
	return nil
}

// dialledInTimeWait dials with and without a listener of the port.
func (q *inquiry) dialledInTimeWait() error {
	for _, variant := range []string{"a listener here", "no listener here"} {
		result := ""
		err := q.meet(q.sharing, func(p *parting) (err error) {
			if err := p.end(); err != nil {
				return err
			}
			if variant == "a listener here" {
				l, err := p.near.listening(Wild4, q.sharing)
				if err != nil {
					return say("listener", err)
				}
				defer p.near.drop(l)
				result, err = p.dialled(q.sharing, "")
				return err
			}
			before, err := p.kept()
			if err == nil {
				result, err = p.dialled(q.sharing, before)
			}
			return err
		})
		if err := q.record(variant, result, "", err); err != nil {
			return err
		}
	}
	return nil
}

// dialled says what a dial to the port gets; before is what kept said.
func (p *parting) dialled(options Options, before string) (result string, err error) {
	err = p.dialBack(options)
	if err == nil {
		return "connects", nil
	}
	if _, ok := err.(*failure); !ok {
		return "", err
	}
	after, kerr := p.kept()
	switch {
	case kerr != nil:
		return "", kerr
	case before == "":
		return err.Error(), nil
	case after == "":
		return err.Error() + ", and the TIME_WAIT is gone", nil
	}
	return err.Error() + ", and the TIME_WAIT stays", nil
}

// linger closes a connection in several ways, and looks what is left. Where a
// bind without options passes over TIME_WAIT, as after an ordinary close that is
// tried first, nothing is said about that.
func (q *inquiry) linger() error {
	blind := false
	for i, way := range []struct {
		variant string
		seconds int // of SO_LINGER; below 0 it is off
		second  bool
	}{
		{"closed first, SO_LINGER off", -1, false},
		{"closed first, SO_LINGER 5 s", 5, false},
		{"closed first, SO_LINGER 0 s", 0, false},
		{"closed second, SO_LINGER off", -1, true},
	} {
		left, saw := "", ""
		err := q.meet(None, func(p *parting) (err error) {
			if way.seconds >= 0 {
				err = p.here.lingerFor(way.seconds)
			}
			if err != nil {
				return failed("setsockopt", err)
			}
			left, saw, err = p.close(way.second)
			return err
		})
		blind = blind || i == 0 && left == ""
		if err := q.record(way.variant, remains(left, blind)+"; the other side sees "+saw, "", err); err != nil {
			return err
		}
	}
	return nil
}

// remains says whether a connection left a TIME_WAIT that keeps the port.
func remains(left string, blind bool) string {
	switch {
	case blind:
		return "TIME_WAIT or not cannot be told, for it keeps no port"
	case left != "":
		return "TIME_WAIT"
	}
	return "no TIME_WAIT"
}

// close closes both ends, the port's second if that is asked for, and says what
// keeps the port and what the other side saw.
func (p *parting) close(second bool) (left, saw string, err error) {
	first, last := p.here, p.there
	if second {
		first, last = last, first
	}
	p.drop(first)
	if _, err := last.wait(input, patience); err != nil {
		return "", "", failed("poll", err)
	}
	saw = "an end"
	if err := last.end(); err != nil {
		saw = errnoName(err)
	}
	p.drop(last)
	left, err = p.kept()
	return left, saw, err
}

func (p *parting) drop(s socket) {
	if s == p.here {
		p.near.drop(s)
	} else {
		p.far.drop(s)
	}
}
