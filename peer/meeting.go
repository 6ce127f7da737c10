package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

// meeting is one introduction on its way to a session: the stages in order.
//
//	punch.Start ─ raw connections ─▶ secure ─ TLS ─▶ create or accept ─▶ session
//
// Several connections may come about; the initiator takes the first one on
// which TLS is complete, and the others are closed once that is confirmed.
type meeting struct {
	node  *Node
	intro rendezvous.Introduction
	peer  proto.ID

	ctx     context.Context
	cancel  context.CancelFunc
	settled chan struct{} // closed when session or err is set
	session *Session
	err     error

	tasks   sync.WaitGroup
	results chan result

	mu     sync.Mutex
	phase  Phase
	events []punch.Event
	losers []*punch.Conn // every connection that may have to be closed
}

// result is what became of one raw connection.
type result struct {
	raw   *punch.Conn
	conn  *secured // initiator: ready for ATTACH
	offer *offered // responder: ATTACH has come
	err   error
}

// introduced takes up an introduction that the peer asked for.
func (n *Node) introduced(intro rendezvous.Introduction) { n.meet(intro) }

// meet takes up an introduction. One that is known already is joined; nil means
// that it has been used up.
func (n *Node) meet(intro rendezvous.Introduction) *meeting {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := intro.Transcript.Introduction
	if m := n.meetings[id]; m != nil && !m.isSettled() {
		return m
	}
	if slices.Contains(n.met, id) {
		return nil
	}
	m := &meeting{
		node: n, intro: intro, peer: intro.Transcript.Party(intro.Role.Peer()).ID,
		settled: make(chan struct{}), results: make(chan result), phase: PhasePunch,
	}
	m.ctx, m.cancel = context.WithCancel(n.active)
	switch {
	case n.closing:
		m.fail(ErrClosed)
		return m
	case len(n.meetings) >= maxMeetings || !n.isFreeForLocked(m.peer):
		m.fail(errBusy)
		return m
	}
	n.sequence.due = time.Time{} // here it is
	n.study.interruptLocked()
	n.endOldMeetingsLocked(m.peer)
	n.meetings[id] = m
	n.met = append(n.met[max(0, len(n.met)-maxMet+1):], id)
	n.tasks.Go(m.run)
	return m
}

// Bounds of the meetings that go on at a time. A server could forge offers in a
// peer's name, so an allowed peer is bounded, too.
const (
	maxMeetings     = 32
	maxPeerMeetings = 4
)

// maxMet bounds the introductions that are remembered, which come again within
// seconds if they do.
const maxMet = 64

var errBusy = errors.New("too many connections are being made")

// endOldMeetingsLocked makes room for one more meeting with a peer.
func (n *Node) endOldMeetingsLocked(id proto.ID) {
	count := 1
	for _, m := range n.meetings {
		if m.peer == id {
			if count++; count > maxPeerMeetings {
				m.cancel()
			}
		}
	}
}

// run carries the meeting out and ends when its session is confirmed, or when
// there will be none.
func (m *meeting) run() {
	n := m.node
	defer m.forget()
	ctx := m.ctx
	defer m.tasks.Wait()
	defer m.cancel()
	n.emit(Event{Kind: Introduced, Peer: m.peer, Transcript: m.intro.Transcript, Role: m.intro.Role})
	release := n.takeSocket(ctx)
	if release == nil {
		m.fail(ErrClosed)
		return
	}
	defer release()
	punching, err := punch.Start(punch.RunConfig{
		Transcript: m.intro.Transcript, Role: m.intro.Role, Secret: m.intro.Secret,
		Received: m.intro.Received, Dial: dialsFrom(n.source()), Gate: n.gate,
		Deaf: n.mode != reuse.Shared, Sequential: n.isSequential(),
		Admit: m.admission().Admit, Quiet: n.sharing.QuietDial, First: m.firstDials(), Budget: n.budget, Trace: m.trace,
		OtherPorts: !n.isSequential(), AllowGuess: n.allowGuess,
	})
	if err != nil {
		m.fail(err)
		return
	}
	defer m.closeLosers()
	defer punching.Stop()
	m.collect(ctx, punching)
}

func (m *meeting) forget() {
	m.node.mu.Lock()
	defer m.node.mu.Unlock()
	delete(m.node.meetings, m.intro.Transcript.Introduction)
}

func (m *meeting) admission() punch.Admission {
	host, err := punch.ReadHostNetwork()
	if err != nil {
		m.node.cfg.Logger.Warn("going on without the local networks", "err", err)
	}
	m.node.mu.Lock()
	defer m.node.mu.Unlock()
	return host.Admission(m.node.server)
}

