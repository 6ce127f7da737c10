package peer

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/reuse"
)

// leave has a port with a connection to a server that its owner has given up, as
// a process leaves it that is killed.
func leave(t *testing.T, url proto.ServerURL) (port uint16, conn *net.TCPConn) {
	t.Helper()
	p, err := reuse.Claim(0, reuse.Shared)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := p.Dial(t.Context(), netip.MustParseAddrPort(url.HostPort()))
	if err != nil {
		t.Fatal(err)
	}
	conn = c.(*net.TCPConn)
	conn.SetLinger(0)
	t.Cleanup(func() { conn.Close() })
	return p.Number(), conn
}

// TestStartOverAnOldConnection guards against giving up, which would make Start
// fail, or pausing for as long as a server wants it that has gone, where a moment is
// enough.
func TestStartOverAnOldConnection(t *testing.T) {
	url := startServer(t)
	port, old := leave(t, url)
	time.AfterFunc(300*time.Millisecond, func() { old.Close() })
	n := watch(t, Config{Server: url, LocalPort: port})
	if lost := n.of(Unregistered); len(lost) != 0 {
		t.Errorf("given up meanwhile: %+v", lost)
	}
}

// TestOldConnectionStays has one that is never given up.
func TestOldConnectionStays(t *testing.T) {
	url := startServer(t)
	number, _ := leave(t, url)
	n, err := New(Config{Key: identity.Generate(), Server: url, LocalPort: number})
	if err != nil {
		t.Fatal(err)
	}
	if n.port, err = reuse.Claim(number, reuse.Shared); err != nil {
		t.Fatal(err)
	}
	defer n.port.Close()
	_, err = n.dialServer(within(t, 300*time.Millisecond))
	var inUse *reuse.InUseError
	if !errors.As(err, &inUse) || inUse.Port != number || inUse.To.String() != url.HostPort() {
		t.Errorf("%v, want a reuse.InUseError", err)
	}
}

// TestClosingSaysNothingToTheServer guards against last words whose acknowledgement
// would meet the next registration from the same port on its way: the RST that is
// the answer costs that its entry in a NAT.
func TestClosingSaysNothingToTheServer(t *testing.T) {
	url := startServer(t)
	for range 10 {
		way, sent := meter(t, url)
		callee := startNode(t, Config{Server: url, Answer: true, Authorize: func(proto.ID) (Grant, bool) { return Grant{}, true }})
		caller := startNode(t, Config{Server: way})
		if _, err := caller.Connect(within(t, 5*time.Second), callee.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // what was said of the session is on its way
		before := sent.Load()
		caller.Close()
		callee.Close()
		if n := sent.Load() - before; n > 0 {
			t.Fatalf("%d bytes were sent to the server", n)
		}
	}
}

// meter stands between nodes and the server, and counts what they send.
func meter(t *testing.T, url proto.ServerURL) (way proto.ServerURL, sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way, sent = url, new(atomic.Int64)
	way.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp4", url.HostPort())
			if err != nil {
				near.Close()
				return
			}
			tasks.Go(func() { io.Copy(near, far); near.Close() })
			tasks.Go(func() { io.Copy(far, io.TeeReader(near, counting{sent})); far.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); tasks.Wait() })
	return way, sent
}

type counting struct{ n *atomic.Int64 }

func (c counting) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }
