package peer

import (
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/peerd/peerd/punch/reuse"
)

// wire is what TLS writes to. TLS makes a system call for each record of 16 KiB;
// wire collects the records of one write into one. For reading TLS's own buffer
// is large enough: one of 48 or 128 KiB here cost more than it saved (ADR 005).
type wire struct {
	net.Conn
	socket syscall.Conn // beneath Conn; nil if it is none of the kernel's

	mu      sync.Mutex
	holding bool
	held    []byte
}

func newWire(conn, beneath net.Conn) *wire {
	socket, _ := beneath.(syscall.Conn)
	return &wire{Conn: conn, socket: socket}
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.holding {
		return w.Conn.Write(b)
	}
	w.held = append(w.held, b...)
	return len(b), nil
}

// mostHeld is what one write of the stream layer comes to, with TLS's headers.
const mostHeld = 320 << 10

var heldBuffers = sync.Pool{New: func() any { b := make([]byte, 0, mostHeld); return &b }}

// together makes everything that f writes one system call. It is not to be
// called again before it has returned.
func (w *wire) together(f func() (int, error)) (int, error) {
	buf := heldBuffers.Get().(*[]byte)
	w.mu.Lock()
	w.held, w.holding = (*buf)[:0], true
	w.mu.Unlock()
	n, err := f()
	w.mu.Lock()
	defer w.mu.Unlock()
	held := w.held
	w.held, w.holding = nil, false
	if len(held) > 0 {
		// Also if f failed: TLS may have written an alert that says why.
		if _, werr := w.Conn.Write(held); err == nil && werr != nil {
			n, err = 0, werr
		}
	}
	if cap(held) == mostHeld {
		heldBuffers.Put(buf)
	}
	return n, err
}

const (
	// stalledAfter is for how long the kernel may take to send what it has taken
	// before the connection is closed, and stalledPoll how often it is asked.
	stalledAfter = 200 * time.Millisecond
	stalledPoll  = 2 * time.Millisecond
)

// isStalled reports whether the kernel does not get rid of what was written.
func (w *wire) isStalled() bool {
	if w.socket == nil {
		return false
	}
	for since := time.Now(); reuse.Unsent(w.socket) > 0; time.Sleep(stalledPoll) {
		if time.Since(since) > stalledAfter {
			return true
		}
	}
	return false
}

// reset closes the connection with a RST, if it is the kernel's.
func (w *wire) reset() error {
	if l, ok := w.socket.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	return w.Conn.Close()
}

// LimitUnsent bounds what the kernel takes before it has sent what it has.
func (w *wire) LimitUnsent(bytes int) {
	if w.socket != nil {
		reuse.LimitUnsent(w.socket, bytes) // else it takes more: nothing depends on it
	}
}
