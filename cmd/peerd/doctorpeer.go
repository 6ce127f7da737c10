package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/recording"
)

// peerDiagnosis is what doctor finds out with a peer: what both sides state of their
// NATs, what the plan makes of that, and what came of it.
type peerDiagnosis struct {
	Peer        string         `json:"peer"`          // ID
	Role        string         `json:"role"`          // of this side
	PlanVersion uint32         `json:"plan_version"`  //
	NAT         *recording.NAT `json:"peer_nat"`      // as the peer states it; null if it states nothing
	NoGuess     bool           `json:"peer_no_guess"` // the peer has switched guessing ports off
	Plan        []plannedDial  `json:"plan"`          // never null
	Hopeless    string         `json:"hopeless"`      // why nothing can work; "" if something may

	Connected bool           `json:"connected"`
	TookMS    float64        `json:"took_ms"` // from the plan's first dial to the proof; 0 without a connection
	Remote    string         `json:"remote"`  // "" without a connection
	Won       *recording.Won `json:"won"`     // null without a connection
	Failure   string         `json:"failure"` // "" with a connection
}

// plannedDial is one thing that a side is to dial.
type plannedDial struct {
	Side    string `json:"side"` // "here" or "there"
	Idea    string `json:"idea"`
	Kind    string `json:"kind"` // of the address
	Address string `json:"address"`
}

// witness keeps what a node tells of the introduction to a peer. It is safe for
// concurrent use.
type witness struct {
	peer proto.ID

	mu         sync.Mutex
	transcript *proto.Transcript // nil before
	role       proto.Role
	events     []punch.Event
}

func (w *witness) event(e peer.Event) {
	if e.Peer != w.peer {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case peer.Introduced:
		w.transcript, w.role, w.events = e.Transcript, e.Role, nil
	case peer.Punch:
		w.events = append(w.events, e.Punch)
	}
}

// meet connects to the peer and explains what comes of it. Without an introduction
// there is nothing to explain but the error.
func (w *witness) meet(ctx context.Context, node *peer.Node) (*peerDiagnosis, error) {
	session, err := node.Connect(ctx, w.peer)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.transcript == nil {
		return nil, err
	}
	d := &peerDiagnosis{Peer: w.peer.String(), Plan: []plannedDial{}}
	d.state(w.transcript, w.role)
	if err != nil {
		d.Failure = oneLine(cmp.Or(shortOf(err), err.Error()))
		return d, err
	}
	path := session.Path()
	d.Connected, d.Remote = true, path.Remote.String()
	if e, found := punch.Winner(w.events, path.Remote); found {
		d.TookMS = float64(e.At.Microseconds()) / 1e3
		d.Won = recording.WonBy(w.transcript.Party(w.role.Peer()), e)
	}
	return d, nil
}

// state says what the peer has stated, and what the plan is.
func (d *peerDiagnosis) state(t *proto.Transcript, role proto.Role) {
	d.Role, d.PlanVersion, d.NAT = role.String(), t.PlanVersion, recording.NATOf(t.Party(role.Peer()).NAT)
	d.NoGuess = t.Party(role.Peer()).NoGuess
	plan, err := punch.MakePlan(t)
	if err != nil {
		return // so has the connection
	}
	d.Hopeless = plan.Hopeless.For(role)
	d.add("here", plan, role)
	d.add("there", plan, role.Peer())
}

// shortOf is why punching failed, without what was tried.
func shortOf(err error) string {
	var hopeless *punch.HopelessError
	if errors.As(err, &hopeless) {
		return hopeless.Short()
	}
	return ""
}

// add lists what a side is to dial.
func (d *peerDiagnosis) add(side string, plan *punch.Plan, role proto.Role) {
	list := func(idea punch.Idea, to proto.Candidate) {
		d.Plan = append(d.Plan, plannedDial{side, idea.String(), to.Kind.String(), to.Addr.String()})
	}
	for _, s := range plan.Steps(role) {
		list(s.Idea, s.To)
	}
	if v := plan.Volley(role); v != nil {
		list(v.Idea, v.To)
	}
	if spares := plan.Spares(role); len(spares) > 0 {
		list(spares[0].Idea, spares[0].To)
	}
}

// ideasInWords say what the ideas of a plan are.
var ideasInWords = map[punch.Idea]string{
	punch.Plain:      "where the server sees the other side, at the same moment as that dials",
	punch.OnLink:     "on the local network",
	punch.GlobalIPv6: "over IPv6, which needs no NAT",
	punch.Opener:     "first, with a SYN that opens the own NAT and ends before the other one",
	punch.Follower:   "a moment later, through what the other side has opened",
	punch.Predicted:  "at the ports that the NAT there is about to choose",
	punch.Crossed:    "at the ports that the NAT there is about to choose, as the other side does here",
	punch.Spread:     "from many ports, so that a guess of the other side hits one",
	punch.Guess:      "at ports of the NAT there that are guessed",
	punch.Spare:      "between ports that nobody has used yet, if nothing else has helped after some seconds",
}

// ideaInWords is the meaning of an idea's word.
func ideaInWords(word string) string {
	var idea punch.Idea
	if idea.UnmarshalText([]byte(word)) != nil {
		return ""
	}
	return ideasInWords[idea]
}

// findings are what to print for people.
func (d *peerDiagnosis) findings() (list []diagnosis) {
	list = append(list, diagnosis{"peer", d.Peer, ""})
	if d.NAT == nil {
		list = append(list, diagnosis{"NAT there", "not known: the peer states nothing of it", ""})
	} else {
		list = append(list, diagnosis{"mapping there", d.NAT.Mapping, ""},
			diagnosis{"ports there", cmp.Or(d.NAT.Allocation, "unknown"), ""},
			diagnosis{"filtering there", d.NAT.Filtering, ""},
			diagnosis{"unsolicited SYN", d.NAT.Unsolicited, ""},
			diagnosis{"crossing SYN", d.NAT.Crossing, ""})
	}
	if d.NoGuess {
		list = append(list, diagnosis{"guesses there", "none", "the peer has guessing ports switched off (--no-guess)"})
	}
	if d.Hopeless != "" {
		list = append(list, diagnosis{"plan", "nothing can work", d.Hopeless})
	}
	for _, p := range d.Plan {
		list = append(list, diagnosis{"dial " + p.Side, fmt.Sprintf("%s %s: %s", p.Kind, p.Address, p.Idea), ideaInWords(p.Idea)})
	}
	return append(list, d.outcome())
}

// outcome is what came of it.
func (d *peerDiagnosis) outcome() diagnosis {
	if !d.Connected {
		return diagnosis{"outcome", "no direct connection", d.Failure}
	}
	o := diagnosis{"outcome", "direct at " + d.Remote, ""}
	if d.Won != nil {
		o.value += fmt.Sprintf(", %.0f ms after the first dial", d.TookMS)
		o.meaning = "won by attempt " + fmt.Sprint(d.Won.Attempt) + ", " + d.Won.How
		if d.Won.Idea != "" {
			o.meaning += " (" + d.Won.Idea + ")"
		}
	}
	return o
}
