package main

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
)

// A liar is a mock of the rendezvous server that a hostile operator may run: it
// speaks the protocol, proves its key, and says what suits it. It offers introductions as
// fast as the node consents to them, in the name of peers that the node has
// authorised, and issues them with transcripts of its own making.
type liar struct {
	key   *identity.Key
	url   proto.ServerURL
	names []proto.ID // in whose name it speaks
	// registered is what the n-th registration is told, transcribe fills in the
	// n-th introduction in all, whose parties are named.
	registered func(n int) *proto.Registered
	transcribe func(n int, t *proto.Transcript)
	// pause is how long it waits before the n-th introduction: a node gives up
	// what is followed too soon by more.
	pause func(n int) time.Duration
	// most bounds the introductions of a registration; then the connection is
	// closed. 0 is without bounds.
	most int

	listener net.Listener
	tasks    sync.WaitGroup
	met      atomic.Int64 // introductions issued
	homes    atomic.Int64 // registrations

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// pipelined is how many offers of a liar are on their way at a time.
const pipelined = 64

// serve listens on the lab's server host.
func (l *liar) serve(lab *natlab.Lab) (err error) {
	l.key, l.conns = identity.Generate(), make(map[net.Conn]bool)
	l.url = proto.ServerURL{Host: lab.Server.Addr().String(), Port: proto.DefaultPort, Key: l.key.ID()}
	if l.listener, err = lab.Server.Listen(l.url.HostPort()); err != nil {
		return err
	}
	l.tasks.Go(l.accept)
	return nil
}

func (l *liar) accept() {
	for {
		raw, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns[raw] = true
		l.mu.Unlock()
		l.tasks.Go(func() {
			defer raw.Close()
			l.lie(tls.Server(raw, l.key.ServerConfig(proto.ALPNServer, func(proto.ID) error { return nil })))
		})
	}
}

// close ends what serve began.
func (l *liar) close() {
	l.listener.Close()
	l.mu.Lock()
	for c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	l.tasks.Wait()
}

// lie registers a client and introduces it until the connection ends.
func (l *liar) lie(conn *tls.Conn) {
	msg, err := proto.Read(conn)
	if err != nil {
		return
	}
	reg, ok := msg.(*proto.Register)
	if !ok {
		return
	}
	id, err := identity.PeerID(conn.ConnectionState())
	if err != nil || proto.Write(conn, l.registered(int(l.homes.Add(1)))) != nil {
		return
	}
	offered := map[proto.Token]proto.ID{}
	offer := func() error {
		o := &proto.Offer{Introduction: proto.NewToken(), Initiator: l.names[len(offered)%len(l.names)]}
		offered[o.Introduction] = o.Initiator
		return proto.Write(conn, o)
	}
	for range pipelined {
		if offer() != nil {
			return
		}
	}
	for issued := 0; l.most == 0 || issued < l.most; {
		msg, err := proto.Read(conn)
		if err != nil {
			return
		}
		answer, ok := msg.(*proto.Answer)
		if !ok {
			continue
		}
		if answer.Accept {
			time.Sleep(l.pause(int(l.met.Load())))
			issued++
			err = proto.Write(conn, l.introduce(offered[answer.Introduction], id, reg.Instance, answer))
		}
		if err != nil || offer() != nil {
			return
		}
	}
}

// introduce issues an introduction that its responder has consented to.
func (l *liar) introduce(from, to proto.ID, instance proto.Token, answer *proto.Answer) *proto.Introduction {
	t := &proto.Transcript{
		Introduction: answer.Introduction, PlanVersion: proto.PlanVersion,
		Initiator: proto.Party{ID: from, Instance: proto.NewToken(), RTT: 1},
		Responder: proto.Party{ID: to, Instance: instance, RTT: 1, Candidates: answer.Candidates},
	}
	l.transcribe(int(l.met.Add(1)), t)
	text, err := t.Marshal()
	if err != nil {
		panic(err) // lies are to be well-formed
	}
	return &proto.Introduction{Secret: proto.NewSecret(), Transcript: text}
}

// observedAt is an endpoint as servers state it.
func observedAt(addr netip.Addr, port uint16) proto.Candidate {
	return proto.NewCandidate(netip.AddrPortFrom(addr, port), proto.Observed, 0)
}
