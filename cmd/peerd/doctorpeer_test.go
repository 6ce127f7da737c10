package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// What doctor says of a peer follows from what both sides have stated.
func TestPeerDiagnosis(t *testing.T) {
	party := func(endpoint string, nat *proto.NATReport) proto.Party {
		return proto.Party{RTT: 20000, Observed: proto.NewCandidate(netip.MustParseAddrPort(endpoint), proto.Observed, 0), NAT: nat}
	}
	steady := &proto.NATReport{Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving, Filtering: proto.FilteringAddressPortDependent}
	random := &proto.NATReport{Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationRandom, Confidence: 90, Filtering: proto.FilteringAddressPortDependent}
	for name, c := range map[string]struct {
		here, there *proto.NATReport
		want        []string // of the text
		noGuess     bool     // there
	}{
		"plain":    {nil, steady, []string{"dial here observed 192.0.2.1:5000: plain where", "dial there observed 198.51.100.1:4000: plain where", "mapping there endpoint-independent"}, false},
		"guess":    {random, steady, []string{"dial here observed 192.0.2.1:5000: spread from many ports", "dial there observed 198.51.100.1:4000: guess at ports of the NAT there"}, false},
		"no hope":  {random, random, []string{"plan nothing can work both NATs give each connection another port", "ports there random"}, false},
		"no guess": {random, steady, []string{"guesses there none the peer has", "plan nothing can work only guessing ports could connect the two, and the peer has that switched off (--no-guess)"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &peerDiagnosis{NAT: nil}
			tr := &proto.Transcript{PlanVersion: proto.PlanVersion, Initiator: party("198.51.100.1:4000", c.here), Responder: party("192.0.2.1:5000", c.there)}
			tr.Responder.NoGuess = c.noGuess
			d.state(tr, proto.Initiator)
			text := strings.Join(strings.Fields(strings.Join(inLines(d.findings()), " ")), " ")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %q", want, text)
				}
			}
		})
	}
}

// Every idea that a plan may have is explained.
func TestIdeasAreExplained(t *testing.T) {
	for idea := punch.Plain; idea <= punch.Spare; idea++ {
		if ideaInWords(idea.String()) == "" {
			t.Errorf("%v is not explained", idea)
		}
	}
	if ideaInWords("nonsense") != "" {
		t.Error("nonsense is explained")
	}
}

func TestShortReason(t *testing.T) {
	hopeless := &peer.DialError{Err: errors.Join(peer.ErrNoDirect, &punch.HopelessError{Reason: punch.BothStrict, Err: errors.New("details")})}
	if got := shortOf(hopeless); got != punch.BothStrict.String() {
		t.Error(got)
	}
	if got := shortOf(errors.New("something")); got != "" {
		t.Error(got)
	}
}
