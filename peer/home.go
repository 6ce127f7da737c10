package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// stayHome goes back to the node's own port whenever it is free, until the node
// ends.
func (n *Node) stayHome() {
	t := time.NewTicker(homeCheck)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			n.goHome()
		case <-n.active.Done():
			return
		}
	}
}

// goHome registers anew if that can be from the node's own port now, and nobody
// is about to be introduced.
func (n *Node) goHome() {
	select {
	case n.sequence.socket <- struct{}{}:
		defer func() { <-n.sequence.socket }()
	default:
		return
	}
	if n.source() == n.port || n.isBarred() || n.held(n.port) != nil || n.port.Free() != nil || !n.mayMove() {
		return
	}
	n.client.Suspend()
	n.client.Resume()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sequence.due = time.Time{}
}

// mayMove reports whether the node can register anew without keeping anybody
// waiting, and keeps introductions off until it has given up the registration.
func (n *Node) mayMove() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.registered || len(n.meetings) > 0 || n.isExpectingLocked() {
		return false
	}
	n.sequence.consented, n.sequence.due = n.ID(), time.Now().Add(consentLife)
	return true
}

// dialHome dials from the node's own port. If that fails while the node has another
// one, it is not tried again for a while.
func (n *Node) dialHome(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if err := n.held(n.port); err != nil {
		return nil, err
	}
	if n.isBarred() {
		return nil, errBarred
	}
	conn, err := n.port.Dial(ctx, to)
	if !errors.Is(ctx.Err(), context.Canceled) {
		n.barHome(err)
	}
	return conn, err
}

// errBarred is why the node's own port is not dialled from.
var errBarred = errors.New("registering from it has failed a moment ago")

// isBarred reports whether registering from the node's own port has failed a moment
// ago.
func (n *Node) isBarred() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sequence.from != nil && time.Now().Before(n.sequence.barred)
}

// barHome notes how dialling from the node's own port went.
func (n *Node) barHome(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.sequence
	switch {
	case err == nil:
		s.bar = 0
	case s.from != nil:
		s.bar = min(max(2*s.bar, firstBar), lastBar)
		s.barred = time.Now().Add(s.bar)
	}
}
