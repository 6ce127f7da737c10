package stream

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// inbox is what yamux reads from. It judges the frames before yamux does, notes
// whether the connection is alive, and cuts data frames to what has arrived:
// while yamux waits for the rest of a frame, nobody can read from its stream,
// whatever the deadline.
type inbox struct {
	conn    net.Conn
	windows *windows
	failed  func(error)
	heard   atomic.Bool // something was read; the watcher resets it

	// The rest belongs to yamux's receiving goroutine.
	buf    []byte // what has arrived
	unread []byte // the rest of it

	header [frameHeader]byte
	filled int    // bytes of header that have arrived
	frame  frame  // the one whose body is arriving
	body   int    // bytes of it that yamux has not been told of
	told   []byte // the header that yamux is being told
	piece  int    // bytes that it was told of and has not read

	pings int // that the other end has sent, less what the time allows
	since time.Time
}

const (
	inboxSize = 16 << 10    // a TLS record
	maxPings  = 32          // at once
	pingEvery = time.Second // one more is allowed
)

func newInbox(conn net.Conn, w *windows, failed func(error)) *inbox {
	return &inbox{conn: conn, windows: w, failed: failed, buf: make([]byte, inboxSize)}
}

// Read implements io.Reader. It hands out headers and bodies one by one, and
// waits only where yamux waits for a header.
func (i *inbox) Read(b []byte) (int, error) {
	for len(i.told) == 0 && i.piece == 0 {
		if err := i.advance(); err != nil {
			i.failed(err)
			return 0, err
		}
	}
	if len(i.told) > 0 {
		n := copy(b, i.told)
		i.told = i.told[n:]
		return n, nil
	}
	n := copy(b, i.unread[:min(i.piece, len(i.unread))])
	i.unread = i.unread[n:]
	i.piece -= n
	return n, nil
}

// advance takes one step towards the next header.
func (i *inbox) advance() error {
	switch {
	case len(i.unread) == 0:
		return i.fill()
	case i.body > 0:
		i.announce()
		return nil
	}
	n := copy(i.header[i.filled:], i.unread)
	i.unread = i.unread[n:]
	if i.filled += n; i.filled < frameHeader {
		return nil
	}
	i.filled = 0
	return i.begin(parseFrame(i.header[:]))
}

// fill waits for more to arrive.
func (i *inbox) fill() error {
	n, err := i.conn.Read(i.buf)
	if n == 0 {
		return err
	}
	i.heard.Store(true)
	i.unread = i.buf[:n]
	return nil // an error comes again
}

// begin takes up a frame.
func (i *inbox) begin(f frame) error {
	switch {
	case f.kind == frameData && f.length > maxWindow:
		return fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, f.length)
	case f.kind == framePing && f.flags&flagSYN != 0:
		if err := i.ping(); err != nil {
			return err
		}
	}
	if err := i.windows.incoming(f); err != nil {
		return err
	}
	if i.frame, i.body = f, f.body(); i.body == 0 {
		i.told = i.header[:]
	}
	return nil
}

// announce tells yamux of as much of the body as has arrived: the first piece
// has the frame's flags, but for FIN, which is the last one's.
func (i *inbox) announce() {
	f := i.frame
	i.piece = min(i.body, len(i.unread))
	if i.body -= i.piece; i.body > 0 {
		f.flags &^= flagFIN
	}
	f.length = uint32(i.piece)
	i.frame.flags &= flagFIN
	i.told = f.append(i.header[:0])
}

// ping keeps the other end from pinging without bounds: yamux starts a goroutine
// for each.
func (i *inbox) ping() error {
	if passed := int(time.Since(i.since) / pingEvery); passed > 0 {
		i.pings = max(0, i.pings-passed)
		i.since = time.Now()
	}
	if i.pings++; i.pings > maxPings {
		return fmt.Errorf("%w: too many pings", ErrProtocol)
	}
	return nil
}
