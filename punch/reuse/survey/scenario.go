package survey

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// Scenario is a question that takes more than a first and a second bind, and
// this system's answer to it.
type Scenario struct {
	Name     string // short, and the same for all variants of a question
	Question string
	Variant  string // which of the ways to ask it: circumstances with ", " between them, the last often the first and second socket's options, as in "A/AP"
	Result   string // the same in every run
	Detail   string // what may differ from run to run, such as counts
	Skipped  string // why it was not tried, and what to do about it; then there is no Result
}

// questions are asked in this order.
var questions = []struct {
	name, text string
	ask        func(*inquiry) error
}{
	{"listener plus dialer", "Can a port be listened on and dialled from at once, by a listener/dialer with these options?", (*inquiry).listenerPlusDialer},
	{"two dialers", "Can two sockets of one port, first/second, dial two peers?", (*inquiry).twoDialers},
	{"same 4-tuple", "What does a second connect from one port to one peer get?", (*inquiry).sameTuple},
	{"listen again", "Can a port be listened on again, first/second time, while a connection of the first listener lives?", (*inquiry).listenAgain},
	{"bind over TIME_WAIT", "Can a port be bound again, first/second time, and listened on while the first is in TIME_WAIT?", (*inquiry).bindOverTimeWait},
	{"connect over TIME_WAIT", "Can a port connect to the same peer again while the first connection is in TIME_WAIT?", (*inquiry).connectOverTimeWait},
	{"dialled in TIME_WAIT", "What does the peer's dial into a TIME_WAIT here get?", (*inquiry).dialledInTimeWait},
	{"linger", "Does SO_LINGER have to do with TIME_WAIT?", (*inquiry).linger},
	{"two listeners", "Which of two listeners of a port gets the connections?", (*inquiry).twoListeners},
	{"hijack", "What does another process get that listens on a port of ours, with options ours/its?", (*inquiry).hijack},
	{"exclusive", "What does the option for not sharing a port keep away?", (*inquiry).exclusive},
	{"peer's SYN", "Which socket gets the SYN of the peer that a port is dialling?", (*inquiry).peersSYN},
}

// Scenarios answers the questions. The function rival returns a command that
// calls Rival with its standard input and output: the other process of the
// scenarios that need one. An error means that a probe itself failed, or that
// ctx ended.
func (h *Host) Scenarios(ctx context.Context, rival func(context.Context) *exec.Cmd) ([]Scenario, error) {
	q := &inquiry{ctx: ctx, host: h, rival: rival}
	if err := q.findSharing(); err != nil {
		return nil, err
	}
	for _, question := range questions {
		q.current = Scenario{Name: question.name, Question: question.text}
		if err := question.ask(q); err != nil {
			return nil, fmt.Errorf("%s: %w", question.name, err)
		}
	}
	return q.found, nil
}

// inquiry is a run of the questions.
type inquiry struct {
	ctx     context.Context
	host    *Host
	rival   func(context.Context) *exec.Cmd
	sharing Options // what shares a port as far as this system can
	current Scenario
	found   []Scenario
}

// findSharing finds out whether there is SO_REUSEPORT.
func (q *inquiry) findSharing() error {
	s, err := newSocket(false, false)
	if err != nil {
		return failed("socket", err)
	}
	defer s.close()
	q.sharing = Both
	if s.set(Port) != nil {
		q.sharing = Addr
	}
	return nil
}

// attempt is one variant of a question: what it finds, and what may differ.
type attempt func(*bench) (result, detail string, err error)

// try makes an attempt with a port number of its own, and keeps the answer. An
// error that is a system call's, named by say, is an answer too.
func (q *inquiry) try(variant string, f attempt) error {
	if q.ctx.Err() != nil {
		return context.Cause(q.ctx)
	}
	b, err := q.host.newBench(false)
	if err != nil {
		return err
	}
	defer b.close()
	result, detail, err := f(b)
	return q.record(variant, result, detail, err)
}

// record keeps an answer.
func (q *inquiry) record(variant, result, detail string, err error) error {
	if cannot, ok := err.(*unable); ok && exhausted(cannot.err) == nil {
		q.skip(variant, cannot.Error())
		return nil
	}
	if said, ok := err.(*statement); ok {
		result, err = said.Error(), exhausted(said.err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", variant, err)
	}
	s := q.current
	s.Variant, s.Result, s.Detail = variant, result, detail
	q.found = append(q.found, s)
	return nil
}

// skip says why a variant is not tried.
func (q *inquiry) skip(variant, why string) {
	s := q.current
	s.Variant, s.Skipped = variant, why
	q.found = append(q.found, s)
}

// statement is a system call's error that is what somebody wanted to know.
type statement struct {
	who string
	err *failure
}

// Error returns, for instance, "dialer: bind EADDRINUSE".
func (s *statement) Error() string { return s.who + ": " + s.err.Error() }

// unable says that a question cannot be put.
type unable struct {
	without string // what
	err     *failure
}

// Error returns, for instance, "needs a dial from a listener's port, which fails
// with bind WSAEACCES".
func (u *unable) Error() string { return "needs " + u.without + ", which fails with " + u.err.Error() }

// need makes a system call's error the reason not to put a question; others stay
// what they are.
func need(what string, err error) error {
	if f, ok := err.(*failure); ok {
		return &unable{what, f}
	}
	return err
}

// say makes a system call's error an answer; others stay what they are.
func say(who string, err error) error {
	if f, ok := err.(*failure); ok {
		return &statement{who, f}
	}
	return err
}

// pairsOfOptions calls f with every pair of options, named as in "A/AP".
func pairsOfOptions(f func(name string, first, second Options) error) error {
	for _, first := range allOptions {
		for _, second := range allOptions {
			if err := f(pairName(first, second), first, second); err != nil {
				return err
			}
		}
	}
	return nil
}

func pairName(first, second Options) string { return first.String() + "/" + second.String() }

// connectFar connects a socket to a listener of no further interest.
func (b *bench) connectFar(s socket) error {
	_, to, err := b.far(Loop4)
	if err != nil {
		return err
	}
	return b.connect(s, to)
}

// accepted waits for a listener's next connection.
func (b *bench) accepted(l socket, limit time.Duration) (socket, error) {
	if _, err := l.wait(input, limit); err != nil {
		return l, failed("poll", err)
	}
	s, err := l.accept()
	if err != nil {
		return l, failed("accept", err)
	}
	b.sockets = append(b.sockets, s)
	return s, failed("setsockopt", s.lingerFor(0))
}
