//go:build linux

package main

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/natlab"
)

// Streams over TLS over a connection that was punched through two NATs are
// net.Conns. Both ends have to be in one process, so this joins the stages
// itself, with sockets of the lab's hosts.
func TestStreamsArePunchedConns(t *testing.T) {
	natlab.Require(t)
	lab, err := cell{A: "linux-drop", B: "linux-drop", RTT: 4 * time.Millisecond}.lab(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	client, server := streamEnds(t, punchThrough(t, lab))
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		mine, err := client.Open(t.Context(), "x")
		if err != nil {
			return nil, nil, func() {}, err
		}
		theirs, err := server.Accept()
		if err != nil {
			return nil, nil, func() {}, err
		}
		return mine, theirs, func() { mine.Close(); theirs.Close() }, theirs.Confirm()
	})
}

// streamEnds runs TLS and streams on both ends of a connection.
func streamEnds(t *testing.T, conns [2]net.Conn) (client, server *stream.Mux) {
	a, b := identity.Generate(), identity.Generate()
	x := tls.Client(conns[0], a.ClientConfig(proto.ALPNPeer, b.ID()))
	y := tls.Server(conns[1], b.ServerConfig(proto.ALPNPeer, func(proto.ID) error { return nil }))
	shaken := make(chan error, 1)
	go func() { shaken <- x.Handshake() }()
	if err := y.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	client, server = stream.Client(x, 0), stream.Server(y, 0)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// punchThrough returns the ends of a connection between both hosts of a lab, the
// initiator's first.
func punchThrough(t *testing.T, lab *natlab.Lab) (conns [2]net.Conn) {
	t.Helper()
	const port = 40100 // the NATs keep it
	party := func(h *natlab.Host, n byte) proto.Party {
		observed := proto.Candidate{Addr: netip.AddrPortFrom(h.PublicAddr(), port), Kind: proto.Observed}
		return proto.Party{ID: proto.ID{n}, Instance: proto.Token{n}, RTT: 4000, Observed: observed}
	}
	transcript := &proto.Transcript{
		Introduction: proto.NewToken(), PlanVersion: 1, Initiator: party(lab.A, 1), Responder: party(lab.B, 2),
	}
	runs := [2]*punch.Run{
		startPunching(t, lab.A, port, transcript, proto.Initiator),
		startPunching(t, lab.B, port, transcript, proto.Responder),
	}
	for i, run := range runs {
		select {
		case c := <-run.Conns():
			conns[i] = c
		case <-time.After(connectLimit):
			t.Fatal("no connection")
		}
	}
	return conns
}

func startPunching(t *testing.T, h *natlab.Host, number uint16, transcript *proto.Transcript, role proto.Role) *punch.Run {
	t.Helper()
	return newPuncher(t, h, number).start(t, transcript, role)
}
