package punch

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/proto"
)

// entrance is a gate that serves a loopback port, and what has passed it.
type entrance struct {
	*Gate
	addr   string
	passed chan net.Conn
	served chan error
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &entrance{NewGate(slog.New(slog.DiscardHandler)), l.Addr().String(), make(chan net.Conn, 8), make(chan error, 1)}
	go func() { e.served <- e.Serve(l) }()
	t.Cleanup(func() {
		e.Close()
		if err := <-e.served; err != nil {
			t.Errorf("Serve = %v", err)
		}
		for len(e.passed) > 0 {
			(<-e.passed).Close()
		}
		goleak.VerifyNone(t)
	})
	return e
}

// open makes the introduction pending.
func (e *entrance) open() (forget func()) {
	return e.expect(introduction, func(c net.Conn, b []byte) error {
		p := proto.Preamble(b)
		if err := p.Verify(proto.Responder, introduction, secret); err != nil {
			return err
		}
		e.passed <- c
		return nil
	})
}

func (e *entrance) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (e *entrance) wantPassed(t *testing.T) {
	t.Helper()
	select {
	case c := <-e.passed:
		c.Close()
	case <-time.After(5 * time.Second):
		t.Fatal("nothing passed the gate")
	}
}

// wantClosed waits until the gate has closed a connection, which has said
// nothing.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Fatalf("read %d bytes, %v; want a closed connection", n, err)
	}
}

func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestGateIdleAcceptsNothing(t *testing.T) {
	e := newEntrance(t)
	c := e.dial(t)
	send(t, c, proof())
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("read: %v; want it to wait in the kernel's queue", err)
	}
	e.mu.Lock()
	if n := e.unproven.Len(); n > 0 {
		t.Errorf("%d sockets were accepted", n)
	}
	e.mu.Unlock()
	defer e.open()()
	e.wantPassed(t)
}

func TestGateIsIdleAgainAfterForget(t *testing.T) {
	e := newEntrance(t)
	e.open()()
	c := e.dial(t)
	send(t, c, proof())
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("read: %v; want it to wait in the kernel's queue", err)
	}
	defer e.open()()
	e.wantPassed(t)
}

func TestGateStrangersDoNotKeepAPeerOut(t *testing.T) {
	e := newEntrance(t)
	defer e.open()()
	strangers := make([]net.Conn, 200)
	for i := range strangers {
		strangers[i] = e.dial(t)
	}
	peer := e.dial(t)
	send(t, peer, proof())
	e.wantPassed(t)
	for _, s := range strangers[:200-proto.MaxUnproven] {
		wantClosed(t, s) // the oldest ones
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.unproven.Len(); n > proto.MaxUnproven {
		t.Errorf("%d unproven sockets", n)
	}
}

func TestGateTurnsAway(t *testing.T) {
	elsewhere := proto.NewPreamble(proto.Responder, proto.Token{99}, secret)
	guess := proto.NewPreamble(proto.Responder, introduction, proto.Secret{1, 2})
	own := proto.NewPreamble(proto.Initiator, introduction, secret)
	for name, b := range map[string][]byte{
		"garbage": bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10), "another introduction": elsewhere[:], "a wrong secret": guess[:], "an echo": own[:],
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntrance(t)
			defer e.open()()
			c := e.dial(t)
			send(t, c, b)
			wantClosed(t, c)
		})
	}
}

func TestGateReadsAPreambleByteByByte(t *testing.T) {
	e := newEntrance(t)
	defer e.open()()
	c := e.dial(t)
	for _, b := range proof() {
		send(t, c, []byte{b})
		time.Sleep(100 * time.Microsecond)
	}
	e.wantPassed(t)
}

// What follows the preamble is not the gate's to read.
func TestGateLeavesWhatFollows(t *testing.T) {
	e := newEntrance(t)
	defer e.open()()
	c := e.dial(t)
	send(t, c, append(proof(), "hello"...))
	select {
	case got := <-e.passed:
		defer got.Close()
		b := make([]byte, 5)
		if _, err := io.ReadFull(got, b); err != nil || string(b) != "hello" {
			t.Errorf("read %q, %v", b, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing passed the gate")
	}
}

func TestGateCloseClosesWhatIsUnproven(t *testing.T) {
	e := newEntrance(t)
	e.open()
	c := e.dial(t)
	send(t, c, proof()[:10])
	for {
		e.mu.Lock()
		n := e.unproven.Len()
		e.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	e.Close()
	wantClosed(t, c)
	if l, err := net.Listen("tcp", e.addr); err != nil {
		t.Errorf("the listener is still open: %v", err)
	} else if err := e.Serve(l); err != nil {
		t.Errorf("Serve after Close = %v", err)
	} else if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve after Close left the listener open: %v", err)
	}
}

// pipes is a listener of in-memory connections, for tests of time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestGateDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := NewGate(slog.New(slog.DiscardHandler)), &pipes{make(chan net.Conn), make(chan struct{})}
		go g.Serve(l)
		defer g.Close()
		defer g.expect(introduction, func(net.Conn, []byte) error { return nil })()
		near, far := net.Pipe()
		start := time.Now()
		l.conns <- far
		near.Write(proof()[:proto.PreambleSize-1])
		near.Read(make([]byte, 1))
		if d := time.Since(start); d != proto.PreambleDeadline {
			t.Errorf("closed after %v, want %v", d, proto.PreambleDeadline)
		}
	})
}

// failing is a listener on which every Accept fails.
type failing struct{ pipes }

func (f *failing) Accept() (net.Conn, error) {
	select {
	case <-f.done:
		return nil, net.ErrClosed
	default:
		return nil, errors.New("too many open files")
	}
}

func TestGateDoesNotSpinWhenAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := NewGate(slog.New(slog.DiscardHandler)), &failing{pipes{done: make(chan struct{})}}
		done := make(chan error)
		go func() { done <- g.Serve(l) }()
		g.expect(introduction, func(net.Conn, []byte) error { return nil })
		time.Sleep(time.Second)
		g.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// Whatever comes first, the gate hands over exactly what proves the
// introduction, and closes the rest.
func FuzzGatePreamble(f *testing.F) {
	f.Add(proof())
	f.Add(proof()[:20])
	f.Add(make([]byte, proto.PreambleSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := NewGate(slog.New(slog.DiscardHandler))
		passed := make(chan []byte, 1)
		defer g.expect(introduction, func(_ net.Conn, b []byte) error {
			p := proto.Preamble(b)
			err := p.Verify(proto.Responder, introduction, secret)
			if err == nil {
				passed <- b
			}
			return err
		})()
		near, far := net.Pipe()
		g.admit(far)
		near.Write(b)
		near.Close()
		g.tasks.Wait()
		want := false
		if len(b) >= proto.PreambleSize {
			p := proto.Preamble(b[:proto.PreambleSize])
			want = p.Verify(proto.Responder, introduction, secret) == nil
		}
		if got := len(passed) == 1; got != want {
			t.Fatalf("passed %t, want %t", got, want)
		}
		far.Close()
	})
}
