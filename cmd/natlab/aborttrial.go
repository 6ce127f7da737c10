package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerd/peerd/punch/natlab"
)

// pair is two applications with a connection, brought to some moment.
type pair struct {
	moment           abortMoment
	sender, receiver *application
}

// step is an order, and the report to wait for behind it.
type step struct {
	who   *application
	op    string // empty: only wait
	bytes int64
	then  string // empty: wait for nothing
}

func await(who *application, event string) step { return step{who, "", 0, event} }

func walk(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		if s.op != "" {
			if err := s.who.order(s.op, s.bytes); err != nil {
				return err
			}
		}
		if s.then != "" {
			if _, err := s.who.await(ctx, s.then); err != nil {
				return err
			}
		}
	}
	return nil
}

// reach brings the connection to its moment.
func (p *pair) reach(ctx context.Context) error {
	s, r := p.sender, p.receiver
	switch p.moment {
	case duringData:
		return walk(ctx, step{r, "limit", abortMark, "told"}, step{s, "send", 0, ""}, await(r, "limited"), step{r, "peek", 0, "unread"})
	case afterData:
		return walk(ctx, step{r, "limit", abortSize, "told"}, step{s, "send", abortSize, "wrote"}, await(r, "limited"), step{r, "limit", 0, ""})
	case inAnswer:
		return walk(ctx, step{s, "limit", abortMark, "told"}, step{s, "send", abortSize, "wrote"}, step{s, "end", 0, ""}, await(r, "read"),
			step{r, "send", 0, ""}, await(s, "limited"), step{s, "peek", 0, "unread"})
	}
	return nil
}

// sent is how much the sender has sent, now that it has stopped; where it has not
// stopped by itself nobody asks for it.
func (p *pair) sent(ctx context.Context, stopped bool) (int64, error) {
	switch {
	case p.moment == beforeData:
		return 0, nil
	case p.moment == duringData && stopped:
		r, err := p.sender.await(ctx, "wrote")
		return r.Bytes, err
	}
	return abortSize, nil
}

// see has an application read to the end, and returns what it saw. writes says
// that it was writing, too, until something went wrong.
func see(ctx context.Context, a *application, writes bool) (s sightings, err error) {
	if err := a.order("limit", 0); err != nil {
		return s, err
	}
	if s.read, err = a.await(ctx, "read"); err != nil || !writes {
		return s, err
	}
	wrote, err := a.await(ctx, "wrote")
	s.wrote = wrote.How
	return s, err
}

// close ends the applications.
func (p *pair) close() {
	p.sender.kill()
	p.receiver.kill()
}

// sightings is what an application has seen of the end of its connection.
type sightings struct {
	read  appReport
	wrote string // how it was hindered from writing; empty if it was not
}

// String is for who must find out what went wrong.
func (s sightings) String() string {
	text := fmt.Sprintf("read %d bytes, then %s", s.read.Bytes, s.read.How)
	if !s.read.Right {
		text += ", not those that were sent"
	}
	if s.wrote != "" {
		text += "; writing: " + s.wrote
	}
	return text
}

// is reports whether as much came, of what was sent, as is meant.
func (a amount) is(r appReport, sent int64) bool {
	switch a {
	case nothing:
		return r.Bytes == 0
	case prefix:
		return r.Right && r.Bytes >= abortMark
	}
	return r.Right && r.Bytes == sent
}

// check compares what was seen with what must be. The kernel tells of a reset
// once: to who reads or to who writes, whoever comes first; the other is told EOF
// or EPIPE.
func (e ending) check(s sightings, sent int64) error {
	brokenWrite := s.wrote == endReset || s.wrote == endPipe
	ok := e.gets.is(s.read, sent)
	switch e.end {
	case clean:
		ok = ok && s.read.How == endEOF && s.wrote == ""
	case reset:
		ok = ok && (s.read.How == endReset || brokenWrite)
	case broken:
		ok = ok && s.read.How == endEOF && brokenWrite
	}
	if !ok {
		return fmt.Errorf("%v; expected %v of %d bytes", s, e, sent)
	}
	return nil
}

// link is where two applications meet: one dials, the other listens.
type link struct {
	dialler, listener  *natlab.Host
	dialAddr, listenAt string
}

// listen starts the application that listens.
func (l link) listen(ctx context.Context) (*application, error) {
	a, err := startApp(l.listener, "listen", l.listenAt)
	if err != nil {
		return nil, err
	}
	if err := walk(ctx, await(a, "listening")); err != nil {
		a.kill()
		return nil, err
	}
	return a, nil
}

// connect starts both applications and waits until they are connected.
func (l link) connect(ctx context.Context) (listener, dialler *application, err error) {
	if listener, err = l.listen(ctx); err != nil {
		return nil, nil, err
	}
	if dialler, err = startApp(l.dialler, "dial", l.dialAddr); err != nil {
		listener.kill()
		return nil, nil, err
	}
	if err := walk(ctx, await(dialler, "open"), await(listener, "open")); err != nil {
		listener.kill()
		dialler.kill()
		return nil, nil, err
	}
	return listener, dialler, nil
}

// abortTrial is a cell of the table, under way.
type abortTrial struct {
	pair
	event abortEvent
}

// open starts the applications and connects them.
func (c abortCell) open(ctx context.Context, w *tunnelWorld, i int) (trial, error) {
	listener, dialler, err := w.links[i].connect(ctx)
	if err != nil {
		return nil, err
	}
	if c.reverse != c.remote {
		return &abortTrial{pair{c.moment, listener, dialler}, c.event}, nil
	}
	return &abortTrial{pair{c.moment, dialler, listener}, c.event}, nil
}

// strike makes the event happen, if it is an application's.
func (t *abortTrial) strike() error {
	switch t.event {
	case senderEnds:
		return t.sender.order("close", 0)
	case senderResets:
		return t.sender.order("reset", 0)
	case senderKilled:
		return t.sender.kill()
	case receiverKilled:
		return t.receiver.kill()
	}
	return nil
}

// judge compares what the applications see that are left with the table.
func (t *abortTrial) judge(ctx context.Context) error {
	want := abortTable[t.event][t.moment]
	sent, err := t.sent(ctx, t.event == senderEnds)
	if err != nil {
		return err
	}
	var failed []error
	for _, who := range []struct {
		name   string
		app    *application
		want   ending
		sent   int64
		writes bool
	}{
		{"receiver", t.receiver, want.receiver, sent, t.moment == inAnswer},
		{"sender", t.sender, want.sender, 0, t.moment == duringData},
	} {
		if who.want.end == unseen {
			continue
		}
		s, err := see(ctx, who.app, who.writes)
		if err == nil {
			err = who.want.check(s, who.sent)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", who.name, err))
		}
	}
	return errors.Join(failed...)
}
