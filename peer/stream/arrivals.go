package stream

import "sync"

// arrivals are what has arrived on a stream and nobody has read. They bypass
// yamux, which copies twice more and keeps a buffer that is as large as what
// once waited in it. Yamux still says when to read: while there is something here
// that its reader may not know of, a byte waits in yamux.
type arrivals struct {
	reading sync.Mutex // held during read

	mu          sync.Mutex // guards what follows, but for the bytes of blocks
	first, last *block
	told        bool // a byte waits in yamux, or is on its way there
}

// block is a piece of what has arrived: bytes[from:to].
type block struct {
	bytes    []byte
	from, to int
	next     *block
}

const (
	smallBlock = 4 << 10
	largeBlock = 16 << 10 // a TLS record
	// worthABlock is what becomes a block of its own, without being copied. The
	// blocks are at most twice as large as what is in them.
	worthABlock = largeBlock * 3 / 4
)

var (
	smallBlocks = sync.Pool{New: func() any { return &block{bytes: make([]byte, smallBlock)} }}
	largeBlocks = sync.Pool{New: func() any { return &block{bytes: make([]byte, largeBlock)} }}
)

func newLargeBlock() *block { return largeBlocks.Get().(*block) }

// recycle gives a block back that nobody refers to.
func (b *block) recycle() {
	b.from, b.to, b.next = 0, 0, nil
	if len(b.bytes) == smallBlock {
		smallBlocks.Put(b)
	} else {
		largeBlocks.Put(b)
	}
}

// put adds a copy of p. It reports whether yamux is to be told.
func (a *arrivals) put(p []byte) (tell bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(p) > 0 {
		if a.last == nil || a.last.to == len(a.last.bytes) {
			pool := &largeBlocks
			if len(p) <= smallBlock {
				pool = &smallBlocks
			}
			a.appendLocked(pool.Get().(*block))
		}
		n := copy(a.last.bytes[a.last.to:], p)
		a.last.to += n
		p = p[n:]
	}
	return a.tellLocked()
}

// take adds a block, which is the callee's from now on.
func (a *arrivals) take(b *block) (tell bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appendLocked(b)
	return a.tellLocked()
}

func (a *arrivals) appendLocked(b *block) {
	if a.last == nil {
		a.first = b
	} else {
		a.last.next = b
	}
	a.last = b
}

func (a *arrivals) tellLocked() bool {
	tell := !a.told
	a.told = true
	return tell
}

// heard notes that the byte in yamux was read.
func (a *arrivals) heard() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = false
}

// read moves what is there to b. It does not wait.
func (a *arrivals) read(b []byte) (n int) {
	a.reading.Lock()
	defer a.reading.Unlock()
	for n < len(b) {
		part := a.front()
		if len(part) == 0 {
			break
		}
		k := copy(b[n:], part)
		a.advance(k)
		n += k
	}
	return n
}

// front returns the unread bytes of the first block. Others are put behind them
// only.
func (a *arrivals) front() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == nil {
		return nil
	}
	return a.first.bytes[a.first.from:a.first.to]
}

// advance notes that n bytes of the first block were read.
func (a *arrivals) advance(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.first
	if b.from += n; b.from < b.to {
		return
	}
	if a.first = b.next; a.first == nil {
		a.last = nil
	}
	b.recycle()
}
