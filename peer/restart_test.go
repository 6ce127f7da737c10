package peer

import (
	"errors"
	"net"
	"net/netip"
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
