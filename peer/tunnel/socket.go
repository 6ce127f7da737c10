package tunnel

import (
	"errors"
	"net"
)

// Socket is a connection to a local program, by TCP or over a unix socket, as
// an End.
//
// While it is open it is set to be reset by the kernel when this process dies
// (SO_LINGER with a time of zero), so that what was cut off does not look
// complete. A unix socket has no reset: its other end reads an end.
type Socket struct {
	net.Conn
}

// NewSocket takes a connection over.
func NewSocket(conn net.Conn) Socket {
	s := Socket{conn}
	s.linger(0)
	return s
}

// linger sets SO_LINGER, in seconds; -1 turns it off.
func (s Socket) linger(seconds int) {
	if c, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(seconds)
	}
}

// CloseWrite implements End.
func (s Socket) CloseWrite() error {
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
func (s Socket) Abort() {
	s.linger(0)
	s.Conn.Close()
}

// Close implements End: what was written is still delivered.
func (s Socket) Close() error {
	s.linger(-1)
	return s.Conn.Close()
}
