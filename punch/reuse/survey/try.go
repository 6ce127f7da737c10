package survey

import (
	"context"
	"fmt"
)

// freshTries is how many port numbers are tried on which the first socket finds
// somebody else.
const freshTries = 3

// TryAll tries all cases, in the order of Cases. It fails if a probe itself does,
// and if ctx ends.
func (h *Host) TryAll(ctx context.Context) (rows []Row, err error) {
	for _, c := range h.Cases() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		o, err := h.Try(c)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row{c, o})
	}
	return rows, nil
}

// Try makes the sockets of a case, and leaves nothing behind. It fails if the
// probe itself does, as for want of descriptors.
func (h *Host) Try(c Case) (Outcome, error) {
	if c.FirstOptions&Port != 0 && reusePort == 0 {
		return Outcome{NoReusePort, NotTried, NotTried, NotTried}, nil
	}
	var o Outcome
	for range freshTries {
		b, err := h.newBench(c.UDP)
		if err != nil {
			return Outcome{}, fmt.Errorf("%v: %w", c, err)
		}
		taken := false
		o, taken, err = b.try(c)
		b.close()
		if err != nil {
			return Outcome{}, fmt.Errorf("%v: %w", c, err)
		}
		if !taken {
			break
		}
	}
	return o, nil
}

// try is one attempt; taken means that somebody else got the port meanwhile.
func (b *bench) try(c Case) (o Outcome, taken bool, err error) {
	if err := b.first(c); err != nil {
		return Outcome{err.Error(), NotTried, NotTried, NotTried}, isInUse(errnoOf(err)), exhausted(err)
	}
	o, err = b.second(c)
	return o, false, err
}

// first makes the first socket of a case.
func (b *bench) first(c Case) error {
	s, err := b.bound(c.First, c.FirstOptions)
	if err != nil {
		return err
	}
	switch c.State {
	case Listening:
		return failed("listen", s.listen(backlog))
	case Connected:
		_, to, err := b.far(c.First)
		if err != nil {
			return err
		}
		return b.connect(s, to)
	}
	return nil
}

// second makes the second socket of a case, and the third.
func (b *bench) second(c Case) (Outcome, error) {
	o := Outcome{Connect: NotTried, Listen: NotTried}
	s, err := b.bound(c.Second, c.SecondOptions)
	if err != nil {
		o.Bind = step(err, "bind")
		return o, exhausted(err)
	}
	_, to, err := b.far(c.Second)
	if err != nil {
		return o, err
	}
	err = b.connect(s, to)
	o.Connect = word(err)
	b.drop(s)
	if err := exhausted(err); err != nil || b.udp {
		return o, err
	}
	_, err = b.listening(c.Second, c.SecondOptions)
	o.Listen = step(err, "listen")
	return o, exhausted(err)
}

// step says how a step ended: if it did not come as far as the call that it is
// named after, with the one that failed.
func step(err error, call string) string {
	if f, ok := err.(*failure); ok && f.call != call {
		return f.Error()
	}
	return word(err)
}

// exhausted passes on an error that is about this machine's resources, and so
// is no answer.
func exhausted(err error) error {
	if isExhausted(errnoOf(err)) {
		return fmt.Errorf("%w; close other programs, or allow more open files", err)
	}
	return nil
}
