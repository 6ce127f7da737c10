package stream

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// How a stream ends: END and its receipt, an abort, and the mark by which the
// other end tells one from the other.

// CloseWrite sends END: the other end reads io.EOF once it has read everything
// before it. Reading goes on.
func (s *Stream) CloseWrite() error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.ended {
		return nil
	}
	return s.closeWriteLocked()
}

func (s *Stream) closeWriteLocked() error {
	if s.ended {
		return nil
	}
	if err := s.dead(); err != nil {
		return err
	}
	if err := s.sendEND(); err != nil {
		return err
	}
	s.ended = true
	s.half(&s.endSent)
	return nil
}

// sendEND sends END unless the stream was closed: whoever closes it then knows
// that END is on its way, in front of the FIN.
func (s *Stream) sendEND() error {
	s.state.Lock()
	defer s.state.Unlock()
	if s.closed {
		return s.cause
	}
	err := s.sendNow(appendLength(nil, 0))
	s.endSent = err == nil
	return err
}

// half notes that one direction has ended. When both have, the yamux stream is
// closed. Once the other end's END is read, its FIN is waited for: it means
// that nobody reads there any more.
func (s *Stream) half(which *bool) {
	s.state.Lock()
	*which = true
	both, endRead := s.endRead && s.endSent, which == &s.endRead
	s.state.Unlock()
	if endRead && !s.mux.spawn(s.awaitGone) {
		close(s.judged)
	}
	if both {
		s.close(net.ErrClosed)
	}
}

// awaitGone waits for the other end's FIN after its END. A byte before the FIN
// says that the other end has closed without having read our END.
func (s *Stream) awaitGone() {
	defer s.mux.leave(s)
	s.yamux.SetReadDeadline(time.Time{})
	if s.mux.ended() {
		s.yamux.SetReadDeadline(time.Unix(1, 0))
	}
	n, err := (raw{s}).Read(make([]byte, 1))
	switch {
	case n == 0 && err == io.EOF && s.window.hasFIN():
		close(s.gone)
	case n > 0, !s.mux.ended():
		close(s.cut)
	}
	close(s.judged)
	s.close(ErrReaderGone) // nobody reads what we would write
	if n > 0 && !s.mux.ended() {
		io.Copy(io.Discard, raw{s}) // yamux keeps the stream until its FIN has come
	}
}

// outcome says what Drain does once the session has ended. The receipt may have
// come right before that.
func (s *Stream) outcome() error {
	s.state.Lock()
	endRead := s.endRead
	s.state.Unlock()
	if endRead {
		<-s.judged
	}
	select {
	case <-s.gone:
		return nil
	case <-s.cut:
		return fmt.Errorf("%w: %w", ErrAborted, ErrReaderGone)
	default:
		return fmt.Errorf("%w: %w", ErrAborted, s.mux.Err())
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
		return s.outcome()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Abort ends both directions at once. The other end reads ErrAborted unless it
// has read END already.
func (s *Stream) Abort() { s.close(net.ErrClosed) }

// close closes the yamux stream, once, for a reason, and without waiting.
func (s *Stream) close(cause error) {
	s.state.Lock()
	closed, endRead := s.closed, s.endRead
	if !closed {
		s.closed, s.cause = true, cause
		close(s.dying)
	}
	s.state.Unlock()
	switch {
	case closed:
	case endRead:
		s.yamux.Close() // not later: the session may be closed next
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
		io.Copy(io.Discard, raw{s})
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
	return s.sendNow([]byte{1}) == nil
}

func (s *Stream) isClosed() bool {
	s.state.Lock()
	defer s.state.Unlock()
	return s.closed
}

// Close ends the stream as TCP's close does, without waiting: what was written
// is still delivered, followed by END; nothing more is read, and the other end
// is told so. A Write that is under way is cut off, and with it the stream.
func (s *Stream) Close() error {
	if s.write.TryLock() {
		s.closeWriteLocked()
		s.write.Unlock()
	}
	s.close(net.ErrClosed)
	return nil
}