func (m *meeting) trace(e punch.Event) {
	m.mu.Lock()
	m.events = append(m.events, e)
	m.mu.Unlock()
	m.node.emit(Event{Kind: Punch, Peer: m.peer, Punch: e})
}

// collect secures the connections as they come, until one has become the
// session.
func (m *meeting) collect(ctx context.Context, punching *punch.Run) {
	for {
		select {
		case raw := <-punching.Conns():
			m.keep(raw)
			m.tasks.Go(func() { m.advance(ctx, raw) })
		case r := <-m.results:
			if m.judge(ctx, r, punching) {
				return
			}
		case <-punching.Expired():
			m.fail(errors.Join(ErrNoDirect, punching.Err()))
			return
		case <-ctx.Done():
			m.fail(ErrClosed)
			return
		}
	}
}

// advance takes one raw connection as far as it goes without a decision.
func (m *meeting) advance(ctx context.Context, raw *punch.Conn) {
	r := result{raw: raw}
	r.conn, r.err = m.secure(ctx, raw)
	if r.err == nil {
		m.node.emit(Event{Kind: Secured, Peer: m.peer, Path: pathOf(raw)})
		if m.intro.Role == proto.Responder {
			r.offer, r.err = m.accept(r.conn)
		}
	}
	select {
	case m.results <- r:
	case <-ctx.Done():
	}
}

// judge decides what a connection's result means; true ends the meeting.
func (m *meeting) judge(ctx context.Context, r result, punching *punch.Run) bool {
	if r.err == nil {
		r.err = m.establish(ctx, r)
		if m.session != nil {
			return true
		}
	}
	switch {
	case isMismatch(r.err):
		m.enter(PhaseSecure)
		m.fail(r.err)
		return true
	case errors.Is(r.err, ErrNotAuthorised):
		m.fail(r.err)
		return true
	}
	r.raw.Close()
	if r.raw.Proven() {
		m.node.cfg.Logger.Debug("a proven connection was of no use", "peer", m.peer, "err", r.err)
		punching.GiveUp()
	}
	return false
}

// establish makes a connection the session's, and returns once both sides have
// confirmed it, or the session is dead. If it fails before there is a session,
// m.session is nil and another connection may do.
func (m *meeting) establish(ctx context.Context, r result) error {
	m.enter(PhaseAttach)
	if m.intro.Role == proto.Responder {
		return m.establishOffered(r.offer)
	}
	if !m.node.mayConnect(m.peer) {
		return ErrNotAuthorised // nobody here wants the peer any more
	}
	a, err := m.create(r.conn)
	if err != nil {
		return err
	}
	s := m.adopt(a, stream.Client(a, m.pathRTT(a.secured)))
	m.succeed(r.raw, s)
	select {
	case <-a.settled: // by the session's first Read
	case <-ctx.Done():
	}
	return nil
}

// establishOffered answers ATTACH.
func (m *meeting) establishOffered(o *offered) error {
	switch {
	case !m.node.mayConnect(m.peer):
		o.answer(proto.CodeNotAuthorised)
		return ErrNotAuthorised
	case m.node.sessionsWith(m.peer) >= maxSessions:
		o.answer(proto.CodeBusy)
		return errBusy
	}
	if err := o.answer(proto.CodeOK); err != nil {
		return err
	}
	a := m.attachedOn(o.secured)
	m.succeed(o.raw, m.adopt(a, stream.Server(a, m.pathRTT(a.secured))))
	return nil
}

func (m *meeting) enter(p Phase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = p
}

// progress says how far the meeting has come, and what punching has tried.
func (m *meeting) progress() (Phase, []punch.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase, slices.Clone(m.events)
}

// await waits until the meeting is settled.
func (m *meeting) await(ctx context.Context) (*Session, error) {
	select {
	case <-m.settled:
		return m.session, m.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *meeting) isSettled() bool {
	select {
	case <-m.settled:
		return true
	default:
		return false
	}
}

// keep remembers a connection so that it is closed if it does not win.
func (m *meeting) keep(raw *punch.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.losers = append(m.losers, raw)
}

func (m *meeting) closeLosers() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, raw := range m.losers {
		raw.Close()
	}
}

// succeed settles the meeting with a session on one of its connections.
func (m *meeting) succeed(winner *punch.Conn, s *Session) {
	m.mu.Lock()
	for i, raw := range m.losers {
		if raw == winner {
			m.losers = append(m.losers[:i], m.losers[i+1:]...)
			break
		}
	}
	m.mu.Unlock()
	m.session = s
	close(m.settled)
}

// fail settles the meeting without a session.
func (m *meeting) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = &DialError{Peer: m.peer, Phase: m.phase, Err: err, Attempts: m.events}
	close(m.settled)
}
