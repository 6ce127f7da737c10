package peer

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// securedPipe returns the ends of a TLS connection in memory; every write waits
// until the other end reads.
func securedPipe(t *testing.T) (client, server *secured) {
	t.Helper()
	x, y := net.Pipe()
	ck, sk := identity.Generate(), identity.Generate()
	cw, sw := newWire(x, x), newWire(y, y)
	client = &secured{tls.Client(cw, ck.ClientConfig(proto.ALPNPeer, sk.ID())), cw, nil}
	server = &secured{tls.Server(sw, sk.ServerConfig(proto.ALPNPeer, func(proto.ID) error { return nil })), sw, nil}
	shaken := make(chan error, 1)
	go func() { shaken <- server.HandshakeContext(t.Context()) }()
	if err := errors.Join(client.HandshakeContext(t.Context()), <-shaken); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A session whose connection has stalled is closed after the second that is
// allowed for what was written to leave: TLS does not add the five that its
// close may take behind a write.
func TestCloseOfStalledConnection(t *testing.T) {
	t.Parallel()
	near, far := securedPipe(t)
	defer far.Close()
	m := stream.Client(near, 0)
	s, err := m.Open(t.Context(), "x") // nobody reads at the other end
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	m.Close()
	if passed := time.Since(begun); passed > 3*time.Second {
		t.Errorf("closing took %v", passed)
	}
}
