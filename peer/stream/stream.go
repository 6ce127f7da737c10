package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
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
	request proto.Message // its first, from the opener; set before the stream is anybody's

	read         sync.Mutex // guards what follows
	awaitsOpened bool       // the answer to our request has not been read
	bound        string     // where the other end listens, if we asked for that
	refused      error
	header       [proto.ChunkHeader]byte
	headerLen    int    // bytes of header read so far
	left         uint32 // bytes of the chunk that are unread
	readErr      error  // sticky: io.EOF after END

	write    sync.Mutex // guards what follows
	unsent   []byte     // rest of a chunk that a deadline cut in two
	ended    bool       // END was sent
	writeErr error      // sticky

	state   sync.Mutex // guards what follows; never held while waiting
	endRead bool
	endSent bool
	closed  bool
	gone    chan struct{} // closed when the other end has taken everything and closed
	cut     chan struct{} // closed when the other end has closed without taking everything
}

func newStream(m *Mux, ys *yamux.Stream) *Stream {
	return &Stream{mux: m, yamux: ys, gone: make(chan struct{}), cut: make(chan struct{})}
}

// answer sends this end's first message.
func (s *Stream) answer(m proto.Message) error {
	return s.mux.explain(proto.Write(s.yamux, m))
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
	msg, err := proto.Read(s.yamux)
	if err != nil {
		return s.readFailedLocked(err)
	}
	s.awaitsOpened = false
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
	s.Abort()
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
	n, err := s.yamux.Read(b[:min(len(b), int(s.left))])
	s.left -= uint32(n)
	if err != nil && n == 0 {
		return 0, s.readFailedLocked(err)
	}
	return n, nil
}

