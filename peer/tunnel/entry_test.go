package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener is a listener whose Accept returns what is on its channel.
type fakeListener struct {
	results chan any // a net.Conn or an error
	closed  chan struct{}
}

func newFakeListener() *fakeListener {
	return &fakeListener{make(chan any), make(chan struct{})}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case r := <-l.results:
		if conn, ok := r.(net.Conn); ok {
			return conn, nil
		}
		return nil, r.(error)
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// acceptError is what accept fails with when something has run out.
func acceptError(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
}

var silence = slog.New(slog.DiscardHandler)

// That there are no descriptors left passes; the connections after it are taken.
func TestEntryWaitsForDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeListener()
		var handled atomic.Int32
		e := Entry{Log: silence, Handle: func(_ context.Context, c net.Conn) { c.Close(); handled.Add(1) }}
		served := make(chan error, 1)
		go func() { served <- e.Serve(t.Context(), l) }()
		begun := time.Now()
		for range 10 {
			l.results <- acceptError(syscall.EMFILE)
		}
		if took := time.Since(begun); took < time.Second || took > 10*time.Second {
			t.Errorf("ten failures took %v", took)
		}
		conn, _ := net.Pipe()
		l.results <- conn
		synctest.Wait()
		if handled.Load() != 1 {
			t.Error("the connection after them was not handled")
		}
		gone := errors.New("gone")
		l.results <- gone
		if err := <-served; err != gone {
			t.Errorf("Serve: %v, want the listener's error", err)
		}
	})
}

// A session may end with an error of a system call: its listener has ended, too.
func TestEntryEndsWithItsSession(t *testing.T) {
	l := newFakeListener()
	served := make(chan error, 1)
	go func() { served <- Entry{Log: silence}.Serve(t.Context(), l) }()
	lost := &net.OpError{Op: "accept", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	l.results <- lost
	if err := <-served; err != error(lost) {
		t.Errorf("Serve: %v", err)
	}
}

// The end of the context closes the listener and is waited for by all handlers.
func TestEntryEnds(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	accepted := make(chan struct{})
	var left atomic.Bool
	e := Entry{Log: silence, Handle: func(ctx context.Context, c net.Conn) {
		close(accepted)
		<-ctx.Done()
		c.Close()
		left.Store(true)
	}}
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, l) }()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-accepted
	enough := errors.New("enough")
	end(enough)
	if err := <-served; err != enough || !left.Load() {
		t.Errorf("Serve: %v, handler has returned: %v", err, left.Load())
	}
	if c, err := net.Dial("tcp4", l.Addr().String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}
