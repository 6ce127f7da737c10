package peer

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// lyingServer registers everybody, answers every Introduce with an introduction
// to the one peer it has, whatever its key, and says that this is who was asked
// for.
type lyingServer struct {
	key *identity.Key
}

type registered struct {
	conn     *tls.Conn
	id       proto.ID
	instance proto.Token
	observed proto.Candidate
}

// register does a registration's part of the protocol.
func (s *lyingServer) register(t *testing.T, raw net.Conn) *registered {
	conn := tls.Server(raw, s.key.ServerConfig(proto.ALPNServer, nil))
	if err := conn.Handshake(); err != nil {
		t.Error(err)
		return nil
	}
	m, err := proto.Read(conn)
	if err != nil {
		t.Error(err)
		return nil
	}
	id, err := identity.PeerID(conn.ConnectionState())
	if err != nil {
		t.Error(err)
		return nil
	}
	observed := proto.NewCandidate(netip.MustParseAddrPort(raw.RemoteAddr().String()), proto.Observed, 65535)
	if err := proto.Write(conn, &proto.Registered{Observed: observed}); err != nil {
		t.Error(err)
	}
	return &registered{conn, id, m.(*proto.Register).Instance, observed}
}

// introduce tells both of an introduction in which each bears the ID that the
// other is to believe.
func (s *lyingServer) introduce(t *testing.T, request uint32, asked proto.ID, initiator, responder *registered) {
	party := func(r *registered, id proto.ID) proto.Party {
		return proto.Party{ID: id, Instance: r.instance, RTT: 1000, Observed: r.observed}
	}
	tr := proto.Transcript{
		Introduction: proto.NewToken(), PlanVersion: proto.PlanVersion,
		Initiator: party(initiator, initiator.id), Responder: party(responder, asked),
	}
	secret := proto.NewSecret()
	if err := proto.Write(responder.conn, &proto.Offer{Introduction: tr.Introduction, Initiator: initiator.id}); err != nil {
		t.Error(err)
	}
	awaitMessage[*proto.Answer](t, responder.conn)
	for _, side := range []struct {
		to      *registered
		request uint32
		asked   proto.ID
	}{{initiator, request, asked}, {responder, 0, responder.id}} {
		tr.Responder.ID = side.asked
		raw, err := tr.Marshal()
		if err != nil {
			t.Error(err)
			return
		}
		if err := proto.Write(side.to.conn, &proto.Introduction{Request: side.request, Secret: secret, Transcript: raw}); err != nil {
			t.Error(err)
		}
	}
}

// awaitMessage passes over other messages.
func awaitMessage[M proto.Message](t *testing.T, c net.Conn) (m M) {
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		next, err := proto.Read(c)
		if err != nil {
			t.Error(err)
			return m
		}
		if m, ok := next.(M); ok {
			return m
		}
	}
}

// TestImpostor shows that a server which passes one peer off as another gains
// nothing: whoever asked learns that the key is not the one it wanted.
func TestImpostor(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &lyingServer{key: identity.Generate()}
	url := proto.ServerURL{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Key: s.key.ID()}
	callerKey, wanted := identity.Generate(), identity.Generate().ID()

	accept := func() *registered {
		raw, err := l.Accept()
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { raw.Close() })
		return s.register(t, raw)
	}
	peers := make(chan *registered, 2)
	go func() { peers <- accept(); peers <- accept() }()
	impostor := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{callerKey.ID()}})
	accused := <-peers
	caller := startNode(t, Config{Server: url, Key: callerKey})
	asker := <-peers
	go func() {
		if m := awaitMessage[*proto.Introduce](t, asker.conn); m != nil {
			s.introduce(t, m.Request, m.Peer, asker, accused)
		}
	}()

	_, err = caller.Connect(within(t, 10*time.Second), wanted)
	var mismatch *identity.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Want != wanted || mismatch.Got != impostor.ID() {
		t.Errorf("connecting to an impostor: %v, want a MismatchError", err)
	}
	var dial *DialError
	if !errors.As(err, &dial) || dial.Phase != PhaseSecure || len(dial.Attempts) == 0 {
		t.Errorf("connecting to an impostor: %#v, want a DialError in phase secure with its attempts", dial)
	}
}
