package rendezvous

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// inbound is an accepted connection of which nothing is known yet.
type inbound struct {
	raw  net.Conn
	from netip.AddrPort
	src  netip.Prefix
	gate *gate // that it is counted in

	owner *member // whose STUN connection it is; guarded by dialBacks.mu
}

// First bytes: a TLS record of type handshake (RFC 8446, section 5.1), and a
// STUN message, whose two leading bits are zero (RFC 8489, section 5).
const recordHandshake = 0x16

func isSTUN(first byte) bool { return first&0xc0 == 0 }

// accept starts to handle a connection if the limits allow it.
func (s *Server) accept(raw net.Conn, g *gate, handle func(*inbound) (kept bool)) {
	from := addrPort(raw.RemoteAddr())
	in := &inbound{raw: raw, from: from, src: source(from.Addr()), gate: g}
	switch {
	case !from.IsValid() || !s.sources.allow(in.src, time.Now()):
		s.quiet(in, "too many connections from one address", nil)
	case !g.enter(in.src):
		s.quiet(in, "too many open connections", nil)
	case !s.spawn(raw, func() { s.run(in, handle) }):
		g.leave(in.src)
	default:
		return
	}
	raw.Close()
}

// run handles a connection and closes it, unless handle kept it for another
// goroutine.
func (s *Server) run(in *inbound, handle func(*inbound) (kept bool)) {
	kept := handle(in)
	in.gate.leave(in.src)
	if !kept {
		s.drop(in.raw)
	}
}

// quiet logs why a stranger was turned away, but not every time: strangers
// should not fill the disk.
func (s *Server) quiet(in *inbound, what string, err error) {
	if s.noise.Allow() {
		s.log.Debug(what, "remote", in.from, "error", err)
	}
}

// identify finds out what a connection on the main port is for.
func (s *Server) identify(in *inbound) (kept bool) {
	in.raw.SetDeadline(time.Now().Add(firstByteTimeout))
	var first [1]byte
	if _, err := io.ReadFull(in.raw, first[:]); err != nil {
		s.quiet(in, "connection without a first byte", err)
		return false
	}
	w := &wire{Conn: in.raw, first: first[:]}
	switch {
	case first[0] == recordHandshake:
		return s.admit(in, w)
	case !isSTUN(first[0]):
		s.quiet(in, "neither TLS nor STUN", nil)
	case !s.stun.enter(in.src):
		s.quiet(in, "too many open connections", nil)
	default:
		in.gate.leave(in.src)
		in.gate = s.stun
		s.serveSTUN(in, w)
	}
	return false
}

// probe handles a connection on a probe port.
func (s *Server) probe(in *inbound) (kept bool) {
	s.serveSTUN(in, &wire{Conn: in.raw})
	return false
}

// admit does the TLS handshake and registers the client. What serves it from
// then on is a fresh goroutine, because this one's stack has grown.
func (s *Server) admit(in *inbound, w *wire) (kept bool) {
	in.raw.SetDeadline(time.Now().Add(handshakeTimeout))
	conn := tls.Server(w, s.tls)
	took, err := handshake(conn, w)
	if err != nil {
		s.quiet(in, "TLS handshake failed", err)
		return false
	}
	id, err := identity.PeerID(conn.ConnectionState())
	if err != nil {
		s.quiet(in, "client without an ID", err)
		return false
	}
	m := s.newMember(in, id, conn)
	m.handshake = took
	in.raw.SetDeadline(time.Now().Add(registerTimeout))
	reg, err := readRegister(conn)
	if err != nil {
		s.quiet(in, "connection without a registration", err)
		s.turnAway(m, conn, failure(err))
		return false
	}
	in.raw.SetDeadline(time.Time{})
	m.instance = reg.Instance
	s.settle(in.raw)
	s.backs.enter(m)
	if code := s.registry.join(m, reg, time.Now()); code != proto.CodeOK {
		s.backs.leave(m)
		s.quiet(in, "registration refused: "+code.String(), nil)
		s.turnAway(m, conn, &proto.Failure{Code: code})
		return false
	}
	s.log.Debug("client registered", "peer", id.Short(), "instance", reg.Instance, "remote", in.from, "agent", reg.Agent)
	s.wg.Go(func() { s.attend(m, conn, in.raw) })
	return true
}

func (s *Server) newMember(in *inbound, id proto.ID, conn *tls.Conn) *member {
	return &member{
		party:    party{id: id},
		observed: proto.NewCandidate(in.from, proto.Observed, 65535),
		here:     addrPort(in.raw.LocalAddr()),
		token:    proto.NewToken(),
		source:   in.src,
		out:      &outbox{conn: conn, raw: in.raw, max: maxQueue, wg: &s.wg},
		pace:     rate.NewLimiter(messageRate, messageBurst),
	}
}

// readRegister reads the first message of a client.
func readRegister(r io.Reader) (*proto.Register, error) {
	t, payload, err := proto.ReadFrame(r)
	if err != nil {
		return nil, err
	}
	if t != proto.TypeRegister {
		return nil, misplaced(t)
	}
	msg, err := proto.Parse(t, payload)
	if err != nil {
		return nil, err
	}
	return msg.(*proto.Register), nil
}

// turnAway tells a client that is not registered why, if there is something to
// tell, and ends the connection.
func (s *Server) turnAway(m *member, conn io.Reader, f *proto.Failure) {
	defer m.out.close(nil)
	if f == nil {
		return
	}
	m.out.last(f)
	io.Copy(io.Discard, conn)
}
