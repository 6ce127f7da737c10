package punch

import (
	"fmt"
	"slices"
)

// Idea is why a plan dials what it dials: a rung of the ladder. The zero value is
// none.
type Idea uint8

// The ideas.
const (
	// Plain is the endpoint that the server observed, dialled by both sides.
	Plain Idea = iota + 1
	// OnLink is a host candidate of a peer that shares the observed address.
	OnLink
	// GlobalIPv6 is an address that needs no NAT; firewalls on the way take the two
	// SYNs for one connection.
	GlobalIPv6
	// Opener is a quiet dial that opens this side's NAT and is never seen by the
	// other's, which would answer or remember it to our cost.
	Opener
	// Follower is the dial that comes through what the Opener has opened, a little
	// later.
	Follower
	// Predicted are the ports that a NAT which allocates in sequence is about to use.
	Predicted
	// Crossed are such ports where both NATs allocate in sequence: the n-th dial of
	// each side is to leave from what the other's n-th dial is aimed at.
	Crossed
	// Spread are dials from many other local ports, so that a guess hits one of the
	// outside ports that they have.
	Spread
	// Guess is a port of the peer's NAT at random.
	Guess
	// Spare are ports of which nobody has heard before, dialled by both sides when
	// nothing else has helped.
	Spare
)

var ideas = [...]string{"", "plain", "on-link", "ipv6", "opener", "follower", "predicted", "crossed", "spread", "guess", "spare"}

// String names the idea in one word.
func (i Idea) String() string {
	if int(i) < len(ideas) {
		return ideas[i]
	}
	return fmt.Sprintf("idea(%d)", uint8(i))
}

// MarshalText makes the idea a word in JSON.
func (i Idea) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText takes the word back.
func (i *Idea) UnmarshalText(word []byte) error {
	n := slices.Index(ideas[:], string(word))
	if n < 0 {
		return fmt.Errorf("no idea is called %q", word)
	}
	*i = Idea(n)
	return nil
}
