package stream

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// inbox is what yamux reads from. It judges the frames before yamux does, notes
// whether the connection is alive, and gives data to the streams itself: yamux
// gets the frames' flags, and a byte of data where a reader may wait for one.
// While yamux waits for the rest of a frame, nobody can read from its stream,
// whatever the deadline; so it gets none of which not all has arrived.
type inbox struct {
	conn    net.Conn
	windows *windows
	failed  func(error)
	heard   atomic.Bool // something was read; the watcher resets it

	// The rest belongs to yamux's receiving goroutine.
	block  *block // what has arrived; nil if it was given to a stream
	unread []byte // the rest of it

	header [frameHeader]byte
	filled int     // bytes of header that have arrived
	frame  frame   // the one whose body is arriving
	body   int     // bytes of it that have not
	stream *window // whose it is; nil if that has ended
	told   []byte  // what yamux is being told
	tell   [frameHeader + 1]byte

	pings int // that the other end has sent, less what the time allows
	since time.Time
}

const (
	maxPings  = 32          // at once
	pingEvery = time.Second // one more is allowed
)

func newInbox(conn net.Conn, w *windows, failed func(error)) *inbox {
	return &inbox{conn: conn, windows: w, failed: failed}
}

// Read implements io.Reader. It waits only where yamux waits for a header.
func (i *inbox) Read(b []byte) (int, error) {
	for len(i.told) == 0 {
		if err := i.advance(); err != nil {
			i.failed(err)
			return 0, err
		}
	}
	n := copy(b, i.told)
	i.told = i.told[n:]
	return n, nil
}

// advance takes one step towards what yamux is to be told next.
func (i *inbox) advance() error {
	switch {
	case len(i.unread) == 0:
		return i.fill()
	case i.body > 0:
		i.deliver()
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
	if i.block == nil {
		i.block = newLargeBlock()
	}
	n, err := i.conn.Read(i.block.bytes)
	if n == 0 {
		return err
	}
	i.heard.Store(true)
	i.unread = i.block.bytes[:n]
	return nil // an error comes again
}

// begin takes up a frame.
func (i *inbox) begin(f frame) error {
	switch {
	case f.kind == frameData && f.length > maxWindow:
		return fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, f.length)
	case f.kind == frameGoAway: // yamux would go on, but open nothing any more
		return fmt.Errorf("the other end has given the session up (yamux's GoAway, code %d)", f.length)
	case f.kind == framePing && f.flags&flagSYN != 0:
		if err := i.ping(); err != nil {
			return err
		}
	}
	if err := i.windows.incoming(f); err != nil {
		return err
	}
	if i.frame, i.body = f, f.body(); i.body == 0 {
		i.told = f.append(i.tell[:0])
		return nil
	}
	i.stream = i.windows.get(f.stream)
	return nil
}

// deliver gives the stream as much of the body as has arrived, and tells yamux:
// the first piece has the frame's flags, but for FIN, which is the last one's.
func (i *inbox) deliver() {
	f := i.frame
	n := min(i.body, len(i.unread))
	if i.body -= n; i.body > 0 {
		f.flags &^= flagFIN
	}
	i.frame.flags &= flagFIN
	tell := i.give(n)
	if !tell && f.flags == 0 {
		return
	}
	f.length = 0
	if tell {
		f.length = 1
	}
	i.told = f.append(i.tell[:0])[:frameHeader+f.length]
}

// give gives the next n bytes to their stream. It reports whether yamux is to be
// told of a byte.
func (i *inbox) give(n int) (tell bool) {
	part := i.unread[:n]
	i.unread = i.unread[n:]
	switch {
	case i.stream == nil:
		return false
	case n < worthABlock || len(i.unread) > 0:
		return i.stream.arrived.put(part)
	}
	b := i.block
	i.block = nil
	b.to = cap(b.bytes) - cap(i.unread)
	b.from = b.to - n
	return i.stream.arrived.take(b)
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
