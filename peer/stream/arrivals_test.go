package stream

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// What was put in pieces of all sizes, copied or as blocks, is read as it came.
func TestArrivalsKeepOrder(t *testing.T) {
	const amount = 4 << 20
	want := make([]byte, amount)
	for i := range want {
		want[i] = byte(rand.Int())
	}
	var a arrivals
	bell := make(chan struct{}, 1) // stands for yamux
	var writer sync.WaitGroup
	writer.Go(func() {
		for left := want; len(left) > 0; {
			n := min(1+rand.IntN([]int{100, smallBlock, 2 * largeBlock}[rand.IntN(3)]), len(left))
			if arrive(&a, left[:n]) {
				notify(bell)
			}
			left = left[n:]
		}
	})
	got := make([]byte, 0, amount)
	for buf := make([]byte, 3*largeBlock); len(got) < amount; {
		n := a.read(buf[:1+rand.IntN(len(buf))])
		if n == 0 {
			<-bell
			a.heard()
		}
		got = append(got, buf[:n]...)
	}
	writer.Wait()
	if !bytes.Equal(got, want) {
		t.Error("read something else than what was put")
	}
	if a.first != nil || a.last != nil {
		t.Error("a block is left")
	}
}

// arrive puts p as the inbox does: what fills most of a block, as one.
func arrive(a *arrivals, p []byte) (tell bool) {
	if len(p) < worthABlock || len(p) > largeBlock {
		return a.put(p)
	}
	b := newLargeBlock()
	b.from = largeBlock - len(p)
	b.to = b.from + copy(b.bytes[b.from:], p)
	return a.take(b)
}

// The other end chooses the pieces: they must not cost more than twice what the
// window allows.
func TestArrivalsMemory(t *testing.T) {
	for _, sizes := range [][]int{{1}, {worthABlock, 1}, {worthABlock, smallBlock + 1}, {worthABlock - 1}} {
		var a arrivals
		put, held := 0, 0
		for i := range 1000 {
			n := sizes[i%len(sizes)]
			arrive(&a, make([]byte, n))
			put += n
		}
		for b := a.first; b != nil; b = b.next {
			held += len(b.bytes)
		}
		if held > 2*put+largeBlock {
			t.Errorf("pieces of %d: %d bytes hold %d", sizes, put, held)
		}
	}
}
