package punch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/proto"
)

// Conn is a raw connection of an introduction. What is written leaves at once,
// behind the preamble; Read waits until the other end has proved that it knows
// the introduction, and fails if it does not.
type Conn struct {
	net.Conn
	run     *Run
	Attempt int // number of the attempt in the events

	once   sync.Once
	judge  chan struct{} // closed when the proof is in, or will never be
	proven bool          // set before judge is closed
	err    error         // likewise
}

// errUnproven is what Read returns where punching ended before the proof.
var errUnproven = errors.New("the connection was given up before the other end had proved itself")

// Read reads from the connection once it is proven.
func (c *Conn) Read(b []byte) (int, error) {
	<-c.judge
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// settle ends the wait for the proof; it reports false if it had ended before.
func (c *Conn) settle(err error) (first bool) {
	c.once.Do(func() {
		c.err, c.proven, first = err, err == nil, true
		close(c.judge)
	})
	return first
}

// Close closes the connection; Reads that wait for the proof return.
func (c *Conn) Close() error {
	c.settle(net.ErrClosed)
	return c.Conn.Close()
}

// netSocket is a Socket of the kernel's.
type netSocket struct {
	loop   *loop
	cancel context.CancelFunc       // ends the dial
	dial   atomic.Pointer[Dialling] // once it has begun
	ended  chan struct{}            // closed when the dial has ended
	raw    net.Conn                 // what came of it; set before ended is closed
	conn   *Conn                    // nil until connected
	closed bool                     // this and conn are owned by the loop
}

// Send implements Socket. The buffer of a new connection has room for it.
func (s *netSocket) Send(preamble []byte) {
	s.conn.SetWriteDeadline(time.Now().Add(proto.PreambleDeadline))
	// An error also fails the Read that waits for the other end's preamble.
	s.conn.Write(preamble)
	s.conn.SetWriteDeadline(time.Time{})
}

// Answered implements Socket.
func (s *netSocket) Answered() bool {
	dial := s.dial.Load()
	return dial != nil && (*dial).Answered()
}

// Acknowledged implements Socket.
func (s *netSocket) Acknowledged() bool { return (*s.dial.Load()).Acknowledged() }

// Close implements Socket. The 4-tuple is free when it returns.
func (s *netSocket) Close() {
	s.closed = true
	s.cancel()
	<-s.ended
	if s.conn == nil && s.raw != nil {
		reset(s.raw) // it has just been completed, and nobody has heard of it
	}
	if s.conn != nil {
		s.conn.settle(errUnproven)
		reset(s.conn.Conn)
	}
}

// Abandon implements Socket.
func (s *netSocket) Abandon() {
	s.closed = true
	s.cancel() // whatever comes of the dial is reset
	if s.conn != nil {
		s.conn.settle(errUnproven)
		reset(s.conn.Conn)
	}
}

// reset closes a connection with SO_LINGER 0, so that nothing of it stays.
func reset(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	c.Close()
}

// netSockets are the kernel's sockets.
type netSockets struct {
	run *Run
}

// Dial implements Sockets.
func (n netSockets) Dial(to netip.AddrPort, o DialOptions, h Handler) Socket {
	ctx, cancel := context.WithCancel(context.Background())
	s := &netSocket{loop: n.run.loop, cancel: cancel, ended: make(chan struct{})}
	if o.Brief {
		s.begin(n.run.cfg.Dial(to, o)) // in order
	}
	n.run.loop.tasks.Go(func() {
		if !o.Brief {
			s.begin(n.run.cfg.Dial(to, o))
		}
		n.connect(ctx, s, h)
	})
	return s
}

func (s *netSocket) begin(dial Dialling) { s.dial.Store(&dial) }

// connect waits for the dial, hands the socket over and waits for the first bytes.
func (n netSockets) connect(ctx context.Context, s *netSocket, h Handler) {
	defer s.cancel()
	dial := *s.dial.Load()
	var err error
	s.raw, err = dial.Wait(ctx)
	close(s.ended)
	if err != nil {
		s.post(func() { h.Failed(err) })
		return
	}
	if !s.connected(&Conn{Conn: s.raw, run: n.run, judge: make(chan struct{})}, h) {
		reset(s.raw) // the loop may have ended
		return
	}
	var preamble [proto.PreambleSize]byte
	if n, err := io.ReadFull(s.raw, preamble[:]); err != nil {
		s.post(func() { h.Failed(hungUp(n, err)) })
		return
	}
	s.post(func() { h.Received(preamble[:]) })
}

// hungUp is the error of a connection that has ended after so many bytes.
func hungUp(bytes int, err error) error {
	if bytes > 0 {
		return fmt.Errorf("%w, and %w: %v", ErrHungUp, ErrStranger, err)
	}
	return fmt.Errorf("%w: %v", ErrHungUp, err)
}

// connected tells h of the connection, and reports whether it was wanted.
func (s *netSocket) connected(conn *Conn, h Handler) (wanted bool) {
	done := make(chan struct{})
	posted := s.loop.post(func() {
		defer close(done)
		if !s.closed {
			s.conn, wanted = conn, true
			h.Connected()
		}
	})
	if posted {
		<-done
	}
	return wanted
}

// post calls f on the loop unless the socket is closed by then.
func (s *netSocket) post(f func()) {
	s.loop.post(func() {
		if !s.closed {
			f()
		}
	})
}

// Proven reports whether the other end has proved that it knows the
// introduction.
func (c *Conn) Proven() bool {
	select {
	case <-c.judge:
		return c.proven
	default:
		return false
	}
}
