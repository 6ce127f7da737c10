package punch

import (
	"container/list"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// Gate accepts the connections that peers make to the one local port. It says
// nothing to anybody who has not proved an introduction that is pending here.
//
// While no introduction is pending it accepts nothing: connections wait in the
// kernel's queue. At most proto.MaxUnproven sockets may be without proof; when
// one more comes, the oldest of them is dropped, so that silent strangers
// cannot keep a peer out. A Gate is safe for concurrent use.
type Gate struct {
	logger *slog.Logger
	tasks  sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond // pending or closed has changed
	pending  map[proto.Token]func(net.Conn, []byte) error
	unproven list.List // of net.Conn, oldest first
	serving  map[net.Listener]bool
	closed   bool
}

// NewGate returns a gate that logs to logger what it turns away.
func NewGate(logger *slog.Logger) *Gate {
	g := &Gate{
		logger:  logger,
		pending: make(map[proto.Token]func(net.Conn, []byte) error),
		serving: make(map[net.Listener]bool),
	}
	g.changed.L = &g.mu
	return g
}

// deadliner is what a listener needs so that accepting can be interrupted.
type deadliner interface{ SetDeadline(time.Time) error }

// Serve accepts connections from l until Close, which closes l; then it returns
// nil. l should have SetDeadline, as *net.TCPListener does, or one connection
// may be accepted while nothing is pending.
func (g *Gate) Serve(l net.Listener) error {
	if !g.enter(l) {
		return l.Close()
	}
	defer g.tasks.Done()
	for g.awaitPending() {
		conn, err := l.Accept()
		switch {
		case err == nil:
			g.admit(conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case !isTimeout(err):
			// Out of descriptors, or a connection that was reset in the queue.
			g.logger.Warn("accepting a connection failed", "listener", l.Addr(), "err", err)
			time.Sleep(acceptPause)
		}
	}
	return nil
}

// acceptPause keeps a lack of descriptors from becoming a busy loop.
const acceptPause = 50 * time.Millisecond

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func (g *Gate) enter(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.serving[l] = true
	g.tasks.Add(1)
	g.interruptLocked()
	return true
}

// awaitPending waits until an introduction is pending; false means closed.
func (g *Gate) awaitPending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.pending) == 0 && !g.closed {
		g.changed.Wait()
	}
	return !g.closed
}

// interruptLocked makes Accept return while nothing is pending, and wait
// otherwise.
func (g *Gate) interruptLocked() {
	deadline := time.Time{}
	if len(g.pending) == 0 {
		deadline = time.Unix(1, 0)
	}
	for l := range g.serving {
		if d, ok := l.(deadliner); ok {
			d.SetDeadline(deadline)
		}
	}
	g.changed.Broadcast()
}

// expect has accept take over the sockets that claim an introduction, until
// forget is called. accept returns an error if a socket does not prove it.
func (g *Gate) expect(introduction proto.Token, accept func(net.Conn, []byte) error) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending[introduction] = accept
	g.interruptLocked()
	return func() { g.forget(introduction) }
}

func (g *Gate) forget(introduction proto.Token) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pending, introduction)
	g.interruptLocked()
}

// admit takes an accepted socket in among the unproven ones.
func (g *Gate) admit(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		reset(conn)
		return
	}
	if g.unproven.Len() >= proto.MaxUnproven {
		oldest := g.unproven.Remove(g.unproven.Front()).(net.Conn)
		reset(oldest)
	}
	place := g.unproven.PushBack(conn)
	g.tasks.Go(func() { g.prove(conn, place) })
}

// prove reads the preamble and hands the socket over, or drops it.
func (g *Gate) prove(conn net.Conn, place *list.Element) {
	var preamble proto.Preamble
	conn.SetReadDeadline(time.Now().Add(proto.PreambleDeadline))
	_, err := io.ReadFull(conn, preamble[:])
	g.leave(place)
	if err == nil {
		conn.SetReadDeadline(time.Time{})
		err = g.handOver(conn, &preamble)
	}
	if err != nil {
		g.logger.Debug("turned a connection away", "from", conn.RemoteAddr(), "err", err)
		reset(conn)
	}
}

// leave takes a socket from the unproven ones; it may have been dropped.
func (g *Gate) leave(place *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unproven.Remove(place) // nothing if it is not there any more
}

var errNotPending = errors.New("no such introduction is pending")

func (g *Gate) handOver(conn net.Conn, preamble *proto.Preamble) error {
	introduction, err := preamble.Introduction()
	if err != nil {
		return err
	}
	g.mu.Lock()
	accept := g.pending[introduction]
	g.mu.Unlock()
	if accept == nil {
		return errNotPending
	}
	return accept(conn, preamble[:])
}

// Close closes every listener and unproven socket and waits for all goroutines.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	for l := range g.serving {
		l.Close()
	}
	for e := g.unproven.Front(); e != nil; e = e.Next() {
		reset(e.Value.(net.Conn))
	}
	g.changed.Broadcast()
	g.mu.Unlock()
	g.tasks.Wait()
}
