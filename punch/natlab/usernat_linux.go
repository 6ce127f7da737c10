package natlab

import (
	"sync"
	"time"
)

// userNAT moves frames through a translator.
type userNAT struct {
	box        *box
	quit, done chan struct{}

	mu sync.Mutex
	t  *translator
}

func (n *userNAT) fromInside(f frame) {
	n.mu.Lock()
	out := n.t.fromInside(time.Now(), f, nil)
	n.mu.Unlock()
	n.send(out)
}

func (n *userNAT) fromOutside(f frame) {
	n.mu.Lock()
	out := n.t.fromOutside(time.Now(), f, nil)
	n.mu.Unlock()
	n.send(out)
}

// send delivers what the translator made of a frame. The lock is not held: an answer may come back on the same goroutine.
func (n *userNAT) send(out []emit) {
	for _, e := range out {
		if !e.inside {
			n.box.out.send(e.f)
		} else {
			n.box.toInside(e.f)
		}
	}
}

// lateness bounds how much later than due a delayed answer leaves.
const lateness = 50 * time.Millisecond

// answerLate sends the delayed answers until close.
func (n *userNAT) answerLate() {
	defer close(n.done)
	if n.t.cfg.Unsolicited.After == 0 {
		<-n.quit
		return
	}
	tick := time.NewTicker(lateness)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			n.mu.Lock()
			out := n.t.tick(now, nil)
			n.mu.Unlock()
			n.send(out)
		case <-n.quit:
			return
		}
	}
}

func (n *userNAT) close() {
	close(n.quit)
	<-n.done
}
