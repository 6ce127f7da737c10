//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package punch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/proto"
)

// node is one host of a punch over loopback with the kernel's sockets: a
// listener, and dials that share its port.
type node struct {
	listener net.Listener
	gate     *Gate
	run      *Run
}

func newNode(t *testing.T) *node {
	t.Helper()
	lc := net.ListenConfig{Control: sharePort}
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{listener: l, gate: NewGate(slog.New(slog.DiscardHandler))}
	go n.gate.Serve(l)
	t.Cleanup(func() {
		if n.run != nil {
			n.run.Stop()
		}
		n.gate.Close()
	})
	return n
}

func sharePort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}); cerr != nil {
		return cerr
	}
	return err
}

// dial is what package peer gives Start where no dial can be quiet.
func (n *node) dial(ctx context.Context, to netip.AddrPort, _ int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: n.listener.Addr(), Control: sharePort}
	c, err := d.DialContext(ctx, "tcp4", to.String())
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return nil, fmt.Errorf("%w: %v", ErrRefused, err)
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("%w: %v", ErrTupleInUse, err)
	}
	return nil, err
}

func (n *node) addr() string { return n.listener.Addr().String() }

func (n *node) start(t *testing.T, tr *proto.Transcript, role proto.Role, key proto.Secret) {
	t.Helper()
	run, err := Start(RunConfig{
		Transcript: tr, Role: role, Secret: key, Received: time.Now(), Dial: dialling(n.dial), Gate: n.gate,
		Trace: func(e Event) { t.Log(role, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.run = run
}

// pair is two nodes and their transcript.
func pair(t *testing.T) (a, b *node, tr *proto.Transcript) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // the last one to run
	a, b = newNode(t), newNode(t)
	transcript := transcript(a.addr(), b.addr(), 1000, 1000)
	return a, b, &transcript
}

// speak writes on every connection that a run delivers, until the test ends, and
// reports what is read where something can be.
func speak(t *testing.T, r *Run, say string) <-chan string {
	heard, done := make(chan string, cap(r.conns)), make(chan struct{})
	t.Cleanup(func() { close(done) })
	talk := func(c *Conn) {
		defer c.Close()
		io.WriteString(c, say)
		b := make([]byte, len(say))
		if _, err := io.ReadFull(c, b); err == nil {
			heard <- string(b)
			<-done
		}
	}
	go func() {
		for {
			select {
			case c := <-r.Conns():
				go talk(c)
			case <-done:
				return
			}
		}
	}()
	return heard
}

func wantHeard(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	case <-time.After(time.Second):
		t.Fatal("no connection within a second")
	}
}

func TestTwoRunsConnect(t *testing.T) {
	for _, late := range []time.Duration{0, 30 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) {
			a, b, tr := pair(t)
			a.start(t, tr, proto.Initiator, secret)
			fromA := speak(t, a.run, "from initiator")
			time.Sleep(late)
			b.start(t, tr, proto.Responder, secret)
			fromB := speak(t, b.run, "from responder")
			wantHeard(t, fromA, "from responder")
			wantHeard(t, fromB, "from initiator")
			if a.run.Err() != nil || a.run.SYNs() == 0 && b.run.SYNs() == 0 {
				t.Errorf("Err %v, SYNs %d and %d", a.run.Err(), a.run.SYNs(), b.run.SYNs())
			}
		})
	}
}

// A connection is delivered before the proof, so that data leaves at once; its
// Read waits for the proof, and fails if there is none.
func TestReadWaitsForTheProof(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a := newNode(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tr := transcript(a.addr(), l.Addr().String(), 1000, 1000)
	a.start(t, &tr, proto.Initiator, secret)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c := <-a.run.Conns()
	defer c.Close()
	read := make(chan error, 1)
	go func() {
		b := make([]byte, 2)
		_, err := io.ReadFull(c, b)
		if err == nil && string(b) != "hi" {
			err = fmt.Errorf("read %q", b)
		}
		read <- err
	}()
	var preamble proto.Preamble
	if _, err := io.ReadFull(peer, preamble[:]); err != nil {
		t.Fatal(err)
	}
	if err := preamble.Verify(proto.Initiator, introduction1, secret); err != nil {
		t.Error(err)
	}
	select {
	case err := <-read:
		t.Fatalf("Read returned %v before the proof", err)
	case <-time.After(50 * time.Millisecond):
	}
	mine := proto.NewPreamble(proto.Responder, introduction1, secret)
	send(t, peer, append(mine[:], "hi"...))
	if err := <-read; err != nil {
		t.Error(err)
	}
}

var introduction1 = proto.Token{1} // of transcript

func TestReadFailsWithoutAProof(t *testing.T) {
	a, b, tr := pair(t)
	a.start(t, tr, proto.Initiator, secret)
	b.start(t, tr, proto.Responder, proto.Secret{66})
	select {
	case c := <-a.run.Conns():
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("read %d bytes, %v, from one with another secret", n, err)
		}
		c.Close()
	case c := <-b.run.Conns():
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("read %d bytes, %v, from one with another secret", n, err)
		}
		c.Close()
	case <-time.After(5 * time.Second):
		t.Fatal("no connection")
	}
}

func TestStopEndsADialUnderWay(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a := newNode(t)
	tr := transcript(a.addr(), obsB, 1000, 1000)
	started := make(chan struct{})
	run, err := Start(RunConfig{
		Transcript: &tr, Role: proto.Initiator, Secret: secret, Received: time.Now(), Gate: a.gate,
		Dial: dialling(func(ctx context.Context, _ netip.AddrPort, _ int) (net.Conn, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	run.Stop()
	run.Stop()
	if n := run.SYNs(); n != 0 {
		t.Errorf("%d SYNs after Stop", n)
	}
}

func TestStopClosesWhatNobodyReceived(t *testing.T) {
	a, b, tr := pair(t)
	a.start(t, tr, proto.Initiator, secret)
	b.start(t, tr, proto.Responder, secret)
	c := <-a.run.Conns()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b.run.Stop()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Error("the other end was not closed")
	}
	c.Close()
}

func TestStartFailsWithoutAPlan(t *testing.T) {
	tr := transcript(obsA, obsB, 1, 1)
	tr.PlanVersion = 9
	if _, err := Start(RunConfig{Transcript: &tr, Role: proto.Initiator}); err == nil {
		t.Error("no error")
	}
}

func TestClosedConnReadReturns(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := &Conn{Conn: near, judge: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read = %v", err)
	}
}

// blockingDial is a dial that nobody can look at before its end.
type blockingDial func(ctx context.Context) (net.Conn, error)

func (d blockingDial) Wait(ctx context.Context) (net.Conn, error) { return d(ctx) }
func (blockingDial) Answered() bool                               { return false }
func (blockingDial) Acknowledged() bool                           { return true }

func dialling(dial func(context.Context, netip.AddrPort, int) (net.Conn, error)) func(netip.AddrPort, DialOptions) Dialling {
	return func(to netip.AddrPort, o DialOptions) Dialling {
		return blockingDial(func(ctx context.Context) (net.Conn, error) { return dial(ctx, to, o.TTL) })
	}
}
