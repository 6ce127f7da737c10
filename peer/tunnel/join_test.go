package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair returns the two ends of a TCP connection on loopback.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// joined returns the outer ends of two connections that Join connects, and what
// it returns.
func joined(t *testing.T) (left, right *net.TCPConn, result chan error) {
	t.Helper()
	left, l := pair(t)
	right, r := pair(t)
	result = make(chan error, 1)
	go func() { result <- Join(NewSocket(l), NewSocket(r)) }()
	return left, right, result
}

func TestJoinPassesEndsOn(t *testing.T) {
	left, right, result := joined(t)
	want := bytes.Repeat([]byte("request "), 100_000)
	go func() {
		left.Write(want)
		left.CloseWrite()
	}()
	if got, err := io.ReadAll(right); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
	// One direction has ended; the other goes on.
	io.WriteString(right, "answer")
	right.CloseWrite()
	if got, err := io.ReadAll(left); err != nil || string(got) != "answer" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-result; err != nil {
		t.Errorf("Join: %v, want nil", err)
	}
}

// A reset on one side must be a reset on the other, never an end.
func TestJoinPassesAbortsOn(t *testing.T) {
	for name, abort := range map[string]func(*net.TCPConn){
		"before data": func(c *net.TCPConn) {},
		"in data":     func(c *net.TCPConn) { io.WriteString(c, "half of it") },
	} {
		t.Run(name, func(t *testing.T) {
			left, right, result := joined(t)
			abort(left)
			left.SetLinger(0)
			left.Close()
			if got, err := io.ReadAll(right); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read %q, then %v, want a reset", got, err)
			}
			if err := <-result; err == nil {
				t.Error("Join: nil, want what failed")
			}
		})
	}
}

// A server may answer before it has read everything, and close: the client gets
// all of the answer, and is told that nobody takes the rest. The answer fits in
// a connection's first window: what does not is lost in the server's own kernel,
// which drops what it has not sent yet when it resets.
func TestJoinPassesAnEarlyAnswerOn(t *testing.T) {
	client, server, result := joined(t)
	answer := bytes.Repeat([]byte("answer "), 4_000)
	wrote := make(chan error, 1)
	go func() {
		for {
			if _, err := client.Write(make([]byte, 1<<20)); err != nil {
				wrote <- err
				return
			}
		}
	}()
	io.ReadFull(server, make([]byte, 1<<20))
	server.Write(answer)
	server.Close() // with much of the request unread: that is a reset
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("the client reads %d bytes, then %v, and not the whole answer", n, err)
	}
	if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client writes: %v, want a reset", err)
	}
	if err := <-result; err == nil {
		t.Error("Join: nil, want what failed")
	}
}

// A client that has ended its half and then closes is no more there for the
// server, which is told when it goes on.
func TestJoinTellsThatNobodyReads(t *testing.T) {
	client, server, result := joined(t)
	client.CloseWrite()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the server reads %v, want the end", err)
	}
	client.Close()
	for {
		if _, err := server.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	if err := <-result; err == nil {
		t.Error("Join: nil, want what failed")
	}
}

// mortalEnd is an End that may die while nothing happens to it.
type mortalEnd struct {
	*Socket
	done chan struct{}
}

func (m mortalEnd) Done() <-chan struct{} { return m.done }
func (m mortalEnd) Ended() bool           { return false }

// Where one side dies in silence, the other is reset although it said long ago
// that it sends no more.
func TestJoinNoticesDeath(t *testing.T) {
	left, l := pair(t)
	right, r := pair(t)
	dead := make(chan struct{})
	result := make(chan error, 1)
	go func() { result <- Join(NewSocket(l), mortalEnd{NewSocket(r), dead}) }()
	left.CloseWrite()
	if _, err := right.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %v, want the end", err)
	}
	close(dead)
	if n, err := left.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v, want a reset", n, err)
	}
	if err := <-result; err != errDied {
		t.Errorf("Join: %v, want %v", err, errDied)
	}
}

// goneEnd is an End that dies as soon as both directions have ended, and says so
// when it has been noticed.
type goneEnd struct {
	text    io.Reader
	done    chan struct{}
	noticed chan struct{}
}

func (g *goneEnd) Read(b []byte) (int, error) {
	n, err := g.text.Read(b)
	if err == io.EOF {
		close(g.done)
		<-g.noticed
	}
	return n, err
}

func (g *goneEnd) Write(b []byte) (int, error) { return len(b), nil }
func (g *goneEnd) CloseWrite() error           { return nil }
func (g *goneEnd) Close() error                { return nil }
func (g *goneEnd) Done() <-chan struct{}       { return g.done }
func (g *goneEnd) Ended() bool                 { close(g.noticed); return true }
func (g *goneEnd) Abort()                      { close(g.noticed) }

// Who has been told that everything was taken may go, and what was taken still
// arrives: peerd nc exits with 0 then.
func TestJoinDeliversWhatAnEndedSideHasLeft(t *testing.T) {
	left, l := pair(t)
	left.CloseWrite()
	want := bytes.Repeat([]byte("taken "), 100_000)
	result := make(chan error, 1)
	go func() {
		result <- Join(NewSocket(l), &goneEnd{bytes.NewReader(want), make(chan struct{}), make(chan struct{})})
	}()
	if err := <-result; err != nil {
		t.Errorf("Join: %v, want nil", err)
	}
	if got, err := io.ReadAll(left); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
}

// Many connections at once, half of them cut off, leave nothing behind.
func TestJoinLeavesNothingBehind(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			left, right, result := joined(t)
			io.WriteString(left, "x")
			if i%2 == 0 {
				left.SetLinger(0)
			}
			left.Close()
			io.Copy(io.Discard, right)
			right.Close()
			select {
			case <-result:
			case <-time.After(10 * time.Second):
				t.Error("Join goes on")
			}
		})
	}
	wg.Wait()
}
