package main

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/recording"
)

// victory is how the connection of a session came about at one side: which step
// of the plan has won.
type victory struct {
	How     string `json:"how,omitempty"`     // "dialled" or "accepted"; "" where it is not known
	Kind    string `json:"kind,omitempty"`    // of the candidate
	Idea    string `json:"idea,omitempty"`    // why it was dialled: punch.Idea; "" of an accepted one
	Attempt int    `json:"attempt,omitempty"` // number of the dial or of the accepted socket at this side, from 1
}

// victoryAt finds how the connection to an endpoint of a peer came about.
func victoryAt(far *proto.Party, events []punch.Event, remote netip.AddrPort) victory {
	e, found := punch.Winner(events, remote)
	if !found || far == nil {
		return victory{}
	}
	won := recording.WonBy(far, e)
	return victory{How: won.How, Kind: won.Kind, Idea: won.Idea, Attempt: won.Attempt}
}

// step names what has won, without the attempt: runs are counted by it. That the
// endpoint which the server observed is dialled goes without saying.
func (v victory) step() string {
	if v.How == "" {
		return "unknown"
	}
	step := strings.TrimSuffix(v.How+" "+v.Kind, " ")
	if v.Idea != "" && v.Idea != punch.Plain.String() {
		step += " (" + v.Idea + ")"
	}
	return step
}

// won says how the connection to an endpoint came about.
func (a *agent) won(remote netip.AddrPort) victory {
	a.mu.Lock()
	defer a.mu.Unlock()
	return victoryAt(a.far, a.events, remote)
}

// wonLast says how the connection of the newest session came about.
func (a *agent) wonLast() victory {
	a.mu.Lock()
	node := a.node
	a.mu.Unlock()
	sessions := node.Status().Sessions
	if len(sessions) == 0 {
		return victory{}
	}
	return a.won(sessions[len(sessions)-1].Path.Remote)
}

// reasonOf is why no direct connection came about, if that is what an error
// says: why none was to be expected, or the punch's own words.
func reasonOf(err error) string {
	var hopeless *punch.HopelessError
	if errors.As(err, &hopeless) {
		return hopeless.Short()
	}
	if !errors.Is(err, peer.ErrNoDirect) {
		return ""
	}
	var dial *peer.DialError
	if errors.As(err, &dial) {
		return oneLine(dial.Err.Error())
	}
	return oneLine(err.Error())
}

// lines are the events for people.
func lines(events []punch.Event) (text []string) {
	for _, e := range events {
		text = append(text, e.String())
	}
	return text
}
