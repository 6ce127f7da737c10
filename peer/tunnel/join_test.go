package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	go func() {
		result <- Join(NewSocket(l), NewSocket(r))
		l.Close()
		r.Close()
	}()
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

func TestCopyReportsTheWriter(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrShortWrite)
	if err := Copy(w, strings.NewReader("x")); err != io.ErrShortWrite {
		t.Errorf("Copy: %v", err)
	}
}
