package tunnel

import (
	"cmp"
	"errors"
	"io"
	"sync"
)

// End is one side of a tunnel.
type End interface {
	io.Reader // returns io.EOF only if the other side has ended cleanly
	io.Writer
	// CloseWrite says that no more is written; reading goes on.
	CloseWrite() error
	// Abort ends both directions so that the far end sees that it was cut off.
	Abort()
	// Close ends both directions without waiting. What was written is still
	// delivered; a far end that goes on writing is told that nobody reads.
	Close() error
}

var errDied = errors.New("what carries one side of the tunnel has ended")

// mortal is an End that may die while nobody reads or writes it.
type mortal interface {
	Done() <-chan struct{}
	// Ended reports whether both directions have ended before: the far end has
	// been told by then that everything was taken, and may be gone.
	Ended() bool
}

// Join copies in both directions until both have ended, and closes both sides.
// Each end is passed on as soon as it comes. If reading a side fails, or a side
// dies, both are aborted. A side that cannot be written to any more may still
// have much to say: that is passed on, and the other side is then closed with
// what it sent unread. Join returns what failed first, or nil.
func Join(a, b End) error {
	j := joint{a: a, b: b, over: make(chan struct{})}
	j.watch(a)
	j.watch(b)
	var wg sync.WaitGroup
	wg.Go(func() { j.copy(b, a) })
	j.copy(a, b)
	wg.Wait()
	close(j.over)
	j.watchers.Wait()
	a.Close()
	b.Close()
	return cmp.Or(j.failed, j.refused)
}

// joint is what Join's goroutines share.
type joint struct {
	a, b     End
	over     chan struct{}
	watchers sync.WaitGroup

	mu      sync.Mutex
	failed  error // of a side that was read, or that died
	refused error // of a side that was written to
}

// copy copies one direction and passes its end on.
func (j *joint) copy(dst, src End) {
	to := &sink{w: dst}
	err := Copy(to, src)
	switch {
	case err == nil:
		j.note(dst.CloseWrite())
	case to.err != nil:
		j.note(to.err)
	default:
		j.fail(err)
	}
}

// note keeps an error of a side that takes no more. If all of it is broken, its
// reader will say so.
func (j *joint) note(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused = cmp.Or(j.refused, err)
}

func (j *joint) fail(err error) {
	j.mu.Lock()
	first := j.failed == nil
	j.failed = cmp.Or(j.failed, err)
	j.mu.Unlock()
	if first {
		j.a.Abort()
		j.b.Abort()
	}
}

// watch aborts both sides when one of them dies before its time.
func (j *joint) watch(end End) {
	m, ok := end.(mortal)
	if !ok {
		return
	}
	j.watchers.Go(func() {
		select {
		case <-m.Done():
			if !m.Ended() {
				j.fail(errDied)
			}
		case <-j.over:
		}
	})
}

// sink remembers that it was the writer that failed.
type sink struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (s *sink) Write(b []byte) (n int, err error) {
	n, s.err = s.w.Write(b)
	return n, s.err
}
