package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// world is virtual time and what is going to happen in it.
type world struct {
	now   time.Duration // since the server issued the transcript
	queue queue
	order uint64
	log   func(format string, args ...any) // nil: nobody reads it
}

// timer is something that is going to happen.
type timer struct {
	at    time.Duration
	order uint64
	do    func() // nil once it is stopped
}

func (t *timer) stop() {
	if t != nil {
		t.do = nil
	}
}

// at calls do at a moment, or at once if that has passed. What is due at the
// same moment happens in the order in which it was asked for.
func (w *world) at(moment time.Duration, do func()) *timer {
	w.order++
	t := &timer{at: max(moment, w.now), order: w.order, do: do}
	heap.Push(&w.queue, t)
	return t
}

func (w *world) after(d time.Duration, do func()) *timer { return w.at(w.now+d, do) }

// run lets time pass until the end, or until done says that it is enough.
func (w *world) run(end time.Duration, done func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end && !done() {
		t := heap.Pop(&w.queue).(*timer)
		if t.do == nil {
			continue
		}
		w.now = t.at
		do := t.do
		t.do = nil
		do()
	}
}

func (w *world) logf(format string, args ...any) {
	if w.log != nil {
		w.log(format, args...)
	}
}

// source returns the n-th independent source of randomness of a seed.
func source(seed, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// queue implements heap.Interface.
type queue []*timer

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*timer)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}
