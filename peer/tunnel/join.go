package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
)

// End is one side of a tunnel.
type End interface {
	io.Reader // returns io.EOF only if the other side has ended cleanly
	io.Writer
	// CloseWrite says that no more is written; reading goes on.
	CloseWrite() error
	// Abort ends both directions so that the far end sees that it was cut off.
	Abort()
}

// Join copies in both directions until both have ended, passing each end on as
// soon as it comes. If either side fails, both are aborted. It returns what
// failed first, or nil. The caller closes both sides afterwards.
func Join(a, b End) error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	fail := func(err error) {
		once.Do(func() {
			first = err
			a.Abort()
			b.Abort()
		})
	}
	wg.Go(func() { copyEnd(b, a, fail) })
	copyEnd(a, b, fail)
	wg.Wait()
	return first
}

// copyEnd copies one direction and passes its end on.
func copyEnd(dst, src End, fail func(error)) {
	if err := Copy(dst, src); err != nil {
		fail(err)
		return
	}
	if err := dst.CloseWrite(); err != nil {
		fail(err)
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// Copy copies until src ends. It hides both sides' own ways of copying, which
// use small buffers.
func Copy(dst io.Writer, src io.Reader) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
	return err
}

// TCP is a TCP connection, or a unix socket, as an End.
type TCP struct {
	net.Conn
}

// CloseWrite implements End.
func (t TCP) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		err := c.CloseWrite()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	}
	return nil
}

// Abort implements End: a TCP peer gets a RST.
func (t TCP) Abort() {
	if c, ok := t.Conn.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
	t.Conn.Close()
}
