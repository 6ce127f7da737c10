package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/peerd/peerd/proto"
)

const (
	// MaxStreams bounds the streams that each end opens in a session. The other
	// end may be behind in counting, so it allows for twice as many; more end
	// the session.
	MaxStreams = 512
	// PingEvery is the interval of liveness probes while nothing is received.
	PingEvery = 10 * time.Second
	// DeadAfter is the silence after which a session is given up.
	DeadAfter = 30 * time.Second

	// stalledAfter is how long one write to the connection may make no progress:
	// the other end's program always reads, so it is gone, or means harm.
	stalledAfter = 2 * time.Minute

	openDeadline = 10 * time.Second
	// closeLinger is how long Close waits for what was written to leave.
	closeLinger = time.Second
	// readOnLimit is how long a session is still read that cannot be written.
	readOnLimit = time.Second
)

// Mux is one session's end. Its methods are safe for concurrent use.
type Mux struct {
	yamux    *yamux.Session
	conn     net.Conn
	in       *inbox
	out      *outbox
	windows  *windows
	opened   chan struct{} // a place for each stream that this end opened
	accepted chan struct{} // a place for each stream that the other end opened
	incoming chan *Stream
	done     chan struct{} // closed when the session has ended
	tasks    sync.WaitGroup

	mu      sync.Mutex
	streams map[*Stream]chan struct{} // those alive, and whose place each has
	cause   error                     // why the session ended
	idle    []chan struct{}           // closed when the last stream has ended
	joining bool                      // Close waits for the tasks: no more are started
}

// Client returns the session's end that plays yamux's client: the initiator's.
// It takes conn over. The connection's round trip, 0 if it is not known, decides
// how much may be on its way.
func Client(conn net.Conn, rtt time.Duration) *Mux {
	return newMux(conn, newWindows(rtt, false), yamux.Client)
}

// Server returns the other end.
func Server(conn net.Conn, rtt time.Duration) *Mux {
	return newMux(conn, newWindows(rtt, true), yamux.Server)
}

// transport is what yamux has for a connection.
type transport struct {
	*inbox
	*outbox
	io.Closer
}

// config turns off everything by which yamux ends sessions or streams on its
// own: this package judges liveness, and a stalled connection is no error.
func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 365 * 24 * time.Hour
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0              // else data that a slow reader has not taken yet is lost
	c.AcceptBacklog = 4 * MaxStreams      // yamux resets streams beyond it
	c.MaxStreamWindowSize = 2 * maxWindow // package windows grants less
	c.LogOutput = io.Discard              // errors come back from the calls
	return c
}

func newMux(conn net.Conn, w *windows, role func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)) *Mux {
	m := &Mux{
		conn:     conn,
		windows:  w,
		streams:  make(map[*Stream]chan struct{}),
		opened:   make(chan struct{}, MaxStreams),
		accepted: make(chan struct{}, 2*MaxStreams),
		incoming: make(chan *Stream),
		done:     make(chan struct{}),
	}
	m.mu.Lock() // yamux's goroutines may call end before m.yamux is set
	m.in, m.out = newInbox(conn, w, m.end), newOutbox(conn, w, m.end)
	session, err := role(transport{m.in, m.out, conn}, config())
	if err != nil {
		panic(err) // the configuration is constant
	}
	m.yamux = session
	m.mu.Unlock()
	m.spawn(m.send)
	m.spawn(m.acceptAll)
	m.spawn(m.watch)
	return m
}

// send writes to the connection. If that fails, there may be something on it
// that has arrived and not been read, such as a receipt: the reading side is left
// to come to its own end.
func (m *Mux) send() {
	err := m.out.run()
	if err == nil {
		return
	}
	m.windows.wakeAll()
	timer := time.NewTimer(readOnLimit)
	defer timer.Stop()
	select {
	case <-m.done:
	case <-timer.C:
		m.end(err)
	}
}

// Open opens a stream to a target of the other end. It does not wait for the
// other end's answer: data may be written at once, and a refusal comes as a
// *RefusedError from Read, Write or Opened. The context covers the opening
// only.
func (m *Mux) Open(ctx context.Context, target string) (*Stream, error) {
	return m.request(ctx, &proto.Open{Target: target})
}

