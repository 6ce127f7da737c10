package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/peerd/peerd/proto"
)

// Stream is a reliable, ordered byte stream in both directions. It implements
// net.Conn. Reading and writing may go on at the same time; several Reads, or
// several Writes, wait for one another.
type Stream struct {
	mux     *Mux
	yamux   *yamux.Stream
	window  *window
	request proto.Message // its first, from the opener; set before the stream is anybody's

	read         sync.Mutex // guards what follows
	awaitsOpened bool       // the answer to our request has not been read
	bound        string     // where the other end listens, if we asked for that
	refused      error
	early        []byte // of the answer, as far as a deadline let it be read
	header       [proto.ChunkHeader]byte
	headerLen    int    // bytes of header read so far
	left         uint32 // bytes of the chunk that are unread
	readErr      error  // sticky: io.EOF after END

	write sync.Mutex // guards what follows
	ended bool       // END was sent

	readDeadline, writeDeadline deadline

	state   sync.Mutex // guards what follows; never held while waiting
	endRead bool
	endSent bool
	closed  bool
	cause   error         // why it was closed
	dying   chan struct{} // closed when closed is set
	gone    chan struct{} // closed when the other end has taken everything and closed
	cut     chan struct{} // closed when the other end has closed without taking everything
	judged  chan struct{} // closed when gone or cut is, or neither will be
}

func newStream(m *Mux, ys *yamux.Stream) *Stream {
	return &Stream{
		mux: m, yamux: ys, window: m.windows.get(ys.StreamID()),
		dying: make(chan struct{}), gone: make(chan struct{}), cut: make(chan struct{}), judged: make(chan struct{}),
	}
}

// answer sends this end's first message. The window has room for it.
func (s *Stream) answer(m proto.Message) error {
	b, err := proto.Append(nil, m)
	if err != nil {
		return err
	}
	if err := s.dead(); err != nil {
		return err
	}
	return s.sendNow(b)
}

// sendNow sends bytes that wait for no room, with credit that is kept for them.
func (s *Stream) sendNow(b []byte) error {
	s.window.takeReserve(len(b))
	err := s.mux.out.control(frame{kind: frameData, stream: s.window.id, length: uint32(len(b))}, b)
	return s.writeFailure(err)
}

// raw reads the bytes of a yamux stream and grants new ones.
type raw struct{ s *Stream }

func (r raw) Read(b []byte) (int, error) {
	w, again := r.s.window, true
	for {
		if n := w.arrived.read(b); n > 0 {
			if grant := w.consume(n); grant > 0 {
				r.s.mux.out.grant(w, grant)
			}
			return n, nil
		}
		var told [1]byte
		n, err := r.s.yamux.Read(told[:])
		switch {
		case n > 0:
			w.arrived.heard()
		case err == yamux.ErrTimeout && r.s.mux.ended() && again:
			again = false // what came at the same moment is there now
		default:
			return 0, err
		}
	}
}

// Opened waits until the other end has confirmed the target. It returns nil, a
// *RefusedError, or why the stream died.
func (s *Stream) Opened() error {
	s.read.Lock()
	defer s.read.Unlock()
	return s.openedLocked()
}

func (s *Stream) openedLocked() error {
	if !s.awaitsOpened {
		return s.refused
	}
	var got bytes.Buffer
	msg, err := proto.Read(io.TeeReader(io.MultiReader(bytes.NewReader(s.early), raw{s}), &got))
	s.early = got.Bytes()
	if err != nil {
		return s.readFailedLocked(err)
	}
	s.awaitsOpened, s.early = false, nil
	code, text, ok := s.outcomeLocked(msg)
	switch {
	case !ok:
		return s.failLocked(fmt.Errorf("%w: %w: %v instead of an answer", ErrAborted, ErrProtocol, msg.Type()))
	case code != proto.CodeOK:
		s.refused = &RefusedError{s.RemoteAddr(), s.Target(), code, text}
		return s.failLocked(s.refused)
	}
	return nil
}

// failLocked makes an error of the reading side stick, and ends the stream.
func (s *Stream) failLocked(err error) error {
	s.readErr, s.awaitsOpened, s.refused = err, false, err
	s.close(err)
	return err
}

// abortion says why the stream ended without END.
func (s *Stream) abortion(err error) error {
	switch cause := s.mux.explain(err); {
	case errors.Is(cause, proto.ErrMalformed), errors.Is(cause, proto.ErrTooLarge), errors.Is(cause, proto.ErrVersion):
		return fmt.Errorf("%w: %w", ErrAborted, cause)
	case s.isClosed():
		return net.ErrClosed
	case cause == io.EOF, cause == io.ErrUnexpectedEOF, errors.Is(cause, yamux.ErrConnectionReset):
		return ErrAborted
	default:
		return fmt.Errorf("%w: %w", ErrAborted, cause)
	}
}

