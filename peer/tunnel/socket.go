package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Socket is a connection to a local program, by TCP or over a unix socket, as
// an End.
//
// While it is open it is set to be reset by the kernel when this process dies
// (SO_LINGER with a time of zero), so that what was cut off does not look
// complete. A unix socket has no reset: its other end reads an end.
type Socket struct {
	net.Conn

	writing sync.Mutex // held during a write; guards what follows
	lost    error      // what a write was told of the connection's loss
}

// NewSocket takes a connection over.
func NewSocket(conn net.Conn) *Socket {
	s := &Socket{Conn: conn}
	s.linger(0)
	return s
}

// Read implements End. A kernel tells of a reset once: if that was to a write,
// some make an end of it for a read.
func (s *Socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err == io.EOF {
		if lost := s.loss(); lost != nil {
			err = lost
		}
	}
	return n, err
}

// loss returns what a write was told of the connection's loss. One that is under
// way is waited for only if the connection is no more, and it thus soon returns.
func (s *Socket) loss() error {
	if !s.writing.TryLock() {
		if !isDisconnected(s.Conn) {
			return nil
		}
		s.writing.Lock()
	}
	defer s.writing.Unlock()
	return s.lost
}

// Write implements End.
func (s *Socket) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.Conn.Write(b)
	switch {
	case err == nil, errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, syscall.EPIPE): // its end was there before, or reading tells
	default:
		s.lost = err
	}
	return n, err
}

// linger sets SO_LINGER, in seconds; -1 turns it off.
func (s *Socket) linger(seconds int) {
	if c, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(seconds)
	}
}

// CloseWrite implements End.
func (s *Socket) CloseWrite() error {
	c, ok := s.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Abort implements End: a TCP peer gets a RST.
func (s *Socket) Abort() {
	s.linger(0)
	s.Conn.Close()
}

// Close implements End: what was written is still delivered.
func (s *Socket) Close() error {
	s.linger(-1)
	return s.Conn.Close()
}
