package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/rendezvous"
)

// wish is a connection that this node wants. One that is patient goes on while
// the peer is offline.
type wish struct {
	peer    proto.ID
	patient bool
}

// call is the work on a wish, shared by all who have it. While it lasts, the node
// answers that peer.
type call struct {
	waiters int // guarded by Node.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when session or err is set
	session *Session
	err     error
}

// Connect returns a session with a peer that both sides have confirmed. An
// existing session is used. The error is a *DialError, or ErrClosed; if ctx
// ended, it wraps the context's error.
//
// From the call until the session's end the node answers the peer: should that
// lose the session and ask for a new one, it gets it. Node.Dial uses the newest.
func (n *Node) Connect(ctx context.Context, id proto.ID) (*Session, error) {
	return n.confirmed(ctx, wish{peer: id})
}

// Await is Connect, except that it waits for a peer that is offline until it is
// there, or ctx ends; the error then wraps ErrOffline besides the context's. Two
// nodes that await each other get one session. The server keeps the request, so
// waiting costs next to nothing.
func (n *Node) Await(ctx context.Context, id proto.ID) (*Session, error) {
	return n.confirmed(ctx, wish{id, true})
}

func (n *Node) confirmed(ctx context.Context, w wish) (confirmed *Session, err error) {
	err = n.use(ctx, w, func(s *Session) error {
		confirmed = s
		return s.awaitConfirmed(ctx)
	})
	if err != nil {
		return nil, err
	}
	return confirmed, nil
}

// Dial opens a stream to a target that a peer offers, over a session with it
// that exists or is made. It returns as soon as data can be sent, which may be
// before the peer has confirmed the session or the target: a refusal then comes
// from the stream's Read, Write or Opened, as a *RefusedError, or as an error
// that wraps ErrAborted and why there is no session. The context covers the call
// only; its end leaves the session, and other calls that wait for it, alone. The
// error is that of Connect.
func (n *Node) Dial(ctx context.Context, id proto.ID, target string) (*Stream, error) {
	var in *Stream
	err := n.use(ctx, wish{peer: id}, func(s *Session) (err error) {
		if in, err = s.Open(ctx, target); err != nil {
			return &DialError{Peer: id, Phase: PhaseOpen, Err: err}
		}
		return nil
	})
	return in, err
}

// use does something with a session. Should that fail because the session, which
// was in order, has ended just now, it is done again with another one. A peer
// that ends them all is not asked for ever.
func (n *Node) use(ctx context.Context, w wish, do func(*Session) error) error {
	for tries := 1; ; tries++ {
		s, err := n.connect(ctx, w)
		if err != nil {
			return err
		}
		if err = do(s); err == nil || !s.wasConfirmed() || s.Err() == nil || tries == maxTries {
			return err
		}
	}
}

const maxTries = 3

// connect returns a live session, which may not be confirmed yet.
func (n *Node) connect(ctx context.Context, w wish) (*Session, error) {
	if w.peer == n.ID() {
		return nil, &DialError{Peer: w.peer, Phase: PhaseIntroduce, Err: errors.New("this is the node's own ID")}
	}
	c, s, err := n.join(w)
	if c == nil {
		return s, err
	}
	defer n.leave(w, c)
	select {
	case <-c.done:
		return c.session, c.err
	case <-ctx.Done():
		return nil, n.unfinished(ctx, w)
	}
}

// unfinished says how far the work on a wish has come when its context ends.
func (n *Node) unfinished(ctx context.Context, w wish) error {
	e := &DialError{Peer: w.peer, Phase: PhaseIntroduce, Err: ctx.Err()}
	n.mu.Lock()
	registered := n.registered || n.suspended
	n.mu.Unlock()
	switch m := n.meetingWith(w.peer); {
	case m != nil:
		e.Phase, e.Attempts = m.progress()
	case !registered:
		e.Phase, e.Err = PhaseRegister, fmt.Errorf("%w: %s: %w", ErrServer, n.cfg.Server.HostPort(), ctx.Err())
	case w.patient:
		e.Err = fmt.Errorf("%w: %w", ErrOffline, ctx.Err())
	}
	return e
}

