package rendezvous

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/proto"
)

func localhost(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func openOrigins(t *testing.T) *Origins {
	t.Helper()
	o, err := OpenOrigins()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// One port is silent, the other refuses, from outside as from inside.
func TestOrigins(t *testing.T) {
	o := openOrigins(t)
	d := net.Dialer{Timeout: 300 * time.Millisecond}
	for _, network := range []string{"127.0.0.1", "[::1]"} {
		if conn, err := d.Dial("tcp", network+":"+strconv.Itoa(int(o.silent))); !isTimeout(err) {
			t.Errorf("the silent port at %s: %v, %v", network, conn, err)
		}
		if answer := dialOnce(t.Context(), localhost(0), localhost(o.closed), 5*time.Second); answer != proto.AnswerReset {
			t.Errorf("the closed port: %v", answer)
		}
	}
}

func TestDialOnce(t *testing.T) {
	o := openOrigins(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening := netip.MustParseAddrPort(l.Addr().String())
	for _, from := range []uint16{0, o.silent, o.closed} {
		if answer := dialOnce(t.Context(), localhost(from), listening, 5*time.Second); answer != proto.AnswerAccepted {
			t.Errorf("a listener, from %d: %v", from, answer)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := addrPort(conn.RemoteAddr()).Port(); from != 0 && got != from {
			t.Errorf("came from %d and not %d", got, from)
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
			t.Errorf("the connection goes on: %d, %v", n, err)
		}
		conn.Close()
	}
	began := time.Now()
	if answer := dialOnce(t.Context(), localhost(0), localhost(o.silent), 200*time.Millisecond); answer != proto.AnswerDropped || time.Since(began) < 200*time.Millisecond {
		t.Errorf("nobody: %v after %v", answer, time.Since(began))
	}
	if answer := dialOnce(t.Context(), netip.MustParseAddrPort("192.0.2.1:0"), listening, time.Second); answer != proto.AnswerUnknown {
		t.Errorf("from an address that is not ours: %v", answer)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if answer := dialOnce(ctx, localhost(0), localhost(o.silent), time.Hour); answer != proto.AnswerUnknown {
		t.Errorf("interrupted: %v", answer)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// A SYN from the silent port meets one that has been sent there: that is what
// tells whether a NAT lets crossing SYNs pass.
func TestDialOnceCrosses(t *testing.T) {
	o := openOrigins(t)
	fd, err := shareable(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sockaddr(localhost(0))); err != nil {
		t.Fatal(err)
	}
	port, err := boundPort(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sockaddr(localhost(o.silent))); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	if answer := dialOnce(t.Context(), localhost(o.silent), localhost(port), 5*time.Second); answer != proto.AnswerAccepted {
		t.Errorf("%v", answer)
	}
}
