package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends of a session over loopback TCP, and its connections.
func pair(t *testing.T) (client, server *Mux, conns [2]*net.TCPConn) {
	t.Helper()
	a, b := loopback(t)
	client, server = Client(a, 0), Server(b, 0)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server, [2]*net.TCPConn{a.(*net.TCPConn), b.(*net.TCPConn)}
}

// open opens a stream and confirms it at the other end.
func open(t *testing.T, from, to *Mux) (opener, acceptor *Stream) {
	t.Helper()
	opener, err := from.Open(t.Context(), "target")
	if err != nil {
		t.Fatal(err)
	}
	acceptor, err = to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := acceptor.Confirm(); err != nil {
		t.Fatal(err)
	}
	return opener, acceptor
}

func TestBytesBothWays(t *testing.T) {
	client, server, _ := pair(t)
	for _, from := range []*Mux{client, server} {
		to := server
		if from == server {
			to = client
		}
		a, b := open(t, from, to)
		if b.Target() != "target" {
			t.Errorf("target %q", b.Target())
		}
		want := make([]byte, 5<<20+17)
		rand.Read(want)
		var wg sync.WaitGroup
		for _, way := range [][2]*Stream{{a, b}, {b, a}} {
			wg.Go(func() {
				if _, err := way[0].Write(want); err != nil {
					t.Error(err)
				}
				if err := way[0].CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(way[1])
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
				}
			})
		}
		wg.Wait()
		for _, s := range []*Stream{a, b} {
			if err := s.Drain(within(t, time.Second)); err != nil {
				t.Error(err)
			}
		}
	}
	await(t, "every place is given back", func() bool {
		return len(client.opened)+len(client.accepted)+len(server.opened)+len(server.accepted) == 0
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// await polls for a condition that another goroutine brings about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// Data may follow Open at once; a refusal comes with the first Read.
func TestOptimisticOpenAndRefusal(t *testing.T) {
	client, server, _ := pair(t)
	s, err := client.Open(t.Context(), "22")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("SSH-2.0")); err != nil {
		t.Fatal(err)
	}
	in, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.Refuse(proto.CodeNotExposed, "nothing here")
	_, err = s.Read(make([]byte, 1))
	var refused *RefusedError
	if !errors.As(err, &refused) || *refused != (RefusedError{s.RemoteAddr(), "22", proto.CodeNotExposed, "nothing here"}) {
		t.Errorf("read: %v, want the refusal", err)
	}
	if err := s.Opened(); !errors.As(err, &refused) {
		t.Errorf("Opened: %v, want the refusal", err)
	}
	await(t, "writing fails", func() bool { _, err := s.Write([]byte("x")); return err != nil })
}

// A stream that was cut off never reads as ended.
func TestCutIsNotEnd(t *testing.T) {
	cuts := map[string]func(c, s *Mux, conns [2]*net.TCPConn, theirs *Stream){
		"abort":          func(_, _ *Mux, _ [2]*net.TCPConn, theirs *Stream) { theirs.Abort() },
		"session closed": func(_, s *Mux, _ [2]*net.TCPConn, _ *Stream) { s.Close() },
		"connection FIN": func(_, _ *Mux, conns [2]*net.TCPConn, _ *Stream) { conns[1].CloseWrite() },
		"connection RST": func(_, _ *Mux, conns [2]*net.TCPConn, _ *Stream) { conns[1].SetLinger(0); conns[1].Close() },
		"close in a Write": func(_, _ *Mux, _ [2]*net.TCPConn, theirs *Stream) {
			go theirs.Write(make([]byte, 8*usualWindow))
			for theirs.write.TryLock() {
				theirs.write.Unlock()
			}
			theirs.Close()
		},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			client, server, conns := pair(t)
			mine, theirs := open(t, client, server)
			if _, err := theirs.Write([]byte("half of it")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(mine, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			cut(client, server, conns, theirs)
			if n, err := io.Copy(io.Discard, mine); !errors.Is(err, ErrAborted) {
				t.Errorf("read %d bytes, then %v, want ErrAborted", n, err)
			}
		})
	}
}

// END passes on one direction's end and leaves the other open.
func TestHalfClose(t *testing.T) {
	client, server, _ := pair(t)
	a, b := open(t, client, server)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %v, want EOF", err)
	}
	if _, err := b.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	b.CloseWrite()
	if got, err := io.ReadAll(a); err != nil || string(got) != "still here" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Close delivers what was written; who still writes learns that nobody reads.
func TestClose(t *testing.T) {
	client, server, _ := pair(t)
	a, b := open(t, client, server)
	want := make([]byte, usualWindow/2)
	if _, err := a.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || len(got) != len(want) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
	await(t, "writing fails", func() bool { _, err := b.Write([]byte("x")); return errors.Is(err, ErrReaderGone) })
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	await(t, "every place is given back", func() bool { return len(client.opened)+len(server.accepted) == 0 })
}

// A deadline in the middle of a chunk loses nothing.
func TestDeadlines(t *testing.T) {
	client, server, _ := pair(t)
	a, b := open(t, client, server)
	var timeout net.Error
	a.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := a.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read: %v, want a timeout", err)
	}
	a.SetReadDeadline(time.Time{})
	want := make([]byte, 3*usualWindow)
	rand.Read(want)
	b.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := b.Write(want) // the window is smaller
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("write: %d, %v, want a timeout", n, err)
	}
	b.SetWriteDeadline(time.Time{})
	go func() {
		b.Write(want[n:])
		b.CloseWrite()
	}()
	if got, err := io.ReadAll(a); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, want %d the same", len(got), err, len(want))
	}
}

// An Open whose context ends leaves nothing behind.
func TestOpenWithoutCredit(t *testing.T) {
	client, _, _ := pair(t)
	for range MaxStreams {
		if _, err := client.Open(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Open(within(t, 10*time.Millisecond), "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open beyond the cap: %v", err)
	}
}

// Bytes that break the protocol abort the stream, not the session.
func TestProtocolErrors(t *testing.T) {
	cases := map[string][]byte{
		"huge chunk":     {0xff, 0xff, 0xff, 0xff},
		"data after END": {0, 0, 0, 0, 0, 0, 0, 1, 'x'},
	}
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			client, server, _ := pair(t)
			a, b := open(t, client, server)
			if err := b.sendNow(raw); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, a)
			await(t, "the stream is dead", a.isClosed)
			c, d := open(t, client, server)
			d.CloseWrite()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("another stream: %v", err)
			}
		})
	}
}

func TestPing(t *testing.T) {
	client, server, _ := pair(t)
	for _, m := range []*Mux{client, server} {
		if rtt, err := m.Ping(within(t, time.Second)); err != nil || rtt <= 0 {
			t.Errorf("ping: %v, %v", rtt, err)
		}
	}
	server.Close()
	<-client.Done()
	if _, err := client.Ping(t.Context()); err == nil {
		t.Error("ping of a dead session")
	}
}