// request opens a stream with its first message.
func (m *Mux) request(ctx context.Context, request proto.Message) (*Stream, error) {
	select {
	case m.opened <- struct{}{}:
	case <-m.done:
		return nil, m.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := m.open(request)
	if errors.Is(err, ErrAborted) { // nothing can be written: the session ends
		select {
		case <-m.done:
			err = m.Err()
		case <-ctx.Done():
		}
	}
	return s, err
}

// open does not wait: yamux's part goes to the outbox.
func (m *Mux) open(request proto.Message) (*Stream, error) {
	ys, err := m.yamux.OpenStream()
	if err != nil {
		<-m.opened
		return nil, m.explain(err)
	}
	s := m.enter(ys, m.opened)
	s.request = request
	s.awaitsOpened = true
	if err := s.answer(request); err != nil {
		s.Abort()
		return nil, m.explain(err)
	}
	return s, nil
}

// Accept returns the next stream that the other end opened. The caller answers
// it with Confirm, ConfirmListening or Refuse, as its Request wants it. The error
// is that of Err.
func (m *Mux) Accept() (*Stream, error) {
	select {
	case s := <-m.incoming:
		return s, nil
	case <-m.done:
		return nil, m.Err()
	}
}

// acceptAll takes streams from yamux without ever waiting for anybody: its
// receive loop must not stall.
func (m *Mux) acceptAll() {
	for {
		ys, err := m.yamux.AcceptStream()
		if err != nil {
			m.end(err)
			return
		}
		m.spawn(func() { m.greet(ys) })
	}
}

// greet reads what the other end wants of a stream.
func (m *Mux) greet(ys *yamux.Stream) {
	select {
	case m.accepted <- struct{}{}:
	default:
		m.end(fmt.Errorf("%w: too many streams", ErrProtocol))
		return
	}
	s := m.enter(ys, m.accepted)
	ys.SetReadDeadline(time.Now().Add(openDeadline))
	msg, err := proto.Read(raw{s})
	if err != nil || !isRequest(msg) {
		s.Abort()
		return
	}
	ys.SetReadDeadline(time.Time{})
	s.request = msg
	select {
	case m.incoming <- s:
	case <-m.done:
		s.Abort()
	}
}

// Ping measures the round trip through the session.
func (m *Mux) Ping(ctx context.Context) (time.Duration, error) {
	type result struct {
		rtt time.Duration
		err error
	}
	results := make(chan result, 1)
	m.spawn(func() {
		rtt, err := m.yamux.Ping()
		results <- result{rtt, err}
	})
	select {
	case <-m.done:
		return 0, m.Err()
	case r := <-results:
		if r.err != nil {
			return 0, m.explain(r.err)
		}
		return r.rtt, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// watch pings a silent connection and gives up a dead one. It counts ticks, not
// time: a process that was stopped gets one tick for all that it missed, and
// the kernel's data before the next.
func (m *Mux) watch() {
	const tick = PingEvery / 2
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var silent, stalled time.Duration
	for {
		select {
		case <-m.done:
			return
		case <-ticker.C:
		}
		silent, stalled = silent+tick, stalled+tick
		if m.in.heard.Swap(false) {
			silent = 0
		}
		if !m.out.stalled() {
			stalled = 0
		}
		switch {
		case silent >= DeadAfter, stalled >= stalledAfter:
			m.end(ErrDead)
			return
		case silent >= PingEvery:
			m.spawn(func() { m.yamux.Ping() }) // ends with the session at the latest
		}
	}
}

// Done is closed when the session has ended.
func (m *Mux) Done() <-chan struct{} { return m.done }

// Err returns why the session ended, or nil while it lives.
func (m *Mux) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cause
}

// end closes the session for a reason; the first one stays. Whoever reads or
// writes is woken by a deadline before yamux knows: it would have them all spin
// until it gets round to each of its streams.
func (m *Mux) end(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cause != nil {
		return
	}
	m.cause = cause
	close(m.done)
	for s := range m.streams {
		s.yamux.SetDeadline(time.Unix(1, 0))
	}
	// yamux's own goroutine may be the one that brought the cause.
	m.tasks.Go(func() { m.shut(cause) })
}

// shut closes the connection. If it is this end that closes the session, what it
// has said before is still sent.
func (m *Mux) shut(cause error) {
	if cause == ErrClosed {
		m.out.flush(closeLinger)
	}
	m.out.stop(cause)
	m.yamux.Close()
}

// enter makes a yamux stream one of the session's; leave undoes it.
func (m *Mux) enter(ys *yamux.Stream, place chan struct{}) *Stream {
	s := newStream(m, ys)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams[s] = place
	return s
}

// leave gives the place of a stream back that both ends have closed.
func (m *Mux) leave(s *Stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if place, ok := m.streams[s]; ok { // an abort and END may have crossed
		<-place
		delete(m.streams, s)
		m.windows.leave(s.window)
		m.announceIdleLocked()
	}
}

// ended reports whether the session has ended.
func (m *Mux) ended() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// explain replaces yamux's error by the session's reason where it has ended.
func (m *Mux) explain(err error) error {
	select {
	case <-m.done:
		return m.Err()
	case <-m.yamux.CloseChan():
		<-m.done // acceptAll sees it too, and says why
		return m.Err()
	default:
		return err
	}
}

// Close ends the session; streams that are open are aborted. It returns when
// every goroutine has ended, after about a second if the connection is stalled.
func (m *Mux) Close() error {
	m.end(ErrClosed)
	m.mu.Lock()
	m.joining = true
	m.mu.Unlock()
	m.tasks.Wait()
	return nil
}

// spawn runs f in a goroutine that Close waits for. When Close waits already,
// nothing is left to do and f is dropped.
func (m *Mux) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.joining {
		m.tasks.Go(f)
	}
	return !m.joining
}
