package stream

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// outbox is what a session sends. Streams put their frames here, and so does
// yamux; one goroutine writes them to the connection, as many at once as have
// come together meanwhile. Nothing but that goroutine ever waits for the
// connection: who has data waits for room here, which a deadline can end.
type outbox struct {
	conn    net.Conn
	windows *windows
	failed  func(error)
	ready   chan struct{} // has a value when there is something for run

	mu      sync.Mutex
	pending []byte
	writing int       // bytes that run has taken and not written yet
	wrote   bool      // something was written; the watcher resets it
	idle    bool      // run waits for ready
	most    int       // bytes here beyond which data has to wait
	queue   []*window // of the streams that wait for room, in turn
	err     error     // why nothing more is sent
	drained chan struct{}

	pace pace // belongs to run
}

const (
	// leastQueue and mostQueue bound what may wait above TCP.
	leastQueue = 32 << 10
	mostQueue  = 256 << 10
	// firstQueue may wait before the connection's speed is known.
	firstQueue = 64 << 10
	// A small write does not queue up behind large ones.
	smallWrite = 2 << 10
	// leastPiece is what a large write is not cut below.
	leastPiece = 16 << 10
	// mostControl bounds what is not data and the other end does not take:
	// answers, ends, grants. Its own streams are the cause of all of them.
	mostControl = 1 << 20
)

func newOutbox(conn net.Conn, w *windows, failed func(error)) *outbox {
	return &outbox{conn: conn, windows: w, failed: failed, ready: make(chan struct{}, 1), most: firstQueue}
}

// errControl means that the other end makes this one talk and does not listen.
var errControl = fmt.Errorf("%w: it takes no answers", ErrProtocol)

// Write implements io.Writer for yamux, which brings headers only: the streams'
// data does not pass through it. It never waits, and never fails: yamux would
// close the connection, and with it lose what has arrived.
func (o *outbox) Write(b []byte) (int, error) {
	f := parseFrame(b)
	if f.kind == frameData {
		return 0, errors.New("a data frame from yamux") // nobody writes to a yamux stream
	}
	f, any := o.windows.outgoing(f)
	if any {
		o.control(f, nil)
	}
	return len(b), nil
}

// grant lets the other end send more.
func (o *outbox) grant(s *window, n int) {
	o.control(frame{kind: frameWindow, stream: s.id, length: uint32(n)}, nil)
}

// control sends a frame that does not wait for room.
func (o *outbox) control(f frame, body []byte) error {
	err := o.controlLocking(f, body)
	if errors.Is(err, errControl) {
		o.failed(err)
	}
	return err
}

func (o *outbox) controlLocking(f frame, body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && len(o.pending)+o.writing > mostQueue+mostControl {
		o.err = errControl
	}
	if o.err != nil {
		return o.err
	}
	o.growLocked(frameHeader + len(body))
	o.pending = append(f.append(o.pending), body...)
	o.kickLocked()
	return nil
}

// send sends as much of b as there is room and credit for, as one chunk. If it
// returns 0 and no error, the stream waits for its window's wake, or gives up.
func (o *outbox) send(s *window, b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	room := o.roomLocked(s, len(b))
	if room == 0 {
		if !slices.Contains(o.queue, s) {
			o.queue = append(o.queue, s)
		}
		return 0, nil
	}
	n := s.take(min(room, len(b), proto.MaxChunk), proto.ChunkHeader)
	if n > 0 {
		o.growLocked(frameHeader + proto.ChunkHeader + n)
		f := frame{kind: frameData, stream: s.id, length: uint32(n + proto.ChunkHeader)}
		o.pending = append(appendLength(f.append(o.pending), n), b[:n]...)
		o.kickLocked()
	}
	o.nextLocked(s)
	return n, nil
}

// roomLocked returns how much of n bytes a stream may send now.
func (o *outbox) roomLocked(s *window, n int) int {
	switch queued := len(o.pending) + o.writing; {
	case n <= smallWrite && queued < 2*o.most:
		return n
	case queued >= o.most, len(o.queue) > 0 && o.queue[0] != s:
		return 0
	default:
		room := max(o.most-queued, leastPiece)
		if n-room <= smallWrite {
			return n // a rest this small would wait for its own turn
		}
		return room
	}
}

// giveUp takes a stream out of the queue.
func (o *outbox) giveUp(s *window) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nextLocked(s)
}

// nextLocked takes a stream out of the queue and wakes the one in front.
func (o *outbox) nextLocked(s *window) {
	if i := slices.Index(o.queue, s); i >= 0 {
		o.queue = slices.Delete(o.queue, i, i+1)
	}
	o.wakeLocked()
}

func (o *outbox) wakeLocked() {
	if len(o.queue) > 0 && len(o.pending)+o.writing < o.most {
		notify(o.queue[0].wake)
	}
}

func (o *outbox) kickLocked() {
	if o.idle {
		o.idle = false
		notify(o.ready)
	}
}

// Buffers are small while little is sent, and large ones are shared.
const (
	smallBuffer = 4 << 10
	largeBuffer = mostQueue + 2*leastPiece
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, largeBuffer); return &b }}

// growLocked makes room in pending for n bytes.
func (o *outbox) growLocked(n int) {
	need := len(o.pending) + n
	switch {
	case need <= cap(o.pending):
	case need <= smallBuffer:
		o.pending = append(make([]byte, 0, smallBuffer), o.pending...)
	case need <= largeBuffer:
		o.pending = append((*buffers.Get().(*[]byte))[:0], o.pending...)
	}
}

// recycle gives a large buffer back.
func recycle(b []byte) []byte {
	if cap(b) <= smallBuffer {
		return b[:0]
	}
	if cap(b) == largeBuffer {
		large := b[:0] // b itself would be allocated, in every case
		buffers.Put(&large)
	}
	return nil
}

// run writes what comes until stop is called or the connection fails, and
// returns the connection's error.
func (o *outbox) run() error {
	var batch []byte
	for {
		if batch = o.next(batch[:0]); batch == nil {
			return nil
		}
		begun := time.Now()
		_, err := o.conn.Write(batch)
		o.written(len(batch), time.Since(begun), err)
		if err != nil {
			return err
		}
	}
}

// next returns what is to be written, in exchange for an empty buffer.
func (o *outbox) next(empty []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) == 0 || o.err != nil {
		empty, o.pending = recycle(empty), recycle(o.pending)
		if o.drained != nil {
			close(o.drained)
			o.drained = nil
		}
		if o.err != nil {
			return nil
		}
		o.idle = true
		o.mu.Unlock()
		<-o.ready
		runtime.Gosched() // others who are about to send come along
		o.mu.Lock()
	}
	batch := o.pending
	o.pending, o.writing = empty, len(batch)
	return batch
}

// written notes the result of a write.
func (o *outbox) written(n int, took time.Duration, err error) {
	most, unsent := o.pace.add(n, took)
	if unsent > 0 {
		if c, ok := o.conn.(interface{ LimitUnsent(bytes int) }); ok {
			c.LimitUnsent(unsent)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing, o.wrote, o.most = 0, true, most
	if err != nil && o.err == nil {
		o.err = err
	}
	o.wakeLocked()
}

// stop makes run end once the connection lets it.
func (o *outbox) stop(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.kickLocked()
}

// flush waits until everything is written, but no longer than limit.
func (o *outbox) flush(limit time.Duration) {
	o.mu.Lock()
	if o.err != nil || len(o.pending)+o.writing == 0 {
		o.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	o.drained = drained
	o.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	}
}

// stalled reports whether a write is under way and none has ended since the
// last call.
func (o *outbox) stalled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	wrote := o.wrote
	o.wrote = false
	return o.writing > 0 && !wrote
}
