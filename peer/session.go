package peer

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// Stream is a stream to or from a target. It implements net.Conn; its remote
// address is an Addr with the verified ID of the peer.
type Stream = stream.Stream

// Session is a connection to a peer over which streams are opened. Its methods
// are safe for concurrent use.
type Session struct {
	node *Node
	peer proto.ID
	conn *attached
	mux  *stream.Mux

	since time.Time

	bringing atomic.Int32 // connections for the peer that are open

	// Guarded by Node.mu.
	wanted  bool                 // this node has called the peer
	remotes map[string]*listener // of Listen, by the target that the peer opens
}

// adopt makes an attached connection a session of the node's.
func (n *Node) adopt(peer proto.ID, a *attached, mux *stream.Mux) *Session {
	s := &Session{node: n, peer: peer, conn: a, mux: mux, since: time.Now(), remotes: make(map[string]*listener)}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.wanted = n.wantsLocked(peer)
	n.sessions[peer] = append(n.sessions[peer], s)
	n.satisfyLocked(s)
	n.tasks.Go(s.serve)
	if n.closing {
		n.tasks.Go(func() { s.Close() })
	}
	return s
}

// maxSessions bounds the sessions that one peer may have with this node.
const maxSessions = 32

func (n *Node) sessionsWith(id proto.ID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions[id])
}

// serve answers the peer's streams until the session ends.
func (s *Session) serve() {
	s.node.tasks.Go(s.announce)
	for {
		in, err := s.mux.Accept()
		if err != nil {
			break
		}
		s.node.tasks.Go(func() { s.answer(in) })
	}
	s.abandon()
	s.mux.Close()
}

// announce tells of the session once it is confirmed, and of its end.
func (s *Session) announce() {
	// It may be over by the time that this is running.
	if err := s.awaitConfirmed(s.node.ctx); err != nil && !s.wasConfirmed() {
		s.node.emit(Event{Kind: ConnectFailed, Peer: s.peer, Err: err})
		return
	}
	s.node.emit(Event{Kind: Connected, Peer: s.peer, Path: s.Path()})
	<-s.mux.Done()
	s.node.emit(Event{Kind: Disconnected, Peer: s.peer, Path: s.Path(), Err: s.mux.Err()})
}

// abandon takes the session out of the node's list.
func (s *Session) abandon() {
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(n.sessions[s.peer]), func(o *Session) bool { return o == s })
	if n.sessions[s.peer] = list; len(list) == 0 {
		delete(n.sessions, s.peer)
	}
	n.announceLocked()
}

// awaitConfirmed waits until both sides have confirmed the session.
func (s *Session) awaitConfirmed(ctx context.Context) error {
	var err error
	select {
	case <-s.conn.settled:
		err = s.conn.err // before the session itself has heard of it
	case <-s.mux.Done():
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err = cmp.Or(err, s.Err()); err != nil {
		return &DialError{Peer: s.peer, Phase: PhaseAttach, Err: err}
	}
	return nil
}

// wasConfirmed reports whether both sides have confirmed the session.
func (s *Session) wasConfirmed() bool {
	select {
	case <-s.conn.settled:
		return s.conn.err == nil
	default:
		return false
	}
}

// Peer returns the verified ID of the other end.
func (s *Session) Peer() proto.ID { return s.peer }

// Path returns the way that the session takes.
func (s *Session) Path() Path {
	p := pathOf(s.conn.raw)
	select {
	case <-s.conn.settled:
		p.RTT = s.conn.rtt
	default:
	}
	return p
}

func pathOf(raw *punch.Conn) Path {
	local, _ := netip.ParseAddrPort(raw.LocalAddr().String())
	remote, _ := netip.ParseAddrPort(raw.RemoteAddr().String())
	return Path{Kind: Direct, Local: local, Remote: remote}
}

// Open opens a stream to a target of the peer; see Node.Dial. It waits while
// there are as many as there may be. The error is that of Err or of ctx.
func (s *Session) Open(ctx context.Context, target string) (*Stream, error) {
	if s.node.isClosing() {
		return nil, ErrClosed
	}
	in, err := s.mux.Open(ctx, target)
	return in, inOurWords(err)
}

// Ping measures the round trip to the peer's program.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) { return s.mux.Ping(ctx) }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.mux.Done() }

// Err returns why the session ended, or nil while it lives.
func (s *Session) Err() error { return inOurWords(s.mux.Err()) }

// inOurWords replaces an error of package stream by ours.
func inOurWords(err error) error {
	if errors.Is(err, stream.ErrClosed) {
		return ErrClosed
	}
	return err
}

// Close ends the session; open streams are aborted at both ends.
func (s *Session) Close() error { return s.mux.Close() }
