package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/rendezvous"
)

func TestFirstDials(t *testing.T) {
	peer, now, before := proto.ID{1}, proto.NewToken(), proto.NewToken()
	const nat, none = "192.0.2.1", "10.0.0.2"
	for _, test := range []struct {
		name string
		port uint16        // chosen by the user
		age  time.Duration // of the node
		met  proto.Token   // instance of the peer, zero if none
		at   string        // where the server sees the node; its own address is 10.0.0.2
		want punch.First
	}{
		{"just started on the port that it always has", 4000, time.Second, proto.Token{}, nat, punch.Quietly},
		{"just started there, without a NAT", 4000, time.Second, proto.Token{}, none, punch.AsPlanned},
		{"just started on any port", 0, time.Second, proto.Token{}, nat, punch.AsPlanned},
		{"no NAT remembers a predecessor", 4000, predecessorLife + time.Second, proto.Token{}, nat, punch.AsPlanned},
		{"it has met the peer", 4000, time.Second, now, nat, punch.AsPlanned},
		{"it has met the peer's predecessor", 4000, time.Hour, before, nat, punch.Loudly},
		{"it is new, and the peer was started again since", 4000, time.Second, before, nat, punch.Loudly},
	} {
		n := &Node{cfg: Config{LocalPort: test.port}, began: time.Now().Add(-test.age), instances: map[proto.ID]proto.Token{}}
		if !test.met.IsZero() {
			n.instances[peer] = test.met
		}
		transcript := &proto.Transcript{Responder: proto.Party{ID: peer, Instance: now}}
		transcript.Initiator.Observed = proto.NewCandidate(netip.MustParseAddrPort(test.at+":4000"), proto.Observed, 0)
		transcript.Initiator.Candidates = []proto.Candidate{proto.NewCandidate(netip.MustParseAddrPort("10.0.0.2:4000"), proto.Host, 1)}
		m := &meeting{node: n, peer: peer, intro: rendezvous.Introduction{Transcript: transcript, Role: proto.Initiator}}
		if got := m.firstDials(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// Both sides note whom they have met.
func TestInstancesAreNoted(t *testing.T) {
	url := startServer(t)
	connected := make(chan Event, 1)
	told := func(e Event) {
		if e.Kind == Connected {
			connected <- e
		}
	}
	callee := startNode(t, Config{Server: url, Answer: true, Events: told, Authorize: func(proto.ID) (Grant, bool) { return Grant{}, true }})
	caller := startNode(t, Config{Server: url})
	if _, err := caller.Connect(within(t, 5*time.Second), callee.ID()); err != nil {
		t.Fatal(err)
	}
	<-connected
	for _, side := range []struct{ n, other *Node }{{caller, callee}, {callee, caller}} {
		side.n.mu.Lock()
		met := side.n.instances[side.other.ID()]
		side.n.mu.Unlock()
		if met != side.other.instance {
			t.Errorf("%v noted, want %v", met, side.other.instance)
		}
	}
}

// What is on the way is past after a second. Who still speaks on the earlier
// connection has to be told that it is over.
func TestEarlierConnectionsArePassedOverForASecond(t *testing.T) {
	began := time.Unix(1000, 0)
	for age, want := range map[time.Duration]time.Time{0: began, leftOver: began, leftOver + 1: {}} {
		if got := passedOver(began, began.Add(age)); !got.Equal(want) {
			t.Errorf("after %v: %v, want %v", age, got, want)
		}
	}
}

func TestInstancesAreBounded(t *testing.T) {
	n := &Node{instances: map[proto.ID]proto.Token{}}
	for i := range 2 * maxInstances {
		id := proto.ID{byte(i), byte(i >> 8)}
		if n.noteLocked(id, proto.Token{1}); n.instances[id].IsZero() {
			t.Fatal("the last one is not noted")
		}
	}
	if got := len(n.instances); got != maxInstances {
		t.Errorf("%d are remembered, want %d", got, maxInstances)
	}
}
