package rendezvous

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// eager sends something right behind its ClientHello, and all that answers the server
// after a round trip.
type eager struct {
	net.Conn
	roundTrip time.Duration
	early     []byte
	once      sync.Once
}

func (e *eager) Write(b []byte) (n int, err error) {
	first := false
	e.once.Do(func() { first = true })
	if !first {
		time.Sleep(e.roundTrip)
		return e.Conn.Write(b)
	}
	n, err = e.Conn.Write(b)
	if len(e.early) > 0 {
		go e.Conn.Write(e.early) // the server writes before it reads on
	}
	return n, err
}

// What a client sends before it has the server's flight makes no round trip short. A
// change_cipher_spec record may come at any time, and means nothing (RFC 8446, section 5).
func TestHandshakeRoundTrip(t *testing.T) {
	for name, early := range map[string][]byte{"nothing early": nil, "a record early": {20, 3, 3, 0, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const roundTrip = 70 * time.Millisecond
				here, there := net.Pipe()
				defer here.Close()
				defer there.Close()
				k := identity.Generate()
				go func() {
					conn := tls.Client(&eager{Conn: there, roundTrip: roundTrip, early: early}, identity.Generate().ClientConfig(proto.ALPNServer, k.ID()))
					conn.Handshake()
				}()
				w := &wire{Conn: here}
				took, err := handshake(tls.Server(w, k.ServerConfig(proto.ALPNServer, nil)), w)
				if err != nil || took != roundTrip || w.wrote != nil {
					t.Errorf("%v, %v; want %v", took, err, roundTrip)
				}
			})
		})
	}
}
