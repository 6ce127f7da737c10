package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// handshakeLimit bounds TLS on a raw connection, the wait for its proof
// included. It leaves the plan time for another connection.
const handshakeLimit = proto.PreambleDeadline + 3*time.Second

// secured is a raw connection on which TLS is complete and the other end has
// proved the peer's ID.
type secured struct {
	*tls.Conn
	wire *wire
	raw  *punch.Conn
}

// Write implements net.Conn. Unlike TLS's it is for one writer at a time.
func (s *secured) Write(b []byte) (int, error) {
	return s.wire.together(func() (int, error) { return s.Conn.Write(b) })
}

// Close implements net.Conn. A write that is under way is cut off, as tls.Conn
// does, which does not know of those of wire. Where what was written cannot even
// leave this host, the connection is reset: the kernel would go on with it after
// the program's end, when its successor dials the same peer.
func (s *secured) Close() error {
	if !s.wire.mu.TryLock() {
		return s.wire.reset()
	}
	s.wire.mu.Unlock()
	if s.wire.isStalled() {
		return s.wire.reset()
	}
	return s.Conn.Close()
}

// LimitUnsent bounds what the kernel holds; see peer/stream.
func (s *secured) LimitUnsent(bytes int) { s.wire.LimitUnsent(bytes) }

// pathRTT is the round trip of the connection: as the kernel has measured it
// or, where it does not tell, as the introduction's round trips suggest.
func (m *meeting) pathRTT(s *secured) time.Duration {
	if c := s.wire.socket; c != nil {
		if rtt := reuse.RTT(c); rtt > 0 {
			return rtt
		}
	}
	t := m.intro.Transcript
	return time.Duration(t.Initiator.RTT)*time.Microsecond + time.Duration(t.Responder.RTT)*time.Microsecond
}

// secure runs TLS in the role that the introduction gives, whoever dialled. The
// initiator's ClientHello leaves at once, behind the preamble. Mind that in
// TLS 1.3 the client's handshake returns before the server has judged its
// certificate.
func (m *meeting) secure(ctx context.Context, raw *punch.Conn) (*secured, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	var conn *tls.Conn
	w := newWire(raw, raw.Conn)
	if m.intro.Role == proto.Initiator {
		conn = tls.Client(w, m.node.cfg.Key.ClientConfig(proto.ALPNPeer, m.peer))
	} else {
		conn = tls.Server(w, m.node.cfg.Key.ServerConfig(proto.ALPNPeer, m.isPeer))
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return &secured{conn, w, raw}, nil
}

// isPeer accepts the ID of the peer of this introduction only.
func (m *meeting) isPeer(id proto.ID) error {
	if id != m.peer {
		return &identity.MismatchError{Want: m.peer, Got: id}
	}
	return nil
}

// exporters returns the keying material that binds an attach record to this
// connection, and the key of a session that is created on it.
func (s *secured) exporters() (binding, sessionKey []byte, err error) {
	state := s.ConnectionState()
	binding, err = state.ExportKeyingMaterial(proto.ExporterLabel, nil, proto.ExporterSize)
	if err != nil {
		return nil, nil, err
	}
	sessionKey, err = state.ExportKeyingMaterial(proto.SessionKeyLabel, nil, proto.ExporterSize)
	return binding, sessionKey, err
}

// isMismatch reports whether the far end turned out to be somebody else.
func isMismatch(err error) bool {
	var mismatch *identity.MismatchError
	return errors.As(err, &mismatch)
}

// Addr is a peer's ID as the address of a connection's end.
type Addr struct {
	ID proto.ID
}

// Network returns "peer".
func (Addr) Network() string { return "peer" }

// String returns the ID's text form.
func (a Addr) String() string { return a.ID.String() }

var _ net.Addr = Addr{}
