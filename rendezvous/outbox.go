package rendezvous

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// wire is a raw connection whose first byte was read already, and whose writes
// all have a deadline: those that crypto/tls makes by itself while reading,
// too.
type wire struct {
	net.Conn
	first []byte     // still to be read
	wrote *time.Time // of the last write; nil but during a server's handshake, which is one goroutine's
}

func (w *wire) Read(b []byte) (int, error) {
	if len(w.first) > 0 {
		n := copy(b, w.first)
		w.first = w.first[n:]
		return n, nil
	}
	return w.Conn.Read(b)
}

func (w *wire) Write(b []byte) (int, error) {
	now := time.Now()
	if err := w.SetWriteDeadline(now.Add(stallTimeout)); err != nil {
		return 0, err
	}
	if w.wrote != nil {
		*w.wrote = now
	}
	return w.Conn.Write(b)
}

// errOverflow means that the other side does not read what it is sent.
var errOverflow = errors.New("too many messages wait for the other side to read")

// outbox is the sending half of a control connection. Sending never blocks:
// messages queue up, and a goroutine that exists only while there are some
// writes them. If too many queue up, or the other side does not take them in
// time, the connection is closed and its reader learns it there. It is safe
// for concurrent use.
type outbox struct {
	conn *tls.Conn
	raw  net.Conn
	max  int
	// wg counts the writing goroutine. Whoever reads the connection is counted
	// there as well and calls close before it is done, so that the counter
	// never rises from 0.
	wg *sync.WaitGroup

	mu      sync.Mutex
	queue   []proto.Message
	writing bool // the goroutine exists
	ending  bool // the last message is in the queue or sent
	closed  bool
	cause   error // why it was closed, if that was not the reader's doing
	pingN   uint64
	pingAt  time.Time // zero unless a pong is due
}

// send queues a message. After last or close it does nothing.
func (o *outbox) send(m proto.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sendLocked(m)
}

// last queues a message after which the connection is closed: at once for
// writing, and for reading when the other side has closed it or after
// lingerTimeout.
func (o *outbox) last(m proto.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sendLocked(m)
	o.ending = true
}

func (o *outbox) sendLocked(m proto.Message) {
	if o.ending || o.closed {
		return
	}
	if len(o.queue) >= o.max {
		o.closeLocked(errOverflow)
		return
	}
	o.queue = append(o.queue, m)
	if !o.writing {
		o.writing = true
		o.wg.Go(o.drain)
	}
}

// ping queues a Ping, whose round trip ponged will return.
func (o *outbox) ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pingN++
	o.pingAt = time.Time{}
	o.sendLocked(&proto.Ping{N: o.pingN})
}

// ponged returns the round trip of the latest ping if n is its number and it
// was not answered before.
func (o *outbox) ponged(n uint64, received time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n != o.pingN || o.pingAt.IsZero() {
		return 0, false
	}
	d := received.Sub(o.pingAt)
	o.pingAt = time.Time{}
	return d, true
}

// extend gives the other side that long to send its next message.
func (o *outbox) extend(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending {
		o.raw.SetReadDeadline(time.Now().Add(d))
	}
}

// close closes the connection without waiting for what is queued. The cause is
// nil if it is that of the reader.
func (o *outbox) close(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(cause)
}

func (o *outbox) closeLocked(cause error) {
	if o.closed {
		return
	}
	o.closed, o.cause = true, cause
	o.queue = nil
	o.raw.Close() // not o.conn: its Close waits for an alert to be sent
}

// reason returns why the connection ended, err being what its reader saw.
func (o *outbox) reason(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return cmp.Or(o.cause, err)
}

// drain writes what is queued until nothing is.
func (o *outbox) drain() {
	for {
		batch, ending := o.take()
		switch {
		case len(batch) > 0:
			if err := o.write(batch); err != nil {
				o.close(err)
			}
			continue
		case ending:
			o.halfClose()
		}
		return
	}
}

// take empties the queue. If it was empty, the caller is no longer the writer,
// and ending says whether the last message was sent.
func (o *outbox) take() (batch []proto.Message, ending bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch, o.queue = o.queue, nil
	for _, m := range batch {
		if p, ok := m.(*proto.Ping); ok && p.N == o.pingN {
			o.pingAt = time.Now()
		}
	}
	o.writing = len(batch) > 0
	return batch, o.ending && !o.closed
}

// write writes a batch with one call, so that it is one packet if it can be.
func (o *outbox) write(batch []proto.Message) (err error) {
	var frames []byte
	for _, m := range batch {
		if frames, err = proto.Append(frames, m); err != nil {
			return err
		}
	}
	_, err = o.conn.Write(frames)
	return err
}

func (o *outbox) halfClose() {
	o.conn.CloseWrite()
	if raw, ok := o.raw.(interface{ CloseWrite() error }); ok {
		raw.CloseWrite()
	}
	o.raw.SetReadDeadline(time.Now().Add(lingerTimeout))
}
