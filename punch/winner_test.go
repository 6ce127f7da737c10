package punch

import (
	"net/netip"
	"testing"

	"github.com/peerd/peerd/proto"
)

func TestWinner(t *testing.T) {
	at := func(s string) proto.Candidate {
		return proto.NewCandidate(netip.MustParseAddrPort(s), proto.Observed, 0)
	}
	events := []Event{
		{Kind: Dialled, Attempt: 1, To: at("192.0.2.1:5")},
		{Kind: Accepted, Attempt: 2, To: at("192.0.2.2:5")},
		{Kind: Proven, Attempt: 1, To: at("192.0.2.1:5")},
		{Kind: Dialled, Attempt: 3, To: at("192.0.2.1:5")},
		{Kind: Proven, Attempt: 3, To: at("192.0.2.1:5")},
		{Kind: Connected, Attempt: 4, To: at("192.0.2.3:5")},
	}
	for remote, want := range map[string]int{"192.0.2.1:5": 3, "[::ffff:192.0.2.2]:5": 2, "192.0.2.3:5": 0, "192.0.2.1:6": 0} {
		e, found := Winner(events, netip.MustParseAddrPort(remote))
		if found != (want > 0) || found && e.Attempt != want {
			t.Errorf("%s: %v %v, want attempt %d", remote, e, found, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	candidate := func(s string, k proto.Kind) proto.Candidate {
		return proto.NewCandidate(netip.MustParseAddrPort(s), k, 0)
	}
	peer := &proto.Party{
		Observed:   candidate("192.0.2.1:5", proto.Observed),
		Candidates: []proto.Candidate{candidate("192.0.2.1:5", proto.Host), candidate("10.0.0.1:5", proto.Host)},
	}
	for _, c := range []struct {
		kind EventKind
		to   proto.Candidate
		want string
	}{
		{Proven, candidate("10.0.0.9:5", proto.Host), "host"},
		{Accepted, candidate("10.0.0.1:5", proto.Observed), "host"},
		{Accepted, candidate("192.0.2.1:5", proto.Observed), "observed"},
		{Accepted, candidate("192.0.2.1:6", proto.Observed), ""},
	} {
		if got := KindOf(peer, Event{Kind: c.kind, To: c.to}); got != c.want {
			t.Errorf("%v %v: %q, want %q", c.kind, c.to, got, c.want)
		}
	}
}
