package peer

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/peerd/peerd/proto"
)

// What programs get from nodes are net.Conns, also on a punched connection.
func TestConn(t *testing.T) {
	url := startServer(t)
	a := startNode(t, Config{Server: url})
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{a.ID()}})
	l, err := b.Listen(within(t, time.Minute), "conns")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		mine, err := a.Dial(within(t, 10*time.Second), b.ID(), "conns")
		if err != nil {
			return nil, nil, func() {}, err
		}
		theirs, err := l.Accept()
		return mine, theirs, func() { mine.Close(); theirs.Close() }, err
	})
}
