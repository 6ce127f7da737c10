package peer

import (
	"net"
	"sync"
)

// listener is a net.Listener whose connections are streams.
type listener struct {
	addr     net.Addr
	release  func() // called once, when it ends
	incoming chan *Stream
	once     sync.Once
	closed   chan struct{}
	cause    error // why it ended; set before closed is closed
}

func newListener(addr net.Addr, release func()) *listener {
	return &listener{addr: addr, release: release, incoming: make(chan *Stream), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.failure()
	default:
	}
	select {
	case s := <-l.incoming:
		return s, nil
	case <-l.closed:
		return nil, l.failure()
	}
}

func (l *listener) failure() error {
	return &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: l.cause}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// Close implements net.Listener. Streams that nobody has accepted are aborted.
func (l *listener) Close() error {
	l.end(net.ErrClosed)
	return nil
}

// end closes the listener for a reason; the first one stays.
func (l *listener) end(cause error) {
	l.once.Do(func() {
		l.cause = cause
		l.release()
		close(l.closed)
	})
}

// deliver hands a session's stream to who accepts it. Its opener is told before
// that it is open, as TCP does; as many may wait as the peers may have open.
func (l *listener) deliver(s *Session, in *Stream) {
	if err := in.Confirm(); err != nil {
		in.Abort()
		return
	}
	select {
	case l.incoming <- in:
	case <-l.closed:
		in.Abort()
	case <-s.mux.Done():
	}
}
