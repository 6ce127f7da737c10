package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/reuse"
)

// sequence is what a node whose port takes one socket at a time does about that.
//
// The socket is the registration's, until there is an introduction: then the
// registration is closed, the meeting dials from the same port, one socket after
// the other, and the node registers again when the meeting is over. If it came to
// a session, that has the port; the node then registers from another one, which
// the system chooses and the peers are told, and goes back to its own when that
// is free. Introductions come one at a time; others wait, or hear that the node
// is busy.
//
// The fields are guarded by Node.mu, but for the channel.
type sequence struct {
	socket    chan struct{} // full while a meeting, or going back, has the socket
	from      *reuse.Port   // of the registration, if that is not the node's own port
	consented proto.ID      // to whose introduction this node has consented last
	due       time.Time     // by when that is here, if it comes at all
	barred    time.Time     // until when the node does not try its own port again
	bar       time.Duration // for how long it did not, after the latest failure
}

const (
	// consentLife is how long an introduction takes at most from the consent:
	// the server waits a second for what it has to measure.
	consentLife = 2 * time.Second
	// awayFor is as long as a plan's limit and registering take.
	awayFor = 15 * time.Second
	// homeCheck is how often a node looks whether its own port is free again.
	homeCheck = time.Second
	// firstBar and lastBar are how long it leaves it at that if registering from
	// there fails: at first, and at most, since what is in the way may be a
	// connection that has ended, for a minute.
	firstBar = 2 * time.Second
	lastBar  = time.Minute
	// freeCheck is how often it looks whether it can meet another peer.
	freeCheck = 20 * time.Millisecond
)

// away is for how long the server is told to expect the node back.
func (n *Node) away() time.Duration {
	if n.isSequential() {
		return awayFor
	}
	return 0
}

// takeSocket waits until nothing else is done with the one socket, and takes it
// from the registration. It returns nil if ctx has ended before. Nodes that share
// their port need not wait for anything.
func (n *Node) takeSocket(ctx context.Context) (release func()) {
	if !n.isSequential() {
		return func() {}
	}
	select {
	case n.sequence.socket <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	n.client.Suspend()
	return func() {
		n.client.Resume()
		<-n.sequence.socket
	}
}

// awaitFree waits until a peer can be met, and reports whether ctx is still alive.
func (n *Node) awaitFree(ctx context.Context, id proto.ID) bool {
	for !n.isFreeFor(id) {
		select {
		case <-time.After(freeCheck):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (n *Node) isFreeFor(id proto.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isFreeForLocked(id)
}

// isFreeForLocked reports whether a peer can be met now: no meeting is under way,
// and none with another peer is expected. An introduction that this node has asked
// for gives way to one that it has consented to, for it can ask again.
func (n *Node) isFreeForLocked(id proto.ID) bool {
	if !n.isSequential() {
		return true
	}
	return len(n.meetings) == 0 && (n.sequence.consented == id || !n.isExpectingLocked())
}

// isExpectingLocked reports whether an introduction that this node has consented to
// is on its way.
func (n *Node) isExpectingLocked() bool { return time.Now().Before(n.sequence.due) }

// expect notes that this node is about to consent to an introduction, and reports
// whether that can be taken up.
func (n *Node) expect(id proto.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.isFreeForLocked(id) {
		return false
	}
	n.sequence.consented, n.sequence.due = id, time.Now().Add(consentLife)
	return true
}

// source returns the port from which the node is registered, and that peers are
// told.
func (n *Node) source() *reuse.Port {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sourceLocked()
}

func (n *Node) sourceLocked() *reuse.Port {
	if n.sequence.from != nil {
		return n.sequence.from
	}
	return n.port
}

// dialInTurn connects to the server from the node's own port, or else from
// another one.
func (n *Node) dialInTurn(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, why := n.dialHome(ctx, to)
	if why == nil {
		n.registerFrom(n.port, nil)
		return conn, nil
	}
	if !isHeld(why) {
		return nil, why
	}
	if from := n.source(); from != n.port {
		if conn, err := n.dialUnheld(ctx, from, to); err == nil || !isHeld(err) {
			return conn, err
		}
	}
	return n.dialFromAnother(ctx, to, why)
}

// dialFromAnother connects to the server from a port that the system chooses.
func (n *Node) dialFromAnother(ctx context.Context, to netip.AddrPort, why error) (net.Conn, error) {
	p, err := reuse.Claim(0, reuse.Sequential)
	if err != nil {
		return nil, err
	}
	conn, err := p.Dial(ctx, to)
	if err != nil {
		p.Close()
		return nil, err
	}
	n.registerFrom(p, why)
	return conn, nil
}

// heldError says that a session has a port.
type heldError struct{ peer proto.ID }

func (e *heldError) Error() string { return "the connection to " + e.peer.String() + " has it" }

// isHeld reports whether a dial failed because its port has a socket.
func isHeld(err error) bool {
	var held *heldError
	return errors.As(err, &held) || errors.Is(err, errBarred) || reuse.IsTupleInUse(err)
}

// dialUnheld dials from a port on which there is no session: a system may allow
// more than the node's mode does.
func (n *Node) dialUnheld(ctx context.Context, p *reuse.Port, to netip.AddrPort) (net.Conn, error) {
	if err := n.held(p); err != nil {
		return nil, err
	}
	return p.Dial(ctx, to)
}

// held returns an error if a session has a port.
func (n *Node) held(p *reuse.Port) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessionsLocked() {
		if s.Path().Local.Port() == p.Number() {
			return &heldError{s.peer}
		}
	}
	return nil
}

// registerFrom notes the port of a registration, and says so if it is another one
// than before.
func (n *Node) registerFrom(p *reuse.Port, why error) {
	n.mu.Lock()
	before := n.sourceLocked()
	if n.sequence.from = p; p == n.port {
		n.sequence.from = nil
	}
	n.mu.Unlock()
	if before == p {
		return
	}
	if before != n.port {
		before.Close()
	}
	log := n.cfg.Logger.With("port", n.port.Number())
	if p == n.port {
		log.Info("the local port is free again")
	} else {
		log.Log(n.ctx, gravity(why), "the local port takes one socket at a time and is in use: registering from another one meanwhile", "from", p.Number(), "reason", cause(why))
	}
	n.emit(Event{Kind: Moved, Port: p.Number(), Err: why})
}

// gravity is that of a port's being in use: that a session has it is how this mode
// works.
func gravity(why error) slog.Level {
	var held *heldError
	if errors.As(why, &held) {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// endSequence gives up the port that the node has besides its own.
func (n *Node) endSequence() error {
	n.mu.Lock()
	from := n.sequence.from
	n.sequence.from = nil
	n.mu.Unlock()
	if from == nil {
		return nil
	}
	if err := from.Close(); err != nil {
		return fmt.Errorf("local port %d: %w", from.Number(), err)
	}
	return nil
}
