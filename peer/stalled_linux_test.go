package peer

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"
)

// TestStalledConnectionIsReset shows that the kernel is not left with bytes that
// it cannot get rid of: they would be on their way to the peer still when the
// program's successor dials it.
func TestStalledConnectionIsReset(t *testing.T) {
	near, far := tcpPair(t)
	far.SetReadBuffer(64 << 10) // keeps its window from growing
	w := newWire(near, near)
	if w.isStalled() {
		t.Error("a new connection is stalled")
	}
	fill(t, w)
	if !w.isStalled() {
		t.Error("not stalled, though nobody reads")
	}
	s := &secured{wire: w} // without TLS, which it must not come to
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other end sees %v, want ECONNRESET", err)
	}
}

// TestBusyConnectionIsNotStalled has what was written leave within the time.
func TestBusyConnectionIsNotStalled(t *testing.T) {
	near, far := tcpPair(t)
	w := newWire(near, near)
	read := make(chan error, 1)
	go func() { // until near is closed
		_, err := io.Copy(io.Discard, far)
		read <- err
	}()
	if _, err := w.Write(make([]byte, 1<<20)); err != nil || w.isStalled() {
		t.Errorf("stalled, though the other end reads: %v", err)
	}
	near.Close()
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// fill writes until the kernel takes no more.
func fill(t *testing.T, w *wire) {
	t.Helper()
	much := make([]byte, 16<<20)
	w.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := w.Write(much); n == 0 || err == nil {
		t.Fatalf("%d bytes went to nobody, %v", n, err)
	}
}
