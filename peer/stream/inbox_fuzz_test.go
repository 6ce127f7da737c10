package stream

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// FuzzInbox shows that the inbox's verdict on a byte stream does not depend on
// how the stream is cut into reads, and that it never panics.
func FuzzInbox(f *testing.F) {
	ping := []byte{0, framePing, 0, flagSYN, 0, 0, 0, 0, 0, 0, 0, 1}
	f.Add(bytes.Repeat(ping, maxPings+1))
	f.Add(append([]byte{0, frameData, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 'a', 'b', 'c'}, ping...))
	f.Add([]byte{0, frameData, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, single := verdict(bytes.NewReader(data)), verdict(iotest.OneByteReader(bytes.NewReader(data)))
		if whole != single {
			t.Errorf("refused %t in one read, %t byte by byte", whole, single)
		}
	})
}

// verdict reports whether the inbox refuses what r delivers.
func verdict(r io.Reader) (refused bool) {
	in := newInbox(readConn{Reader: r}, newWindows(0, true), func(error) {})
	_, err := io.Copy(io.Discard, in)
	return err != nil
}

// readConn is a connection that is only read from.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }
