package stream

import (
	"fmt"
	"sync"
	"time"
)

// Flow control is this package's own. What yamux would grant to the other end
// is replaced on its way out, because yamux has one size for all windows, and
// the sum of them is what the other end can make this one buffer.
const (
	// firstWindow is what may be sent on a stream before anything was granted:
	// yamux's. With less, another yamux would wait for grants that do not come, or
	// send too much.
	firstWindow = 256 << 10
	// usualWindow is what a new stream gets while there is plenty.
	usualWindow = 1 << 20
	// maxWindow bounds a stream's window on a path of any length.
	maxWindow = 32 << 20
	// sharedWindows is what the streams of a session have in common beyond
	// firstWindow each.
	sharedWindows = 64 << 20
	// endReserve of a window is not for data, so that END and the byte after it
	// can always be sent.
	endReserve = 8
	// rate is the speed that windows are made for, in bytes a second.
	rate = 1e9 / 8
	// leastRTT stands for round trips that are not known or not worth knowing.
	leastRTT = time.Millisecond
)

// windows are those of a session's streams.
type windows struct {
	odd  bool          // the streams that the other end opens have odd numbers
	rtt  time.Duration // of the path
	most int           // a stream's window at most

	mu   sync.RWMutex
	all  map[uint32]*window
	free int // of sharedWindows
}

// newWindows makes room for twice what a path of that round trip has in flight:
// what is read is granted again a round trip later.
func newWindows(rtt time.Duration, odd bool) *windows {
	rtt = max(rtt, leastRTT)
	most := min(max(int(2*rtt.Seconds()*rate), usualWindow), maxWindow)
	return &windows{odd: odd, rtt: rtt, most: most, all: make(map[uint32]*window), free: sharedWindows}
}

// window is the flow control of one stream in both directions.
type window struct {
	of   *windows
	id   uint32
	wake chan struct{} // has a value when the writer should look again

	arrived arrivals

	mu       sync.Mutex
	credit   int  // bytes that this end may send, endReserve included
	finished bool // the other end has closed the stream: it takes nothing more
	fin      bool // by FIN

	size     int    // what the other end may have on the way or unread here
	granted  uint64 // bytes that the other end may have sent so far
	received uint64 // bytes that it has sent
	consumed uint64 // bytes of them that were read
	last     time.Time
	left     bool // the stream has ended: size was given back
}

// get returns the window of a stream.
func (w *windows) get(id uint32) *window {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.all[id]
}

// enter makes a window for a new stream.
func (w *windows) enter(id uint32) *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.all[id]; old != nil {
		return old // yamux will object
	}
	s := &window{
		of: w, id: id, wake: make(chan struct{}, 1),
		credit: firstWindow, size: firstWindow, granted: firstWindow,
	}
	w.all[id] = s
	return s
}

// leave undoes enter.
func (w *windows) leave(s *window) {
	s.mu.Lock()
	back := s.size - firstWindow
	if s.left {
		back = 0
	}
	s.left = true
	s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free += back
	if w.all[s.id] == s {
		delete(w.all, s.id)
	}
}

// borrow takes up to n bytes of what the streams share, and at most a part of
// what is left, so that the last one finds something, too.
func (w *windows) borrow(n, part int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = min(n, w.free/part)
	w.free -= n
	return n
}

// wakeAll has every writer look again.
func (w *windows) wakeAll() {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, s := range w.all {
		notify(s.wake)
	}
}

// incoming notes a frame of the other end's, and refuses one that it may not
// send.
func (w *windows) incoming(f frame) error {
	if f.kind != frameData && f.kind != frameWindow {
		return nil
	}
	s := w.get(f.stream)
	if f.flags&flagSYN != 0 {
		if (f.stream%2 == 1) != w.odd {
			return fmt.Errorf("%w: it opened a stream with a number of this end's", ErrProtocol)
		}
		if s != nil {
			return fmt.Errorf("%w: it opened a stream with a number that is in use", ErrProtocol)
		}
		s = w.enter(f.stream)
	}
	if s == nil {
		return nil // it has ended: yamux discards what comes
	}
	return s.incoming(f)
}

func (s *window) incoming(f frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.flags&(flagFIN|flagRST) != 0 {
		s.finished, s.fin = true, s.fin || f.flags&flagRST == 0
	}
	if f.kind == frameWindow {
		s.credit += int(f.length)
		notify(s.wake)
		return nil
	}
	s.received += uint64(f.length)
	if s.received > s.granted {
		return fmt.Errorf("%w: it sent more than it was granted", ErrProtocol)
	}
	return nil
}

// outgoing returns the frame that is to be sent instead of one of yamux's, and
// whether there is any: grants are this package's own.
func (w *windows) outgoing(f frame) (frame, bool) {
	if f.kind != frameWindow {
		return f, true
	}
	s := w.get(f.stream)
	if f.flags&flagSYN != 0 {
		s = w.enter(f.stream)
	}
	f.length = 0
	if s != nil && f.flags&(flagSYN|flagACK) != 0 {
		f.length = uint32(s.first())
	}
	return f, f.flags != 0
}

// first returns what is granted to a stream that is opened.
func (s *window) first() int {
	more := s.of.borrow(usualWindow-firstWindow, 8)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += more
	s.granted += uint64(more)
	s.last = time.Now()
	return more
}

// consume notes bytes that were read, and returns what is to be granted for
// them. A window that was used fast becomes larger.
func (s *window) consume(n int) (grant int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed += uint64(n)
	open := int(s.granted - s.consumed)
	if s.left || open > s.size/2 {
		return 0
	}
	now := time.Now()
	if now.Sub(s.last) < 2*s.of.rtt {
		s.size += s.of.borrow(min(s.size, max(0, s.of.most-s.size)), 2)
	}
	s.last = now
	s.granted += uint64(s.size - open)
	return s.size - open
}

// take takes credit for up to n bytes and a prefix. It returns 0 if there is
// not enough to be worth a frame.
func (s *window) take(n, prefix int) int {
	const worth = 4 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.credit - endReserve - prefix
	if room < min(n, worth) {
		return 0
	}
	n = min(n, room)
	s.credit -= n + prefix
	return n
}

// takeReserve takes the credit for END or the byte after it.
func (s *window) takeReserve(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit -= n
}

func (s *window) hasFIN() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fin
}

func (s *window) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
