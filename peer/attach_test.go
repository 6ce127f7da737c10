package peer

import (
	"errors"
	"net"
	"testing"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/rendezvous"
)

// An attach record that was made for another connection is worth nothing.
func TestAttachIsBoundToItsConnection(t *testing.T) {
	key, binding := make([]byte, proto.ExporterSize), []byte("this connection")
	request := proto.Attach{Kind: proto.KindAttach, Session: proto.NewToken(), Epoch: 1}
	for made, want := range map[string]error{"this connection": nil, "another one": errAttach} {
		a, b := net.Pipe()
		record := request.Marshal(key, []byte(made))
		go func() { b.Write(record[:]); b.Close() }()
		if _, err := readAttach(a, key, binding); !errors.Is(err, want) {
			t.Errorf("a record for %s: %v, want %v", made, err, want)
		}
		a.Close()
	}
}

// Whoever is not the introduction's peer is not let in, on either side.
func TestMeetingAcceptsItsPeerOnly(t *testing.T) {
	friend, stranger := identity.Generate().ID(), identity.Generate().ID()
	m := &meeting{peer: friend, intro: rendezvous.Introduction{Role: proto.Responder}}
	if err := m.isPeer(friend); err != nil {
		t.Errorf("the peer: %v", err)
	}
	if err := m.isPeer(stranger); !isMismatch(err) {
		t.Errorf("a stranger: %v, want a MismatchError", err)
	}
}
