package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Shutdown ends the node without cutting anything off. It leaves the server, so
// that no more peers come, closes the listeners of Node.Listen and
// Session.Listen and those for peers, ends Connect, Await and Dial with
// ErrClosed, and refuses new streams with proto.CodeShutdown. Then it waits until
// the open streams have ended at both ends, or ctx has, and closes the node. The
// error is that of ctx or of Close.
func (n *Node) Shutdown(ctx context.Context) error {
	var cut error
	for _, s := range n.quiesce() {
		if err := s.mux.AwaitIdle(ctx); err != nil {
			cut = fmt.Errorf("streams were still open: %w", err)
		}
	}
	if err := n.Close(); err != nil {
		return err
	}
	return cut
}

// quiesce has nothing new begin, and returns the sessions that there are.
func (n *Node) quiesce() []*Session {
	n.mu.Lock()
	n.closing = true
	n.registered = false
	sessions := n.sessionsLocked()
	listeners := slices.Collect(maps.Values(n.services))
	for _, s := range sessions {
		listeners = slices.AppendSeq(listeners, maps.Values(s.remotes))
	}
	n.mu.Unlock()
	n.retire()
	for _, l := range listeners {
		l.Close()
	}
	return sessions
}

// isClosing reports whether Shutdown or Close has been called.
func (n *Node) isClosing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing
}

// spawn starts what Close waits for, unless the node is closing.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.tasks.Go(f)
	}
	return !n.closing
}

// Close ends every session, which aborts its streams at both ends, gives the
// port back and waits for all goroutines. It may be called at any time, and more
// than once; see Shutdown for an end that cuts nothing off.
func (n *Node) Close() error {
	for _, s := range n.quiesce() {
		s.Close()
	}
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	var err error
	if first && n.port != nil {
		err = n.port.Close()
		n.gate.Close()
	}
	n.tasks.Wait()
	return errors.Join(err, n.endSequence())
}
