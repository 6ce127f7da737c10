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

// TestStartOverAnOldConnection guards against giving up, or pausing for as long
// as a server wants it that has gone, where a moment is enough.
func TestStartOverAnOldConnection(t *testing.T) {
	url := startServer(t)
	port, old := leave(t, url)
	const lasts = 300 * time.Millisecond
	began := time.Now()
	time.AfterFunc(lasts, func() { old.Close() })
	startNode(t, Config{Server: url, LocalPort: port})
	if took := time.Since(began); took < lasts || took > lasts+700*time.Millisecond {
		t.Errorf("registered after %v, the old connection was there for %v", took, lasts)
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
