package stream

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// Streams are net.Conns, whatever carries them: a pipe without a buffer of its
// own makes every write wait for the other end.
func TestConn(t *testing.T) {
	carriers := map[string]func(testing.TB) (net.Conn, net.Conn){"pipe": pipe, "TCP": loopback}
	for name, carrier := range carriers {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				a, b := carrier(t)
				client, server := Client(a, 0), Server(b, 0)
				stop = func() { client.Close(); server.Close() }
				mine, err := client.Open(t.Context(), "target")
				if err != nil {
					return nil, nil, stop, err
				}
				theirs, err := server.Accept()
				if err != nil {
					return nil, nil, stop, err
				}
				return mine, theirs, stop, theirs.Confirm()
			})
		})
	}
}

// pipe returns the ends of a connection in memory.
func pipe(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }

// loopback returns the ends of a TCP connection.
func loopback(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}
