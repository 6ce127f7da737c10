package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/rendezvous"
)

// call is this node's wish to be connected to a peer, shared by all who have
// it. While it lasts, the node answers that peer.
type call struct {
	waiters int // guarded by Node.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when session or err is set
	session *Session
	err     error
}

// Connect returns a session with a peer that both sides have confirmed. An
// existing session is used. The error is a *DialError, or the context's.
func (n *Node) Connect(ctx context.Context, id proto.ID) (*Session, error) {
	s, err := n.connect(ctx, id)
	if err != nil {
		return nil, err
	}
	return s, s.awaitConfirmed(ctx)
}

// Dial opens a stream to a target that a peer exposes. It returns as soon as
// data can be sent, which may be before the peer has confirmed the session or
// the target: a refusal then comes from the stream's Read, Write or Opened.
func (n *Node) Dial(ctx context.Context, id proto.ID, target string) (*Stream, error) {
	s, err := n.connect(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.Open(ctx, target)
}

// connect returns a live session, which may not be confirmed yet.
func (n *Node) connect(ctx context.Context, id proto.ID) (*Session, error) {
	if id == n.ID() {
		return nil, &DialError{Peer: id, Phase: PhaseIntroduce, Err: errors.New("this is the node's own ID")}
	}
	c, s, err := n.join(id)
	if c == nil {
		return s, err
	}
	defer n.leave(id, c)
	select {
	case <-c.done:
		return c.session, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting to %s: %w", id, ctx.Err())
	}
}

// join returns the newest live session, or else the call to the peer, which it
// starts if there is none.
func (n *Node) join(id proto.ID) (*call, *Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, ErrClosed
	}
	if list := n.sessions[id]; len(list) > 0 {
		return nil, list[len(list)-1], nil
	}
	c := n.calls[id]
	if c == nil {
		ctx, cancel := context.WithCancel(n.ctx)
		c = &call{cancel: cancel, done: make(chan struct{})}
		n.calls[id] = c
		n.announceLocked()
		n.tasks.Go(func() { n.call(ctx, id, c) })
	}
	c.waiters++
	return c, nil, nil
}

// leave ends the call with its last waiter.
func (n *Node) leave(id proto.ID, c *call) {
	authorised := len(n.grants(id)) > 0
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	c.cancel()
	if n.calls[id] == c {
		delete(n.calls, id)
		n.announceLocked()
		if !authorised {
			n.endMeetingsLocked(id)
		}
	}
}

// endMeetingsLocked gives up the meetings with a peer that nobody wants any more
// and that is not authorised by itself: no SYN may go there.
func (n *Node) endMeetingsLocked(id proto.ID) {
	for _, m := range n.meetings {
		if m.peer == id {
			m.cancel()
		}
	}
}

// announceLocked tells the server which peers this node answers by name. A node
// that answers everybody need not.
func (n *Node) announceLocked() {
	if n.cfg.Answer {
		return
	}
	ids := make([]proto.ID, 0, len(n.calls))
	for id := range n.calls {
		if len(ids) < proto.MaxAnswersFor {
			ids = append(ids, id)
		}
	}
	n.client.SetAnswersFor(ids)
}

func (n *Node) calling(id proto.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[id] != nil
}

// satisfy gives everybody who waits for a peer the session with it.
func (n *Node) satisfy(id proto.ID, s *Session, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.calls[id]
	if c == nil {
		return
	}
	delete(n.calls, id)
	n.announceLocked()
	c.session, c.err = s, err
	close(c.done)
}

// call asks for an introduction and carries it out.
func (n *Node) call(ctx context.Context, id proto.ID, c *call) {
	defer c.cancel()
	n.emit(Event{Kind: Introducing, Peer: id})
	intro, err := n.client.Introduce(ctx, id, n.candidates())
	m := n.meetingWith(id) // the peer may have asked for this node meanwhile
	switch {
	case err == nil:
		m = n.meet(intro)
	case m == nil:
		n.failCall(id, c, introduceError(id, err))
		return
	}
	select {
	case <-m.settled:
		if m.session == nil {
			n.failCall(id, c, m.err)
		}
	case <-ctx.Done():
	}
}

// failCall ends a call without a session, unless a session has come about by
// the peer's own introduction.
func (n *Node) failCall(id proto.ID, c *call, err error) {
	n.mu.Lock()
	current := n.calls[id] == c
	n.mu.Unlock()
	if current {
		n.emit(Event{Kind: ConnectFailed, Peer: id, Err: err})
		n.satisfy(id, nil, err)
	}
}

// introduceError says what the server's answer means to the user.
func introduceError(id proto.ID, err error) error {
	var declined *rendezvous.DeclinedError
	if errors.As(err, &declined) {
		switch declined.Code {
		case proto.CodeOffline, proto.CodeTimeout:
			err = fmt.Errorf("%w (%v)", ErrOffline, declined.Code)
		case proto.CodeRefused:
			err = ErrNotAuthorised
		}
	}
	return &DialError{Peer: id, Phase: PhaseIntroduce, Err: err}
}

// meetingWith returns a meeting with a peer that is under way, or nil.
func (n *Node) meetingWith(id proto.ID) *meeting {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.meetings {
		if m.peer == id {
			return m
		}
	}
	return nil
}
