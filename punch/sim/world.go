package sim

import (
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
	do func() // nil once it is stopped
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
	t := &timer{do}
	w.queue.push(event{max(moment, w.now), w.order, t})
	return t
}

func (w *world) after(d time.Duration, do func()) *timer { return w.at(w.now+d, do) }

// run lets time pass until the end, or until done says that it is enough.
func (w *world) run(end time.Duration, done func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end && !done() {
		e := w.queue.pop()
		do := e.timer.do
		if do == nil {
			continue
		}
		w.now = e.at
		e.timer.do = nil
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

// queue is a heap of what is going to happen, the next first. It is not
// container/heap's because a case spends a fifth of its time there otherwise.
type queue []event

// event is a timer's place in the queue.
type event struct {
	at    time.Duration
	order uint64
	timer *timer
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

func (q *queue) push(e event) {
	*q = append(*q, e)
	list := *q
	for i := len(list) - 1; i > 0; {
		parent := (i - 1) / 2
		if !list[i].before(&list[parent]) {
			return
		}
		list[i], list[parent] = list[parent], list[i]
		i = parent
	}
}

func (q *queue) pop() event {
	list := *q
	first, last := list[0], len(list)-1
	list[0], list[last] = list[last], event{}
	list = list[:last]
	*q = list
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if list[child].before(&list[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		list[i], list[least] = list[least], list[i]
		i = least
	}
}
