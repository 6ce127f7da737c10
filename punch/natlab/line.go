package natlab

import "time"

// line sends packets one after the other at a rate, with a drop-tail queue in front of it. The zero value takes no time.
type line struct {
	rate  int64 // bits per second; 0 is unlimited
	queue int   // bytes that may wait, the packet that is being sent included

	free time.Time // when all that was taken has been sent
}

// send takes a packet and returns when its last bit has left, or false if the queue is full.
func (l *line) send(now time.Time, size int) (left time.Time, ok bool) {
	if l.rate == 0 {
		return now, true
	}
	if l.free.Before(now) {
		l.free = now
	} else if l.waiting(now)+size > l.queue {
		return time.Time{}, false
	}
	l.free = l.free.Add(l.takes(size))
	return l.free, true
}

// waiting is how many bytes are still to be sent.
func (l *line) waiting(now time.Time) int {
	return int(l.free.Sub(now).Seconds() * float64(l.rate) / 8)
}

// takes is how long a packet's bits last.
func (l *line) takes(size int) time.Duration {
	return time.Duration(float64(size) * 8 / float64(l.rate) * float64(time.Second))
}