// Read implements net.Conn. After END it returns io.EOF; if the stream ended
// otherwise, the error wraps ErrAborted, or is a *RefusedError.
func (s *Stream) Read(b []byte) (int, error) {
	s.read.Lock()
	defer s.read.Unlock()
	if s.readErr != nil {
		return 0, s.readErr
	}
	if s.readDeadline.passed() {
		return 0, os.ErrDeadlineExceeded
	}
	if err := s.openedLocked(); err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, nil
	}
	if s.left == 0 {
		if err := s.nextChunkLocked(); err != nil {
			return 0, err
		}
	}
	n, err := raw{s}.Read(b[:min(len(b), int(s.left))])
	s.left -= uint32(n)
	if err != nil && n == 0 {
		return 0, s.readFailedLocked(err)
	}
	return n, nil
}

// nextChunkLocked reads the next chunk's length. A deadline may cut it in two.
func (s *Stream) nextChunkLocked() error {
	for s.headerLen < len(s.header) {
		n, err := raw{s}.Read(s.header[s.headerLen:])
		s.headerLen += n
		if err != nil && n == 0 {
			return s.readFailedLocked(err)
		}
	}
	s.headerLen = 0
	switch s.left = binary.BigEndian.Uint32(s.header[:]); {
	case s.left == 0:
		s.readErr = io.EOF
		s.half(&s.endRead)
		return io.EOF
	case s.left > proto.MaxChunk:
		return s.failLocked(fmt.Errorf("%w: %w: chunk of %d bytes", ErrAborted, ErrProtocol, s.left))
	}
	return nil
}

func appendLength(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

func (s *Stream) readFailedLocked(err error) error {
	if errors.Is(err, yamux.ErrTimeout) && !s.mux.ended() {
		if s.isClosed() {
			return net.ErrClosed
		}
		return os.ErrDeadlineExceeded
	}
	return s.failLocked(s.abortion(err))
}

// Write implements net.Conn. It returns when the session has taken b over, not
// when it has arrived. If the stream has died, the error says why: a
// *RefusedError, ErrReaderGone, net.ErrClosed, or one that wraps ErrAborted.
func (s *Stream) Write(b []byte) (n int, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if len(b) == 0 {
		return 0, s.writable()
	}
	for len(b) > 0 && err == nil {
		var k int
		k, err = s.writeSomeLocked(b)
		n, b = n+k, b[k:]
	}
	return n, err
}

// writeSomeLocked waits until the outbox takes at least a part of b.
func (s *Stream) writeSomeLocked(b []byte) (int, error) {
	for {
		err := s.writable()
		if err == nil {
			var n int
			if n, err = s.mux.out.send(s.window, b); n > 0 {
				return n, nil
			}
			err = s.writeFailure(err)
		}
		if err != nil {
			s.mux.out.giveUp(s.window)
			return 0, err
		}
		select {
		case <-s.window.wake:
		case <-s.writeDeadline.wait():
		case <-s.dying:
		case <-s.mux.done:
		}
	}
}

// writable says why nothing can be written, if so.
func (s *Stream) writable() error {
	switch {
	case s.ended:
		return net.ErrClosed
	case s.writeDeadline.passed():
		return os.ErrDeadlineExceeded
	}
	return s.dead()
}

// dead says why the stream takes no more data, if so.
func (s *Stream) dead() error {
	s.state.Lock()
	defer s.state.Unlock()
	switch {
	case s.mux.ended():
		return fmt.Errorf("%w: %w", ErrAborted, s.mux.Err())
	case s.closed:
		return s.cause
	case s.window.isFinished():
		return ErrReaderGone
	}
	return nil
}

// writeFailure says what an error of the outbox, if it is one, means for the
// stream.
func (s *Stream) writeFailure(err error) error {
	switch {
	case s.mux.ended():
		return fmt.Errorf("%w: %w", ErrAborted, s.mux.Err())
	case err != nil:
		return fmt.Errorf("%w: %w", ErrAborted, err)
	}
	return nil
}

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return s.mux.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.mux.conn.RemoteAddr() }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn. It has no effect once END was read or
// the stream was closed.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.state.Lock()
	defer s.state.Unlock()
	if s.endRead || s.closed || s.mux.ended() {
		return nil
	}
	s.readDeadline.set(t)
	return s.yamux.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.writeDeadline.set(t)
	return nil
}
