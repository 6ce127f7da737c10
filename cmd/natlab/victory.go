package main

import (
	"errors"
	"net/netip"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/punch"
)

// victory is how the connection of a session came about at one side: which step
// of the plan has won.
type victory struct {
	How     string `json:"how,omitempty"`     // "dialled" or "accepted"; "" where it is not known
	Kind    string `json:"kind,omitempty"`    // of the candidate
	Attempt int    `json:"attempt,omitempty"` // number of the dial or of the accepted socket at this side, from 1
	Idea    string `json:"idea,omitempty"`    // of the plan's step; "" where the plan names none
}

// victoryAt finds how the connection to an endpoint came about.
func victoryAt(events []punch.Event, remote netip.AddrPort) victory {
	e, found := punch.Winner(events, remote)
	switch {
	case !found:
		return victory{}
	case e.Kind == punch.Proven:
		return victory{How: "dialled", Kind: e.To.Kind.String(), Attempt: e.Attempt}
	}
	v := victory{How: "accepted", Attempt: e.Attempt}
	for _, other := range events { // who accepts does not learn what the peer calls its endpoint, unless it dials it, too
		if other.Kind == punch.Dialled && other.To.Addr == e.To.Addr {
			v.Kind = other.To.Kind.String()
		}
	}
	return v
}

// step names what has won, without the attempt: runs are counted by it.
func (v victory) step() string {
	if v.How == "" {
		return "unknown"
	}
	text := v.How
	if v.Kind != "" {
		text += " " + v.Kind
	}
	if v.Idea != "" {
		text += " (" + v.Idea + ")"
	}
	return text
}

// won says how the connection to an endpoint came about.
func (a *agent) won(remote netip.AddrPort) victory {
	a.mu.Lock()
	defer a.mu.Unlock()
	return victoryAt(a.events, remote)
}

// wonLast says how the connection of the newest session came about.
func (a *agent) wonLast() victory {
	sessions := a.node.Status().Sessions
	if len(sessions) == 0 {
		return victory{}
	}
	return a.won(sessions[len(sessions)-1].Path.Remote)
}

// reasonOf is why no direct connection came about, if that is what an error
// says: the punch's own words.
func reasonOf(err error) string {
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
