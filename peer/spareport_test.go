package peer

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// A dial leaves from the spare port that it is told, and if somebody else has that on
// this host, the error is the one for which a plan leaves it out.
func TestDialFromASparePort(t *testing.T) {
	port, err := reuse.Claim(0, reuse.DialOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := netip.MustParseAddrPort(l.Addr().String())
	dial := dialsFrom(port)

	if _, err := dial(to, punch.DialOptions{From: to.Port()}).Wait(t.Context()); !errors.Is(err, punch.ErrTupleInUse) {
		t.Errorf("from a port on which somebody listens: %v", err)
	}
	other, err := reuse.Claim(0, reuse.Sequential) // which holds nothing
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := dial(to, punch.DialOptions{From: other.Number()}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if from := c.LocalAddr().(*net.TCPAddr).Port; from != int(other.Number()) || from == int(port.Number()) {
		t.Errorf("dialled from port %d, want %d", from, other.Number())
	}
}
