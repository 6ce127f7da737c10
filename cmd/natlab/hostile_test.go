package main

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/rendezvous"
)

// aims are addresses at which a hostile peer may want another's SYNs to go: the
// peer's own services and network, its router, and third parties.
func aims(lab *natlab.Lab) []netip.Addr {
	list := []netip.Addr{lab.B.Addr(), lab.B.Gateway(), lab.Server.Alternate()}
	for _, a := range []string{"127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"} {
		list = append(list, netip.MustParseAddr(a))
	}
	b := lab.B.Addr().As4()
	b[3] = 77
	return append(list, netip.AddrFrom4(b)) // a neighbour in B's network
}

// TestForbiddenCandidates has an authorised but hostile peer state candidates
// that point at everybody, and captures what leaves the host: nothing but SYNs
// to the endpoint that the server observed. Where both are behind one NAT, the
// neighbour is allowed, on one port; nothing else is.
func TestForbiddenCandidates(t *testing.T) {
	natlab.Require(t)
	for name, c := range map[string]struct{ sameNAT, calls bool }{
		"calls, two NATs":     {false, true},
		"calls, one NAT":      {true, true},
		"is called, two NATs": {false, false},
		"is called, one NAT":  {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameNAT := c.sameNAT
			b := hostileBench(t, sameNAT)
			neighbour := aims(b.lab)[len(aims(b.lab))-1]
			syns := captureSYNs(t, b, aims(b.lab), c.calls)
			observed := netip.AddrPortFrom(b.lab.A.PublicAddr(), 0)
			if len(syns) == 0 {
				t.Fatal("the capture saw no SYN at all")
			}
			for to, n := range syns {
				switch {
				case to.Addr() == observed.Addr() && to.Port() != 22:
				case sameNAT && to == netip.AddrPortFrom(neighbour, 22):
				default:
					t.Errorf("%d SYNs to %v", n, to)
				}
			}
		})
	}
}

// hostileBench is a lab with a server and an agent on B.
func hostileBench(t *testing.T, sameNAT bool) *bench {
	t.Helper()
	b := &bench{}
	profile, err := natlab.ProfileByName("linux-open")
	if err != nil {
		t.Fatal(err)
	}
	if b.lab, err = natlab.New(natlab.Config{A: profile, B: profile, RTT: 8 * time.Millisecond, SameNAT: sameNAT}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	if err := b.populate(); err != nil {
		t.Fatal(err)
	}
	return b
}

// captureSYNs has a hostile client on A, which calls B or is called, state host
// candidates at the given addresses, and returns the SYNs that leave B, but for
// those to the server.
func captureSYNs(t *testing.T, b *bench, aims []netip.Addr, calls bool) map[netip.AddrPort]int {
	t.Helper()
	key := identity.Generate()
	if err := b.b.start(order{Op: "start", Server: b.url.String(), Answer: true, Allow: []proto.ID{key.ID()}}); err != nil {
		t.Fatal(err)
	}
	capture, err := b.lab.B.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	introduceHostile(t, b, key, aims, calls)
	time.Sleep(1500 * time.Millisecond) // what B would send, it sends from the start
	syns := make(map[netip.AddrPort]int)
	for _, p := range capture.Packets() {
		if p.Event == natlab.Sent && p.Flags&(natlab.SYN|natlab.ACK) == natlab.SYN && p.Dst.Addr() != b.lab.Server.Addr() {
			syns[p.Dst]++
		}
	}
	return syns
}

// introduceHostile gets an introduction with B, and goes no further.
func introduceHostile(t *testing.T, b *bench, key *identity.Key, aims []netip.Addr, calls bool) {
	t.Helper()
	var candidates []proto.Candidate
	for _, a := range aims {
		candidates = append(candidates, proto.NewCandidate(netip.AddrPortFrom(a, 22), proto.Host, 1))
	}
	introduced, registered := make(chan struct{}), make(chan struct{})
	client := rendezvous.NewClient(rendezvous.ClientConfig{
		Server: b.url, Key: key, Instance: proto.NewToken(),
		Dial:       func(ctx context.Context) (net.Conn, error) { return b.lab.A.Dial(ctx, b.url.HostPort()) },
		Answers:    true,
		Offer:      func(proto.ID) ([]proto.Candidate, proto.Code) { return candidates, proto.CodeOK },
		Introduced: func(rendezvous.Introduction) { close(introduced) },
		State: func(s rendezvous.State) {
			if s.Registered {
				close(registered)
			}
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	ended := make(chan struct{})
	go func() { defer close(ended); client.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	if calls {
		if _, err := client.Introduce(ctx, b.b.id, candidates); err != nil {
			t.Fatal(err)
		}
		return
	}
	<-registered
	if err := b.b.say(order{Op: "connect", Peer: key.ID()}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-introduced:
	case <-ctx.Done():
		t.Fatal("B has not called")
	}
}
