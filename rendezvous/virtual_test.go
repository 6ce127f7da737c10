package rendezvous

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// virtualListener accepts connections in memory that behave like TCP: they
// have latency, bounded buffers, half-close and deadlines. In a bubble of
// testing/synctest their time is the bubble's.
type virtualListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newVirtualListener() *virtualListener {
	return &virtualListener{
		addr:   &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 7878},
		conns:  make(chan net.Conn, 1024),
		closed: make(chan struct{}),
	}
}

func (l *virtualListener) Addr() net.Addr { return l.addr }

func (l *virtualListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *virtualListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// path is how a virtual connection gets there.
type path struct {
	from    netip.AddrPort
	latency time.Duration // one way
	buffer  int           // bytes on the way in each direction; 0 means 64 KiB
}

func (l *virtualListener) dial(p path) (*virtualConn, error) {
	select {
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	default:
	}
	if p.buffer == 0 {
		p.buffer = 64 << 10
	}
	up, down := newStream(p), newStream(p)
	local := net.TCPAddrFromAddrPort(p.from)
	select {
	case l.conns <- &virtualConn{in: up, out: down, local: l.addr, remote: local}:
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	}
	return &virtualConn{in: down, out: up, local: local, remote: l.addr}, nil
}

func (l *virtualListener) dialer(p path) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		c, err := l.dial(p)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

type virtualConn struct {
	in, out       *stream
	local, remote net.Addr
}

func (c *virtualConn) LocalAddr() net.Addr                { return c.local }
func (c *virtualConn) RemoteAddr() net.Addr               { return c.remote }
func (c *virtualConn) Read(b []byte) (int, error)         { return c.in.read(b) }
func (c *virtualConn) Write(b []byte) (int, error)        { return c.out.write(b) }
func (c *virtualConn) SetReadDeadline(t time.Time) error  { return c.in.set(&c.in.readBy, t) }
func (c *virtualConn) SetWriteDeadline(t time.Time) error { return c.out.set(&c.out.writeBy, t) }

func (c *virtualConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *virtualConn) CloseWrite() error {
	c.out.end(false)
	return nil
}

func (c *virtualConn) Close() error {
	c.out.end(false)
	c.in.end(true)
	return nil
}

// stream is one direction of a virtual connection.
type stream struct {
	path
	mu      sync.Mutex
	changed sync.Cond
	chunks  []chunk
	size    int
	ended   bool // nothing more is written
	unread  bool // the reader has closed
	readBy  time.Time
	writeBy time.Time
}

type chunk struct {
	data []byte
	due  time.Time
}

func newStream(p path) *stream {
	s := &stream{path: p}
	s.changed.L = &s.mu
	return s
}

func (s *stream) wakeUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

func (s *stream) set(deadline *time.Time, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread || s.ended {
		return net.ErrClosed
	}
	*deadline = t
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), s.wakeUp)
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) end(byReader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || !byReader
	s.unread = s.unread || byReader
	s.changed.Broadcast()
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		room := min(s.buffer-s.size, len(b)-n)
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.unread:
			return n, syscall.EPIPE
		case passed(s.writeBy):
			return n, os.ErrDeadlineExceeded
		case n == len(b):
			return n, nil
		case room == 0:
			s.changed.Wait()
		default:
			s.chunks = append(s.chunks, chunk{append([]byte(nil), b[n:n+room]...), time.Now().Add(s.latency)})
			s.size += room
			n += room
			time.AfterFunc(s.latency, s.wakeUp)
		}
	}
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.unread:
			return 0, net.ErrClosed
		case passed(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(s.chunks) > 0 && !time.Now().Before(s.chunks[0].due):
			n := copy(b, s.chunks[0].data)
			if s.chunks[0].data = s.chunks[0].data[n:]; len(s.chunks[0].data) == 0 {
				s.chunks = s.chunks[1:]
			}
			s.size -= n
			s.changed.Broadcast()
			return n, nil
		case len(s.chunks) == 0 && s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

// awaitReaderGone returns when the other end has closed the connection.
func (s *stream) awaitReaderGone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.unread {
		s.changed.Wait()
	}
}