// join returns the newest live session, or else the call for the wish, which it
// starts if there is none.
func (n *Node) join(w wish) (*call, *Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil, nil, ErrClosed
	}
	if n.client == nil {
		return nil, nil, errNotStarted
	}
	if s := n.newestLocked(w.peer); s != nil {
		return nil, s, nil
	}
	c := n.calls[w]
	if c == nil {
		n.study.interruptLocked()
		ctx, cancel := context.WithCancel(n.active)
		c = &call{cancel: cancel, done: make(chan struct{})}
		n.calls[w] = c
		all := n.announceLocked()
		n.tasks.Go(func() {
			if !all {
				n.crowded.Do(n.warnCrowded)
			}
			n.call(ctx, w, c)
		})
	}
	c.waiters++
	return c, nil, nil
}

// newestLocked returns the newest live session with a peer, or nil.
func (n *Node) newestLocked(id proto.ID) *Session {
	for _, s := range slices.Backward(n.sessions[id]) {
		if s.Err() == nil { // one that has just ended may be there still
			return s
		}
	}
	return nil
}

func (n *Node) newest(id proto.ID) *Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newestLocked(id)
}

// leave ends the call with its last waiter.
func (n *Node) leave(w wish, c *call) {
	authorised := len(n.grants(w.peer)) > 0
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	c.cancel()
	if n.calls[w] == c {
		delete(n.calls, w)
		n.announceLocked()
		if !authorised && !n.wantsLocked(w.peer) {
			n.endMeetingsLocked(w.peer)
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

// warnCrowded says what it means that announceLocked has left peers out.
func (n *Node) warnCrowded() {
	n.cfg.Logger.Warn("this node calls more peers than the server can be told of; some cannot call it in turn unless Config.Answer is set",
		"limit", proto.MaxAnswersFor)
}

// announceLocked tells the server which peers this node answers by name; it
// reports whether it could name all. A node that answers everybody need not, and
// one that is closing is not to leave a packet behind that is answered when its
// successor registers from the same port.
func (n *Node) announceLocked() (all bool) {
	if n.cfg.Answer || n.closing {
		return true
	}
	var ids []proto.ID
	for w := range n.calls {
		ids = append(ids, w.peer)
	}
	for id := range n.sessions {
		if n.wantsLocked(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b proto.ID) int { return bytes.Compare(a[:], b[:]) })
	ids = append(slices.Clone(n.cfg.AnswerFor), slices.Compact(ids)...) // those first, if there are too many
	told := ids[:min(len(ids), proto.MaxAnswersFor)]
	n.client.SetAnswersFor(told)
	return len(told) == len(ids)
}

// wants reports whether this node is calling a peer, or has a session with it
// because it did.
func (n *Node) wants(id proto.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wantsLocked(id)
}

func (n *Node) wantsLocked(id proto.ID) bool {
	return n.calls[wish{id, false}] != nil || n.calls[wish{id, true}] != nil ||
		slices.ContainsFunc(n.sessions[id], func(s *Session) bool { return s.wanted })
}

// satisfyLocked gives everybody who waits for a peer the session with it.
func (n *Node) satisfyLocked(s *Session) {
	for _, w := range []wish{{s.peer, false}, {s.peer, true}} {
		if c := n.calls[w]; c != nil {
			delete(n.calls, w)
			c.session = s
			close(c.done)
		}
	}
}

// call does the work on a wish until there is a session, there will be none, or
// nobody waits for it any more.
func (n *Node) call(ctx context.Context, w wish, c *call) {
	defer c.cancel()
	n.emit(Event{Kind: Introducing, Peer: w.peer})
	var p patience
	for {
		asked := time.Now()
		s, err := n.attempt(ctx, w)
		switch {
		case err == nil:
			n.endCall(w, c, s, nil) // unless adopt has done so
			return
		case ctx.Err() != nil:
			n.failCall(w, c, &DialError{Peer: w.peer, Phase: PhaseIntroduce, Err: ErrClosed})
			return
		case !w.patient || !isAway(err):
			n.failCall(w, c, err)
			return
		}
		select {
		case <-time.After(p.next(time.Since(asked))):
		case <-ctx.Done():
		}
	}
}

// attempt asks for an introduction and carries it out. What the peer has begun
// meanwhile will do as well.
func (n *Node) attempt(ctx context.Context, w wish) (*Session, error) {
	if m := n.meetingWith(w.peer); m != nil {
		if s, err := m.await(ctx); err == nil {
			return s, nil
		}
	}
	for {
		if s := n.newest(w.peer); s != nil {
			return s, nil // nobody has told this call yet that it has ended
		}
		n.prepare(ctx)
		intro, err := n.client.IntroduceWithin(ctx, w.wait(), w.peer, n.candidates())
		m := n.meetingWith(w.peer)
		switch {
		case err == nil:
			m = n.meet(intro)
		case m == nil:
			return nil, n.introduceError(w.peer, err)
		}
		if m != nil {
			s, err := m.await(ctx)
			if errors.Is(err, errBusy) && n.isSequential() && n.awaitFree(ctx, w.peer) {
				continue // it came while another one was under way, or about to be
			}
			return s, err
		}
		// The server took our request for one that had crossed an introduction
		// which we have used up already. It does so once.
	}
}

// wait is for how long the server is asked to keep a request.
func (w wish) wait() time.Duration {
	if w.patient {
		return proto.MaxWait
	}
	return 0
}

// failCall ends a call without a session, unless a session has come about by
// the peer's own introduction, or nobody waits for it any more.
func (n *Node) failCall(w wish, c *call, err error) {
	if n.endCall(w, c, nil, err) {
		n.emit(Event{Kind: ConnectFailed, Peer: w.peer, Err: err})
	}
}

// endCall gives everybody who waits for a call its result. It reports whether
// the call had none yet.
func (n *Node) endCall(w wish, c *call, s *Session, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls[w] != c {
		return false
	}
	delete(n.calls, w)
	n.announceLocked()
	c.session, c.err = s, err
	close(c.done)
	return true
}

// introduceError says what the outcome of a request means to the user.
func (n *Node) introduceError(id proto.ID, err error) error {
	e := &DialError{Peer: id, Phase: PhaseIntroduce, Err: err}
	var declined *rendezvous.DeclinedError
	switch {
	case errors.Is(err, rendezvous.ErrNotRegistered):
		e.Phase, e.Err = PhaseRegister, fmt.Errorf("%w: %s: %w", ErrServer, n.cfg.Server.HostPort(), err)
	case !errors.As(err, &declined):
	case declined.Code == proto.CodeOffline, declined.Code == proto.CodeTimeout:
		e.Err = fmt.Errorf("%w (%v)", ErrOffline, declined.Code)
	case declined.Code == proto.CodeRefused:
		e.Err = ErrNotAuthorised
	case declined.Code == proto.CodeBusy:
		e.Err = fmt.Errorf("the peer, or the server, is busy with others: try again in a few seconds (%w)", err)
	}
	return e
}

// isAway reports whether asking again later may help by itself: the peer is
// offline, or the server busy.
func isAway(err error) bool {
	var declined *rendezvous.DeclinedError
	return errors.Is(err, ErrOffline) || errors.As(err, &declined) && declined.Code == proto.CodeBusy
}

// patience says how long to pause between requests for a peer that is offline.
// A server that keeps the requests makes pauses unnecessary; one that does not,
// or a limit of it that is reached, must not be asked all the time. The zero
// value is that of the first request.
type patience struct {
	pause time.Duration
}

const (
	minPause = time.Second
	maxPause = 15 * time.Second
)

// next returns the pause after a request that was declined after the given time.
// It varies by a quarter, so that those who wait do not come all at once.
func (p *patience) next(kept time.Duration) time.Duration {
	if kept >= proto.MaxWait/2 {
		p.pause = 0
		return 0
	}
	p.pause = min(max(2*p.pause, minPause), maxPause)
	return p.pause*3/4 + rand.N(p.pause/2)
}

// meetingWith returns a meeting with a peer that is not settled yet, or nil.
func (n *Node) meetingWith(id proto.ID) *meeting {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.meetings {
		if m.peer == id && !m.isSettled() {
			return m
		}
	}
	return nil
}
