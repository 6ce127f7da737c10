package rendezvous

import (
	"container/heap"
	"time"
)

// timers is a queue of functions that are to be called at some time. It reads
// no clock and starts nothing. The zero value is empty and ready to use. It is
// not safe for concurrent use.
type timers struct {
	heap timerHeap
}

type timer struct {
	at    time.Time
	fire  func(now time.Time)
	index int // in the heap; -1 when it is not there
}

// set has fire called at the given time. It returns the timer for stop.
func (q *timers) set(at time.Time, fire func(now time.Time)) *timer {
	t := &timer{at: at, fire: fire}
	heap.Push(&q.heap, t)
	return t
}

// stop cancels t if it is pending; t may be nil.
func (q *timers) stop(t *timer) {
	if t != nil && t.index >= 0 {
		heap.Remove(&q.heap, t.index)
	}
}

// next returns when the earliest timer is due, or false if there is none.
func (q *timers) next() (time.Time, bool) {
	if len(q.heap) == 0 {
		return time.Time{}, false
	}
	return q.heap[0].at, true
}

// run calls what is due, in order.
func (q *timers) run(now time.Time) {
	for len(q.heap) > 0 && !q.heap[0].at.After(now) {
		heap.Pop(&q.heap).(*timer).fire(now)
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
