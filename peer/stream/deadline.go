package stream

import (
	"sync"
	"time"
)

// deadline is a moment that may be moved. Its zero value never comes.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed when it has come; nil: nobody has asked yet
	past    bool
}

// set moves the deadline; the zero time never comes.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.past {
		d.past, d.expired = false, nil
	}
	if t.IsZero() {
		return
	}
	if left := time.Until(t); left > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.timer == timer { // it has not been moved meanwhile
				d.expireLocked()
			}
		})
		d.timer = timer
		return
	}
	d.expireLocked()
}

func (d *deadline) expireLocked() {
	d.past = true
	if d.expired != nil {
		close(d.expired)
	}
}

// passed reports whether the deadline has come.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}

// wait returns a channel that is closed when the deadline comes. If it has come
// before, passed says so.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		d.expired = make(chan struct{})
		if d.past {
			close(d.expired)
		}
	}
	return d.expired
}
