package natlab

import (
	"container/heap"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// queue holds frames until they are due. It waits on a timerfd, because Go's own timers are late by up to a millisecond, and
// it sets the timer early by what waking up is seen to take.
type queue struct {
	timer *os.File
	done  chan struct{}

	mu      sync.Mutex
	waiting waiting
	next    uint64
	armed   time.Time // what the timer is set to
	lead    time.Duration
	closed  bool
}

// maxLead bounds how early a frame can be.
const maxLead = 100 * time.Microsecond

func newQueue() (*queue, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("natlab: make a timer: %w", err)
	}
	q := &queue{timer: os.NewFile(uintptr(fd), "timerfd"), done: make(chan struct{})}
	go q.run()
	return q, nil
}

// push has deliver called with a copy of f at a time. Frames that are due at the same time keep their order.
func (q *queue) push(due time.Time, f frame, deliver func(frame)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	w := &waiter{due: due, order: q.next, f: append(frame(nil), f...), deliver: deliver}
	heap.Push(&q.waiting, w)
	if q.waiting[0] == w {
		q.armLocked()
	}
}

// armLocked sets the timer to the first frame. A time of zero would stop it.
func (q *queue) armLocked() {
	if q.closed || len(q.waiting) == 0 {
		return
	}
	q.armed = q.waiting[0].due.Add(-q.lead)
	wait := max(1, time.Until(q.armed))
	conn, err := q.timer.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) {
		unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
	})
}

// run delivers until the queue is closed.
func (q *queue) run() {
	defer close(q.done)
	var expirations [8]byte
	for {
		if _, err := q.timer.Read(expirations[:]); err != nil {
			return
		}
		q.learn(time.Now())
		for w := q.pop(); w != nil; w = q.pop() {
			w.deliver(w.f)
		}
	}
}

// learn averages how late the timer wakes this goroutine.
func (q *queue) learn(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	late := min(max(0, now.Sub(q.armed)), maxLead)
	q.lead += (late - q.lead) / 8
}

// pop takes the first frame if it is due, else it arms the timer.
func (q *queue) pop() *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) == 0 {
		return nil
	}
	if time.Now().Add(q.lead).Before(q.waiting[0].due) {
		q.armLocked()
		return nil
	}
	return heap.Pop(&q.waiting).(*waiter)
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.timer.Close()
	<-q.done
}

type waiter struct {
	due     time.Time
	order   uint64
	f       frame
	deliver func(frame)
}

// waiting implements heap.Interface.
type waiting []*waiter

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if !w[i].due.Equal(w[j].due) {
		return w[i].due.Before(w[j].due)
	}
	return w[i].order < w[j].order
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(*waiter)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return x
}