// nextChunkLocked reads the next chunk's length. A deadline may cut it in two.
func (s *Stream) nextChunkLocked() error {
	for s.headerLen < len(s.header) {
		n, err := s.yamux.Read(s.header[s.headerLen:])
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

func (s *Stream) readFailedLocked(err error) error {
	if errors.Is(err, yamux.ErrTimeout) && !s.mux.ended() {
		if s.isClosed() {
			return net.ErrClosed
		}
		return err // it is a net.Error whose Timeout is true
	}
	return s.failLocked(s.abortion(err))
}

// Write implements net.Conn. It returns when the session has taken b over, not
// when it has arrived.
func (s *Stream) Write(b []byte) (n int, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	for len(b) > 0 && err == nil {
		var k int
		k, err = s.writeChunkLocked(b[:min(len(b), proto.MaxChunk)])
		n, b = n+k, b[k:]
	}
	return n, err
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// writeChunkLocked sends one chunk, its length joined with its bytes, and
// returns how many of the bytes are sent or bound to be.
func (s *Stream) writeChunkLocked(b []byte) (int, error) {
	if err := s.flushLocked(); err != nil {
		return 0, err
	}
	if s.ended {
		return 0, net.ErrClosed
	}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	chunk := binary.BigEndian.AppendUint32((*buf)[:0], uint32(len(b)))
	chunk = append(chunk, b...)
	*buf = chunk
	n, err := s.yamux.Write(chunk)
	if n == 0 || err == nil {
		return max(0, n-proto.ChunkHeader), s.writeFailedLocked(err)
	}
	// The other end expects the whole chunk: what is cut off is sent first
	// when writing goes on, so to the caller all of it is written.
	s.unsent = append([]byte(nil), chunk[n:]...)
	return len(b), s.writeFailedLocked(err)
}

func (s *Stream) flushLocked() error {
	if s.writeErr != nil {
		return s.writeErr
	}
	for len(s.unsent) > 0 {
		n, err := s.yamux.Write(s.unsent)
		s.unsent = s.unsent[n:]
		if err != nil {
			return s.writeFailedLocked(err)
		}
	}
	return nil
}

func (s *Stream) writeFailedLocked(err error) error {
	if err == nil || errors.Is(err, yamux.ErrTimeout) && !s.mux.ended() {
		return err
	}
	s.writeErr = s.abortion(err)
	if errors.Is(s.writeErr, net.ErrClosed) && s.isGone() {
		s.writeErr = ErrReaderGone
	}
	return s.writeErr
}

// CloseWrite sends END: the other end reads io.EOF once it has read everything
// before it. Reading goes on.
func (s *Stream) CloseWrite() error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.ended {
		return nil
	}
	if err := s.flushLocked(); err != nil {
		return err
	}
	n, err := s.yamux.Write(make([]byte, proto.ChunkHeader))
	if n > 0 && n < proto.ChunkHeader {
		s.unsent = make([]byte, proto.ChunkHeader-n)
	}
	if err := s.writeFailedLocked(err); err != nil {
		return err
	}
	s.ended = true
	s.half(&s.endSent)
	return nil
}

// half notes that one direction has ended. When both have, the yamux stream is
// closed. Once the other end's END is read, its FIN is waited for: it means
// that nobody reads there any more.
func (s *Stream) half(which *bool) {
	s.state.Lock()
	*which = true
	both, endRead := s.endRead && s.endSent, which == &s.endRead
	s.state.Unlock()
	if endRead {
		s.mux.spawn(s.awaitGone)
	}
	if both {
		s.close()
	}
}

// awaitGone waits for the other end's FIN after its END. A byte before the FIN
// says that the other end has closed without having read our END.
func (s *Stream) awaitGone() {
	defer s.mux.leave(s)
	s.yamux.SetReadDeadline(time.Time{})
	if s.mux.ended() {
		return
	}
	switch n, err := s.yamux.Read(make([]byte, 1)); {
	case n > 0:
		close(s.cut)
	case err == io.EOF && !s.mux.ended():
		close(s.gone)
	}
	s.close() // nobody reads what we would write
}

func (s *Stream) isGone() bool {
	select {
	case <-s.gone:
		return true
	case <-s.cut:
		return true
	default:
		return false
	}
}

// Drain waits until the other end has read everything up to our END and has
// closed the stream. It is to be called after CloseWrite and after io.EOF was
// read, by who is about to close the session. If the other end has closed
// without having read everything, the error wraps ErrAborted and ErrReaderGone.
func (s *Stream) Drain(ctx context.Context) error {
	select {
	case <-s.gone:
	case <-s.cut:
		return fmt.Errorf("%w: %w", ErrAborted, ErrReaderGone)
	case <-s.mux.done:
		if !s.isGone() {
			return fmt.Errorf("%w: %w", ErrAborted, s.mux.Err())
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Abort ends both directions at once. The other end reads ErrAborted unless it
// has read END already.
func (s *Stream) Abort() { s.close() }

// close closes the yamux stream, once, and without waiting for a connection
// that may be stalled.
func (s *Stream) close() {
	s.state.Lock()
	closed, endRead := s.closed, s.endRead
	s.closed = true
	s.state.Unlock()
	switch {
	case closed:
	case endRead:
		s.mux.spawn(func() { s.yamux.Close() })
	default:
		s.mux.spawn(s.reap)
	}
}

// reap closes a stream that was not read to its end: it wakes the reader up and
// discards what still comes, until the other end has closed too.
func (s *Stream) reap() {
	defer s.mux.leave(s)
	s.yamux.SetReadDeadline(time.Unix(1, 0))
	s.read.Lock()
	if s.readErr == nil {
		s.readErr = net.ErrClosed
	}
	s.read.Unlock()
	if !s.markCut() {
		return // the FIN would make it look complete; the session's end will not
	}
	s.yamux.Close()
	s.yamux.SetReadDeadline(time.Time{})
	if !s.mux.ended() {
		io.Copy(io.Discard, s.yamux)
	}
}

// markCut tells the other end, if it was sent END, that the FIN which follows
// does not mean that everything was taken: there is a byte between them.
func (s *Stream) markCut() bool {
	s.state.Lock()
	endSent := s.endSent
	s.state.Unlock()
	if !endSent {
		return true // a FIN without END says it
	}
	s.yamux.SetWriteDeadline(time.Now().Add(closeLinger))
	_, err := s.yamux.Write([]byte{1})
	return err == nil
}

func (s *Stream) isClosed() bool {
	s.state.Lock()
	defer s.state.Unlock()
	return s.closed
}

// closeLinger is how long Close tries to get END out.
const closeLinger = 30 * time.Second

// Close ends the stream as TCP's close does, without waiting: what was written
// is still delivered, followed by END; nothing more is read, and the other end
// is told so. A Write that is under way is cut off, and with it the stream.
func (s *Stream) Close() error {
	if s.isClosed() {
		return nil
	}
	if !s.write.TryLock() {
		s.Abort()
		return nil
	}
	s.write.Unlock()
	s.yamux.SetReadDeadline(time.Unix(1, 0))
	s.mux.spawn(func() {
		s.yamux.SetWriteDeadline(time.Now().Add(closeLinger))
		s.CloseWrite()
		s.close()
	})
	return nil
}

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return s.yamux.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.yamux.RemoteAddr() }

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
	return s.yamux.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	if s.mux.ended() {
		return nil
	}
	return s.yamux.SetWriteDeadline(t)
}
