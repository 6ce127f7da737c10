package punch

import (
	"sync"
	"time"
)

// loop is the one goroutine that an executor runs on, and its Clock in real
// time. Functions posted after the loop has ended are dropped.
type loop struct {
	queue chan func()
	quit  chan struct{} // closed when the loop is to end
	once  sync.Once
	tasks sync.WaitGroup // the loop itself, and whatever posts to it
}

func newLoop() *loop {
	l := &loop{queue: make(chan func()), quit: make(chan struct{})}
	l.tasks.Go(l.run)
	return l
}

func (l *loop) run() {
	for {
		select {
		case f := <-l.queue:
			f()
		case <-l.quit:
			return
		}
	}
}

// post runs f on the loop. It reports false if the loop has ended, or ends
// before f is taken.
func (l *loop) post(f func()) bool {
	select {
	case l.queue <- f:
		return true
	case <-l.quit:
		return false
	}
}

// end makes the loop return; it may be called on the loop itself.
func (l *loop) end() { l.once.Do(func() { close(l.quit) }) }

// Now implements Clock.
func (l *loop) Now() time.Time { return time.Now() }

// AfterFunc implements Clock. It is to be called on the loop.
func (l *loop) AfterFunc(d time.Duration, f func()) (stop func()) {
	stopped := false // owned by the loop
	var timer *time.Timer
	l.tasks.Add(1)
	timer = time.AfterFunc(d, func() {
		defer l.tasks.Done()
		l.post(func() {
			if !stopped {
				f()
			}
		})
	})
	return func() {
		stopped = true
		if timer.Stop() {
			l.tasks.Done()
		}
	}
}
